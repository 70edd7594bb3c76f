"""Smoothing of paths and the free space around a panorama, against cases done by hand and slow twins."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import minimize
from torch.testing import assert_close
from viewer_scenes import BOX, box_distance, camera

from onescene.geometry.trajectories import make_trajectory
from onescene.geometry.trajectories.free_space import free_plan, is_free, path_clearance
from onescene.geometry.trajectories.smoothing import smooth_cameras
from onescene.types import Cameras


def shaky(n: int = 24, size: float = 0.2, seed: int = 0) -> Cameras:
    noise = size * torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    return Cameras.cat([camera((0.1 * k + float(d[0]), float(d[1]), 0), yaw=float(d[2])) for k, d in enumerate(noise)])


# ---- smoothing


def test_no_strength_and_straight_ways_stay() -> None:
    path = shaky()
    assert smooth_cameras(path, 0.0) is path
    straight = Cameras.cat([camera((0.1 * k, 0, 0.2 * k)) for k in range(9)])
    assert_close(smooth_cameras(straight, 7.0).world_from_cam, straight.world_from_cam, atol=1e-6, rtol=0)


@pytest.mark.parametrize("closed", [False, True])
def test_smoothing_minimises_what_it_says(closed: bool) -> None:
    """The slow twin minimises the sum of squares itself, coordinate by coordinate."""
    path, strength = shaky(8), 1.7
    given = path.world_from_cam[:, 0, 3].double()

    def cost(x) -> float:
        x = torch.as_tensor(x, dtype=torch.float64)
        x = x if closed else torch.cat((given[:1], x, given[-1:]))
        around = torch.cat((x[-1:], x, x[:1])) if closed else x
        return float((x - given).square().sum() + strength * around.diff(2).square().sum())

    start = given if closed else given[1:-1]
    slow = torch.as_tensor(minimize(cost, start.numpy(), tol=1e-12).x)
    fast = smooth_cameras(path, strength, closed=closed).world_from_cam[:, 0, 3].double()
    assert_close(fast if closed else fast[1:-1], slow, atol=2e-5, rtol=0)
    if not closed:
        assert_close(fast[[0, -1]], given[[0, -1]], atol=1e-7, rtol=0)


def test_smoother_with_more_strength_and_still_rigid() -> None:
    path = shaky()

    def roughness(cameras: Cameras) -> float:
        return float(cameras.world_from_cam.diff(2, dim=0).square().sum())

    rough = [roughness(smooth_cameras(path, s)) for s in (0.0, 0.1, 1.0, 10.0)]
    assert rough == sorted(rough, reverse=True) and rough[-1] < 0.05 * rough[0]
    rotation = smooth_cameras(path, 10.0).world_from_cam[:, :3, :3]
    assert_close(rotation @ rotation.mT, torch.eye(3).expand_as(rotation), atol=1e-5, rtol=0)


def test_a_full_turn_stays_a_full_turn() -> None:
    """The loop's last quaternion is on the other side of its first: it must not be pulled through zero."""
    turn = Cameras.cat([camera(yaw=2 * math.pi * k / 12) for k in range(12)])
    smooth = smooth_cameras(turn, 2.0, closed=True)
    assert_close(smooth.world_from_cam, turn.world_from_cam, atol=1e-5, rtol=0)


def test_bad_strengths_are_refused() -> None:
    for strength in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="strength must be >= 0 and finite"):
            smooth_cameras(shaky(4), strength)
    broken = shaky(4)
    broken.world_from_cam[1, 0, 3] = math.nan
    with pytest.raises(ValueError, match="cameras must be finite"):
        smooth_cameras(broken, 1.0)


# ---- free space


def test_a_box_is_free_inside_and_not_outside() -> None:
    distance = box_distance()
    g = torch.Generator().manual_seed(0)
    places = (torch.rand(4000, 3, generator=g, dtype=torch.float64) * 2 - 1) * 1.5 * BOX.double()
    worst = (places.abs() / BOX).amax(dim=1)
    free = is_free(places, distance)
    assert bool(free[worst < 0.95].all()) and not bool(free[worst > 1.05].any())  # 5 %: a pixel's width at the corners
    assert bool(is_free(torch.zeros(3, dtype=torch.float64), distance))  # the centre itself
    assert is_free(places.reshape(2, 2000, 3), distance).shape == (2, 2000)


def test_room_is_the_distance_to_the_nearest_wall() -> None:
    places = torch.tensor([[0.0, 0, 0], [0.8, 0, 0], [0, 0, 1.9], [0.5, 0.4, 0]], dtype=torch.float64)
    clearance = path_clearance(places, box_distance())
    by_hand = (BOX - places.abs()).amin(dim=1)
    assert_close(clearance.room_world, by_hand, atol=0.02, rtol=0)
    outside = path_clearance(torch.tensor([[0.0, 0, 2.5], [0, 0, 1.9], [0, 0, 1]], dtype=torch.float64), box_distance())
    assert outside.state(0.25) == ["hit", "near", "free"]
    assert len(path_clearance(torch.zeros(0, 3, dtype=torch.float64), box_distance()).room_world) == 0


def test_the_plan_looks_down_with_forward_up() -> None:
    plan = free_plan(box_distance(), reach_world=2.5, cells=50)
    rows, columns = plan.any(dim=1).sum(), plan.any(dim=0).sum()
    assert (int(rows), int(columns)) == (40, 20)  # 4 by 2 of 5 by 5 units
    ahead = box_distance()
    ahead[:, 96:160] *= 0.25  # something stands in front: the upper half loses, the lower does not
    blocked = free_plan(ahead, reach_world=2.5, cells=50)
    assert blocked[:25].sum() < plan[:25].sum() and torch.equal(blocked[25:], plan[25:])
    assert not bool(free_plan(box_distance(), reach_world=2.5, height_world=0.6).any())  # below the floor
    with pytest.raises(ValueError, match="reach_world must be > 0"):
        free_plan(box_distance(), reach_world=0)


def test_fitted_trajectories_are_free() -> None:
    walk = make_trajectory("walk", 30, scale_world=4.0)
    assert "hit" in path_clearance(walk.world_from_cam[:, :3, 3], box_distance(dtype=torch.float32)).state(0.1)
    with pytest.raises(ValueError, match="finite"):
        is_free(torch.full((1, 3), math.nan), box_distance(dtype=torch.float32))
    with pytest.raises(ValueError, match="distance must be finite and > 0"):
        is_free(torch.zeros(1, 3), torch.zeros(8, 16))
