"""The notebook widget: a real ``SceneWidget`` and its script in Chromium, joined by a bridge in place of Jupyter."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from browser import Browser
from PIL import Image
from viewer_scenes import GREEN, RED, blobs, camera, needs_browser, random_gaussians

from onescene.splatting import render
from onescene.types import Cameras
from onescene.viewer import SceneWidget
from onescene.viewer.cameras_json import json_from_cameras
from onescene.viewer.widget import reframed

HW = (300, 480)
PAGE = """<!DOCTYPE html><meta charset="utf-8"><style>html, body { margin: 0 } CSS</style><body><script type="module">
ESM
const model = {
  state: STATE, handlers: {}, sent: [], changed: {},
  get(name) { return this.state[name]; },
  set(name, value) { this.state[name] = this.changed[name] = value; this.fire(`change:${name}`); },
  save_changes() { this.sent.push({ method: "update", state: this.changed }); this.changed = {}; },
  send(content) { this.sent.push({ method: "custom", content }); },
  on(name, handler) { (this.handlers[name] ??= []).push(handler); },
  off(name, handler) { this.handlers[name] = this.handlers[name].filter((one) => one !== handler); },
  fire(name, ...values) { for (const handler of this.handlers[name] ?? []) handler(...values); },
};
const bytes = (text) => new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
model.state.data = bytes(model.state.data);
window.bridge = {
  model,
  drain() { return model.sent.splice(0); },
  update(state) {
    Object.assign(model.state, state);
    for (const name of Object.keys(state)) model.fire(`change:${name}`);
  },
  message(content, buffers) { model.fire("msg:custom", content, buffers.map(bytes)); },
};
window.close_widget = widget.render({ model, el: document.body });
</script>"""


class Bridge:
    """What JupyterLab does between a widget in Python and its model in the browser."""

    def __init__(self, browser: Browser, widget: SceneWidget, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.browser, self.widget, self.pictures = browser, widget, 0
        state = {**widget.get_state(["camera", "path", "keyframes", "meta"])}
        state["data"] = base64.b64encode(widget.data).decode()
        esm = widget._esm.replace("export default", "const widget =")
        values = {"CSS": widget._css, "ESM": esm, "STATE": json.dumps(state)}
        page = PAGE
        for name in ("CSS", "STATE", "ESM"):
            page = page.replace(name, values[name], 1)
        (tmp_path / "widget.html").write_text(page, encoding="utf-8")
        monkeypatch.setattr(widget, "_send", self._from_python)
        browser.console.clear()
        browser.open(tmp_path / "widget.html")
        self.wait("window.bridge && document.querySelector('.os-bar.os-done')")
        browser.click((240, 120))  # the keys are heard where the person has clicked

    def _from_python(self, message: dict, buffers: list | None = None) -> None:
        if message["method"] == "custom":
            encoded = [base64.b64encode(b).decode() for b in buffers or []]
            self.pictures += 1
            self.browser.evaluate(f"bridge.message({json.dumps(message['content'])}, {json.dumps(encoded)})")
        elif message["method"] == "update":
            self.browser.evaluate(f"bridge.update({json.dumps(message['state'])})")

    def pump(self) -> None:
        for message in self.browser.evaluate("window.bridge ? bridge.drain() : []"):
            if message["method"] == "update":
                self.widget.set_state(message["state"])
            else:
                self.widget._handle_custom_msg(message["content"], [])

    def wait(self, done: str | Callable[[], bool], timeout: float = 15.0) -> None:
        deadline = time.monotonic() + timeout
        while not (done() if callable(done) else self.browser.evaluate(f"Boolean({done})")):
            assert time.monotonic() < deadline, (done, self.browser.console)
            self.pump()
            time.sleep(0.01)  # the browser draws between two messages

    def picture(self) -> np.ndarray:
        """What Python has rendered, as it lies over the canvas."""
        url = self.browser.evaluate("document.querySelector('.os-remote').toDataURL()")
        return np.array(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB")) / 255


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
    assert first[first.shape[0] // 2, : first.shape[1] // 2, 0].max() > 0.9  # red is on the left
    before = b.pictures
    b.browser.drag((200, 150), (60, 150))
    b.wait(lambda: b.pictures > before)
    b.wait(lambda: abs(float(b.widget.camera.world_from_cam[0, 0, 2])) > 0.3)
    b.wait("true")
    last, true = b.picture(), None
    for _ in range(20):  # the picture of the resting camera comes last
        b.pump()
        last = b.picture()
        with torch.no_grad():
            true = b.widget.render(last.shape[:2]).rgb[0].clamp(0, 1).permute(1, 2, 0).numpy()
        if np.abs(last - true).mean() < 0.01:
            break
    assert np.abs(last - true).mean() < 0.01 < np.abs(first - last[: first.shape[0], : first.shape[1]]).mean()
    b.browser.press("KeyN", "n")
    b.wait("document.querySelector('.os-remote').hidden")


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
