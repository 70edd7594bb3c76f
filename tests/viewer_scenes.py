"""What the tests of the viewer share: small scenes, cameras by angles, pictures of the page."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import CHROMIUM, Browser
from PIL import Image

from onescene.geometry.equirect import directions_from_panorama
from onescene.types import SH_C0, Cameras, Gaussians
from onescene.viewer import scene_html
from onescene.viewer.cameras_json import json_from_cameras
from onescene.viewer.pictures import pil_image

RED, GREEN, BLUE, YELLOW = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 0.0)
HW = (96, 128)
ROOMY_HW = (360, 640)  # where buttons do not cover the middle
BOX = torch.tensor([1.0, 0.5, 2.0])  # half the sides of a room around the centre
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")


def random_gaussians(n: int, seed: int = 0, sky: bool = False) -> Gaussians:
    """A cloud around the origin, a fifth of it a far sky on request."""
    g = torch.Generator().manual_seed(seed)
    means = torch.randn(n, 3, generator=g)
    if sky:
        means[: n // 5] *= 60
    return Gaussians(
        means=means,
        quats=torch.randn(n, 4, generator=g),
        scales=0.02 + 0.1 * torch.rand(n, 3, generator=g),
        opacities=torch.rand(n, generator=g),
        sh=(torch.rand(n, 1, 3, generator=g) - 0.5) / SH_C0,
    )


def blobs(positions: list[tuple], colours: list[tuple], scale: float = 0.2, opacity: float = 0.95) -> Gaussians:
    """Round Gaussians of given colours."""
    n = len(positions)
    return Gaussians(
        means=torch.tensor(positions),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        scales=torch.full((n, 3), scale),
        opacities=torch.full((n,), opacity),
        sh=((torch.tensor(colours) - 0.5) / SH_C0)[:, None],
    )


def camera(position=(0.0, 0.0, 0.0), yaw=0.0, pitch=0.0, roll=0.0, fov_deg=60.0, hw=(96, 128)) -> Cameras:
    """A camera by angles [radians]; the field of view spans the height."""
    s, c, sp, cp = math.sin(yaw), math.cos(yaw), math.sin(pitch), math.cos(pitch)
    forward, level = torch.tensor([s * cp, -sp, c * cp]), torch.tensor([c, 0.0, -s])
    right = math.cos(roll) * level + math.sin(roll) * torch.linalg.cross(forward, level)
    matrix = torch.eye(4)
    matrix[:3, :3] = torch.stack((right, torch.linalg.cross(forward, right), forward), dim=1)
    matrix[:3, 3] = torch.tensor(position)
    f = 0.5 * hw[0] / math.tan(math.radians(fov_deg) / 2)
    return Cameras(
        world_from_cam=matrix[None], K=torch.tensor([[[f, 0, hw[1] / 2], [0, f, hw[0] / 2], [0, 0, 1]]]), hw=hw
    )


def box_distance(hw: tuple[int, int] = (128, 256), dtype=torch.float64) -> torch.Tensor:
    """Distance panorama of a box room, exact at every pixel."""
    ways = directions_from_panorama(hw, dtype=dtype)
    return (BOX.to(dtype) / ways.abs().clamp_min(1e-12)).amin(dim=-1)


def scene_opener(browser: Browser, tmp_path: Path, hw: tuple[int, int]) -> Iterator[Callable[..., Browser]]:
    """Opens scenes and waits until they are drawn; afterwards the console is empty and nothing was loaded."""

    def opener(gaussians: Gaussians, hw: tuple[int, int] = hw, **options) -> Browser:
        (tmp_path / "scene.html").write_text(scene_html(gaussians, title="A room", **options), encoding="utf-8")
        browser.resize(hw)
        browser.console.clear()
        browser.requests.clear()
        browser.open(tmp_path / "scene.html")
        browser.wait_for("window.onescene?.ready")
        return browser

    yield opener
    assert browser.console == []
    assert all(url.startswith(("file:", "blob:", "data:")) for url in browser.requests)


def plain(colour: tuple, hw: tuple[int, int] = (32, 64)) -> torch.Tensor:
    """A picture of one colour, [3, H, W]."""
    return torch.tensor(colour)[:, None, None].expand(3, *hw)


def png(rgb: torch.Tensor) -> bytes:
    """A PNG file of a picture [3, H, W]."""
    buffer = io.BytesIO()
    pil_image(rgb).save(buffer, "PNG")
    return buffer.getvalue()


def decoded(url: str) -> torch.Tensor:
    """The picture of a ``data:`` URL, [3, H, W]."""
    data = base64.b64decode(url.split(",")[1])
    return torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("RGB"))).permute(2, 0, 1) / 255


def picture(browser: Browser, cameras: Cameras | None = None) -> torch.Tensor:
    """What the viewer draws, [3, H, W]."""
    if cameras is not None:
        browser.evaluate(f"onescene.setCamera({json.dumps(json_from_cameras(cameras))})")
    return decoded(browser.evaluate("onescene.snapshot()"))


def position(browser: Browser) -> list[float]:
    return browser.evaluate("onescene.viewer.camera.position")


def hold(browser: Browser, code: str, key: str, until: str) -> None:
    """Holds a key until an expression is true."""
    browser.key(code, key, True)
    browser.wait_for(until)
    browser.key(code, key, False)
