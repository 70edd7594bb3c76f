"""Splatting: cases by hand, a per-pixel loop, gsplat's own torch pieces, and the two backends against each other."""

from __future__ import annotations

import logging
import math
import multiprocessing
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch.testing import assert_close

from onescene.geometry.rotations import matrix_from_quaternion
from onescene.splatting import gsplat_backend, numba_cache, render, render_panorama
from onescene.splatting.projection import project_gaussians
from onescene.splatting.render import _log_choice, choose_backend
from onescene.splatting.sh import sh_basis, sh_colours
from onescene.types import SH_C0, Cameras, Gaussians

CPU_BACKENDS = ("torch", "numba")
NAMES = tuple(f.name for f in fields(Gaussians))


def camera(hw=(48, 64), f_px=60.0, count=1, dtype=torch.float32) -> Cameras:
    """Cameras near the origin looking along +z, each turned and moved a little more."""
    world_from_cam = torch.eye(4, dtype=dtype).repeat(count, 1, 1)
    for i in range(count):
        a = 0.15 * i
        turn = [[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]]
        world_from_cam[i, :3, :3] = torch.tensor(turn, dtype=dtype)
        world_from_cam[i, :3, 3] = torch.tensor([0.1 * i, -0.05 * i, 0.02 * i], dtype=dtype)
    K = torch.tensor([[f_px, 0, hw[1] / 2 - 0.3], [0, f_px * 1.1, hw[0] / 2 + 0.2], [0, 0, 1]], dtype=dtype)
    return Cameras(world_from_cam=world_from_cam, K=K.repeat(count, 1, 1), hw=hw)


def one(mean=(0.0, 0.0, 2.0), scale=0.1, opacity=0.8, rgb=(0.9, 0.5, 0.2), dtype=torch.float32) -> Gaussians:
    scales = torch.tensor(scale, dtype=dtype).expand(3)
    return Gaussians(
        means=torch.tensor([mean], dtype=dtype),
        quats=torch.tensor([[1.0, 0, 0, 0]], dtype=dtype),
        scales=scales[None].clone(),
        opacities=torch.tensor([opacity], dtype=dtype),
        sh=((torch.tensor(rgb, dtype=dtype) - 0.5) / SH_C0)[None, None],
    )


def cloud(n: int, degree: int = 0, seed: int = 0, size: float = 0.03, dtype=torch.float32) -> Gaussians:
    """Gaussians in front of, beside and behind the cameras; thin, un-normalised, of every opacity."""
    g = torch.Generator().manual_seed(seed)
    sh = 0.15 * torch.randn(n, (degree + 1) ** 2, 3, generator=g)
    sh[:, 0] = (torch.rand(n, 3, generator=g) - 0.5) / SH_C0
    gaussians = Gaussians(
        means=torch.randn(n, 3, generator=g) * torch.tensor([1.5, 1.2, 1.0]) + torch.tensor([0, 0, 2.5]),
        quats=torch.randn(n, 4, generator=g),
        scales=size * torch.exp(0.5 * torch.randn(n, 3, generator=g)),
        opacities=torch.sigmoid(1.5 * torch.randn(n, generator=g)),
        sh=sh,
    )
    return gaussians.to(dtype)


def leaves(gaussians: Gaussians, dtype=None) -> Gaussians:
    copy = {n: getattr(gaussians, n).detach().clone().to(dtype).requires_grad_() for n in NAMES}
    return Gaussians(**copy)


def gradients(gaussians: Gaussians, cameras: Cameras, backend: str, dtype=torch.float32) -> dict[str, torch.Tensor]:
    """Gradients of a fixed random weighting of everything that is rendered."""
    free = leaves(gaussians, dtype)
    out = render(free, cameras.to(dtype), backend)
    g = torch.Generator().manual_seed(7)
    parts = (out.rgb, out.depth_z, out.alpha)
    sum((torch.randn(p.shape, generator=g).to(dtype) * p).sum() for p in parts).backward()
    return {n: getattr(free, n).grad for n in NAMES}


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm().clamp_min(1e-30))


