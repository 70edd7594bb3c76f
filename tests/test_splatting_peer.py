"""Splatting against gsplat's own torch implementation: images and every gradient, all degrees, several cameras."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from test_splatting import CPU_BACKENDS, NAMES, camera, cloud, leaves, relative
from torch.testing import assert_close

from onescene.splatting import render
from onescene.types import Cameras, Gaussians

gsplat = pytest.importorskip("gsplat", reason="gsplat is not installed: no peer to compare with")

BACKGROUND = torch.tensor([[0.2, 0.9, 0.4], [0.8, 0.1, 0.6]])
NEAR, FAR = 0.8, 3.5


@lru_cache(maxsize=1)
def peer():
    """The module ``benchmarks/gsplat_torch.py``."""
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "gsplat_torch.py"
    spec = importlib.util.spec_from_file_location("gsplat_torch", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def scene(degree: int) -> tuple[Gaussians, Cameras]:
    """6,000 Gaussians, some bigger than a tile, some smaller than a pixel, seen by two cameras."""
    return cloud(6000, degree, seed=degree, size=0.04), camera((90, 121), 80.0, 2)


def images_of(gaussians: Gaussians, cameras: Cameras, who: str, **options) -> tuple[torch.Tensor, ...]:
    if who == "gsplat":
        return peer().render_peer(gaussians, cameras, **options)
    out = render(gaussians, cameras, who, **options)
    return out.rgb, out.depth_z, out.alpha


@lru_cache(maxsize=8)
def gradients_of(degree: int, who: str) -> dict[str, torch.Tensor]:
    """Gradients of a fixed random weighting of all that is rendered, the background's too."""
    gaussians, cameras = scene(degree)
    free, background = leaves(gaussians, torch.float32), BACKGROUND.clone().requires_grad_()
    images = images_of(free, cameras, who, background=background)
    g = torch.Generator().manual_seed(7)
    sum((torch.randn(image.shape, generator=g) * image).sum() for image in images).backward()
    return {n: getattr(free, n).grad for n in NAMES} | {"background": background.grad}


def share_off(ours: tuple[torch.Tensor, ...], theirs: tuple[torch.Tensor, ...]) -> float:
    """Share of pixels that differ by more than 1/255 in a colour, in alpha, or in depth (of a depth of 1)."""
    off = [(a - b).abs() > 1 / 255 for a, b in zip(ours, theirs, strict=True)]
    return float((off[0].any(1) | off[1] | off[2]).double().mean())


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_images_agree_with_gsplat(backend, degree):
    """Only pixels on a threshold (alpha at 1/255, transmittance at 1e-4) may differ; measured: none of 21,780."""
    gaussians, cameras = scene(degree)
    ours, theirs = (images_of(gaussians, cameras, who) for who in (backend, "gsplat"))
    assert theirs[2].mean() > 0.5 and theirs[2].min() < 0.3  # full and thin pixels
    assert share_off(ours, theirs) < 1e-3
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other).abs().mean() < 1e-5
        assert (
            mine - other
        ).abs().max() < 0.05  # a flip of the test at 1/255 leaves 1/255, of that at 1e-4 little more


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_gradients_agree_with_gsplat(backend, degree):
    ours, theirs = gradients_of(degree, backend), gradients_of(degree, "gsplat")
    errors = {name: relative(ours[name], theirs[name]) for name in theirs}
    assert errors == pytest.approx(dict.fromkeys(errors, 0), abs=1e-3)
    assert all(gradient.abs().max() > 0 for gradient in theirs.values())


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_planes_and_background_agree_with_gsplat(backend):
    gaussians, cameras = scene(1)
    options = {"near": NEAR, "far": FAR, "background": BACKGROUND}
    ours, theirs = (images_of(gaussians, cameras, who, **options) for who in (backend, "gsplat"))
    assert share_off(ours, theirs) < 1e-3
    whole = images_of(gaussians, cameras, "gsplat", background=BACKGROUND)
    assert share_off(whole, theirs) > 0.2  # the planes cut something away


def test_the_tiles_of_the_peer_are_those_of_gsplat():
    """The vectorised search stands in for gsplat's double loop: same keys, same Gaussians, same counts."""
    from gsplat.cuda import _torch_impl as theirs

    gaussians, cameras = cloud(120, size=0.1), camera((50, 70), count=2)
    covariance, _ = theirs._quat_scale_to_covar_preci(gaussians.quats, gaussians.scales, True, False)
    radii, means2d, depths, _, _ = theirs._fully_fused_projection(
        gaussians.means, covariance, cameras.cam_from_world, cameras.K, 70, 50
    )
    expected = theirs._isect_tiles(means2d, radii, depths, 16, 5, 4)
    found = peer().isect_tiles(means2d, radii, depths, 16, 5, 4)
    assert len(expected[1]) > 300
    for mine, other in zip(found, expected, strict=True):
        assert torch.equal(mine, other)


def test_the_sums_of_the_peer_are_a_loop_along_each_ray():
    g = torch.Generator().manual_seed(0)
    rays = torch.tensor([4, 4, 4, 1, 0, 0])
    alphas, values = 0.9 * torch.rand(6, generator=g), torch.rand(6, 2, generator=g)
    weights, _ = peer().render_weight_from_alpha(alphas, ray_indices=rays, n_rays=5)
    expected = torch.zeros(5, 2)
    light = torch.ones(5)
    for ray, alpha, value in zip(rays, alphas, values, strict=True):
        expected[ray] += alpha * light[ray] * value
        light[ray] *= 1 - alpha
    assert_close(peer().accumulate_along_rays(weights, values, rays, 5), expected)


def test_the_peer_is_gsplats_code_and_leaves_it_as_it_was():
    from gsplat import rendering

    before = rendering.isect_tiles
    gaussians, cameras = scene(0)
    dim = replace(gaussians, opacities=0.5 * gaussians.opacities)
    assert (images_of(dim, cameras, "gsplat")[2] < images_of(gaussians, cameras, "gsplat")[2] + 1e-6).all()
    assert rendering.isect_tiles is before
