"""Poses estimated from pictures: right for true pictures of a room, wrong for wrong ones, none for blank ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from onescene.data.rooms import render_views, sample_room
from onescene.geometry.cubemap import face_cameras
from onescene.geometry.perspective import intrinsics_from_fov, project
from onescene.metrics.view_poses import INLIERS, Reference, directions, relative_pose, view_pose_errors
from onescene.types import Cameras

PX = 256


def displaced(turns_deg: tuple[float, ...], places: list[list[float]]) -> Cameras:
    """Upright cameras."""
    poses = torch.eye(4).repeat(len(turns_deg), 1, 1)
    for pose, turn, place in zip(poses, turns_deg, places, strict=True):
        c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        pose[:3, :3], pose[:3, 3] = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]]), torch.tensor(place)
    return Cameras(world_from_cam=poses, K=intrinsics_from_fov(80.0, (PX, PX)).repeat(len(poses), 1, 1), hw=(PX, PX))


@pytest.fixture(scope="module")
def room():
    """A room's six anchors as a reference, and three true views."""
    faces, cameras = face_cameras(PX, 95.0), displaced((20, 100, 250), [[0.5, 0, 0.1], [0.1, 0.1, 0.6], [-0.4, 0, 0.3]])
    anchors, rgb = (render_views(sample_room(26), c).rgb for c in (faces, cameras))
    return Reference(anchors, faces.world_from_cam, faces.K), rgb, cameras


def test_exact_matches_give_the_exact_pose():
    cameras = displaced((130.0,), [[0.3, -0.1, 0.2]])
    ahead = cameras.world_from_cam[0, :3, :3] @ (torch.rand(40, 3, generator=torch.Generator().manual_seed(0)).T - 0.5)
    points = ahead.T + 2 * cameras.world_from_cam[0, :3, 2]
    xy, _ = project(points, cameras)
    seen = torch.nn.functional.normalize(points.double(), dim=-1)
    found = relative_pose(seen, xy[0], cameras.K[0])
    pose = cameras.world_from_cam[0].double()
    assert_close(found.world_from_cam, pose[:3, :3], atol=1e-4, rtol=0)
    assert_close(found.direction, pose[:3, 3] / pose[:3, 3].norm(), atol=1e-3, rtol=0)
    assert found.inliers == 40
    assert relative_pose(seen[: INLIERS - 1], xy[0, : INLIERS - 1], cameras.K[0]) is None


def test_directions_by_hand():
    K = torch.tensor([[10.0, 0, 5], [0, 10, 5], [0, 0, 1]])
    turn = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # the camera looks to the right
    assert_close(directions(torch.tensor([[5.0, 5.0]]), K, turn), torch.tensor([[1.0, 0, 0]]).double())


def test_true_pictures_have_small_errors_and_shuffled_ones_large(room):
    reference, rgb, cameras = room
    true = view_pose_errors(rgb, cameras.world_from_cam, cameras.K, reference)
    assert true["poses_found"] == 1
    assert true["rot_err_rad_mean_true_scale"] < 0.03 and true["trans_err_mean_true_scale"] < 0.1
    mixed = view_pose_errors(rgb.roll(1, 0), cameras.world_from_cam, cameras.K, reference)
    assert mixed["rot_err_rad_mean_true_scale"] > 1 and mixed["cam_mc_mean_true_scale"] > 1
    assert mixed["trans_err_mean_true_scale"] > 2 * true["trans_err_mean_true_scale"]


def test_blank_pictures_have_no_pose(room):
    reference, rgb, cameras = room
    found = view_pose_errors(torch.zeros_like(rgb), cameras.world_from_cam, cameras.K, reference)
    assert found["poses_found"] == 0 and np.isnan(found["rot_err_rad_mean_true_scale"])
    half = torch.cat((rgb[:1], torch.zeros_like(rgb[1:])))
    found = view_pose_errors(half, cameras.world_from_cam, cameras.K, reference)
    assert found["poses_found"] == pytest.approx(1 / 3) and found["rot_err_rad_mean_true_scale"] < 0.1
    with pytest.raises(ValueError, match="must agree in number and be at least one, got 0, 0, 0"):
        view_pose_errors(rgb[:0], cameras.world_from_cam[:0], cameras.K[:0], reference)
