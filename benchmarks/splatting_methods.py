"""The renderers that the splatting benchmarks compare, behind one call: image [5, H, W], and gradients if asked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import lru_cache, partial
from importlib.util import find_spec

import torch
from torch import Tensor

from onescene.splatting import render
from onescene.types import Cameras, Gaussians

Method = Callable[[Gaussians, Cameras, Tensor | None], tuple[Tensor, tuple[Tensor, ...]]]


def _autograd(images: Callable, gaussians: Gaussians, cameras: Cameras, grad: Tensor | None):
    """Runs a renderer that autograd differentiates."""
    names = tuple(gaussians.__dataclass_fields__)
    if grad is None:
        with torch.no_grad():
            rgb, depth_z, alpha = images(gaussians, cameras)
        return (rgb, depth_z, alpha), ()
    free = {n: getattr(gaussians, n).detach().requires_grad_() for n in names}
    rgb, depth_z, alpha = images(Gaussians(**free), cameras)
    torch.autograd.backward((rgb, depth_z, alpha), (grad[None, :3], grad[None, 3], grad[None, 4]))
    return (rgb.detach(), depth_z.detach(), alpha.detach()), tuple(free[n].grad for n in names)


def _ours(backend: str, gaussians: Gaussians, cameras: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    out = render(gaussians, cameras, backend)
    return out.rgb, out.depth_z, out.alpha


def _gsplat(gaussians: Gaussians, cameras: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    from gsplat_torch import render_peer

    return render_peer(gaussians, cameras)


def _cpp(gaussians: Gaussians, cameras: Cameras, grad: Tensor | None):
    from cpp_peer import render_cpp

    image, grads = render_cpp(gaussians, cameras, grad)
    return (image[None, :3], image[None, 3], image[None, 4]), grads


METHODS: dict[str, Method] = {
    "numba": partial(_autograd, partial(_ours, "numba")),
    "cpp": _cpp,
    "torch": partial(_autograd, partial(_ours, "torch")),
    "gsplat": partial(_autograd, _gsplat),
}
TITLES = {
    "numba": "numba backend, public `render`",
    "cpp": "plain C++ (splatting_peer.cpp), no autograd",
    "torch": "torch backend (the readable twin)",
    "gsplat": "gsplat's own torch code, vectorised index step",
}


def missing(method: str) -> str:
    """Why a method cannot run here; empty if it can."""
    if method == "cpp" and shutil.which("g++") is None:
        return "g++ is not installed"
    return "gsplat is not installed" if method == "gsplat" and find_spec("gsplat") is None else ""


def draw(method: Method, gaussians: Gaussians, cameras: Cameras):
    """A render without gradients."""
    return method(gaussians, cameras, None)


@lru_cache(maxsize=4)
def _weights(hw: tuple[int, int]) -> Tensor:
    return torch.randn(5, *hw, generator=torch.Generator().manual_seed(0))


def draw_backward(method: Method, gaussians: Gaussians, cameras: Cameras):
    """A render and the gradients of a fixed random weighting of its five channels."""
    return method(gaussians, cameras, _weights(cameras.hw))