def per_pixel_loop(gaussians: Gaussians, cameras: Cameras) -> np.ndarray:
    """Blending as gsplat's CUDA kernel words it: a loop over pixels and Gaussians, [5, H, W]."""
    e = project_gaussians(gaussians, cameras, 0.01, math.inf)
    height, width = cameras.hw
    out = np.zeros((5, height, width))
    for row, column in np.ndindex(height, width):
        light = 1.0
        for k in range(len(e.index)):
            dx, dy = column + 0.5 - float(e.xy_px[k, 0]), row + 0.5 - float(e.xy_px[k, 1])
            xx, xy, yy = e.conics[k].tolist()
            alpha = min(0.999, float(e.opacities[k]) * math.exp(-0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy))
            if alpha < 1 / 255:
                continue
            if light * (1 - alpha) <= 1e-4:
                break
            feature = np.array([*e.colours[k].tolist(), float(e.depth_z[k]), 1.0])
            out[:, row, column] += alpha * light * feature
            light *= 1 - alpha
    return out


# --- by hand ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_one_round_gaussian(backend):
    """Peak alpha = opacity, variance = (f s / z)^2 + 0.3, depth = alpha z, colour over black."""
    f_px, scale, z = 40.0, 0.2, 4.0
    K = torch.tensor([[[f_px, 0, 16.5], [0, f_px, 10.5], [0, 0, 1]]])  # a pixel's centre
    cameras = Cameras(world_from_cam=torch.eye(4)[None], K=K, hw=(21, 33))
    out = render(one((0.0, 0.0, z), scale, 0.8), cameras, backend)
    variance = (f_px * scale / z) ** 2 + 0.3
    y, x = torch.meshgrid(torch.arange(21.0) - 10, torch.arange(33.0) - 16, indexing="ij")
    expected = 0.8 * torch.exp(-(x * x + y * y) / (2 * variance))
    expected = expected * (expected >= 1 / 255)
    assert_close(out.alpha[0], expected, atol=2e-6, rtol=0)
    assert_close(out.depth_z[0], expected * z, atol=1e-5, rtol=0)
    assert_close(out.rgb[0], expected * torch.tensor([0.9, 0.5, 0.2])[:, None, None], atol=2e-6, rtol=0)
    assert (expected == 0).any() and (expected > 0).any()


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_the_nearer_gaussian_covers_the_farther(backend):
    near, far = one((0, 0, 2.0), 5.0, 0.6, (1, 0, 0)), one((0, 0, 3.0), 5.0, 0.5, (0, 1, 0))
    for parts in ([near, far], [far, near]):
        out = render(Gaussians.cat(parts), camera((5, 5)), backend)
        assert_close(out.rgb[0, :, 2, 2], torch.tensor([0.6, 0.4 * 0.5, 0.0]), atol=2e-3, rtol=0)
        assert_close(out.alpha[0, 2, 2], torch.tensor(0.8), atol=2e-3, rtol=0)
        assert_close(out.depth_z[0, 2, 2], torch.tensor(0.6 * 2 + 0.2 * 3), atol=1e-2, rtol=0)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_thresholds(backend):
    big = camera((4, 4))
    assert render(one(scale=9.0, opacity=0.0039), big, backend).alpha.max() == 0  # below 1/255
    assert_close(render(one(scale=9.0, opacity=1.0), big, backend).alpha.max(), torch.tensor(0.999))
    stack = Gaussians.cat([one((0, 0, 2.0 + 0.1 * i), 9.0, 0.95) for i in range(6)])
    # 0.05^3 = 1.25e-4 is let through, a fourth would leave 6e-6 and is not drawn
    assert_close(render(stack, big, backend).alpha.amax(), torch.tensor(1 - 0.05**3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_near_and_far(backend):
    cameras = camera((8, 8))
    assert render(one((0, 0, 2.0)), cameras, backend, near=1.99, far=2.01).alpha.max() > 0
    assert render(one((0, 0, 2.0)), cameras, backend, near=2.01).alpha.max() == 0
    assert render(one((0, 0, 2.0)), cameras, backend, far=1.99).alpha.max() == 0
    assert render(one((0, 0, -2.0)), cameras, backend).alpha.max() == 0


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_turning_a_gaussian_turns_its_ellipse(backend):
    cameras = replace(camera((33, 33), 60.0), K=torch.tensor([[[60.0, 0, 16.5], [0, 60, 16.5], [0, 0, 1]]]))
    flat = replace(one(), scales=torch.tensor([[0.2, 0.02, 0.02]]))
    quarter = replace(flat, quats=3.0 * torch.tensor([[math.cos(math.pi / 4), 0, 0, math.sin(math.pi / 4)]]))
    lying, standing = (render(g, cameras, backend).alpha[0] for g in (flat, quarter))
    assert_close(lying, standing.T, atol=1e-5, rtol=0)
    assert lying[16].sum() > 4 * lying[:, 16].sum()


def test_a_quaternion_turns_as_expected():
    quarter_about_z = torch.tensor([1.0, 0, 0, 1.0])
    assert_close(matrix_from_quaternion(quarter_about_z) @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]))
    assert_close(matrix_from_quaternion(torch.zeros(4)), torch.eye(3))


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_degree_one_colour_depends_on_the_side(backend):
    """sh[3] = -c multiplies x: red from the right of the camera, clamped to 0 from the left."""
    sh = torch.zeros(2, 4, 3)
    sh[:, 0, 0], sh[:, 3, 0] = -0.5 / SH_C0, -1.0
    pair = Gaussians.cat([one((0.5, 0, 1.0), 0.05, 0.9), one((-0.5, 0, 1.0), 0.05, 0.9)])
    rgb = render(replace(pair, sh=sh), camera((64, 96)), backend).rgb[0, 0]
    expected = 0.9 * 0.4886025 * 0.5 / math.hypot(0.5, 1.0)
    assert rgb[:, 48:].max() == pytest.approx(expected, rel=0.02) and rgb[:, :48].max() == 0


