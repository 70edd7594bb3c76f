"""Field of view, pitch and roll from lines: a drawn room with a known camera, a photograph, things without lines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from onescene.cli import main
from onescene.geometry.perspective import camera_rays, crop_panorama, intrinsics_from_fov, project
from onescene.geometry.rotations import matrix_from_yaw_pitch_roll
from onescene.io import load_panorama, save_image
from onescene.stages.camera_estimate import _agreement, estimate_camera, line_segments
from onescene.types import Cameras

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def camera(fov_deg: float, yaw: float, pitch: float, roll: float, hw: tuple[int, int] = (288, 384)) -> Cameras:
    world_from_cam = torch.eye(4)
    world_from_cam[:3, :3] = matrix_from_yaw_pitch_roll(torch.deg2rad(torch.tensor([yaw, pitch, roll])))
    K = intrinsics_from_fov(fov_deg, hw, side="long")
    return Cameras(world_from_cam=world_from_cam[None], K=K[None], hw=hw)


def tiled_room(cameras: Cameras) -> torch.Tensor:
    """A box of grey tiles with dark joints, seen from a point off its middle, [3, h, w]."""
    centre, half = torch.tensor([0.3, 0.2, -0.4]), torch.tensor([2.0, 1.3, 2.6])
    rays = camera_rays(cameras)[1][0]
    reach = ((rays.sign() * half - centre) / torch.where(rays.abs() < 1e-6, torch.full_like(rays, 1e-6), rays)).abs()
    wall = reach.argmin(-1, keepdim=True)
    points = centre + rays * reach.gather(-1, wall)
    joint = ((points / 0.65 + 0.5) % 1 - 0.5).abs()
    joint.scatter_(-1, wall, 1.0)  # the wall's own direction has no joints
    return torch.where(joint.amin(-1) < 0.04, 0.1, 0.45 + 0.12 * wall[..., 0]).expand(3, *cameras.hw)


@pytest.mark.parametrize(
    "truth", [(60.0, 25.0, 8.0, 2.0), (85.0, -35.0, -6.0, -3.0), (48.0, 50.0, 4.0, 0.0)], ids=["60", "85", "48"]
)
def test_a_room_of_tiles(truth: tuple[float, float, float, float]) -> None:
    got = estimate_camera(tiled_room(camera(*truth)))
    assert got.confident
    assert got.fov_deg == pytest.approx(truth[0], abs=2.0)
    assert got.pitch_deg == pytest.approx(truth[2], abs=1.0)
    assert got.roll_deg == pytest.approx(truth[3], abs=1.0)


def test_a_photograph_on_end() -> None:
    panorama = load_panorama(EXAMPLES / "interior.png")
    photo = crop_panorama(panorama, camera(80.0, -120.0, 5.0, -2.0, (512, 384)))[0]
    got = estimate_camera(photo)
    assert got.confident
    assert got.fov_deg == pytest.approx(80.0, abs=3.0)
    assert got.pitch_deg == pytest.approx(5.0, abs=2.0)
    assert got.roll_deg == pytest.approx(-2.0, abs=1.0)


def test_lines_point_to_the_projections_of_far_points() -> None:
    """Slow twin of the agreement: a line from a pixel to the image of a point very far along an axis agrees wholly."""
    truth = camera(70.0, 20.0, 10.0, 3.0)
    parameters = np.array([[70.0, 10.0, 3.0, 20.0]])
    for axis in range(3):
        far = torch.eye(3)[axis][None] * 1e6
        xy, z = project(far, truth)
        vanishing = (xy[0, 0] - truth.K[0, :2, 2]).double().numpy() / 384 * np.sign(float(z))
        middle = np.array([0.1, -0.15])
        way = vanishing * np.sign(float(z)) - middle
        segment = np.concatenate((middle, way / np.linalg.norm(way), [0.1]))[None]
        assert _agreement(segment, parameters)[0, axis, 0] == pytest.approx(1.0, abs=1e-3)
        turned = np.array([[middle[0], middle[1], -segment[0, 3], segment[0, 2], 0.1]])
        assert _agreement(turned, parameters)[0, axis, 0] < 1e-6


def test_what_has_no_lines_tells_nothing() -> None:
    assert not estimate_camera(torch.full((3, 64, 96), 0.5)).confident
    generator = torch.Generator().manual_seed(0)
    grains = torch.rand(1, 3, 6, 8, generator=generator)
    cloud = torch.nn.functional.interpolate(grains, size=(288, 384), mode="bicubic")[0].clamp(0, 1)
    got = estimate_camera(cloud)
    assert not got.confident
    assert line_segments(torch.full((3, 64, 96), 0.5)).shape == (0, 5)
    with pytest.raises(ValueError, match="sides >= 32"):
        estimate_camera(torch.zeros(3, 16, 96))


def test_the_job_uses_it_where_nobody_tells(tmp_path: Path) -> None:
    save_image(tiled_room(camera(85.0, -35.0, -6.0, -3.0)), tmp_path / "photo.png")
    (tmp_path / "small.yaml").write_text("panorama_height: 64")

    def facts(*words: str) -> dict:
        assert main(["panorama", str(tmp_path / "photo.png"), "--out", str(tmp_path / "out"), *words]) == 0
        return json.loads((tmp_path / "out" / "run.json").read_text())["stages"][0]

    small = ("--params", str(tmp_path / "small.yaml"))
    seen = facts(*small)
    assert seen["fov_source"] == "estimated"
    assert [seen[k] for k in ("fov_deg", "pitch_deg", "roll_deg")] == pytest.approx([85.0, -6.0, -3.0], abs=2.0)
    told = facts(*small, "--fov-deg", "70")
    assert [told[k] for k in ("fov_source", "fov_deg", "pitch_deg")] == ["given", 70.0, 0.0]
    assert facts(*small, "--pitch-deg", "10")["pitch_deg"] == 10.0
