"""A headless Chromium for tests: the DevTools protocol over its pipe, with the standard library alone."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = (
    "--headless=new --no-sandbox --use-angle=swiftshader --enable-unsafe-swiftshader --disable-background-networking "
    "--disable-component-update --disable-sync --no-first-run --no-default-browser-check --hide-scrollbars "
    "--remote-debugging-pipe"
).split()


class Browser:
    """One page. Messages are JSON that ends in a null byte: in on descriptor 3, out on descriptor 4."""

    def __init__(self, hw: tuple[int, int] = (256, 256)) -> None:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        read_in, self._write = os.pipe()
        self._read, write_out = os.pipe()
        command = f'exec "$@" 3<&{read_in} 4>&{write_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, "bash", CHROMIUM, *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"],
            pass_fds=(read_in, write_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_in)
        os.close(write_out)
        self._buffer, self._next, self._session = b"", 0, None
        self.console: list[str] = []
        self.requests: list[str] = []
        self._traced: list[dict] | None = None  # events of the trace under way
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.resize(hw)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exception) -> None:
        try:
            self._session = None
            self.send("Browser.close")
            self._process.wait(timeout=10)
        except (OSError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)
        self._profile.cleanup()

    def _message(self, deadline: float) -> dict:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self._read, 1 << 20) if ready else b""
            if not data:
                raise TimeoutError(f"Chromium did not answer; its console: {self.console}")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(line)

    def send(self, method: str, timeout: float = 60.0, **params) -> dict:
        """Calls a DevTools method and waits for its result."""
        self._next += 1
        message = {"id": self._next, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        deadline = time.monotonic() + timeout
        while (answer := self._message(deadline)).get("id") != self._next:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _note(self, event: dict) -> None:
        params = event.get("params", {})
        if event.get("method") == "Runtime.consoleAPICalled":
            self.console.append(" ".join(str(arg.get("value", arg.get("description"))) for arg in params["args"]))
        elif event.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.console.append(str(details.get("exception", {}).get("description", details["text"])))
        elif event.get("method") == "Log.entryAdded":
            self.console.append(params["entry"]["text"])
        elif event.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event.get("method") == "Tracing.dataCollected":
            self._traced.extend(params["value"])

    def resize(self, hw: tuple[int, int], mobile: bool = False, ratio: float = 1.0) -> None:
        """Sets the size of the page [CSS pixels]."""
        size = {"width": hw[1], "height": hw[0], "deviceScaleFactor": ratio, "mobile": mobile}
        self.send("Emulation.setDeviceMetricsOverride", **size)

    def open(self, path: Path) -> None:
        """Opens a file."""
        self.send("Page.navigate", url=path.resolve().as_uri())

    @contextmanager
    def prepared(self, script: str) -> Iterator[None]:
        """Runs a script at the start of every page that is opened meanwhile."""
        added = self.send("Page.addScriptToEvaluateOnNewDocument", source=script)
        try:
            yield
        finally:
            self.send("Page.removeScriptToEvaluateOnNewDocument", **added)

    @contextmanager
    def main_thread_ms(self) -> Iterator[list[float]]:
        """Collects the processor time of every task on the pages' main threads [ms], whatever else the machine does."""
        self._traced, tasks = [], []
        config = {"includedCategories": ["toplevel"]}
        self.send("Tracing.start", transferMode="ReportEvents", traceConfig=config)
        yield tasks
        self.send("Tracing.end")
        while (event := self._message(time.monotonic() + 60)).get("method") != "Tracing.tracingComplete":
            self._note(event)
        thread = [(e["pid"], e["tid"]) for e in self._traced if e.get("args", {}).get("name") == "CrRendererMain"]
        tasks += [
            e.get("tdur", 0) / 1000
            for e in self._traced
            if e["name"].endswith("RunTask") and (e["pid"], e["tid"]) in thread
        ]

    def evaluate(self, script: str, timeout: float = 60.0):
        """The value of a JavaScript expression; promises are awaited."""
        result = self.send(
            "Runtime.evaluate", timeout, expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"].get("exception", {}).get("description", "script failed"))
        return result["result"].get("value")

    def wait_for(self, script: str, timeout: float = 60.0) -> None:
        """Waits until an expression is true."""
        deadline = time.monotonic() + timeout
        while not self.evaluate(script):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{script} did not come true; console: {self.console}")
            time.sleep(0.02)

    def screenshot(self) -> bytes:
        """The page as a PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])

    def key(self, code: str, key: str, down: bool) -> None:
        """Presses or releases a key."""
        self.send("Input.dispatchKeyEvent", type="keyDown" if down else "keyUp", code=code, key=key)

    def mouse(self, kind: str, xy: tuple[float, float], **params) -> None:
        """Sends a mouse event: mousePressed, mouseMoved, mouseReleased or mouseWheel."""
        self.send("Input.dispatchMouseEvent", type=kind, x=xy[0], y=xy[1], **params)

    def press(self, code: str, key: str = "", **params) -> None:
        """Presses a key and releases it."""
        self.send("Input.dispatchKeyEvent", type="keyDown", code=code, key=key, **params)
        self.send("Input.dispatchKeyEvent", type="keyUp", code=code, key=key, **params)

    def place(self, selector: str) -> tuple[float, float]:
        """The middle of an element [CSS pixels]."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        x, y = self.evaluate(f"(() => {{ const b = {box}; return [b.x + b.width / 2, b.y + b.height / 2]; }})()")
        return x, y

    def click(self, at: str | tuple[float, float]) -> None:
        """Clicks on an element, named by a CSS selector, or on a point."""
        xy = self.place(at) if isinstance(at, str) else at
        self.mouse("mouseMoved", xy)
        self.mouse("mousePressed", xy, button="left", buttons=1, clickCount=1)
        self.mouse("mouseReleased", xy, button="left", clickCount=1)

    def drag(self, start: tuple[float, float], end: tuple[float, float], button: str = "left") -> None:
        """Drags the mouse from one point to another."""
        held = {"left": 1, "right": 2}[button]
        self.mouse("mousePressed", start, button=button, buttons=held, clickCount=1)
        self.mouse("mouseMoved", end, button=button, buttons=held)
        self.mouse("mouseReleased", end, button=button, clickCount=1)

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """Sends a touch event: touchStart, touchMove or touchEnd, with all fingers that are down."""
        listed = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(points)]
        self.send("Input.dispatchTouchEvent", type=kind, touchPoints=listed)

    def give_file(self, selector: str, path: Path) -> None:
        """Chooses a file in a file field."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        field = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=field, files=[str(path.resolve())])

    def keep_downloads(self, folder: Path) -> None:
        """Saves what the page downloads into a folder."""
        self.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder.resolve()))
