"""The readable twin: splatting in plain torch, tile by tile, on any device, in float32 or float64.

Each tile of 8x8 pixels has the list of ellipses that touch it, front to back; a chunk of tiles with lists of similar
length is padded and blended at once. Autograd differentiates it; chunks are recomputed in the backward pass so that
memory stays bounded by one chunk.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from onescene.splatting.projection import ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_MIN, Ellipses, project_gaussians
from onescene.types import Cameras, Gaussians

TILE_PX = 8
CHUNK_ELEMENTS = 1 << 22  # ellipse-pixel pairs blended at once; about 60 bytes each


def tile_lists(ellipses: Ellipses, hw: tuple[int, int]) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " tiles"]]:
    """Which ellipses touch which tile.

    Returns:
        The ellipses of tile 0, then of tile 1 and so on (row by row), each front to back; and the tiles' counts.
    """
    tiles_y, tiles_x = -(-hw[0] // TILE_PX), -(-hw[1] // TILE_PX)
    limit = torch.tensor([tiles_x, tiles_y], device=ellipses.index.device)
    with torch.no_grad():
        low = ((ellipses.xy_px - ellipses.half_px) / TILE_PX).floor()
        high = ((ellipses.xy_px + ellipses.half_px) / TILE_PX).ceil()
        low = torch.minimum(low.clamp_min(0), limit.to(low)).long()
        high = torch.minimum(high.clamp_min(0), limit.to(high)).long()
    size = high - low
    pairs_of = size.prod(-1)
    ellipse = torch.repeat_interleave(pairs_of)
    rank = torch.arange(len(ellipse), device=ellipse.device) - (pairs_of.cumsum(0) - pairs_of)[ellipse]
    x = low[ellipse, 0] + rank % size[ellipse, 0]
    y = low[ellipse, 1] + torch.div(rank, size[ellipse, 0], rounding_mode="floor")
    tile = y * tiles_x + x
    order = torch.argsort(tile, stable=True)  # ellipses stay front to back within a tile
    return ellipse[order], torch.bincount(tile, minlength=tiles_x * tiles_y)


def tile_chunks(counts: Int[Tensor, " tiles"], area: int) -> Iterator[tuple[Int[Tensor, " chunk"], int]]:
    """Tiles that are not empty, longest lists first, in chunks of bounded size; with the longest list's length.

    Args:
        counts: Ellipses of each tile.
        area: Pixels of a tile.
    """
    lengths, tiles = counts.sort(descending=True, stable=True)
    lengths = lengths[lengths > 0].tolist()
    first = 0
    while first < len(lengths):
        last = min(first + max(1, CHUNK_ELEMENTS // (lengths[first] * area)), len(lengths))
        yield tiles[first:last], lengths[first]
        first = last


def blend(
    pixels_px: Float[Tensor, "tiles pixels 2"],
    listed: Float[Tensor, "tiles length"],
    xy_px: Float[Tensor, "tiles length 2"],
    conics: Float[Tensor, "tiles length 3"],
    opacities: Float[Tensor, "tiles length"],
    features: Float[Tensor, "tiles length channels"],
) -> Float[Tensor, "tiles channels pixels"]:
    """Composites ellipses front to back: sum_i f_i alpha_i prod_{j<i} (1 - alpha_j).

    Args:
        pixels_px: Pixel centres.
        listed: 1 for an ellipse, 0 for padding.
        xy_px: Centres.
        conics: Inverse covariances (xx, xy, yy).
        opacities: Peak opacities.
        features: What to composite (colour, depth, ones).
    """
    offset = pixels_px[:, None] - xy_px[:, :, None]  # [tiles, length, pixels, 2]
    dx, dy = offset.unbind(-1)
    xx, xy, yy = (c[..., None] for c in conics.unbind(-1))
    sigma = 0.5 * (xx * dx * dx + yy * dy * dy) + xy * dx * dy
    alpha = (opacities[..., None] * torch.exp(-sigma)).clamp_max(ALPHA_MAX)
    alpha = alpha * (listed[..., None] * (alpha.detach() >= ALPHA_MIN))
    through = torch.cumprod(1 - alpha, dim=1)  # light left behind each ellipse
    before = torch.cat((torch.ones_like(through[:, :1]), through[:, :-1]), dim=1)
    weight = alpha * before * (through.detach() > TRANSMITTANCE_MIN)
    return torch.einsum("tlp,tlc->tcp", weight, features)


def _render_one(gaussians: Gaussians, camera: Cameras, near: float, far: float) -> Tensor:
    """RGB, depth_z and alpha of one camera, [5, H, W]."""
    ellipses = project_gaussians(gaussians, camera, near, far)
    height, width = camera.hw
    tiles_y, tiles_x = -(-height // TILE_PX), -(-width // TILE_PX)
    pairs, counts = tile_lists(ellipses, camera.hw)
    starts = counts.cumsum(0) - counts
    one = torch.ones_like(ellipses.opacities)
    features = torch.cat((ellipses.colours, torch.stack((ellipses.depth_z, one), dim=-1)), dim=-1)
    line = torch.arange(TILE_PX, device=pairs.device, dtype=features.dtype) + 0.5
    in_tile = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).reshape(-1, 2)
    done, parts = [], []
    for tiles, length in tile_chunks(counts, TILE_PX * TILE_PX):
        rank = torch.arange(length, device=pairs.device)
        listed = rank < counts[tiles, None]
        ids = pairs[(starts[tiles, None] + rank).clamp_max(len(pairs) - 1)]
        corner = torch.stack((tiles % tiles_x, tiles // tiles_x), dim=-1) * TILE_PX
        inputs = (corner[:, None] + in_tile, listed.to(features))
        inputs += (ellipses.xy_px[ids], ellipses.conics[ids], ellipses.opacities[ids], features[ids])
        recompute = any(t.requires_grad for t in inputs)
        parts.append(checkpoint(blend, *inputs, use_reentrant=False) if recompute else blend(*inputs))
        done.append(tiles)
    out = features.new_zeros(tiles_y * tiles_x, 5, TILE_PX * TILE_PX)
    if parts:
        out = out.index_copy(0, torch.cat(done), torch.cat(parts))
    image = out.reshape(tiles_y, tiles_x, 5, TILE_PX, TILE_PX).permute(2, 0, 3, 1, 4)
    return image.reshape(5, tiles_y * TILE_PX, tiles_x * TILE_PX)[:, :height, :width]


def render_reference(
    gaussians: Gaussians, cameras: Cameras, near: float, far: float
) -> tuple[Float[Tensor, "v 3 h w"], Float[Tensor, "v h w"], Float[Tensor, "v h w"]]:
    """Renders every camera; see :func:`onescene.splatting.render`.

    Returns:
        RGB, depth_z and alpha.
    """
    if len(cameras) == 0:
        out = gaussians.means.new_zeros(0, 5, *cameras.hw)
    else:
        out = torch.stack([_render_one(gaussians, cameras[i], near, far) for i in range(len(cameras))])
    return out[:, :3], out[:, 3], out[:, 4]
