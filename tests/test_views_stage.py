"""The novel-view stage: holes are continued from the background, everything else is left as it was rendered."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from onescene.geometry.perspective import intrinsics_from_fov, unproject
from onescene.splatting import render
from onescene.stages import views
from onescene.stages.inpaint import inpaint
from onescene.stages.views import ViewsConfig
from onescene.types import SH_C0, Cameras, Gaussians

HW = (96, 96)
NEAR, FAR = 1.5, 4.0  # depths of the square and of the wall [world units]
FOREGROUND = torch.tensor([0.9, 0.2, 0.1])


def cameras_at(xs: list[float], hw: tuple[int, int] = HW) -> Cameras:
    """Cameras that look forward from points on the x axis."""
    world_from_cam = torch.eye(4).repeat(len(xs), 1, 1)
    world_from_cam[:, 0, 3] = torch.tensor(xs)
    return Cameras(world_from_cam=world_from_cam, K=intrinsics_from_fov(70.0, hw).repeat(len(xs), 1, 1), hw=hw)


def wall_colour(points: torch.Tensor) -> torch.Tensor:
    """Soft waves on the wall, [n, 3]."""
    x, y = points[:, 0], points[:, 1]
    waves = (torch.sin(1.3 * x + 0.5 * y), torch.cos(0.9 * y - x), torch.sin(x * 0.7) * torch.cos(y * 0.8))
    return 0.45 + 0.25 * torch.stack(waves, dim=-1)


def splats(points: torch.Tensor, colours: torch.Tensor, size: float) -> Gaussians:
    n = len(points)
    return Gaussians(
        means=points,
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        scales=torch.full((n, 3), size),
        opacities=torch.full((n,), 0.98),
        sh=((colours - 0.5) / SH_C0)[:, None],
    )


def two_planes(whole: bool) -> Gaussians:
    """A square before a wall; ``whole`` keeps the wall behind the square, which the centre does not see."""
    wide = Cameras(world_from_cam=torch.eye(4)[None], K=intrinsics_from_fov(110.0, (220, 220))[None], hw=(220, 220))
    wall = unproject(torch.full((1, 220, 220), FAR), wide)[0].reshape(-1, 3)
    hidden = (wall[:, :2] * NEAR / FAR).abs().amax(dim=1) < 0.4
    wall = wall if whole else wall[~hidden]
    line = torch.linspace(-0.4, 0.4, 60)
    x, y = torch.meshgrid(line, line, indexing="xy")
    square = torch.stack((x, y, torch.full_like(x, NEAR)), dim=-1).reshape(-1, 3)
    return Gaussians.cat(
        [splats(wall, wall_colour(wall), 0.035), splats(square, FOREGROUND.expand(len(square), 3), 0.01)]
    )


@pytest.fixture(scope="module")
def moved() -> dict:
    """The scaffold's view of two planes from beside, and the truth."""
    cameras = cameras_at([0.35, -0.5])
    out = views.run(two_planes(whole=False), cameras)
    truth = render(two_planes(whole=True), cameras)
    deep = torch.nn.functional.avg_pool2d(out.holes[:, None].float(), 3, 1, 1)[:, 0] == 1
    return {"cameras": cameras, "out": out, "truth": truth, "deep": deep}


def rmse(a: torch.Tensor, b: torch.Tensor, where: torch.Tensor) -> float:
    return float((a - b).square().mean(dim=1)[where].mean().sqrt())


def test_holes_show_the_wall(moved):
    """RMSE against the true wall, measured: 0.058; OpenCV's telea TELEA; black 0.51."""
    out, truth, deep = moved["out"], moved["truth"], moved["deep"]
    assert 0.02 < out.hole_share < 0.3 and deep.sum() > 100
    error = rmse(out.rgb, truth.rgb, deep)
    assert error < 0.07
    assert (out.depth_z[deep] - FAR).abs().max() < 0.1 * FAR
    telea = []
    for rgb, hole in zip(out.rgb, out.holes, strict=True):
        image = (rgb.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        telea.append(cv2.inpaint(image, hole.numpy().astype(np.uint8), 3, cv2.INPAINT_TELEA))
    plain = torch.from_numpy(np.stack(telea)).permute(0, 3, 1, 2) / 255
    assert error < 0.5 * rmse(plain, truth.rgb, deep)
    assert error < 0.2 * rmse(torch.zeros_like(out.rgb), truth.rgb, deep)


def test_what_was_rendered_stays(moved):
    out = moved["out"]
    seen = render(two_planes(whole=False), moved["cameras"])
    assert_close(out.rendered, seen.rgb)
    assert_close(out.alpha, seen.alpha)
    solid = (seen.alpha >= 0.5)[:, None].expand_as(seen.rgb)
    assert torch.equal(out.holes, seen.alpha < 0.5)
    assert_close(out.rgb[solid], (seen.rgb / seen.alpha[:, None]).clamp(0, 1)[solid])
    assert_close(out.depth_z[~out.holes], (seen.depth_z / seen.alpha)[~out.holes])


def test_one_at_a_time_is_all_at_once(moved):
    out, cameras = moved["out"], moved["cameras"]
    scene = two_planes(whole=False)
    frames = list(views.iterate(scene, cameras))
    assert [f.rgb.shape[0] for f in frames] == [1, 1]
    again = next(views.iterate(scene, cameras[1]))
    for name in ("rgb", "depth_z", "alpha", "holes"):
        whole = getattr(out, name)
        assert torch.equal(torch.cat([getattr(f, name) for f in frames]), whole)
        assert torch.equal(getattr(again, name), whole[1:])


def test_nearby_views_do_not_flicker():
    out = views.run(two_planes(whole=False), cameras_at([0.35, 0.355]))
    both = out.holes.all(dim=0)
    assert both.sum() > 100
    assert (out.rgb[0] - out.rgb[1]).abs().mean(dim=0)[both].mean() < 0.01


def test_a_camera_that_sees_nothing_gets_a_finite_picture():
    camera = cameras_at([0.0])
    camera.world_from_cam[0, :3, :3] = torch.diag(torch.tensor([-1.0, 1, -1]))  # looks back
    out = views.run(two_planes(whole=False), camera)
    assert out.holes.all() and not out.rgb.any()
    assert (out.depth_z > 0).all() and torch.isfinite(out.depth_z).all()


def test_progress_counts_the_views():
    shares = []
    views.run(two_planes(whole=False), cameras_at([0.0, 0.1], (16, 16)), progress=shares.append)
    assert shares == [0.5, 1.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "magic"}, "method must be one of baseline, anchors-only, concat, dual-lora, got 'magic'"),
        ({"backend": "slow"}, "backend must be one of .*, got 'slow'"),
        ({"alpha_threshold": 0.0}, r"alpha_threshold must be in \(0, 1\), got 0"),
        ({"alpha_threshold": math.nan}, "alpha_threshold"),
    ],
)
def test_bad_settings_are_named_before_anything_is_rendered(settings, message):
    with pytest.raises(ValueError, match=message):
        views.iterate(two_planes(whole=False), cameras_at([0.0]), ViewsConfig(**settings))


