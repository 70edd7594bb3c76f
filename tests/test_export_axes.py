"""Axes of other programs: presets by hand, harmonics against their own values, a moved scene and a moved camera."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from gaussian_samples import random_gaussians
from torch.testing import assert_close

from onescene.geometry.axes import AXES, axes_named, move_gaussians, move_points, transform_gaussians
from onescene.geometry.harmonics import rotate_sh, sh_rotation_blocks
from onescene.geometry.perspective import intrinsics_from_fov
from onescene.geometry.rotations import look_at, matrix_from_quaternion
from onescene.splatting import render
from onescene.splatting.sh import sh_basis
from onescene.types import Cameras, Gaussians

RIGHT, DOWN, FORWARD = torch.eye(3).unbind()
MIRROR = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))


def random_rotation(seed: int, mirrored: bool = False) -> torch.Tensor:
    rotation = matrix_from_quaternion(torch.randn(4, dtype=torch.float64, generator=torch.manual_seed(seed)))
    return MIRROR @ rotation if mirrored else rotation


def small_scene(degree: int = 3) -> Gaussians:
    """Few Gaussians close together, in front of a camera."""
    scene = random_gaussians(30, degree)
    return replace(scene, means=scene.means * 0.2, scales=scene.scales * 0.7, sh=scene.sh * 2)


# --- harmonics ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_turned_coefficients_show_the_old_colour_along_the_turned_direction(seed, mirrored):
    matrix = random_rotation(seed, mirrored)
    directions = torch.randn(200, 3, dtype=torch.float64, generator=torch.manual_seed(9))
    directions = directions / directions.norm(dim=-1, keepdim=True)
    for degree in range(4):
        sh = torch.randn((degree + 1) ** 2, 3, dtype=torch.float64)
        shown = sh_basis(directions @ matrix.T, degree) @ rotate_sh(sh, matrix)
        assert_close(shown, sh_basis(directions, degree) @ sh, atol=1e-13, rtol=0)


def slow_block(matrix: torch.Tensor, degree: int) -> torch.Tensor:
    """The block by definition: harmonics of turned-back directions, solved for the coefficients that give them."""
    directions = torch.randn(400, 3, dtype=torch.float64, generator=torch.manual_seed(1))
    directions = directions / directions.norm(dim=-1, keepdim=True)
    own = slice(degree**2, (degree + 1) ** 2)
    there, back = sh_basis(directions, degree)[:, own], sh_basis(directions @ matrix, degree)[:, own]
    return torch.linalg.lstsq(there, back).solution


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_recursion_equals_a_least_squares_solution(mirrored):
    matrix = random_rotation(5, mirrored)
    for degree, block in enumerate(sh_rotation_blocks(matrix, 3)):
        assert_close(block, slow_block(matrix, degree), atol=1e-12, rtol=0)


def test_blocks_multiply_as_rotations_do():
    a, b = random_rotation(1), random_rotation(2, mirrored=True)
    for one, two, both in zip(
        sh_rotation_blocks(a, 3), sh_rotation_blocks(b, 3), sh_rotation_blocks(a @ b, 3), strict=True
    ):
        assert_close(one @ two, both, atol=1e-13, rtol=0)
    assert_close(sh_rotation_blocks(torch.eye(3), 3)[3], torch.eye(7, dtype=torch.float64), atol=1e-15, rtol=0)


@pytest.mark.parametrize(
    ("matrix", "sentence"),
    [
        (2 * torch.eye(3), r"matrix must be a rotation .* M M\^T differs from 1 by 3"),
        (torch.full((3, 3), float("nan")), "differs from 1 by nan"),
    ],
)
def test_what_is_no_rotation_is_refused(matrix, sentence):
    with pytest.raises(ValueError, match=sentence):
        rotate_sh(torch.zeros(4, 3), matrix)
    with pytest.raises(ValueError, match=sentence):
        transform_gaussians(random_gaussians(2), matrix)
    with pytest.raises(ValueError, match="scale must be finite and > 0, got 0"):
        transform_gaussians(random_gaussians(2), torch.eye(3), 0)
    with pytest.raises(ValueError, match="sh must hold 1, 4, 9 or 16 coefficients, got 5"):
        rotate_sh(torch.zeros(5, 3), torch.eye(3))


# --- presets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "right", "down", "forward"),
    [
        ("opencv", [1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]),
        ("blender", [1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]),
        ("unity", [1.0, 0, 0], [0, -1.0, 0], [0, 0, 1.0]),
        ("unreal", [0, 100.0, 0], [0, 0, -100.0], [100.0, 0, 0]),
    ],
)
def test_presets_by_hand(name, right, down, forward):
    """What lies to the right, below and ahead, in the numbers of the program."""
    found = move_points(torch.stack([RIGHT, DOWN, FORWARD]), axes_named(name))
    assert_close(found, torch.tensor([right, down, forward]))
    left_handed = torch.linalg.det(AXES[name].matrix) < 0
    assert left_handed == ("left-handed" in AXES[name].meaning)


def test_an_unknown_preset_names_the_known():
    with pytest.raises(ValueError, match="axes must be one of opencv, blender, unity, unreal, got 'maya'"):
        axes_named("maya")


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("name", [*AXES, "turned", "mirrored"])
def test_a_moved_scene_looks_alike_to_a_moved_camera(name, degree):
    """A camera that is moved with the scene sees the same picture; a mirrored one sees it left for right."""
    scene = small_scene(degree)
    if name in AXES:
        matrix, scale, shift = AXES[name].matrix, AXES[name].unit, torch.zeros(3)
        moved = move_gaussians(scene, AXES[name])
    else:
        matrix, scale, shift = random_rotation(3, name == "mirrored"), 2.5, torch.tensor([1.0, -2.0, 3.0])
        moved = transform_gaussians(scene, matrix, scale, shift)
    eyes = torch.tensor([[0.3, -0.2, -3.0], [2.5, 1.0, 0.5]])
    world_from_cam = look_at(eyes, torch.zeros(3).expand(2, 3))
    mirrored = bool(torch.linalg.det(matrix) < 0)
    flip = torch.diag(torch.tensor([-1.0 if mirrored else 1.0, 1.0, 1.0]))
    there = world_from_cam.clone()
    there[:, :3, :3] = matrix.float() @ world_from_cam[:, :3, :3] @ flip
    there[:, :3, 3] = scale * world_from_cam[:, :3, 3] @ matrix.float().T + shift
    K = intrinsics_from_fov(40.0, (32, 32)).repeat(2, 1, 1)
    before = render(scene, Cameras(world_from_cam=world_from_cam, K=K, hw=(32, 32)), backend="torch").rgb
    after = render(moved, Cameras(world_from_cam=there, K=K, hw=(32, 32)), backend="torch").rgb
    assert before.std() > 0.05
    difference = ((after.flip(-1) if mirrored else after) - before).abs()
    assert difference.max() < 1 / 255  # a Gaussian's rim is cut at 1/255: rounding decides on which side a pixel is
    assert (difference < 2e-5).float().mean() > 0.995


def test_there_and_back_is_where_it_was():
    scene = small_scene()
    for axes in AXES.values():
        back = transform_gaussians(move_gaussians(scene, axes), axes.matrix.T, 1 / axes.unit)
        assert_close(back.means, scene.means, atol=1e-6, rtol=1e-6)
        assert_close(back.scales, scene.scales, atol=0, rtol=1e-6)
        assert_close(back.sh, scene.sh, atol=2e-6, rtol=0)
        turned = (back.quats * scene.quats).sum(-1).abs() / (back.quats.norm(dim=-1) * scene.quats.norm(dim=-1))
        assert_close(turned, torch.ones(len(scene)), atol=1e-6, rtol=0)
