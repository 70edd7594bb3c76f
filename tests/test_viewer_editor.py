"""Keyframes and the trajectory editor: without a browser, by its sliders, and from keys pressed in Chromium."""

from __future__ import annotations

import base64
import io
import json
from functools import partial

import numpy as np
import pytest
import torch
from browser import Browser
from matplotlib.colors import to_hex
from PIL import Image
from torch.testing import assert_close
from viewer_bridge import HW, Bridge
from viewer_scenes import BOX, RED, blobs, box_distance, camera, needs_browser

from onescene.geometry.trajectories import keyframe_trajectory, make_trajectory
from onescene.io import load_cameras, save_cameras
from onescene.plots.plan import path_places, plan_view_figure
from onescene.types import Cameras
from onescene.viewer import Keyframes, TrajectoryEditor, load_keyframes, save_keyframes
from onescene.viewer.keyframes import json_from_keyframes, keyframes_from_json
from onescene.viewer.trajectory_panel import TrajectoryPanel

DISTANCE = box_distance(dtype=torch.float32)


def corners() -> list[tuple]:
    return [(x, y, z) for x in (-1.0, 1.0) for y in (-0.5, 0.5) for z in (-2.0, 2.0)]


def keys(*places: tuple) -> Cameras:
    return Cameras.cat([camera(place, hw=(288, 512)) for place in places])


@pytest.fixture
def editor(monkeypatch: pytest.MonkeyPatch) -> TrajectoryEditor:
    monkeypatch.setenv("ONESCENE_BATCH", "1")
    return TrajectoryEditor(blobs(corners(), [RED] * 8), DISTANCE, plan=plan_view_figure)


# ---- keyframes


