"""Cameras that somebody brings: odd ones are told of in a sentence each, good ones in none."""

from __future__ import annotations

import json
import logging
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_cli import TINY, make_photo

from onescene.cli import main
from onescene.geometry.perspective import intrinsics_from_fov
from onescene.geometry.rotations import invert_rigid
from onescene.io.cameras import load_cameras, save_cameras
from onescene.pipeline.view_cameras import odd_about_cameras
from onescene.types import Cameras

DISTANCE = torch.full((32, 64), 2.0)  # a sphere
OPENGL = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
Z_UP = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # x right, y forward, z up


def walk(reach: float = 1.0, turn_deg: float = 120.0) -> Cameras:
    """Five upright cameras on a line away from the centre, turning as they go."""
    poses = torch.eye(4).repeat(5, 1, 1)
    for k, pose in enumerate(poses):
        c, s = math.cos(math.radians(turn_deg * k / 4)), math.sin(math.radians(turn_deg * k / 4))
        pose[:3, :3] = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        pose[2, 3] = reach * k / 4
    return Cameras(world_from_cam=poses, K=intrinsics_from_fov(70.0, (24, 32)).repeat(5, 1, 1), hw=(24, 32))


def stored(tmp_path: Path, poses: torch.Tensor, name: str) -> list[str]:
    """What is said of a file that holds these matrices as its own convention would."""
    path = save_cameras(replace(walk(), world_from_cam=poses), tmp_path / name)
    return odd_about_cameras(load_cameras(path), DISTANCE, path)


@pytest.mark.parametrize("name", ["a.json", "a.txt"])
def test_good_cameras_are_not_commented_on(tmp_path, name):
    assert stored(tmp_path, walk().world_from_cam, name) == []
    upside = walk(turn_deg=0).world_from_cam
    upside[1:3] = upside[1:3] @ OPENGL  # a roll, in which some frames are upside down
    assert stored(tmp_path, upside, name) == []


def test_a_file_of_another_convention_is_recognised(tmp_path):
    poses = walk().world_from_cam
    opencv = stored(tmp_path, poses @ OPENGL, "opencv.json")
    assert len(opencv) == 1 and "looks like OpenCV axes (y down, z forward) where such files have OpenGL's" in opencv[0]
    assert "looks like OpenGL axes (y up, z backward)" in stored(tmp_path, poses @ OPENGL, "opengl.txt")[0]
    assert "a world with z up (Blender, nerfstudio)" in stored(tmp_path, Z_UP @ poses, "blender.json")[0]


@pytest.mark.parametrize(
    ("name", "axes", "near", "hidden"),
    [("inverse.json", OPENGL, slice(34, 48), 4), ("inverse.txt", torch.eye(4), slice(0, 16), 5)],
    ids=["right", "behind"],
)
def test_matrices_from_world_to_camera_are_recognised_by_where_they_lead(tmp_path, name, axes, near, hidden):
    """A wall is near on one side: what lies in it one way round lies in the open the other way round."""
    cameras, distance = walk(turn_deg=60), DISTANCE.clone()
    cameras.world_from_cam[:, 2, 3] += 0.8
    distance[:, near] = 0.3
    if hidden == 5:
        distance[:, 48:] = 0.3
    inverse = invert_rigid(cameras.world_from_cam @ axes) @ axes  # as a file of cam_from_world is read
    path = save_cameras(replace(cameras, world_from_cam=inverse), tmp_path / name)
    said = odd_about_cameras(load_cameras(path), distance, path)
    assert "looks like matrices from world to camera" in said[0] and f"{hidden} of 5 cameras" in said[1]
    assert odd_about_cameras(cameras, distance, path) == []


def test_cameras_outside_are_counted():
    said = odd_about_cameras(walk(reach=4.0), DISTANCE, Path("far") / "away.json")
    assert said == [
        "away.json: 3 of 5 cameras (first: number 2) stand outside the scene, in a wall or behind a thing: "
        "little is known there"
    ]
    assert odd_about_cameras(walk(reach=4.0), None, "away.json") == []


def test_the_command_warns_and_goes_on(tmp_path, caplog):
    make_photo(tmp_path / "panorama.png", (64, 128))
    (tmp_path / "tiny.yaml").write_text(json.dumps(TINY))
    words = ["--params", str(tmp_path / "tiny.yaml")]
    assert main(["scaffold", str(tmp_path / "panorama.png"), "--out", str(tmp_path / "run"), *words]) == 0
    for name, cameras, sentence in (
        ("outside", walk(reach=400.0), "4 of 5 cameras (first: number 1) stand outside"),
        ("opencv", replace(walk(0.0), world_from_cam=walk(0.0).world_from_cam @ OPENGL), "looks like OpenCV axes"),
    ):
        path, run = save_cameras(cameras, tmp_path / f"{name}.json"), tmp_path / name
        shutil.copytree(tmp_path / "run", run)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert main(["views", str(run), "--cameras", str(path), *words]) == 0
        said = [r.getMessage() for r in caplog.records if r.name.startswith("onescene")]
        assert len(said) == 1 and sentence in said[0]
        assert len(list((run / "04_views").glob("*.png"))) == 5
