"""What is odd about a photo is told, and a plain photo is left alone."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from onescene.geometry.perspective import crop_panorama, intrinsics_from_fov
from onescene.geometry.rotations import matrix_from_yaw_pitch_roll
from onescene.io import load_panorama
from onescene.stages.photo_checks import dividing_lines, framed_sides, lettering, odd_about
from onescene.types import Cameras

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def views(name: str, yaws: tuple[float, ...]) -> list[np.ndarray]:
    """Views [480, 640, 3] of an example, a few degrees off level."""
    panorama, hw = load_panorama(EXAMPLES / name), (480, 640)
    world_from_cam = torch.eye(4).repeat(len(yaws), 1, 1)
    angles = torch.tensor([[yaw, 4.0, 1.0] for yaw in yaws])
    world_from_cam[:, :3, :3] = matrix_from_yaw_pitch_roll(torch.deg2rad(angles))
    K = intrinsics_from_fov(70.0, hw).expand(len(yaws), 3, 3)
    crops = crop_panorama(panorama, Cameras(world_from_cam=world_from_cam, K=K, hw=hw))
    return [np.ascontiguousarray(c.permute(1, 2, 0).numpy()) for c in crops]


@pytest.fixture(scope="module")
def plain() -> list[np.ndarray]:
    return views("interior.png", (0, 70, 140, 210, 280)) + views("forest.png", (0, 120, 240))


def told(image: np.ndarray) -> str:
    return " ".join(odd_about(torch.from_numpy(image).permute(2, 0, 1)))


def test_photos_are_left_alone(plain):
    assert [told(image) for image in plain] == [""] * len(plain)
    assert told(np.full((80, 100, 3), 0.5, dtype=np.float32)) == ""


def test_frames_and_bars_are_told(plain):
    for image in plain[::3]:
        framed = cv2.copyMakeBorder(image, 12, 12, 12, 12, cv2.BORDER_CONSTANT, value=(1.0, 1.0, 1.0))
        assert framed_sides(framed) == ("top", "bottom", "left", "right")
        assert "a frame of one colour (top, bottom, left, right): cut it off" in told(framed)
        image = image.copy()
        image[:, :40] = image[:, -40:] = 0
        assert framed_sides(image) == ("left", "right")


def test_sky_above_and_floor_below_are_no_frame(plain):
    image = plain[0].copy()
    image[:60], image[-60:] = (0.6, 0.8, 1.0), (0.3, 0.25, 0.2)
    assert framed_sides(image) == ()


def test_two_pictures_in_one_are_told(plain):
    beside = np.concatenate((plain[1], plain[5]), axis=1)
    above = np.concatenate((plain[6], plain[1]), axis=0)
    assert dividing_lines(beside) == ("a line from top to bottom at 50 %",)
    assert dividing_lines(above) == ("a line from left to right at 50 %",)
    assert "several pictures in one (a line from left to right at 50 %)" in told(above)


def test_a_level_horizon_is_no_dividing_line():
    rng = np.random.default_rng(0)
    sea = np.full((240, 320, 3), (0.7, 0.8, 0.9), dtype=np.float32)
    sea[120:] = 0.25 + 0.1 * rng.random((120, 320, 3), dtype=np.float32)
    assert dividing_lines(sea) == ()


def test_lettering_is_told_bright_and_dark(plain):
    for colour in (255, 0):
        image = (cv2.GaussianBlur(plain[0], (0, 0), 3) * 80 + 80).astype(np.uint8)
        cv2.putText(image, "FINE PHOTOS OF 2026", (40, 440), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (colour,) * 3, 2)
        image = image.astype(np.float32) / 255
        assert lettering(image) >= 10 and "letters in a row" in told(image)


@pytest.mark.parametrize("name", ["interior", "forest"])
def test_a_panorama_given_as_a_photo_is_told(name):
    """However it is turned; a part of it that is twice as wide as high is a photo."""
    panorama = load_panorama(EXAMPLES / f"{name}.png", max_height_px=512).permute(1, 2, 0).numpy()
    for turn in (0, 100, 333, 700):
        assert "--panorama" in told(np.roll(panorama, turn, axis=1))
    assert "--panorama" not in told(panorama[:, :-50]), "not twice as wide as high"
    for left in (0, 200, 400):
        assert "--panorama" not in told(panorama[128:384, left : left + 512])
    assert "--panorama" not in told(np.full((256, 512, 3), 0.6, np.float32))
