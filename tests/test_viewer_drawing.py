"""What the viewer draws and how its camera moves, in Chromium, against the renderer and cases done by hand."""

from __future__ import annotations

import json
import math

import pytest
import torch
from browser import Browser
from viewer_scenes import (
    BLUE,
    GREEN,
    HW,
    RED,
    ROOMY_HW,
    YELLOW,
    blobs,
    camera,
    decoded,
    hold,
    needs_browser,
    picture,
    png,
    position,
    random_gaussians,
    scene_opener,
)

from onescene.io import load_cameras
from onescene.splatting import render
from onescene.types import Cameras, Gaussians
from onescene.viewer import Besides, packing, panorama_html, scene_html
from onescene.viewer.cameras_json import cameras_from_json, json_from_cameras

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser():
    with Browser(HW) as page:
        yield page


@pytest.fixture
def open_scene(browser: Browser, tmp_path):
    yield from scene_opener(browser, tmp_path, HW)


def test_right_is_right_and_up_is_up(open_scene) -> None:
    gaussians = blobs([(1.0, 0, 3), (-1.0, 0, 3), (0, -1.0, 3), (0, 1.0, 3)], [RED, GREEN, BLUE, YELLOW])
    drawn = picture(open_scene(gaussians), camera())
    height, width = HW
    f = 0.5 * height / math.tan(math.radians(30))
    step = round(f / 3)
    for dx, dy, colour in ((1, 0, RED), (-1, 0, GREEN), (0, -1, BLUE), (0, 1, YELLOW)):
        found = drawn[:, height // 2 + dy * step, width // 2 + dx * step]
        torch.testing.assert_close(found, 0.95 * torch.tensor(colour), atol=0.03, rtol=0)
    torch.testing.assert_close(drawn[:, 4, 4], torch.zeros(3))


def test_chromium_draws_what_the_renderer_draws(open_scene) -> None:
    gaussians = random_gaussians(packing.CHUNK + 3000)  # two chunks, the second with a part of a row
    gaussians = Gaussians(**{**vars(gaussians), "scales": 0.25 * gaussians.scales})
    page = open_scene(gaussians)
    seen_by_page = packing.unpack(packing.pack(gaussians))
    assert page.evaluate("onescene.count") == len(gaussians)
    # The viewer fades out what is closer than 0.075 radii; the renderer draws it: cameras stand outside of the cloud.
    views = [
        camera((0, 0, -6.0)),
        camera((5.0, 1.0, 0), yaw=-1.6, pitch=0.15, fov_deg=45),
        camera((0, 5, 0.5), pitch=1.3, roll=0.6),
    ]
    for view in views:
        drawn = picture(page, view)
        with torch.no_grad():
            true = render(seen_by_page, view).rgb[0].clamp(0, 1)
        assert true.mean() > 0.05
        # 8-bit blending rounds each of many layers: measured 54 dB on rooms, less on deep clouds.
        assert -10 * (drawn - true).square().mean().log10() > 40
        assert (drawn - true).abs().mean() < 1.5 / 255


def test_the_nearer_one_hides_the_farther_from_both_sides(open_scene) -> None:
    page = open_scene(blobs([(0, 0, 2.0), (0, 0, 4.0)], [RED, GREEN], scale=0.4, opacity=1.0))
    centre = HW[0] // 2, HW[1] // 2
    front = picture(page, camera())[:, *centre]
    behind = picture(page, camera((0, 0, 6.0), yaw=math.pi))[:, *centre]
    assert front[0] > 0.95 and front[1] < 0.05
    assert behind[1] > 0.95 and behind[0] < 0.05


def test_the_camera_goes_in_and_comes_out_unchanged(open_scene, tmp_path) -> None:
    page = open_scene(random_gaussians(100), start_camera=camera((0.1, 0.2, -1.0), yaw=0.3, fov_deg=50))
    start = cameras_from_json(page.evaluate("onescene.camera"))
    torch.testing.assert_close(
        start.world_from_cam, camera((0.1, 0.2, -1.0), yaw=0.3).world_from_cam, atol=1e-5, rtol=0
    )
    given = camera((0.3, -0.2, 0.1), yaw=2.5, pitch=-0.7, roll=0.4, fov_deg=43)
    page.evaluate(f"onescene.setCamera({json.dumps(json_from_cameras(given))})")
    copied = page.evaluate("onescene.camera")
    back = cameras_from_json(copied)
    (tmp_path / "transforms.json").write_text(json.dumps(copied), encoding="utf-8")
    torch.testing.assert_close(load_cameras(tmp_path / "transforms.json").world_from_cam, back.world_from_cam)
    torch.testing.assert_close(back.world_from_cam, given.world_from_cam, atol=2e-6, rtol=0)
    torch.testing.assert_close(back.K, given.K, atol=1e-3, rtol=0)
    assert back.hw == HW


def test_keys_and_mouse_move_the_camera(open_scene) -> None:
    page = open_scene(blobs([(0, 0, 3.0), (2, 0, 3), (-2, 0, 3), (0, 0, -3)], [RED] * 4), ROOMY_HW)
    hold(page, "KeyW", "w", "onescene.viewer.camera.position[2] > 0.1")
    assert position(page)[:2] == pytest.approx([0, 0], abs=1e-6)
    hold(page, "KeyE", "e", "onescene.viewer.camera.position[1] < -0.1")  # up is -y
    hold(page, "ArrowRight", "ArrowRight", "onescene.viewer.camera.position[0] > 0.1")
    page.drag((300, 150), (320, 160))
    f = 0.5 * ROOMY_HW[0] / math.tan(math.radians(30))
    assert page.evaluate("onescene.viewer.camera.yaw") == pytest.approx(-20 / f, rel=0.02)  # the picture follows
    assert page.evaluate("onescene.viewer.camera.pitch") == pytest.approx(10 / f, rel=0.02)
    before = position(page)
    page.mouse("mouseWheel", (320, 160), deltaX=0, deltaY=-100)
    page.wait_for(f"Math.hypot(...onescene.viewer.camera.position.map((v, k) => v - {before}[k])) > 0.1", 20)
    hold(page, "KeyR", "r", "Math.hypot(...onescene.viewer.camera.position, onescene.viewer.camera.yaw) < 1e-6")


def test_slow_machines_draw_less_while_moving_and_all_at_rest(open_scene) -> None:
    grid = torch.cartesian_prod(torch.linspace(-2, 2, 80), torch.linspace(-2, 2, 80), torch.tensor([3.0]))
    colours = torch.stack((grid[:, 0] / 4 + 0.5, grid[:, 1] / 4 + 0.5, 0.3 * torch.ones(len(grid))), dim=1)
    page = open_scene(blobs(grid.tolist(), colours.tolist(), scale=0.04))
    full = picture(page, camera())
    seen = page.evaluate("onescene.viewer.layers.active.renderer.visible")
    coarse = """(async () => {
      const { drawing, layers } = onescene.viewer;
      drawing.stride = 4;
      await layers.active.sort();
      drawing.draw();
      return drawing.canvas.toDataURL();
    })()"""
    drawn = decoded(page.evaluate(coarse))
    assert page.evaluate("onescene.viewer.layers.active.renderer.visible") == pytest.approx(seen / 4, rel=0.02)
    middle = (slice(None), slice(16, -16), slice(16, -16))
    assert (drawn - full)[middle].abs().mean() < 0.05  # no gaps: wider Gaussians cover for the missing ones
    pace = "new (onescene.viewer.drawing.pace.constructor)()"
    slow = f"(() => {{ const p = {pace}; for (let k = 0; k < 4; k++) {{ p.measure(2); p.next(true); }} return p; }})()"
    assert page.evaluate(f"{slow}.next(true)") == {"quality": 0.5, "stride": 8}
    assert page.evaluate(f"{slow}.next(false)") == {"quality": 1, "stride": 1}
    sizes = "new Set(Array.from({ length: 200 }, () => { p.measure(0.016); return p.next(true).quality; })).size"
    assert page.evaluate(f"(() => {{ const p = {slow}; return {sizes}; }})()") <= 5  # a new size costs a pause
    quick = f"(() => {{ const p = {slow}; for (let k = 0; k < 200; k++) {{ p.measure(0.016); p.next(true); }}"
    assert page.evaluate(f"{quick} return p.next(true); }})()") == {"quality": 1, "stride": 1}


def test_orbit_keeps_the_distance(open_scene) -> None:
    page = open_scene(blobs([(0, 0, 3.0)] * 20, [RED] * 20), ROOMY_HW)
    hold(page, "KeyF", "f", "onescene.viewer.controls.mode === 'orbit'")
    assert page.evaluate("onescene.viewer.controls.target.distance") == pytest.approx(3.0, rel=0.01)
    page.drag((300, 150), (350, 150))
    assert math.dist(position(page), (0, 0, 3.0)) == pytest.approx(3.0, rel=0.01)
    assert abs(position(page)[0]) > 0.5


def test_two_fingers_apart_move_forward(open_scene) -> None:
    page = open_scene(blobs([(0, 0, 3.0)] * 4, [RED] * 4), ROOMY_HW)
    page.touch("touchStart", (300, 150), (340, 150))
    page.touch("touchMove", (280, 150), (360, 150))
    page.touch("touchEnd")
    assert position(page)[2] > 0.3


def test_the_trajectory_plays(open_scene) -> None:
    path = Cameras.cat([camera((0.1 * k, 0, 0), fov_deg=50) for k in range(12)])
    page = open_scene(random_gaussians(200), cameras=path)
    hold(page, "Space", " ", "onescene.viewer.travel.playing && onescene.viewer.camera.position[0] > 0.15")
    assert page.evaluate("onescene.viewer.camera.fov") == pytest.approx(math.radians(50), abs=1e-3)
    seconds = page.evaluate("onescene.viewer.travel.path.seconds")
    ends = [
        page.evaluate(f"onescene.viewer.travel.path.at({t}).position[0]") for t in (0, seconds - 1e-6, seconds + 1e-6)
    ]
    assert ends == pytest.approx([0, 1.1, 1.1], abs=1e-3)  # an open path goes there and back
    page.press("Space", " ")
    page.wait_for("!onescene.viewer.travel.playing", 10)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("HTMLCanvasElement.prototype.getContext = () => null;", "WebGL2"),
        ("delete window.DecompressionStream;", "too old"),
    ],
)
def test_missing_abilities_are_told(browser: Browser, tmp_path, broken: str, message: str) -> None:
    (tmp_path / "scene.html").write_text(scene_html(random_gaussians(5)), encoding="utf-8")
    with browser.prepared(broken):
        browser.open(tmp_path / "scene.html")
        browser.wait_for("document.querySelector('[role=alert]') !== null", 20)
    assert message in browser.evaluate("document.querySelector('[role=alert]').textContent")


