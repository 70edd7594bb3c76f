"""The viewer without a browser: packing loses what it says it loses, pages need no network, notebooks stay small."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image
from viewer_scenes import (
    RED,
    blobs,
    camera,
    plain,
    png,
    random_gaussians,
)

from onescene.io import load_cameras
from onescene.types import Cameras, Gaussians
from onescene.viewer import (
    Besides,
    SceneWidget,
    notebook,
    packing,
    panorama_html,
    scene_html,
    show_panorama,
    show_scene,
)
from onescene.viewer.cameras_json import cameras_from_json, json_from_cameras
from onescene.viewer.html import SCENE_SCRIPTS, bundle

# ---- packing


@pytest.mark.parametrize("sky", [False, True])
@pytest.mark.parametrize("n", [1, 300, 3000])
def test_packing_keeps_every_value_within_its_step(n: int, sky: bool) -> None:
    gaussians = random_gaussians(n, sky=sky)
    packed = packing.pack(gaussians)
    result = packing.unpack(packed)
    assert packed.count == len(result) == n
    order = packing.morton_order(gaussians.means.numpy(), np.zeros(3, np.float32), packed.radius_world)
    true = gaussians.select(torch.from_numpy(order))
    for first in range(0, n, packing.BLOCK):
        block = slice(first, first + packing.BLOCK)
        extent = np.ptp(true.means[block].numpy(), axis=0)
        error = (result.means - true.means)[block].abs().numpy().max(axis=0)
        assert (error <= 0.5 * extent / packing.POSITION_MAX + 1e-5 * abs(true.means[block]).max().item()).all()
        log_extent = np.ptp(true.scales[block].log().numpy(), axis=0)
        log_error = (result.scales / true.scales).log()[block].abs().numpy().max(axis=0)
        assert (log_error <= 0.5 * log_extent / 255 + 1e-5).all()
    unit = torch.nn.functional.normalize(true.quats, dim=1)
    # Three components off by half a step; the largest, which follows from them, by at most three half steps.
    half_angle = math.sqrt(3 + 9) * 0.5 * 2 * packing.QUAT_LIMIT / packing.QUAT_MAX
    assert ((unit * result.quats).sum(1).abs() >= math.cos(half_angle)).all()
    step = 0.5 / 255 + 1e-6
    torch.testing.assert_close(result.rgb, true.rgb, atol=step, rtol=0)
    torch.testing.assert_close(result.opacities, true.opacities, atol=step, rtol=0)


def test_packing_twice_changes_nothing_more() -> None:
    once = packing.unpack(packing.pack(random_gaussians(700)))
    # The second order may differ within a cell of the curve: compare by position.
    twice = packing.unpack(packing.pack(once))
    a, b = (g.select(torch.from_numpy(np.lexsort(g.means.numpy().round(3).T))) for g in (once, twice))
    torch.testing.assert_close(a.means, b.means, atol=2e-4, rtol=0)
    torch.testing.assert_close(a.rgb, b.rgb, atol=1e-6, rtol=0)


def test_morton_order_walks_octant_by_octant() -> None:
    corners = np.array([(x, y, z) for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)], np.float32)
    shuffled = np.random.default_rng(0).permutation(8)
    order = packing.morton_order(corners[shuffled], np.zeros(3, np.float32), 3.0)
    np.testing.assert_array_equal(shuffled[order], np.arange(8))


def test_zero_quaternion_is_the_identity_and_signs_do_not_matter() -> None:
    gaussians = blobs([(0, 0, 1.0), (0, 0, 1.0)], [RED, RED])
    quats = torch.tensor([[0.0, 0, 0, 0], [-0.5, -0.5, 0.5, -0.5]])
    result = packing.unpack(packing.pack(Gaussians(**{**vars(gaussians), "quats": quats})))
    expected = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, -0.5, 0.5]])
    torch.testing.assert_close(result.quats, expected, atol=0.006, rtol=0)


def test_harmonics_are_baked_for_the_start() -> None:
    gaussians = blobs([(0, 0, 2.0), (0, 0, -2.0)], [(0.5, 0.5, 0.5)] * 2)
    sh = torch.cat((gaussians.sh, torch.zeros(2, 3, 3)), dim=1)
    sh[:, 2, 0] = 0.3  # the coefficient that follows z: one side redder, the other less red
    lit = packing.unpack(packing.pack(Gaussians(**{**vars(gaussians), "sh": sh})))
    red = lit.rgb[lit.means[:, 2].argsort(), 0]
    torch.testing.assert_close(red, 0.5 + 0.3 * 0.4886025 * torch.tensor([-1.0, 1.0]), atol=0.003, rtol=0)


def test_thinning_keeps_the_covered_area() -> None:
    gaussians = random_gaussians(4000)
    fewer = packing.thin(gaussians, 1000)
    assert len(fewer) == 1000
    area = [float((g.scales[:, 0] * g.scales[:, 1]).sum()) for g in (gaussians, fewer)]
    assert area[1] == pytest.approx(area[0], rel=0.06)
    assert packing.thin(gaussians, 4000) is gaussians
    with pytest.raises(ValueError, match="max_gaussians must be >= 1, got 0"):
        packing.thin(gaussians, 0)
    gaussians.means[7, 1] = float("nan")  # would be lost among the others
    with pytest.raises(ValueError, match=r"gaussians\.means must be finite"):
        packing.thin(gaussians, 1000)


def test_bad_gaussians_are_refused() -> None:
    good = random_gaussians(3)
    with pytest.raises(ValueError, match="at least one Gaussian, got 0"):
        packing.pack(good.select(torch.zeros(3, dtype=torch.bool)))
    with pytest.raises(ValueError, match=r"gaussians\.scales must be finite"):
        packing.pack(Gaussians(**{**vars(good), "scales": good.scales * float("nan")}))


# ---- pages


class Elements(HTMLParser):
    """Collects start tags and the text of elements with an id."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.text, self._id = [], {}, None
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self._id = attributes.get("id", tag)

    def handle_endtag(self, tag: str) -> None:
        self._id = None

    def handle_data(self, data: str) -> None:
        self.text[self._id] = self.text.get(self._id, "") + data