def test_nothing_to_see_and_no_one_to_look_are_named():
    scene = two_planes(whole=False)
    with pytest.raises(ValueError, match="gaussians must hold at least one"):
        views.run(scene.select(torch.arange(0)), cameras_at([0.0]))
    with pytest.raises(ValueError, match="cameras must hold at least one"):
        views.run(scene, cameras_at([0.0])[torch.arange(0)])


# --- the inpainter ---------------------------------------------------------------------------------------------------


def step_scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Red at depth 1 on the left, a hole, blue at depth 3 on the right."""
    rgb = np.zeros((40, 60, 3), dtype=np.float32)
    depth = np.full((40, 60), 3, dtype=np.float32)
    rgb[:, :20], depth[:, :20], rgb[:, 20:] = (1, 0, 0), 1, (0, 0, 1)
    known = np.ones((40, 60), dtype=bool)
    known[:, 20:35] = False
    return rgb, depth, known


def test_a_hole_takes_the_farther_side_by_hand():
    rgb, depth, known = step_scene()
    filled, filled_depth = inpaint(np.where(known[..., None], rgb, 7.0), np.where(known, depth, 0), known, 1.0)
    np.testing.assert_allclose(filled, rgb, atol=0.02)
    np.testing.assert_allclose(filled_depth[~known], 3.0, rtol=0.03)
    near, _ = inpaint(rgb, np.where(depth == 1, 9.0, depth), known, 1.0)  # the red side is the far one now
    np.testing.assert_allclose(near[~known], np.broadcast_to([1, 0, 0], near[~known].shape), atol=0.02)


def test_one_surface_is_interpolated():
    y, x = np.mgrid[0:50, 0:50].astype(np.float32) / 50
    rgb = np.stack((x, y, 0.5 * (x + y)), axis=-1)
    known = np.hypot(x - 0.5, y - 0.5) > 0.2
    filled, depth = inpaint(rgb, 2 + 0.1 * x, known, 1.0)
    assert np.abs(filled - rgb)[~known].mean() < 0.02
    np.testing.assert_allclose(depth, 2 + 0.1 * x, atol=0.03)
    np.testing.assert_array_equal(filled[known], rgb[known])


def test_a_mirrored_view_is_filled_mirrored():
    rng = np.random.default_rng(0)
    rgb = rng.random((32, 48, 3)).astype(np.float32)
    depth = (1 + rng.random((32, 48))).astype(np.float32)
    known = rng.random((32, 48)) > 0.4
    filled, filled_depth = inpaint(rgb, depth, known, 1.0)
    for axis in (0, 1):
        flip = [np.ascontiguousarray(np.flip(a, axis)) for a in (rgb, depth, known)]
        mirrored, mirrored_depth = inpaint(*flip, 1.0)
        np.testing.assert_allclose(np.flip(mirrored, axis), filled, atol=1e-4)
        np.testing.assert_allclose(np.flip(mirrored_depth, axis), filled_depth, rtol=1e-4)


def test_nothing_known_and_everything_known():
    rgb, depth, known = step_scene()
    same, same_depth = inpaint(rgb, depth, np.ones_like(known), 1.0)
    np.testing.assert_array_equal(same, rgb)
    np.testing.assert_array_equal(same_depth, depth)
    black, flat = inpaint(rgb, depth, np.zeros_like(known), 2.5)
    assert not black.any()
    np.testing.assert_allclose(flat, 2.5)
    one = np.zeros_like(known)
    one[3, 4] = True
    filled, filled_depth = inpaint(rgb, depth, one, 2.5)
    np.testing.assert_allclose(filled, np.broadcast_to(rgb[3, 4], rgb.shape), atol=1e-5)
    assert np.isfinite(filled_depth).all() and (filled_depth > 0).all()
