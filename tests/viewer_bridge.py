"""A real ``SceneWidget`` and its script in Chromium, joined by a bridge in place of Jupyter."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable

import pytest
import torch
from browser import Browser
from viewer_scenes import decoded

from onescene.viewer import SceneWidget

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
        state = {**widget.get_state(["camera", "path", "keyframes", "images", "meta"])}
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
        self.wait("window.bridge && document.querySelector('.os-loading.os-done')")
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

    def picture(self) -> torch.Tensor:
        """What Python has rendered, as it lies over the canvas, [3, H, W]."""
        return decoded(self.browser.evaluate("document.querySelector('.os-remote').toDataURL()"))