def test_keyframes_survive_their_file(tmp_path) -> None:
    views = Cameras.cat([camera((0, 0, 0), fov_deg=50), camera((1, 0, 0), yaw=0.4, fov_deg=70)])
    given = Keyframes(cameras=views, frames=20, closed=True, smoothing=0.5, constant_speed=False)
    save_keyframes(given, tmp_path / "keyframes.json")
    back = load_keyframes(tmp_path / "keyframes.json")
    assert {**vars(back), "cameras": 0} == {**vars(given), "cameras": 0}
    assert_close(back.cameras.world_from_cam, views.world_from_cam)
    assert_close(back.cameras.K, views.K)
    assert_close(load_cameras(tmp_path / "keyframes.json").world_from_cam, views.world_from_cam)  # any reader's file
    plain = keyframes_from_json({k: v for k, v in json_from_keyframes(given).items() if k != "keyframes"})
    assert (plain.frames, plain.closed) == (48, False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": "many"}, "keyframes.frames must be of type int, got 'many'"),
        ({"frames": True}, "keyframes.frames must be of type int, got True"),
        ({"closed": 1}, "keyframes.closed must be of type bool, got 1"),
        ({"smoothing": float("nan")}, "keyframes.smoothing must be of type float, got nan"),
        ([1], r"keyframes must be an object with settings, got \[1\]"),
        ({"frames": 10**9}, "keyframes.frames must be 1 to 10000, got 1000000000"),
        ({"frames": 0}, "keyframes.frames must be 1 to 10000, got 0"),
        ({"smoothing": -1}, "keyframes.smoothing must be >= 0, got -1"),
    ],
)
def test_wrong_settings_are_named(settings, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        keyframes_from_json({**json_from_keyframes(Keyframes(cameras=keys((0, 0, 0)))), "keyframes": settings})


def test_broken_files_are_named(tmp_path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json is not JSON"):
        load_keyframes(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(ValueError, match="must hold a JSON object, got a list"):
        load_keyframes(tmp_path / "b.json")
    good = json_from_keyframes(Keyframes(cameras=keys((0, 0, 0))))
    nothing = {"frames": [{"transform_matrix": [[float("nan")] * 4] * 4}]}
    for change, words in (
        ({"fl_x": float("nan")}, "fl_x must be finite"),
        ({"h": "ten"}, "h must be a number, got 'ten'"),
        ({"w": 1e300}, "image sides must be 1 to"),
        ({"frames": 3}, "must hold a list `frames`"),
        ({"frames": [1, 2]}, "must hold a list `frames`"),
        (nothing, "4 x 4 numbers, all of them finite"),
    ):
        (tmp_path / "c.json").write_text(json.dumps(good | change))
        with pytest.raises(ValueError, match=words) as caught:
            load_keyframes(tmp_path / "c.json")
        assert str(tmp_path / "c.json") in str(caught.value)
    with open(tmp_path / "d.json", "wb") as file:
        file.truncate(1 << 30)  # takes no room on the disk, and must take none in memory
    with pytest.raises(ValueError, match="larger than 64 MiB"):
        load_keyframes(tmp_path / "d.json")


def test_a_trajectory_passes_its_keyframes_and_cuts_corners_when_smoothed() -> None:
    made = Keyframes(cameras=keys((0, 0, 0), (1, 0, 0), (1, 0, 1)), frames=41)
    sharp, corner = made.trajectory(), torch.tensor([1.0, 0, 0])
    assert_close(sharp.world_from_cam, keyframe_trajectory(made.cameras, 41).world_from_cam)
    away = [
        float(
            (Keyframes(**{**vars(made), "smoothing": s}).trajectory().world_from_cam[:, :3, 3] - corner)
            .norm(dim=1)
            .min()
        )
        for s in (0.0, 0.5, 5.0)
    ]
    assert away[0] < 0.02 < away[1] < away[2]


# ---- the plan


def test_the_plan_marks_where_a_path_hits() -> None:
    """A straight way through the wall of the box: its part beyond z = 2 is red, near it orange, the rest green."""
    path = keys(*[(0.0, 0.0, 0.1 * k) for k in range(31)])
    assert path_places(path).shape == (121, 3)
    figure = plan_view_figure(blobs(corners(), [RED] * 8), DISTANCE, path, keyframes=path[[0, 30]], margin_world=0.4)
    (axis,) = figure.axes
    drawn = [(line.get_ydata(), to_hex(line.get_color())) for line in axis.lines if line.get_linewidth() == 3]
    assert len(drawn) == 120
    wrong = 0
    for ends, colour in drawn:
        z = max(float(v) for v in ends)
        true = "#d7263d" if z >= 2.0 else "#f0a030" if z > 1.6 else "#1f9e6e"
        wrong += colour != true
    assert wrong <= 6  # those whose ends lie on either side of a change, and a pixel of the distance map
    assert [t.get_text() for t in axis.texts] == ["1", "2"]
    assert "least room" in axis.get_title()
    assert plan_view_figure(blobs(corners(), [RED] * 8), DISTANCE).axes  # a plan without a path


# ---- the editor, without a browser


def test_the_editor_begins_in_free_space(editor: TrajectoryEditor) -> None:
    assert len(editor.cameras) == 48 and editor.keyframes is None
    assert editor.clearance.state(0.0) == ["free"] * 48
    bundle, _ = editor._repr_mimebundle_()
    assert Image.open(io.BytesIO(base64.b64decode(bundle["image/jpeg"]))).width > 300
    assert editor.viewer.comm is None  # nothing that a notebook would store


def test_presets_keyframes_and_files(editor: TrajectoryEditor, tmp_path) -> None:
    editor.use_preset("orbit", frames=20, fov_deg=60, scale_world=0.3)
    true = make_trajectory("orbit", 20, hw=(288, 512), fov_deg=60, scale_world=0.3, convention="release")
    assert_close(editor.cameras.world_from_cam, true.world_from_cam)
    editor.export(tmp_path / "transforms.json")
    assert_close(load_cameras(tmp_path / "transforms.json").world_from_cam, true.world_from_cam, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="turn it into keyframes first"):
        editor.export_keyframes(tmp_path / "keyframes.json")
    made = editor.to_keyframes(5)
    assert len(made.cameras) == 5 and len(editor.cameras) == 20
    editor.change(frames=30, smoothing=0.2)
    assert len(editor.cameras) == 30 and editor.viewer.keyframes["keyframes"]["frames"] == 30
    editor.export_keyframes(tmp_path / "keyframes.json")
    kept = editor.cameras
    editor.load(tmp_path / "transforms.json")
    assert editor.keyframes is None and len(editor.cameras) == 20
    editor.load(tmp_path / "keyframes.json")
    assert_close(editor.cameras.world_from_cam, kept.world_from_cam, atol=1e-5, rtol=0)
    assert editor.viewer.path is editor.cameras
    for wrong in (lambda: editor.to_keyframes(1), lambda: editor.use_preset("nowhere")):
        with pytest.raises(ValueError, match=r"count must be >= 2|trajectory must be one of"):
            wrong()


def test_fit_draws_a_path_into_free_space(editor: TrajectoryEditor) -> None:
    editor.use_keyframes(Keyframes(cameras=keys((0, 0, 0), (0.4, 0, 2.6)), frames=12))
    assert "hit" in editor.clearance.state(0.0)
    editor.fit()
    assert editor.clearance.state(0.0) == ["free"] * 12
    assert float(editor.cameras.world_from_cam[-1, 2, 3]) == pytest.approx(0.6 * float(BOX[2]), rel=0.05)
    fitted = editor.cameras
    editor.fit()
    assert_close(editor.cameras.world_from_cam, fitted.world_from_cam, atol=1e-3, rtol=0)  # what fits stays


def test_an_editor_without_a_plan_shows_its_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESCENE_BATCH", "1")
    editor = TrajectoryEditor(blobs(corners(), [RED] * 8), DISTANCE)
    assert "image/jpeg" in editor._repr_mimebundle_()[0]
    with pytest.raises(ValueError, match="made without a plan"):
        editor.plan_figure()


# ---- its sliders and buttons


@pytest.fixture
def panel(monkeypatch: pytest.MonkeyPatch) -> TrajectoryPanel:
    monkeypatch.setenv("ONESCENE_BATCH", "0")
    plan = partial(plan_view_figure, reach_world=3.0)
    return TrajectoryPanel(TrajectoryEditor(blobs(corners(), [RED] * 8), DISTANCE, plan=plan))


def test_sliders_make_presets_and_change_keyframes(panel: TrajectoryPanel, tmp_path) -> None:
    editor, before = panel.editor, panel.picture.value
    panel.preset.value = "orbit"
    panel.scale.value = 0.5
    panel.frames.value = 24
    true = make_trajectory("orbit", 24, hw=(288, 512), fov_deg=75, scale_world=0.5, convention="release")
    assert_close(editor.cameras.world_from_cam, true.world_from_cam)
    assert panel.picture.value != before  # the plan follows
    assert panel.smoothing.disabled
    panel.buttons["To keyframes"].click()
    assert not panel.smoothing.disabled and len(editor.keyframes.cameras) == 6
    sharp = editor.cameras
    panel.smoothing.value = 2.0
    assert editor.keyframes.smoothing == 2.0
    assert (editor.cameras.world_from_cam - sharp.world_from_cam).abs().max() > 0.01
    editor.change(smoothing=0.07)
    panel.smoothing.value = 0.05  # as the browser's slider rounds it
    assert editor.keyframes.smoothing == 0.07
    editor.change(smoothing=2.0)
    panel.closed.value = True
    assert editor.keyframes.closed and editor.viewer.keyframes["keyframes"]["closed"]
    panel.file.value = str(tmp_path / "keys.json")
    panel.buttons["Save keyframes"].click()
    assert panel.note.value == "Save keyframes: done." and load_keyframes(tmp_path / "keys.json").smoothing == 2.0
    panel.file.value = str(tmp_path / "path.json")
    panel.buttons["Save path"].click()
    assert len(load_cameras(tmp_path / "path.json")) == 24
    panel.buttons["Load"].click()
    assert editor.keyframes is None and panel.smoothing.disabled
    panel.file.value = str(tmp_path / "absent.json")
    panel.buttons["Load"].click()
    assert "absent.json" in panel.note.value
    seen = panel.picture.value
    panel.margin.value = 0.9
    assert editor.margin_world == 0.9 and panel.picture.value != seen


def test_the_fit_button(panel: TrajectoryPanel, tmp_path) -> None:
    save_cameras(keys((0, 0, 0), (0, 0, 1.5), (0, 0, 3.0)), tmp_path / "far.json")
    panel.file.value = str(tmp_path / "far.json")
    panel.buttons["Load"].click()
    assert "hit" in panel.editor.clearance.state(0.0)
    panel.buttons["Fit into free space"].click()
    assert "hit" not in panel.editor.clearance.state(0.0)


# ---- from the browser


@needs_browser
def test_keys_pressed_in_the_viewer_become_the_path(panel: TrajectoryPanel, tmp_path, monkeypatch) -> None:
    editor = panel.editor
    with Browser(HW) as browser:
        bridge = Bridge(browser, editor.viewer, tmp_path, monkeypatch)
        for k, x in enumerate((-0.4, 0.0, 0.4), start=1):
            editor.viewer.camera = camera((x, 0, 0.5), hw=HW)
            browser.press("KeyK", "k")
            bridge.wait(lambda k=k: editor.keyframes is not None and len(editor.keyframes.cameras) == k)
        places = editor.cameras.world_from_cam[:, :3, 3]
        assert_close(places[[0, -1], 0], torch.tensor([-0.4, 0.4]), atol=1e-4, rtol=0)
        assert editor.cameras.hw == (288, 512) and len(editor.cameras) == 48
        assert (
            browser.evaluate("bridge.model.get('path').frames.length") == 48
        )  # Python's spline is what the viewer plays
        browser.evaluate("document.querySelector('.os-keys li .os-icon[title=Remove]').click()")
        bridge.wait(lambda: len(editor.keyframes.cameras) == 2)
        assert float(editor.cameras.world_from_cam[0, 0, 3]) == pytest.approx(0, abs=1e-4)
        editor.change(smoothing=1.0, frames=12)
        bridge.wait("document.querySelector('.os-keys input[type=number]').value === '12'")
        bridge.pump()
        assert editor.keyframes.smoothing == 1.0  # the viewer knows nothing of it and does not lose it
        assert browser.console == []
    assert np.array(Image.open(io.BytesIO(panel.picture.value))).std() > 10
    assert json.loads(json.dumps(editor.viewer.keyframes))["keyframes"]["frames"] == 12
