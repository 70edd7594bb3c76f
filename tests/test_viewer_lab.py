"""A notebook in a real JupyterLab in Chromium: its cells run, and the widget's camera and keyframes reach Python."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from browser import Browser
from viewer_scenes import needs_browser

pytestmark = [
    needs_browser,
    pytest.mark.skipif(find_spec("jupyterlab") is None, reason="jupyterlab is not installed"),
    pytest.mark.skipif(os.name != "posix", reason="the server and its kernels are ended as one process group"),
]
START_S = 60  # for a server or a kernel, on a busy machine
CELLS = (
    "import sys, torch\nfrom onescene.types import Gaussians\nfrom onescene.viewer import SceneWidget",
    "g = torch.Generator().manual_seed(0)\n"
    "scene = Gaussians(means=torch.randn(500, 3, generator=g) + torch.tensor([0, 0, 5.0]), "
    "quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(500, 1), scales=torch.full((500, 3), 0.1), "
    "opacities=torch.ones(500), sh=torch.rand(500, 1, 3, generator=g))",
    "widget = SceneWidget(scene, height_px=400)\nwidget",
)
# Runs code in the notebook's kernel and gives what it prints.
EXECUTE = """(async (code) => {
  const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const future = kernel.requestExecute({ code, store_history: false });
  let printed = "";
  future.onIOPub = ({ content }) => { printed += content.text ?? content.traceback?.join("\\n") ?? ""; };
  await future.done;
  return printed;
})"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """The address of a JupyterLab of its own: no token, no settings of anyone, one notebook."""
    (tmp_path / "work").mkdir()
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "work" / "small.ipynb")
    port = free_port()
    folders = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime"}
    environment = {**os.environ, **{name: str(tmp_path / folder) for name, folder in folders.items()}}
    environment |= {"IPYTHONDIR": str(tmp_path / "ipython"), "ONESCENE_BATCH": "0"}
    options = f"--no-browser --allow-root --ip=127.0.0.1 --port={port} --expose-app-in-browser".split()
    options += ["--IdentityProvider.token=", "--LabApp.news_url=", f"--ServerApp.root_dir={tmp_path / 'work'}"]
    with (tmp_path / "log.txt").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait(lambda: answers(f"http://127.0.0.1:{port}/api"), lambda: (tmp_path / "log.txt").read_text()[-2000:])
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


def wait(done: Callable[[], bool], said: Callable[[], object]) -> None:
    deadline = time.monotonic() + START_S
    while not done():
        assert time.monotonic() < deadline, said()
        time.sleep(0.2)


def in_kernel(page: Browser, code: str) -> list:
    """What an expression is in the notebook's kernel, as JSON."""
    return json.loads(page.evaluate(f"{EXECUTE}({json.dumps(f'import json; print(json.dumps({code}))')})"))


def test_the_widget_lives_in_jupyterlab(lab: str) -> None:
    notebook = "window.jupyterapp?.shell.currentWidget"
    with Browser((900, 1200)) as page:
        page.send("Page.navigate", url=f"{lab}/lab/tree/small.ipynb?reset")
        page.wait_for(f"{notebook}?.content?.model?.cells?.length === {len(CELLS)}", START_S)
        page.wait_for(f"{notebook}.sessionContext?.session?.kernel?.status === 'idle'", START_S)
        page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells').then(() => true)")
        assert page.evaluate(
            f"{notebook}.content.widgets.every((c) => c.model.executionCount > 0 && "
            "!c.model.outputs.toJSON().some((o) => o.output_type === 'error'))"
        )
        page.wait_for("document.querySelector('.onescene .os-loading.os-done') !== null", START_S)
        page.evaluate("document.querySelector('.onescene').scrollIntoView({ block: 'center' })")
        x, y = page.place(".onescene canvas")
        page.drag((x, y), (x + 120, y))
        camera = "widget.camera.world_from_cam[0].tolist()"
        wait(lambda: abs(in_kernel(page, camera)[0][2]) > 0.1, lambda: page.console)  # turned to the left
        assert in_kernel(page, "widget.camera.hw")[0] == 400
        page.press("KeyK", "k")  # heard by the viewer, not by JupyterLab, which moves up by it
        wait(lambda: len(in_kernel(page, "widget.keyframes.get('frames', [])")) == 1, lambda: page.console)
        page.evaluate(
            f"{EXECUTE}('widget.keyframes = {{}}; import copy; c = copy.deepcopy(widget.camera); "
            "c.world_from_cam[0, :3, 3] = torch.tensor([0.5, 0.0, -1.0]); widget.camera = c')"
        )
        page.key("KeyD", "d", True)  # goes on from where Python has put it
        wait(lambda: in_kernel(page, camera)[2][3] < -0.5 < 0.55 < in_kernel(page, camera)[0][3], lambda: page.console)
        page.key("KeyD", "d", False)
        assert all(url.startswith((lab, lab.replace("http", "ws"), "data:", "blob:")) for url in page.requests)
