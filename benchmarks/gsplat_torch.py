"""gsplat's own torch renderer, made to run without its CUDA extension: the peer that tests and benchmarks compare with.

``gsplat.rendering._rasterization`` runs unmodified, with gsplat's own torch projection, harmonics and compositing. What
it would take from the CUDA extension or from nerfacc stands here, vectorised: finding the tiles of each Gaussian,
finding the (Gaussian, pixel) pairs that contribute, and summing along each pixel.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from unittest import mock

import torch
from torch import Tensor

from onescene.splatting.gsplat_backend import rasterization_arguments
from onescene.splatting.reference import tile_chunks
from onescene.types import Cameras, Gaussians

ALPHA_MIN, ALPHA_MAX, LIGHT_MIN = 1 / 255, 0.999, 1e-4  # of gsplat's CUDA kernels


@torch.no_grad()
def isect_tiles(means2d, radii, depths, tile_size, tile_width, tile_height, **_) -> tuple[Tensor, Tensor, Tensor]:
    """What ``gsplat.cuda._torch_impl._isect_tiles`` computes in a double loop, without the loop."""
    images, n = means2d.shape[0], means2d.shape[1]
    limit = torch.tensor([tile_width, tile_height])
    low = ((means2d - radii) / tile_size).floor().nan_to_num(0).clamp(-1e6, 1e6).long()
    high = ((means2d + radii) / tile_size).ceil().nan_to_num(0).clamp(-1e6, 1e6).long()
    low, high = low.clamp_min(0).minimum(limit), high.clamp_min(0).minimum(limit)
    size = (high - low) * (radii > 0).all(-1, keepdim=True)
    count = size.prod(-1).flatten()
    ids = torch.repeat_interleave(count)
    rank = torch.arange(len(ids)) - (count.cumsum(0) - count)[ids]
    low, size = low.reshape(-1, 2)[ids], size.reshape(-1, 2)[ids]
    tile = (low[:, 1] + rank // size[:, 0]) * tile_width + low[:, 0] + rank % size[:, 0]
    bits = (tile_width * tile_height).bit_length()
    key = (((ids // n) << bits) | tile) << 32 | depths.flatten()[ids].contiguous().view(torch.int32).long()
    key, order = torch.sort(key, stable=True)
    return count.reshape(images, n).int(), key, ids[order].int()


@torch.no_grad()
def rasterize_to_indices_in_range(
    start, end, transmittances, means2d, conics, opacities, width, height, tile_size, offsets, flatten_ids
) -> tuple[Tensor, Tensor, Tensor]:
    """Gaussians, pixels and images of all contributions of one range of the tiles' lists, each pixel front to back."""
    n, area = means2d.shape[-2], tile_size * tile_size
    tiles_y, tiles_x = offsets.shape[-2:]
    first = offsets.flatten().long()
    last = torch.cat((first[1:], torch.tensor([len(flatten_ids)])))
    first, last = first + start * area, torch.minimum(first + end * area, last)
    in_tile = torch.arange(area)
    flat = [t.reshape(-1, *t.shape[2:]) for t in (means2d, conics, opacities)]
    found = []
    for tiles, length in tile_chunks((last - first).clamp_min(0), area):
        image, tile = tiles // (tiles_x * tiles_y), tiles % (tiles_x * tiles_y)
        x = (tile % tiles_x * tile_size)[:, None] + in_tile % tile_size
        y = torch.div(tile, tiles_x, rounding_mode="floor")[:, None] * tile_size + in_tile // tile_size
        inside = (x < width) & (y < height)
        light = transmittances[image[:, None], y.clamp_max(height - 1), x.clamp_max(width - 1)]
        rank = torch.arange(length)
        place = first[tiles, None] + rank
        listed = place < last[tiles, None]
        ids = flatten_ids[place.clamp_max(len(flatten_ids) - 1)].long()
        xy, conic, opacity = (t[ids] for t in flat)
        dx = x[:, :, None] + 0.5 - xy[:, None, :, 0]
        dy = y[:, :, None] + 0.5 - xy[:, None, :, 1]
        xx, xyc, yy = (c[:, None] for c in conic.unbind(-1))
        sigma = 0.5 * (xx * dx * dx + yy * dy * dy) + xyc * dx * dy
        alpha = (opacity[:, None] * torch.exp(-sigma)).clamp_max(ALPHA_MAX)
        counts = (sigma >= 0) & (alpha >= ALPHA_MIN) & listed[:, None] & inside[..., None]
        left = torch.cumprod(torch.where(counts, 1 - alpha, 1), dim=-1) * light[..., None]
        t, p, k = torch.nonzero(counts & (left > LIGHT_MIN), as_tuple=True)
        found.append((ids[t, k] % n, y[t, p] * width + x[t, p], image[t]))
    if not found:
        return (torch.empty(0, dtype=torch.long),) * 3
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))


def render_weight_from_alpha(alphas, *, ray_indices, n_rays, **_) -> tuple[Tensor, Tensor]:
    """nerfacc's function of that name: weights and transmittances along rays whose samples lie side by side."""
    passed = torch.log1p(-alphas.double())
    before = passed.cumsum(0) - passed
    begins = torch.ones_like(ray_indices, dtype=torch.bool)
    begins[1:] = ray_indices[1:] != ray_indices[:-1]
    starts = torch.nonzero(begins)[:, 0]
    through = (before - before[starts][begins.cumsum(0) - 1]).exp().to(alphas)
    return alphas * through, through


def accumulate_along_rays(weights, values=None, ray_indices=None, n_rays=None) -> Tensor:
    """nerfacc's function of that name: weighted sums per ray, [rays, channels]."""
    values = weights[:, None] if values is None else weights[:, None] * values
    return values.new_zeros(n_rays, values.shape[-1]).index_add(0, ray_indices, values)


@contextmanager
def _without_cuda() -> Iterator[None]:
    """Puts the stand-ins where gsplat looks for its CUDA functions and for nerfacc."""
    from gsplat import rendering
    from gsplat.cuda import _torch_impl, _wrapper

    def harmonics(degree, directions, coefficients, masks=None):
        return _torch_impl._spherical_harmonics(degree, directions, coefficients)

    nerfacc = ModuleType("nerfacc")
    nerfacc.accumulate_along_rays = accumulate_along_rays
    nerfacc.render_weight_from_alpha = render_weight_from_alpha
    with (
        mock.patch.dict(sys.modules, {"nerfacc": nerfacc}),
        mock.patch.object(rendering, "isect_tiles", isect_tiles),
        mock.patch.object(rendering, "isect_offset_encode", _torch_impl._isect_offset_encode),
        mock.patch.object(rendering, "spherical_harmonics", harmonics),
        mock.patch.object(_wrapper, "rasterize_to_indices_in_range", rasterize_to_indices_in_range),
    ):
        yield


def render_peer(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    near: float = 0.01,
    far: float = math.inf,
    background: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """RGB [V, 3, H, W], depth_z and alpha [V, H, W] by gsplat's torch implementation; autograd differentiates it.

    Args:
        gaussians: The scene.
        cameras: One or many.
        near: Near plane [world units].
        far: Far plane [world units].
        background: Colours [V, 3].
    """
    from gsplat.rendering import _rasterization

    arguments = rasterization_arguments(gaussians, cameras, near, far)
    with _without_cuda():
        image, alpha, _ = _rasterization(**arguments, backgrounds=background)
    return image[..., :3].permute(0, 3, 1, 2), image[..., 3], alpha[..., 0]