def test_harmonics_are_orthonormal():
    """The mean over the sphere of Y_i Y_j is 1 / (4 pi) if i = j, else 0."""
    n = 200
    latitude, weight = np.polynomial.legendre.leggauss(n)
    angle = torch.arange(2 * n, dtype=torch.float64) * math.pi / n
    z = torch.tensor(latitude)[:, None].expand(n, 2 * n)
    directions = torch.stack(((1 - z * z).sqrt() * angle.cos(), (1 - z * z).sqrt() * angle.sin(), z), dim=-1)
    basis = sh_basis(directions, 3)
    gram = torch.einsum("abi,abj,a->ij", basis, basis, torch.tensor(weight)) * math.pi / n
    assert_close(gram, torch.eye(16, dtype=torch.float64), atol=1e-9, rtol=0)


# --- slow twin, gsplat ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("degree", [0, 2])
def test_agrees_with_a_loop_over_pixels(backend, degree):
    gaussians = cloud(150, degree, size=0.2)
    gaussians = replace(gaussians, opacities=gaussians.opacities.clamp_min(0.8))
    cameras = camera((19, 23), 20.0)
    out = render(gaussians, cameras, backend)
    expected = torch.tensor(per_pixel_loop(gaussians.to(torch.float64), cameras.to(torch.float64)))
    got = torch.cat((out.rgb[0], out.depth_z, out.alpha)).double()
    assert expected[4].max() > 0.9998 and expected[4].min() < 0.9  # finished and open pixels
    assert_close(got, expected, atol=2e-5, rtol=0)


