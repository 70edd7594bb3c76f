"""Seam measures: by hand, on exact rooms, and on maps with seams put in."""

from __future__ import annotations

import math

import pytest
import torch

from onescene.data.rooms import render_panorama, sample_room
from onescene.geometry.equirect import directions_from_panorama
from onescene.metrics import seam_jump, seam_map, wrap_seams

HW = (64, 128)


def owners(hw: tuple[int, int]) -> torch.Tensor:
    """Face of the 90-degree cube that each pixel lies in (any numbering)."""
    directions = directions_from_panorama(hw, dtype=torch.float64)
    axis = directions.abs().argmax(-1)
    return 2 * axis + (torch.gather(directions, -1, axis[..., None])[..., 0] > 0).long()


def smooth_map(hw: tuple[int, int]) -> torch.Tensor:
    d = directions_from_panorama(hw, dtype=torch.float64)
    return 2 + 0.6 * (2 * d[..., 0] + 1).sin() + 0.4 * d[..., 1] * d[..., 2] + 0.2 * (3 * d[..., 2]).cos()


def neighbours_ratio(distance: torch.Tensor) -> float:
    """Slow twin of another kind: neighbouring pixels of two faces against neighbouring pixels of one."""
    log, owner = distance.log(), owners(tuple(distance.shape))
    across, along = [], []
    height, width = log.shape
    for i in range(height):
        for j in range(width):
            for y, x in ((i, (j + 1) % width), (i + 1, j)):
                if y < height:
                    jump = abs(log[i, j].item() - log[y, x].item())
                    (along if owner[i, j] == owner[y, x] else across).append(jump)
    return (sum(across) / len(across)) / (sum(along) / len(along))


def test_a_sphere_and_a_smooth_map_have_no_seams() -> None:
    assert seam_jump(torch.full(HW, 3.0))["seam_jump_ratio"] == 1.0
    got = seam_jump(smooth_map(HW))
    assert 0.7 < got["seam_jump_ratio"] < 1.4
    assert all(type(value) is float for value in got.values())


def test_one_face_at_twice_the_distance_by_hand() -> None:
    distance = torch.where(owners(HW) == 5, 2.0, 1.0)  # 4 of the 12 edges jump by log 2
    got = seam_jump(distance)
    # a pair with both ends in one pixel misses the jump: the border is a slanted line on the pixel grid
    assert got["seam_jump_border"] == pytest.approx(math.log(2) / 3, rel=0.15)
    assert got["seam_jump_inside"] == 0.0
    assert got["seam_jump_ratio"] == math.inf


@pytest.mark.parametrize("face", range(6))
def test_every_face_is_looked_at(face: int) -> None:
    distance = smooth_map(HW)
    scaled = torch.where(owners(HW) == face, 1.2 * distance, distance)
    jump = seam_jump(scaled)["seam_jump_border"] - seam_jump(distance)["seam_jump_border"]
    assert jump == pytest.approx(math.log(1.2) / 3, rel=0.3)


def test_grows_with_the_seam_and_not_with_the_scale() -> None:
    distance, owner = smooth_map(HW), owners(HW)
    ratios = []
    for strength in (0.0, 0.02, 0.1, 0.4):
        factor = torch.tensor([1.0, -0.5, 0.7, 0.1, -1.0, -0.3], dtype=torch.float64) * strength
        ratios.append(seam_jump(distance * factor.exp()[owner])["seam_jump_ratio"])
        assert seam_jump(7 * distance * factor.exp()[owner])["seam_jump_ratio"] == pytest.approx(ratios[-1], rel=1e-6)
    assert ratios == sorted(ratios)
    assert ratios[-1] > 10 * ratios[0]


def test_agrees_with_neighbouring_pixels_where_the_seam_is_large() -> None:
    factor = torch.tensor([0.3, -0.2, 0.25, 0.0, -0.35, -0.1], dtype=torch.float64).exp()
    distance = smooth_map((32, 64)) * factor[owners((32, 64))]
    # rows of neighbours near the poles are finer than those of the pairs, hence only the same size
    assert seam_jump(distance)["seam_jump_ratio_whole_face"] == pytest.approx(neighbours_ratio(distance), rel=0.35)