GREY = png(plain((0.8, 0.8, 0.8), (8, 16)))


def assert_loads_nothing(page: str) -> None:
    code = re.sub(r'(<script type="text/plain" id="[\w-]+">)[^<]*', r"\1", page)  # base64 may hold any letters
    assert not re.search(r"(https?:)?//\w", code), "an address"
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|importScripts|sendBeacon)\b|import\(", code)
    for tag, attributes in Elements(code).tags:
        assert "src" not in attributes, tag
        assert attributes.get("href", "data:,") == "data:,", tag
    assert "default-src 'none'" in code


def test_a_page_loads_nothing() -> None:
    path = Cameras.cat([camera(), camera((0, 0, 1.0))])
    assert_loads_nothing(scene_html(random_gaussians(50), cameras=path, besides=Besides(panorama_png=GREY)))
    assert_loads_nothing(panorama_html(torch.rand(3, 8, 16)))


def test_a_page_holds_the_scene() -> None:
    n, title = packing.CHUNK + 1000, "</title><script>alert(1)</script> & {{css}} “Küche”"
    path = Cameras.cat([camera(), camera((0, 0, 1.0), yaw=0.4)])
    page = scene_html(
        random_gaussians(n),
        cameras=path,
        start_camera=camera((0.1, 0.2, 0.3)),
        title=title,
        besides=Besides(panorama_png=GREY),
    )
    elements = Elements(page)
    meta = json.loads(elements.text["meta"])
    assert (meta["count"], meta["chunks"], meta["title"]) == (n, 2, title)
    assert html.unescape(elements.text["title"]) == title
    assert [tag for tag, attributes in elements.tags if tag == "script" and not attributes] == ["script"]  # ours alone
    chunks = tuple(base64.b64decode(elements.text[f"scene-{k}"]) for k in range(2))
    assert len(packing.unpack(packing.PackedScene(count=n, chunks=chunks, radius_world=1.0))) == n
    assert base64.b64decode(elements.text["panorama"].split(",")[1]) == GREY
    back = cameras_from_json(meta["path"])
    torch.testing.assert_close(back.world_from_cam, path.world_from_cam)
    torch.testing.assert_close(back.K, path.K)
    assert back.hw == path.hw
    assert len(page) < 32 * n


def test_a_page_thins_on_request_and_refuses_other_bytes() -> None:
    meta = json.loads(Elements(scene_html(random_gaussians(500), max_gaussians=100)).text["meta"])
    assert meta["count"] == 100
    with pytest.raises(ValueError, match="panorama_png must be the bytes of a PNG or JPEG"):
        scene_html(random_gaussians(5), besides=Besides(panorama_png=b"GIF89a"))


def test_the_bundle_is_one_script() -> None:
    script = bundle(SCENE_SCRIPTS)
    assert not re.search(r"^\s*(import|export)\b", script, re.M)
    assert "</script" not in script and "{{" not in script
    declared = re.findall(r"^(?:async )?(?:const|let|class|function) (\w+)", script, re.M)
    assert len(declared) == len(set(declared)) > 20  # all files share one scope


def test_cameras_survive_json_with_their_own_intrinsics() -> None:
    cameras = Cameras.cat([camera(fov_deg=50, yaw=1.0), camera((1.0, 2.0, 3.0), fov_deg=70, roll=0.3)])
    back = cameras_from_json(json.loads(json.dumps(json_from_cameras(cameras))))
    torch.testing.assert_close(back.world_from_cam, cameras.world_from_cam)
    torch.testing.assert_close(back.K, cameras.K)
    matrix = json_from_cameras(camera())["frames"][0]["transform_matrix"]
    assert np.diag(matrix).tolist() == [1, -1, -1, 1]  # OpenGL: the camera's y up and z backward
    with pytest.raises(ValueError, match="camera: frame 0 names no image size"):
        cameras_from_json({"frames": [{"transform_matrix": matrix}]})
    with pytest.raises(ValueError, match="camera must hold a list `frames`"):
        cameras_from_json({})


def test_a_copied_camera_is_a_file_that_the_kit_reads(tmp_path) -> None:
    given = camera((0.3, -0.2, 1.0), yaw=0.4, pitch=-0.2)
    (tmp_path / "transforms.json").write_text(json.dumps(json_from_cameras(given)), encoding="utf-8")
    back = load_cameras(tmp_path / "transforms.json")
    torch.testing.assert_close(back.world_from_cam, given.world_from_cam)
    torch.testing.assert_close(back.K, given.K)
    assert back.hw == given.hw


# ---- notebooks


def test_batch_mode_leaves_small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESCENE_BATCH", "1")
    gaussians = blobs([(0, 0, 2.0)], [RED])
    still = show_scene(gaussians, height_px=270)
    image = Image.open(io.BytesIO(still.data)).convert("RGB")
    assert image.size == (480, 270) and len(still.data) < 100_000
    assert image.getpixel((240, 135))[0] > 200 > 60 > image.getpixel((240, 135))[1]
    flat = Image.open(io.BytesIO(show_panorama(torch.rand(3, 700, 1400)).data))
    assert flat.size == (640, 320)
    widget = SceneWidget(gaussians, title="x")
    bundle_, _ = widget._repr_mimebundle_()
    assert Image.open(io.BytesIO(base64.b64decode(bundle_["image/jpeg"]))).size == (640, 360)
    assert widget.comm is None and not widget.data  # nothing that a notebook would store


def test_live_mode_gives_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESCENE_BATCH", "0")
    gaussians = random_gaussians(40)
    frame = Elements(show_scene(gaussians, 300, title="<a>").data).tags[1]
    assert frame[0] == "iframe" and frame[1]["height"] == "300"
    assert frame[1]["srcdoc"] == scene_html(gaussians, title="<a>")
    assert 'id="panorama"' in Elements(show_panorama(torch.rand(3, 8, 16)).data).tags[1][1]["srcdoc"]
    widget = SceneWidget(gaussians, start_camera=camera((1.0, 0, 0)))
    assert widget.comm is not None and widget.meta["chunk_bytes"] == {"scene": [len(widget.data)]}
    torch.testing.assert_close(widget.camera.world_from_cam[0, :3, 3], torch.tensor([1.0, 0, 0]))
    moved = camera((0.5, -0.25, 2.0), yaw=0.7)
    widget.camera = moved
    torch.testing.assert_close(widget.camera.world_from_cam, moved.world_from_cam)
    assert "export default" in widget._esm
    widget.close()


def test_who_is_watching(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONESCENE_BATCH", raising=False)
    assert not notebook.is_interactive()  # no kernel
    monkeypatch.setattr(notebook, "get_ipython", lambda: type("Shell", (), {"kernel": object()})())
    for command, watched in (
        (["python3", "/venv/bin/jupyter-lab"], True),
        (["/venv/bin/python", "/venv/bin/papermill", "a.ipynb"], False),
        (["python", "-m", "nbconvert", "--execute"], False),
        (["/usr/bin/code"], True),
    ):
        parent = type("Parent", (), {"cmdline": lambda self, command=command: command})()
        monkeypatch.setattr(
            notebook.psutil, "Process", lambda parent=parent: type("P", (), {"parent": lambda s: parent})()
        )
        assert notebook.is_interactive() is watched, command


@pytest.mark.usefixtures("shapes_unchecked")
def test_a_panorama_is_two_by_one() -> None:
    for call in (panorama_html, show_panorama):
        with pytest.raises(ValueError, match=r"panorama must have shape \[3, H, 2 H\], got \[3, 8, 8\]"):
            call(torch.rand(3, 8, 8))