def test_projection_agrees_with_gsplat():
    theirs = pytest.importorskip("gsplat.cuda._torch_impl")
    cameras = camera((48, 64), count=2, dtype=torch.float64)
    gaussians = leaves(cloud(300, 3, size=0.1), torch.float64)
    covariance, _ = theirs._quat_scale_to_covar_preci(gaussians.quats, gaussians.scales, True, False)
    rotation = matrix_from_quaternion(gaussians.quats)
    ours = (rotation * gaussians.scales[:, None] ** 2) @ rotation.transpose(1, 2)
    assert_close(ours, covariance)
    radii, means2d, depths, conics, _ = theirs._fully_fused_projection(
        gaussians.means, covariance, cameras.cam_from_world, cameras.K, 64, 48, eps2d=0.3, near_plane=0.01
    )
    for i in range(2):
        e = project_gaussians(gaussians, cameras[i], 0.01, math.inf)
        assert (radii[i, e.index] > 0).all() and len(e.index) > 50
        # what we drop and gsplat keeps is too faint or does not reach the image within its own extent
        assert (e.half_px <= radii[i, e.index]).all()
        pairs = ((e.xy_px, means2d), (e.depth_z, depths), (e.conics, conics))
        for got, expected in pairs:
            assert_close(got, expected[i, e.index])
        weights = [torch.randn_like(got) for got, _ in pairs]
        for name in ("means", "quats", "scales"):
            free = getattr(gaussians, name)
            mine = torch.autograd.grad(
                [(w * p[0]).sum() for w, p in zip(weights, pairs, strict=True)], free, [None] * 3, retain_graph=True
            )
            other = torch.autograd.grad(
                [(w * p[1][i, e.index]).sum() for w, p in zip(weights, pairs, strict=True)],
                *(free, [None] * 3),
                retain_graph=True,
                allow_unused=True,
            )
            assert_close(mine[0], other[0], atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_harmonics_agree_with_gsplat(degree):
    theirs = pytest.importorskip("gsplat.cuda._torch_impl")
    g = torch.Generator().manual_seed(degree)
    directions = torch.randn(50, 3, generator=g, dtype=torch.float64)
    sh = torch.randn(50, (degree + 1) ** 2, 3, generator=g, dtype=torch.float64)
    expected = (theirs._spherical_harmonics(degree, directions, sh) + 0.5).clamp_min(0)
    assert_close(sh_colours(sh, directions), expected, atol=1e-6, rtol=0)  # their constants are single precision
    with pytest.raises(ValueError, match="degree must be"):
        sh_basis(directions, 4)


# --- the two backends -------------------------------------------------------------------------------------------------


def hard_scene() -> Gaussians:
    """Realistic Gaussians plus huge, tiny, needle-like and camera-filling ones."""
    many = cloud(20_000, 1, seed=3, size=0.012)
    odd = cloud(200, 1, seed=4)
    g = torch.Generator().manual_seed(5)
    odd = replace(odd, scales=10 ** (torch.rand(200, 3, generator=g) * 5 - 4), opacities=odd.opacities * 0.3)
    close = replace(cloud(50, 1, seed=6), opacities=torch.full((50,), 0.05))
    close = replace(close, means=close.means * torch.tensor([1, 1, 0.01]) + torch.tensor([0, 0, 0.01]))
    return Gaussians.cat([many, odd, close])


def test_numba_agrees_with_the_twin_everywhere():
    gaussians = cloud(400, 3, seed=1, size=0.05)
    cameras = camera((50, 75), count=3)
    ours, twin = (render(gaussians, cameras, b) for b in ("numba", "torch"))
    for name in ("rgb", "depth_z", "alpha"):
        assert_close(getattr(ours, name), getattr(twin, name), atol=1e-4, rtol=0)


def test_numba_agrees_with_the_twin_on_a_hard_scene():
    gaussians, cameras = hard_scene(), camera((100, 140), 90.0, 2)
    ours = render(gaussians, cameras, "numba")
    twin = render(gaussians.to(torch.float64), cameras.to(torch.float64), "torch")
    assert twin.alpha.mean() > 0.5
    for name in ("rgb", "depth_z", "alpha"):
        difference = (getattr(ours, name).double() - getattr(twin, name)).abs()
        # a pixel on a threshold (alpha 1/255, transmittance 1e-4) may fall on either side of it
        assert (difference > 1e-4).double().mean() < 1e-3
        assert difference.max() < 0.05


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_numba_gradients_agree_with_the_twin(degree):
    gaussians, cameras = cloud(500, degree, seed=degree, size=0.06), camera((45, 70), count=2)
    ours = gradients(gaussians, cameras, "numba")
    twin = gradients(gaussians, cameras, "torch", torch.float64)
    assert {n: relative(ours[n], twin[n]) for n in NAMES} == pytest.approx(dict.fromkeys(NAMES, 0), abs=1e-3)
    assert all(twin[n].abs().max() > 0 for n in NAMES)


def test_numba_gradients_agree_on_a_hard_scene():
    gaussians, cameras = hard_scene().select(torch.arange(15_000, 20_250)), camera((60, 80), 45.0)
    ours = gradients(gaussians, cameras, "numba")
    twin = gradients(gaussians, cameras, "torch", torch.float64)
    assert {n: relative(ours[n], twin[n]) for n in NAMES} == pytest.approx(dict.fromkeys(NAMES, 0), abs=2e-3)


def test_the_twin_passes_gradcheck():
    base = leaves(cloud(8, 1, seed=2, size=0.3), torch.float64)
    cameras = camera((9, 11), 9.0, dtype=torch.float64)

    def image(*tensors):
        out = render(Gaussians(**dict(zip(NAMES, tensors, strict=True))), cameras, "torch")
        return out.rgb, out.depth_z, out.alpha

    free = tuple(getattr(base, n) for n in NAMES)
    assert torch.autograd.gradcheck(image, free, eps=1e-7, atol=1e-5, rtol=1e-4, fast_mode=True)


def test_the_twin_has_gradients_to_cameras():
    cameras = camera((16, 16), dtype=torch.float64)
    cameras = replace(cameras, world_from_cam=cameras.world_from_cam.requires_grad_())
    render(cloud(50, size=0.1, dtype=torch.float64), cameras).rgb.sum().backward()
    assert cameras.world_from_cam.grad.abs().max() > 0
    with pytest.raises(ValueError, match="no gradients to cameras"):
        single = cameras.world_from_cam.detach().float().requires_grad_()
        render(cloud(5), replace(camera((16, 16)), world_from_cam=single), "numba")


def test_the_same_bits_for_any_number_of_threads():
    gaussians, cameras = cloud(30_000, 1, size=0.02), camera((70, 90), 70.0, 2)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            out = render(gaussians, cameras, "numba")
            results.append([out.rgb, out.depth_z, out.alpha, *gradients(gaussians, cameras, "numba").values()])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def _child(queue, gaussians, cameras):
    torch.set_num_threads(2)
    queue.put(render(gaussians, cameras, "numba").rgb.double().sum().item())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_two_python_threads_and_a_forked_process():
    gaussians, cameras = cloud(2000), camera()
    expected = render(gaussians, cameras, "numba").rgb
    with ThreadPoolExecutor(2) as pool:
        images = list(pool.map(lambda _: render(gaussians, cameras, "numba").rgb, range(8)))
    assert all(torch.equal(image, expected) for image in images)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue, gaussians, cameras), daemon=True)
    child.start()
    assert queue.get(timeout=60) == expected.double().sum().item()
    child.join(60)