def test_it_works_without_workers(browser: Browser, open_scene) -> None:
    with browser.prepared("window.Worker = class { constructor() { throw new Error('none here'); } };"):
        page = open_scene(blobs([(0, 0, 3.0)], [RED]))
    assert picture(page, camera())[0, HW[0] // 2, HW[1] // 2] > 0.9


def test_the_panorama_can_be_shown_instead(open_scene) -> None:
    panorama = torch.zeros(3, 32, 64)
    panorama[2, :, 24:40] = 1  # forward, 90 degrees wide
    page = open_scene(blobs([(0, 0, 3.0)], [RED], scale=1.0), besides=Besides(panorama_png=png(panorama)))
    hold(page, "KeyP", "p", "onescene.viewer.layers.mix === 1")
    centre = picture(page)[:, HW[0] // 2, HW[1] // 2]
    torch.testing.assert_close(centre, torch.tensor([0.0, 0, 1]), atol=0.02, rtol=0)


def test_the_panorama_page_looks_where_it_should(browser: Browser, tmp_path) -> None:
    panorama = torch.zeros(3, 64, 128)
    panorama[2] = 0.5
    panorama[0, :, 64:] = 0.8  # the right half is red
    panorama[1, :32] = 0.8  # the upper half is green
    (tmp_path / "panorama.html").write_text(panorama_html(panorama), encoding="utf-8")
    browser.open(tmp_path / "panorama.html")
    browser.wait_for("window.onescene?.view")
    image = picture(browser)
    height, width = image.shape[1:]
    quarter = {"upper left": (0, 1), "upper right": (1, 1), "lower left": (0, 0), "lower right": (1, 0)}
    for name, (right, up) in quarter.items():
        y, x = height // 4 if up else 3 * height // 4, 3 * width // 4 if right else width // 4
        assert image[:, y, x].tolist() == pytest.approx((0.8 * right, 0.8 * up, 0.5), abs=0.06), name
