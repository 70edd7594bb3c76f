"""The notebook widget and Python: cameras, keyframes, paths and pictures go both ways."""

from __future__ import annotations

import pytest
import torch
from browser import Browser
from viewer_bridge import HW, Bridge
from viewer_scenes import BLUE, GREEN, RED, YELLOW, blobs, camera, needs_browser, plain, png, random_gaussians

from onescene.splatting import render
from onescene.types import Cameras
from onescene.viewer import Besides, SceneWidget
from onescene.viewer.cameras_json import json_from_cameras
from onescene.viewer.widget import reframed


@pytest.fixture(scope="module")
def browser():
    with Browser((HW[0], HW[1])) as page:
        yield page


@pytest.fixture
def bridge(browser: Browser, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ONESCENE_BATCH", "0")

    def opener(gaussians, **options) -> Bridge:
        return Bridge(browser, SceneWidget(gaussians, height_px=HW[0], **options), tmp_path, monkeypatch)

    yield opener
    assert browser.console == []


def test_a_camera_keeps_its_shorter_angle_in_another_frame() -> None:
    wide = reframed(camera(hw=(100, 200), fov_deg=60), (300, 200))
    assert wide.hw == (300, 200)
    assert float(wide.K[0, 0, 0]) == pytest.approx(2 * float(camera(hw=(100, 200), fov_deg=60).K[0, 0, 0]))
    assert wide.K[0, :2, 2].tolist() == [100, 150]
    with pytest.raises(ValueError, match="hw must be two sizes >= 1"):
        reframed(camera(), (0, 4))


def test_widget_renders_its_camera_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESCENE_BATCH", "1")
    gaussians, view = random_gaussians(300), camera((0, 0.1, -4), yaw=0.1)
    widget = SceneWidget(gaussians, start_camera=view)
    assert isinstance(widget.camera, Cameras) and len(widget.camera) == 1
    torch.testing.assert_close(widget.render().rgb, render(gaussians, view, "numba").rgb)
    assert widget.render((40, 60)).rgb.shape == (1, 3, 40, 60)
    widget.camera = camera((0, 0, 40.0))
    assert widget.render().rgb.max() < 0.05  # everything is behind it
    told = []
    widget.observe(lambda change: told.append(change["new"]), "camera")
    widget.camera = view
    assert told == [view]
    with pytest.raises(Exception, match="camera"):
        widget.camera = {"frames": []}


@needs_browser
def test_the_camera_goes_both_ways(bridge) -> None:
    b = bridge(random_gaussians(300), start_camera=camera((0.1, 0, -4)))
    told = []
    b.widget.observe(lambda change: told.append(change["new"]), "camera")
    b.browser.drag((200, 150), (260, 170))
    b.wait(lambda: bool(told) and abs(float(b.widget.camera.world_from_cam[0, 0, 2])) > 0.1)
    assert b.widget.camera.hw == HW
    seen = b.browser.evaluate("bridge.model.get('camera').frames[0].transform_matrix")
    torch.testing.assert_close(
        b.widget.camera.world_from_cam[0].double(),
        torch.tensor(seen, dtype=torch.float64) * torch.tensor([1.0, -1, -1, 1]),
        atol=1e-6,
        rtol=0,
    )
    b.widget.camera = camera((0.5, -0.25, -3), yaw=0.3, hw=HW)
    b.wait("bridge.model.get('camera').frames[0].transform_matrix[0][3] === 0.5")
    b.browser.key("KeyW", "w", True)  # the view stands where Python put it, and tells about the next steps from there
    b.wait(lambda: float(b.widget.camera.world_from_cam[0, 2, 3]) > -2.9)
    b.browser.key("KeyW", "w", False)
    torch.testing.assert_close(b.widget.camera.world_from_cam[0, 1, 3], torch.tensor(-0.25), atol=1e-3, rtol=0)


@needs_browser
def test_a_drag_is_rendered_in_python(bridge) -> None:
    gaussians = blobs([(-0.6, 0, 3.0), (0.6, 0, 3.0)], [RED, GREEN], scale=0.4, opacity=1.0)
    b = bridge(gaussians)
    b.browser.press("KeyN", "n")
    b.wait("!document.querySelector('.os-remote').hidden")
    first = b.picture()
    assert first[0, HW[0] // 2, : HW[1] // 2].max() > 0.9  # red is on the left
    before = b.pictures
    b.browser.drag((200, 150), (60, 150))
    b.wait(lambda: b.pictures > before)
    b.wait(lambda: abs(float(b.widget.camera.world_from_cam[0, 0, 2])) > 0.3)

    def error() -> float:
        shown = b.picture()
        with torch.no_grad():
            true = b.widget.render(tuple(shown.shape[1:])).rgb[0].clamp(0, 1)
        return float((shown - true).abs().mean())

    b.wait(lambda: error() < 0.01)  # the picture of the resting camera comes last
    assert (first - b.picture()).abs().mean() > 0.01
    b.browser.press("KeyN", "n")
    b.wait("document.querySelector('.os-remote').hidden")


@needs_browser
def test_layers_and_pictures_are_there_as_on_a_page(bridge) -> None:
    """Scene, scaffold and panorama differ in colour; what Python renders is the layer that is shown."""
    middle = (HW[0] // 2, HW[1] // 2)
    walk = Cameras.cat([camera((0, 0, 0.1 * k), hw=HW) for k in range(3)])
    scaffold, sky = blobs([(0, 0, 3.0)], [GREEN], scale=1.0, opacity=1.0), png(plain(BLUE, (64, 128)))
    besides = Besides(panorama_png=sky, scaffold=scaffold, images=[plain(YELLOW, (90, 160))] * 3)
    b = bridge(blobs([(0, 0, 3.0)], [RED], scale=1.0, opacity=1.0), cameras=walk, besides=besides)
    viewer = "document.querySelector('.onescene')"
    assert b.browser.evaluate(f"[...{viewer}.querySelectorAll('.os-layers button')].map((b) => b.textContent)") == [
        "Panorama",
        "Scaffold",
        "Scene",
    ]
    b.browser.press("KeyN", "n")  # rendered in Python
    for code, key, channel in (("Digit2", "2", 1), ("Digit3", "3", 0)):
        b.browser.press(code, key)
        b.wait("!document.querySelector('.os-remote').hidden")
        b.wait(lambda channel=channel: b.picture()[:, *middle].argmax() == channel)
        assert b.picture()[channel, *middle] > 0.9
    b.browser.press("Digit1", "1")
    b.wait("document.querySelector('.os-remote').hidden")  # the panorama needs no rendering
    b.browser.press("KeyN", "n")
    b.wait("document.querySelector('.os-layers button[aria-pressed=true]').textContent === 'Scene'")
    b.browser.press("KeyN", "n")
    b.browser.press("KeyV", "v")
    b.wait("document.querySelector('.os-tools button[aria-pressed=true]')")
    with pytest.raises(ValueError, match="one picture per camera, got 3 for 0 cameras"):
        SceneWidget(scaffold, besides=besides)


@needs_browser
def test_keyframes_come_to_python_and_its_path_is_played(bridge) -> None:
    b = bridge(random_gaussians(300))
    for x in (0.0, 0.5):
        b.widget.camera = camera((x, 0, 0), hw=HW)
        b.browser.press("KeyK", "k")
        b.wait(lambda x=x: len(b.widget.keyframes.get("frames", [])) == 1 + 2 * x)
    assert [f["transform_matrix"][0][3] for f in b.widget.keyframes["frames"]] == [0, 0.5]
    b.widget.path = Cameras.cat([camera((0, 0, 0.1 * k), hw=HW) for k in range(5)])
    b.browser.click(".os-time button")
    b.wait(lambda: float(b.widget.camera.world_from_cam[0, 2, 3]) > 0.2)  # along z: Python's, not the keyframes'
    b.browser.click(".os-time button")
    b.widget.keyframes = {**json_from_cameras(camera((2.0, 0, 0))), "keyframes": {"frames": 7, "closed": True}}
    b.wait("document.querySelectorAll('.os-keys li').length === 1")
    assert b.browser.evaluate("document.querySelector('.os-keys input[type=number]').value") == "7"
    b.widget.path = None
    b.wait("document.querySelector('.os-time').hidden")  # one keyframe is no way