def test_true_distances_of_rooms_show_no_cube() -> None:
    maps = torch.stack([render_panorama(sample_room(seed), HW).distance.clamp_max(30) for seed in range(8)])
    assert 0.6 < seam_jump(maps)["seam_jump_ratio"] < 1.4  # 60 rooms at 192x384: 1.06


def test_batch_is_pooled() -> None:
    maps = torch.stack([smooth_map(HW), smooth_map(HW).flip(-1)])
    each = [seam_jump(m)["seam_jump_border"] for m in maps]
    assert seam_jump(maps[None])["seam_jump_border"] == pytest.approx(sum(each) / 2)


def test_wrap_seams_sees_a_cut_at_the_meridian_and_at_the_poles() -> None:
    panorama = smooth_map(HW)[None]
    whole = wrap_seams(panorama)
    assert all(0.4 < value < 1.5 for value in whole.values())
    turned = wrap_seams(panorama.roll(HW[1] // 3, -1))
    assert turned["seam_energy_180"] < 1.5
    ramp = torch.linspace(0, 0.3, HW[1], dtype=torch.float64)
    assert wrap_seams(panorama + ramp)["seam_energy_180"] > 10 * whole["seam_energy_180"]
    stretched = panorama.clone()
    stretched[..., 0, : HW[1] // 2] += 0.5  # the two halves around the zenith differ
    assert wrap_seams(stretched)["seam_energy_zenith"] > 5 * whole["seam_energy_zenith"]
    assert wrap_seams(stretched)["seam_energy_nadir"] == pytest.approx(whole["seam_energy_nadir"], rel=0.5)
    assert wrap_seams(torch.ones(3, *HW)) == {
        "seam_energy_180": 1.0,
        "seam_energy_zenith": 1.0,
        "seam_energy_nadir": 1.0,
    }


def test_errors_name_the_argument() -> None:
    with pytest.raises(ValueError, match=r"must be \(H, 2 H\)"):
        seam_jump(torch.ones(8, 8))
    with pytest.raises(ValueError, match="finite and > 0"):
        seam_jump(torch.zeros(8, 16))
    with pytest.raises(ValueError, match="step_px"):
        seam_jump(torch.ones(8, 16), step_px=0.0)
    with pytest.raises(ValueError, match="panorama must be finite"):
        wrap_seams(torch.full((3, 8, 16), float("nan")))


@pytest.mark.usefixtures("shapes_unchecked")
def test_shape_errors_name_the_shape() -> None:
    with pytest.raises(ValueError, match=r"panorama must have shape \[\*, C, H, 2 H\], got \(8, 16\)"):
        wrap_seams(torch.ones(8, 16))
    with pytest.raises(ValueError, match=r"panorama must have shape .* got \(0, 3, 8, 16\)"):
        wrap_seams(torch.ones(0, 3, 8, 16))
    with pytest.raises(ValueError, match="panorama must have at least 8 rows"):
        wrap_seams(torch.ones(3, 4, 8))
    with pytest.raises(ValueError, match=r"distance must have shape \[H, 2 H\], got \(2, 8, 16\)"):
        seam_map(torch.ones(2, 8, 16))
    with pytest.raises(ValueError, match="step_px must be > 0 and finite"):
        seam_jump(torch.ones(8, 16), step_px=math.inf)
    with pytest.raises(ValueError, match=r"distance must have shape \[\*, H, 2 H\], got \(8,\)"):
        seam_jump(torch.ones(8))


def test_the_map_of_seams_shows_the_face_that_is_off():
    """Face F stands twice as far: its four borders jump by log 2, the other eight not at all."""
    x, y, z = directions_from_panorama((64, 128)).unbind(-1)
    front = (z > x.abs()) & (z > y.abs())
    distance = torch.where(front, 2.0, 1.0)
    jumps = seam_map(distance)
    assert jumps.shape == (64, 128)
    on_border = torch.isfinite(jumps)
    assert 0.02 < on_border.float().mean() < 0.25
    assert jumps[on_border].unique().tolist() == pytest.approx([0, math.log(2)])
    assert jumps[on_border & (z < -0.1)].max() == 0
    beside_front = on_border & (front.roll(1, 1) | front.roll(-1, 1)) & ~front & (y.abs() < 0.3)
    assert beside_front.any() and (jumps[beside_front] > 0.6).float().mean() > 0.8
    with pytest.raises(ValueError, match="finite and > 0"):
        seam_map(-distance)