# --- edges ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_many_cameras_are_many_single_cameras(backend):
    gaussians, cameras = cloud(300, 1), camera((33, 47), count=3)
    together = render(gaussians, cameras, backend)
    for i in range(3):
        alone = render(gaussians, cameras[i], backend)
        assert torch.equal(together.rgb[i : i + 1], alone.rgb) and torch.equal(together.alpha[i : i + 1], alone.alpha)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize(("n", "views"), [(0, 2), (3, 0)])
def test_nothing_gives_black(backend, n, views):
    gaussians = leaves(cloud(8).select(torch.arange(n)))
    out = render(gaussians, camera((20, 30), count=2)[torch.arange(views)], backend)
    assert out.rgb.shape == (views, 3, 20, 30) and out.depth_z.shape == out.alpha.shape == (views, 20, 30)
    assert out.rgb.abs().sum() == 0 and out.alpha.abs().sum() == 0
    if out.rgb.requires_grad:
        out.rgb.sum().backward()
        assert gaussians.means.grad is None or gaussians.means.grad.abs().sum() == 0


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_degenerate_gaussians_have_finite_gradients(backend):
    gaussians = cloud(9, 3)
    gaussians.quats[0] = 0
    gaussians.scales[1] = 0
    gaussians.scales[2] = torch.tensor([1e3, 1e-6, 1e3])
    gaussians.opacities[3], gaussians.opacities[4] = 0, 1
    gaussians.means[5] = 0  # in the camera's centre
    gaussians.means[6] = torch.tensor([0, 0, 0.0101])  # on the near plane
    gaussians.means[7] = torch.tensor([1e6, 0, 1.0])
    gaussians.scales[8] = 1e8
    found = gradients(gaussians, camera(count=2), backend)
    assert all(torch.isfinite(g).all() for g in found.values())


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_a_background_shows_where_light_is_left(backend):
    gaussians, cameras = cloud(200, size=0.1), camera((20, 30), count=2)
    black = render(gaussians, cameras, backend)
    colours = torch.tensor([[0.2, 0.9, 0.4], [0.8, 0.1, 0.6]])
    for background in (colours, colours[0]):
        over = render(gaussians, cameras, backend, background=background)
        for i in range(2):
            behind = background.expand(2, 3)[i][:, None, None] * (1 - black.alpha[i])
            assert_close(over.rgb[i], black.rgb[i] + behind)
        assert torch.equal(over.depth_z, black.depth_z) and torch.equal(over.alpha, black.alpha)
    free = colours[0].clone().requires_grad_()
    render(gaussians, cameras, backend, background=free).rgb.sum().backward()
    assert_close(free.grad, (1 - black.alpha).sum().expand(3))


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_equal_depths_keep_their_order(backend):
    """A stable sort: of two Gaussians at one depth, the first is in front."""
    a, b = one(scale=9.0, opacity=0.9, rgb=(1, 0, 0)), one(scale=9.0, opacity=0.9, rgb=(0, 1, 0))
    rgb = render(Gaussians.cat([a, b]), camera(), backend).rgb[0, :, 24, 32]
    assert_close(rgb, torch.tensor([0.9, 0.09, 0.0]), atol=1e-3, rtol=0)


