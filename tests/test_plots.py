"""Figures that carry numbers say the right ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from onescene.data.rooms import render_panorama, sample_room
from onescene.geometry.cubemap import face_cameras
from onescene.plots.plan import plan_view_figure
from onescene.plots.points import points_figure
from onescene.plots.trajectories import trajectories_figure
from onescene.stages.scaffold import ScaffoldConfig, lift_panorama
from onescene.types import Cameras, Gaussians


@pytest.fixture(scope="module")
def lifted() -> Gaussians:
    seen = render_panorama(sample_room(3), (64, 128))
    return lift_panorama(seen.rgb, seen.distance, seen.sky.float(), ScaffoldConfig(face_px=32)).gaussians


def test_points_stand_where_the_gaussians_are(lifted):
    points = points_figure(lifted, reach_world=1e9).data[0]
    x, forward, up = (np.asarray(points[name]) for name in "xyz")
    assert np.allclose(np.stack((x, -up, forward), -1), lifted.means.numpy(), atol=1e-6)
    assert np.allclose(points.customdata, lifted.means.norm(dim=-1).numpy(), rtol=1e-6)
    first = (lifted.rgb[0].clamp(0, 1) * 255).round().int().tolist()
    assert points.marker.color[0] == "#{:02x}{:02x}{:02x}".format(*first)


def test_points_are_thinned_and_far_ones_left_out(lifted):
    few = points_figure(lifted, max_points=100, reach_world=1e9).data[0]
    assert 90 <= len(few.x) <= 100
    reach = float(lifted.means.norm(dim=-1).median())
    assert max(points_figure(lifted, reach_world=reach).data[0].customdata) <= reach


def test_points_of_nothing_are_refused(lifted):
    with pytest.raises(ValueError, match="max_points must be >= 1, got 0"):
        points_figure(lifted, max_points=0)
    with pytest.raises(ValueError, match="at least one, got none"):
        points_figure(lifted.select(torch.arange(0)))


def test_plans_and_paths_of_nothing_are_refused(lifted):
    faces, distance = face_cameras(32, 95.0), torch.ones(16, 32)
    none = Cameras(world_from_cam=faces.world_from_cam[:0], K=faces.K[:0], hw=faces.hw)
    calls = {
        "trajectories must hold at least one": lambda: trajectories_figure({}),
        "a camera each, b has none": lambda: trajectories_figure({"a": faces, "b": none}),
        "gaussians must hold at least one": lambda: plan_view_figure(lifted.select(torch.arange(0)), distance),
        "cameras must hold at least one": lambda: plan_view_figure(lifted, distance, none),
    }
    for words, call in calls.items():
        with pytest.raises(ValueError, match=words):
            call()
