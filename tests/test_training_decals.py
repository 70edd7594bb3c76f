"""Pictures and screens on the walls of training panoramas."""

import math

import pytest
import torch

from onescene.geometry.equirect import directions_from_panorama
from onescene.training import decals

HW = (96, 192)


def box_room(half=(2.0, 1.3, 3.0)):
    """Log distance of a box seen from its middle, and the number of the axis that each ray meets a side of."""
    directions = directions_from_panorama(HW)
    reach = torch.tensor(half) / directions.abs().clamp_min(1e-9)
    distance, axis = reach.min(dim=-1)
    return distance.log(), axis


def hung(seed, log_distance, sky=None):
    rgb = torch.full((3, *HW), 0.5) + 0.1 * torch.rand((3, *HW), generator=torch.Generator().manual_seed(7))
    sky = torch.zeros(HW, dtype=torch.bool) if sky is None else sky
    painted = decals.hang_decals(rgb, log_distance, sky, torch.Generator().manual_seed(seed))
    assert painted.shape == rgb.shape and 0 <= float(painted.min()) and float(painted.max()) <= 1
    return (painted != rgb).any(0)


def test_rectangles_hang_on_walls_alone_and_often():
    log_distance, axis = box_room()
    changed = torch.stack([hung(seed, log_distance) for seed in range(30)])
    assert 0.4 < changed.flatten(1).any(1).float().mean() < 0.9
    assert changed[:, axis == 1].sum() < 0.03 * changed.sum()  # floor and ceiling: only where they meet a wall
    assert changed.any(0)[axis != 1].float().mean() > 0.5  # somewhere on all walls


def test_a_rectangle_is_one_on_its_wall(monkeypatch):
    monkeypatch.setattr(decals, "MOST", 1)
    log_distance, axis = box_room()
    front = (axis == 2) & (directions_from_panorama(HW)[..., 2] > 0)
    points = log_distance.exp()[..., None] * directions_from_panorama(HW)
    filled = []
    for seed in range(120):
        changed = hung(seed, log_distance)
        if int((changed & front).sum()) > 30 and not (changed & ~front).any():
            on_wall = points[changed][:, :2]
            inside = ((points[..., :2] >= on_wall.amin(0)) & (points[..., :2] <= on_wall.amax(0))).all(-1) & front
            filled.append(len(on_wall) / float(inside.sum()))
    assert len(filled) >= 3 and min(filled) > 0.95


def test_what_stands_before_a_wall_keeps_its_colours():
    log_distance, _ = box_room()
    pole = torch.zeros(HW, dtype=torch.bool)
    pole[30:60, ::16] = True
    log_distance = torch.where(pole, log_distance - math.log(2), log_distance)
    changed = torch.stack([hung(seed, log_distance) for seed in range(40)])
    assert changed.any() and not changed[:, pole].any()


@pytest.mark.parametrize("surface", ["sky", "unknown", "ground"])
def test_nothing_hangs_where_there_is_no_wall(surface):
    log_distance, _ = box_room()
    sky = torch.zeros(HW, dtype=torch.bool)
    if surface == "sky":
        sky[:] = True
    elif surface == "unknown":
        log_distance = torch.full(HW, torch.nan)
    else:  # a plane below, nothing above
        down = directions_from_panorama(HW)[..., 1]
        sky, log_distance = down < 0.02, (1.6 / down.clamp_min(0.02)).log()
    assert not any(hung(seed, log_distance, sky).any() for seed in range(10))