def test_changing_the_image_in_place_is_noticed():
    free = leaves(cloud(20))
    out = render(free, camera(), "numba")
    kept = out.rgb.sum()
    with torch.no_grad():
        out.rgb.mul_(0.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.backward()


def test_bad_input_is_refused():
    gaussians, cameras = cloud(5), camera()
    with pytest.raises(ValueError, match=r"backend must be one of auto, torch, numba, gsplat, got 'cuda'"):
        choose_backend(gaussians, cameras, "cuda")
    for near, far in ((0.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (2.0, 1.0), (0.1, math.nan)):
        with pytest.raises(ValueError, match=r"near must be|far must be"):
            render(gaussians, cameras, near=near, far=far)
    for name in NAMES:
        for bad in (math.nan, math.inf):
            broken = getattr(gaussians, name).clone()
            broken.view(-1)[2] = bad
            with pytest.raises(ValueError, match=f"{name} must be finite"):
                render(replace(gaussians, **{name: broken}), cameras)
    with pytest.raises(ValueError, match="world_from_cam must be finite"):
        render(gaussians, replace(cameras, world_from_cam=cameras.world_from_cam * math.nan))
    with pytest.raises(ValueError, match="focal lengths"):
        render(gaussians, replace(cameras, K=-cameras.K))
    with pytest.raises(ValueError, match="must be float32 or float64 as means"):
        render(gaussians, cameras.to(torch.float64))
    with pytest.raises(ValueError, match="needs float32 tensors on cpu"):
        render(gaussians.to(torch.float64), cameras.to(torch.float64), "numba")
    with pytest.raises(ValueError, match="needs float32 tensors on cuda"):
        render(gaussians, cameras, "gsplat")
    with pytest.raises((ValueError, TypeCheckError), match="scales"):
        replace(gaussians, scales=gaussians.scales[:2])
    for background, said in (
        (torch.zeros(2, 3), r"background must have shape \(3,\) or \(1, 3\), got \(2, 3\)"),
        (torch.zeros(3, dtype=torch.float64), "background must be torch.float32"),
        (torch.full((3,), math.nan), "background must be finite"),
    ):
        with pytest.raises(ValueError, match=said):
            render(gaussians, cameras, background=background)
    overflowing = replace(gaussians, means=torch.full_like(gaussians.means, 3e38))  # finite, though its sum is not
    assert render(overflowing, cameras).alpha.max() == 0


def test_auto_picks_and_says_so(caplog):
    _log_choice.cache_clear()
    with caplog.at_level(logging.INFO, "onescene.splatting.render"):
        assert choose_backend(cloud(2), camera(), "auto") == "numba"
        assert choose_backend(cloud(2, dtype=torch.float64), camera(dtype=torch.float64), "auto") == "torch"
        choose_backend(cloud(2), camera(), "auto")
    assert [r.getMessage() for r in caplog.records] == [
        "render(backend='auto') uses numba: float32 on the CPU",
        "render(backend='auto') uses torch: float64",
    ]


def test_gsplat_without_its_kernels_is_refused(monkeypatch):
    monkeypatch.setattr(gsplat_backend, "gsplat_works", lambda: False)
    with pytest.raises(ValueError, match="needs gsplat with its CUDA kernels"):
        gsplat_backend.render_gsplat(cloud(2), camera(), 0.01, math.inf)


def test_a_broken_build_of_gsplat_is_said(monkeypatch, caplog):
    broken = types.ModuleType("gsplat.cuda")  # has no kernels
    monkeypatch.setitem(sys.modules, "gsplat.cuda", broken)
    assert gsplat_backend.gsplat_works.__wrapped__() is False
    assert "gsplat is of no use here" in caplog.text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gsplat_agrees_with_the_twin():
    gaussians, cameras = cloud(5000, 2).to("cuda"), camera((120, 160), 120.0, 2).to("cuda")
    ours, twin = render(gaussians, cameras), render(gaussians, cameras, "torch")
    assert choose_backend(gaussians, cameras, "auto") == "gsplat"
    assert ((ours.rgb - twin.rgb).abs() > 2 / 255).double().mean() < 1e-3


def test_the_cache_goes_where_it_can(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    find = numba_cache.cache_folder.__wrapped__
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(blocked / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert find().is_relative_to(tmp_path / "b")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "a"))
    assert find().is_relative_to(tmp_path / "a")
    find().chmod(0o777)  # where anybody may write, anybody's code would be run
    assert find().is_relative_to(tmp_path / "b")
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(blocked / "c"))
    monkeypatch.setattr(numba_cache.tempfile, "gettempdir", lambda: str(blocked))
    assert find() is None


@pytest.mark.skipif(numba_cache.cache_folder() is None, reason="no folder for compiled kernels")
def test_another_process_renders_the_same_bits_from_the_cache_without_numba(tmp_path):
    gaussians, cameras = cloud(500, 1), camera()
    image = render(gaussians, cameras, "numba").rgb
    expected = [image, *gradients(gaussians, cameras, "numba").values()]  # compiled now, if not before
    torch.save((gaussians, cameras, expected), tmp_path / "expected.pt")
    code = f"""
import sys, torch
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_splatting import gradients, render
gaussians, cameras, expected = torch.load({str(tmp_path / "expected.pt")!r}, weights_only=False)
found = [render(gaussians, cameras, "numba").rgb, *gradients(gaussians, cameras, "numba").values()]
assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# --- panorama ---------------------------------------------------------------------------------------------------------


def shell(radius: float = 2.0, n: int = 6000) -> Gaussians:
    """A closed sphere of overlapping Gaussians, coloured by direction."""
    k = torch.arange(n) + 0.5
    y, angle = 1 - 2 * k / n, k * math.pi * (3 - 5**0.5)
    directions = torch.stack(((1 - y * y).sqrt() * angle.cos(), y, (1 - y * y).sqrt() * angle.sin()), dim=-1)
    return Gaussians(
        means=directions * radius,
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        scales=torch.full((n, 3), 0.04 * radius),
        opacities=torch.full((n,), 0.9),
        sh=(0.4 * directions / SH_C0)[:, None],
    )


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_a_panorama_sees_each_direction_where_it_belongs(backend):
    out = render_panorama(shell(), (32, 64), backend)
    assert out.alpha.min() > 0.99
    # half a Gaussian's width: of those in a pixel, the one whose centre has the smaller z is drawn first
    assert_close(out.distance / out.alpha, torch.full((32, 64), 2.0), atol=0.2, rtol=0)
    latitude = (0.5 - (torch.arange(32) + 0.5) / 32) * math.pi
    longitude = ((torch.arange(64) + 0.5) / 64 - 0.5) * 2 * math.pi
    direction = torch.stack(
        (
            torch.sin(longitude) * torch.cos(latitude)[:, None],
            (-torch.sin(latitude))[:, None].expand(32, 64),
            torch.cos(longitude) * torch.cos(latitude)[:, None],
        )
    )
    assert_close(out.rgb / out.alpha, 0.5 + 0.4 * direction, atol=0.05, rtol=0)


def test_a_panorama_from_another_place():
    out = render_panorama(shell(), (16, 32), centre=torch.tensor([1.0, 0, 0]))
    near, far = out.distance[8, 24], out.distance[8, 8]  # right and left
    assert near < 1.15 and far > 2.7
    free = leaves(shell(n=500))
    render_panorama(free, (8, 16)).distance.sum().backward()
    assert torch.isfinite(free.means.grad).all() and free.means.grad.abs().max() > 0
    with pytest.raises(ValueError, match=r"2 H"):
        render_panorama(shell(n=10), (8, 15))
