"""Blocks of pixels as one Gaussian: every pixel in one of them, as few as asked for, none over a depth edge."""

from __future__ import annotations

import math

import pytest
import torch

from onescene.geometry.cubemap import face_cameras
from onescene.metrics import psnr
from onescene.models.scaffold.density import HALVINGS, Blocks, choose_blocks, every_pixel, lift_blocks
from onescene.models.scaffold.lift import LiftConfig, lift_faces, owned_pixels
from onescene.splatting import render
from onescene.stages.scaffold import ScaffoldConfig, lift_panorama

FACE_PX, FOV_DEG = 64, 95.0


def half_busy_faces() -> torch.Tensor:
    """Noise in the left half of every face, one colour in the right half."""
    faces = torch.full((6, 3, FACE_PX, FACE_PX), 0.4)
    faces[..., : FACE_PX // 2] = torch.rand(6, 3, FACE_PX, FACE_PX // 2, generator=torch.Generator().manual_seed(0))
    return faces


def covered(blocks: Blocks, face_px: int) -> tuple[torch.Tensor, torch.Tensor]:
    """How many blocks each pixel is in, and the sum of their sides, block by block."""
    count, sides = torch.zeros(2, 6, face_px, face_px).unbind()
    for k, kept in enumerate(blocks.kept):
        side = 2**k
        for face, row, column in kept.nonzero().tolist():
            count[face, row * side : (row + 1) * side, column * side : (column + 1) * side] += 1
            sides[face, row * side : (row + 1) * side, column * side : (column + 1) * side] += side
    return count, sides


@pytest.mark.parametrize("most", [1, 4000, 9000, 12000, None])
def test_every_owned_pixel_is_in_one_block(most):
    blocks = choose_blocks(half_busy_faces(), torch.ones(6, FACE_PX, FACE_PX), FOV_DEG, most)
    count, sides = covered(blocks, FACE_PX)
    assert torch.equal(count > 0, owned_pixels(FACE_PX, FOV_DEG)) and count.max() == 1
    assert torch.equal(blocks.sides(), sides)


def test_as_many_as_allowed_and_the_smooth_ones_first():
    faces, one = half_busy_faces(), torch.ones(6, FACE_PX, FACE_PX)
    whole = len(every_pixel(FACE_PX, FOV_DEG))
    for most in (whole * 2 // 3, whole // 3):
        blocks = choose_blocks(faces, one, FOV_DEG, most)
        assert 0.9 * most < len(blocks) <= most
    some = choose_blocks(faces, one, FOV_DEG, whole * 2 // 3)
    away = FACE_PX // 2 - 8  # further than what a block takes note of
    assert some.kept[0][..., 4:away].sum() == owned_pixels(FACE_PX, FOV_DEG)[..., 4:away].sum()
    assert some.kept[HALVINGS].any() and not some.kept[HALVINGS][..., : away // 4].any()
    assert len(choose_blocks(faces, one, FOV_DEG, whole)) == whole


def test_no_block_over_a_depth_edge():
    distance = torch.ones(6, FACE_PX, FACE_PX)
    distance[:, 21:] = 2.0  # within a block of 2 and of 4
    blocks = choose_blocks(torch.full((6, 3, FACE_PX, FACE_PX), 0.5), distance, FOV_DEG, 1)
    log = distance.log()
    for k, kept in enumerate(blocks.kept):
        parts = log.unfold(1, 2**k, 2**k).unfold(2, 2**k, 2**k).flatten(3)
        assert (parts.amax(-1) - parts.amin(-1))[kept].max() == 0


def test_means_are_over_the_pixels_of_each_block():
    faces = half_busy_faces()
    blocks = choose_blocks(faces, torch.ones(6, FACE_PX, FACE_PX), FOV_DEG, 4000)
    wanted = []
    for k, kept in enumerate(blocks.kept):
        side = 2**k
        for face, row, column in kept.nonzero().tolist():
            part = faces[face, :, row * side : (row + 1) * side, column * side : (column + 1) * side]
            wanted.append(part.mean(dim=(1, 2)))
    torch.testing.assert_close(blocks.means(faces), torch.stack(wanted))


def test_blocks_of_a_pixel_are_lifted_as_pixels_are():
    faces, one = half_busy_faces(), torch.ones(6, FACE_PX, FACE_PX)
    plain = lift_faces(faces, one, one < 0, FOV_DEG)
    made = lift_blocks(faces, one, one < 0, FOV_DEG, every_pixel(FACE_PX, FOV_DEG), LiftConfig())
    for name in ("means", "quats", "scales", "opacities", "sh"):
        assert torch.equal(getattr(made, name), getattr(plain, name))
    odd = torch.ones(6, 33, 33)
    assert len(choose_blocks(odd[:, None].expand(-1, 3, -1, -1), odd, FOV_DEG, 100).kept) == 1  # no whole blocks


def panorama_with_a_photo() -> torch.Tensor:
    """Fine waves in a window ahead, nothing but a slow change of colour elsewhere."""
    x, y = torch.meshgrid(torch.arange(512.0), torch.arange(256.0), indexing="xy")
    rgb = (0.5 + 0.2 * (x * 2 * math.pi / 512).sin()).expand(3, -1, -1).clone()
    waves = 0.5 + 0.4 * (x * 2 * math.pi / 12).sin() * (y * 2 * math.pi / 12).sin()
    rgb[:, 96:160, 208:304] = waves[96:160, 208:304]
    return rgb


def test_fewer_gaussians_that_show_more():
    """Against the same number spread evenly: the anchors come back far better."""
    rgb, distance = panorama_with_a_photo(), torch.full((256, 512), 3.0)
    fine = lift_panorama(rgb, distance, distance * 0, ScaffoldConfig(face_px=128))
    even = lift_panorama(rgb, distance, distance * 0, ScaffoldConfig(face_px=64))
    few = lift_panorama(rgb, distance, distance * 0, ScaffoldConfig(face_px=128, most_gaussians=len(even.gaussians)))
    assert len(few.gaussians) <= len(even.gaussians) < len(fine.gaussians) / 3
    quality = {}
    for name, made in (("fine", fine), ("even", even), ("few", few)):
        seen = render(made.gaussians, face_cameras(128, FOV_DEG)).rgb
        inner = (..., slice(8, -8), slice(8, -8))
        quality[name] = psnr(seen[inner], fine.faces[inner])[0].item()
    assert quality["few"] > quality["even"] + 8 and quality["few"] > quality["fine"] - 0.5, quality


def test_a_number_below_one_is_refused():
    one = torch.ones(6, FACE_PX, FACE_PX)
    with pytest.raises(ValueError, match="most must be >= 1, got 0"):
        choose_blocks(half_busy_faces(), one, FOV_DEG, 0)
