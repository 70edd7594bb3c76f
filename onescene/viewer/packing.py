"""Gaussians in 16 bytes each: the layout that the browser uploads to the graphics card as it is.

The Gaussians are put in Morton order (neighbours in space become neighbours in memory) and cut into blocks of 256. A
block stores the bounds of its positions and log scales in 12 floats; each Gaussian stores where it lies between them.
Chunks of 256 blocks are deflated one by one, so that a page can unpack them without freezing. ``unpack`` is the twin of
the decoder in ``assets/sorter.js``.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from onescene.types import SH_C0, Gaussians

BLOCK = 256  # Gaussians that share one set of bounds
CHUNK = 256 * BLOCK  # Gaussians unpacked in one step
BLOCK_FLOATS = 12  # position low and extent, log scale low and extent
BYTES = 16  # per Gaussian: one RGBA32UI texel
POSITION_MAX = 2**15 - 1
QUAT_MAX = 255
QUAT_LIMIT = 2**-0.5  # no component but the largest of a unit quaternion exceeds it
MIN_SCALE = 1e-12  # [world units]; keeps the logarithm finite
COMPRESSION = 6  # zlib level: 9 gains under 1 % and takes three times as long


@dataclass(frozen=True, kw_only=True)
class PackedScene:
    """A scene ready for the browser.

    Attributes:
        count: Number of Gaussians.
        chunks: Deflated chunks (zlib format); all but the last hold ``CHUNK`` Gaussians.
        radius_world: A typical distance from the centre of view to what is seen [world units]; speeds follow it.
    """

    count: int
    chunks: tuple[bytes, ...]
    radius_world: float


def typical_radius(means: np.ndarray, centre: np.ndarray) -> float:
    """The distance from ``centre`` within which three tenths of the Gaussians lie [world units].

    Notes: less than the median, because up to half of a scene may be sky.
    """
    distance = np.linalg.norm(means - centre, axis=1)
    radius = float(np.quantile(distance, 0.3))
    return radius if radius > 0 else max(float(distance.max()), 1.0)


def _spread_bits(values: np.ndarray) -> np.ndarray:
    """Puts two empty bits behind each of the 16 low bits."""
    out = values.astype(np.uint64)
    for shift, mask in ((32, 0xFFFF00000000FFFF), (16, 0x00FF0000FF0000FF), (8, 0xF00F00F00F00F00F)):
        out = (out | (out << np.uint64(shift))) & np.uint64(mask)
    for shift, mask in ((4, 0x30C30C30C30C30C3), (2, 0x9249249249249249)):
        out = (out | (out << np.uint64(shift))) & np.uint64(mask)
    return out


def morton_order(means: np.ndarray, centre: np.ndarray, radius_world: float) -> np.ndarray:
    """Order of the points along a Z curve through contracted space.

    Notes: the contraction of mip-NeRF 360 (x within the radius, 2 - r / |x| beyond it) keeps a sky a hundred times
    farther away than the room from taking all the resolution.
    """
    offset = (means - centre) / radius_world
    length = np.linalg.norm(offset, axis=1, keepdims=True).clip(1.0)
    contracted = offset / length * (2 - 1 / length)
    cells = ((contracted + 2) / 4 * 65535).astype(np.uint64)
    x, y, z = (_spread_bits(cells[:, axis]) for axis in range(3))
    return np.argsort(x | (y << np.uint64(1)) | (z << np.uint64(2)), kind="stable")


def _in_bounds(values: np.ndarray, starts: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quantises [N, 3] between the bounds of each block: (codes [N, 3], low [B, 3], extent [B, 3])."""
    low = np.minimum.reduceat(values, starts).astype(np.float32)
    extent = (np.maximum.reduceat(values, starts) - low).astype(np.float32)
    block = np.arange(len(values)) // BLOCK
    unit = (values - low[block]) / np.where(extent > 0, extent, 1)[block]
    return np.rint(unit.clip(0, 1) * steps).astype(np.uint32), low, extent


def _quat_words(quats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The index of the largest component, and the three others in 8 bits each."""
    norm = np.linalg.norm(quats, axis=1, keepdims=True)
    unit = np.where(norm > 0, quats / np.where(norm > 0, norm, 1), np.array([1, 0, 0, 0], np.float32))
    largest = np.abs(unit).argmax(axis=1)
    rows = np.arange(len(unit))
    unit = unit * np.where(unit[rows, largest] < 0, -1, 1)[:, None]  # q and -q are one rotation
    others = unit[rows[:, None], (largest[:, None] + np.arange(1, 4)) % 4]
    codes = np.rint((others / QUAT_LIMIT * 0.5 + 0.5).clip(0, 1) * QUAT_MAX).astype(np.uint32)
    return largest.astype(np.uint32), codes


def _colours(gaussians: Gaussians, centre: np.ndarray) -> np.ndarray:
    """RGB as seen from the centre: harmonics above degree 0 are baked for that point of view."""
    if gaussians.sh_degree == 0:
        return gaussians.rgb.numpy()
    from onescene.splatting.sh import sh_colours

    return sh_colours(gaussians.sh, gaussians.means - torch.from_numpy(centre).to(gaussians.means)).numpy()


def _bytes255(values: np.ndarray) -> np.ndarray:
    return np.rint(values.clip(0, 1) * 255).astype(np.uint32)


def _check(gaussians: Gaussians) -> None:
    if len(gaussians) == 0:
        raise ValueError("gaussians must hold at least one Gaussian, got 0")
    for field in fields(gaussians):
        if not torch.isfinite(getattr(gaussians, field.name)).all():
            raise ValueError(f"gaussians.{field.name} must be finite, got NaN or inf")


def thin(gaussians: Gaussians, count: int | None, centre: np.ndarray | None = None) -> Gaussians:
    """At most ``count`` Gaussians, evenly spread in space and widened so that the surfaces stay closed.

    Args:
        gaussians: The scene.
        count: The most to keep, >= 1; None keeps all.
        centre: Where the scene is looked at from [world units]; default: the origin.

    Raises:
        ValueError: ``count`` below 1, or NaN or inf in a scene that is thinned.
    """
    if count is None:
        return gaussians
    if count < 1:
        raise ValueError(f"max_gaussians must be >= 1, got {count}")
    if len(gaussians) <= count:
        return gaussians
    _check(gaussians)
    means = gaussians.means.detach().cpu().numpy()
    centre = np.zeros(3, np.float32) if centre is None else centre
    order = morton_order(means, centre, typical_radius(means, centre))
    kept = order[np.linspace(0, len(order) - 1, count).round().astype(np.int64)]
    chosen = gaussians.select(torch.from_numpy(kept).to(gaussians.means.device))
    widen = (len(gaussians) / count) ** 0.5  # the area that each one covers grows by the ratio
    return replace(chosen, scales=chosen.scales * widen)


def pack(gaussians: Gaussians, centre: np.ndarray | None = None) -> PackedScene:
    """Packs a scene for the browser.

    Args:
        gaussians: The scene, finite, at least one Gaussian.
        centre: Where it is looked at from [world units]; default: the origin.

    Returns:
        The scene in 16 bytes per Gaussian (before deflating) and 48 per block of 256.

    Raises:
        ValueError: no Gaussians, NaN or inf.

    Notes: positions keep 15 bits between the bounds of their block, log scales and quaternion components 8 bits,
    colours and opacities 8 bits, clamped to [0, 1]. Colours of higher harmonics are those seen from ``centre``.
    """
    _check(gaussians)
    cpu = Gaussians(**{f.name: getattr(gaussians, f.name).detach().cpu().float() for f in fields(gaussians)})
    centre = np.zeros(3, np.float32) if centre is None else np.asarray(centre, np.float32)
    means = cpu.means.numpy()
    radius_world = typical_radius(means, centre)
    order = morton_order(means, centre, radius_world)
    texels, blocks = _encode(cpu, _colours(cpu, centre), order)
    chunks = []
    for first in range(0, len(order), CHUNK):
        part = texels[first : first + CHUNK]
        bounds = blocks[first // BLOCK : -(-(first + len(part)) // BLOCK)]
        # Byte planes: equal bytes of neighbours side by side deflate better than whole texels.
        planes = part.view(np.uint8).reshape(len(part), BYTES).T
        chunks.append(zlib.compress(bounds.tobytes() + planes.tobytes(), COMPRESSION))
    return PackedScene(count=len(order), chunks=tuple(chunks), radius_world=radius_world)


def _encode(gaussians: Gaussians, colours: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Texels [N, 4] uint32 and block bounds [B, 12] float32 of Gaussians taken in the given order."""
    starts = np.arange(0, len(order), BLOCK)
    position, low, extent = _in_bounds(gaussians.means.numpy()[order], starts, POSITION_MAX)
    log_scales = np.log(gaussians.scales.numpy()[order].clip(MIN_SCALE))
    scale, scale_low, scale_extent = _in_bounds(log_scales, starts, 255)
    largest, quat = _quat_words(gaussians.quats.numpy()[order])
    rgb = _bytes255(colours[order])
    alpha = _bytes255(gaussians.opacities.numpy()[order])
    texels = np.empty((len(order), 4), dtype="<u4")
    texels[:, 0] = position[:, 0] | position[:, 1] << 15 | largest << 30
    texels[:, 1] = position[:, 2] | scale[:, 0] << 16 | scale[:, 1] << 24
    texels[:, 2] = scale[:, 2] | quat[:, 0] << 8 | quat[:, 1] << 16 | quat[:, 2] << 24
    texels[:, 3] = rgb[:, 0] | rgb[:, 1] << 8 | rgb[:, 2] << 16 | alpha << 24
    return texels, np.concatenate((low, extent, scale_low, scale_extent), axis=1).astype("<f4")


def _decode_chunk(chunk: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Texels [n, 4] and each Gaussian's bounds [n, 12] of a deflated chunk."""
    raw = zlib.decompress(chunk)
    blocks = -(-len(raw) // (BLOCK * BYTES + BLOCK_FLOATS * 4))
    head = blocks * BLOCK_FLOATS * 4
    bounds = np.frombuffer(raw[:head], "<f4").reshape(blocks, BLOCK_FLOATS)
    texels = np.ascontiguousarray(np.frombuffer(raw[head:], np.uint8).reshape(BYTES, -1).T).view("<u4")
    return texels, bounds[np.arange(len(texels)) // BLOCK]


def unpack(packed: PackedScene) -> Gaussians:
    """The Gaussians that the browser draws, SH degree 0, in their packed order."""
    parts = [_decode_chunk(chunk) for chunk in packed.chunks]
    texels, bounds = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    a, b, c, d = texels.T
    position = np.stack((a & 0x7FFF, a >> 15 & 0x7FFF, b & 0x7FFF), axis=1) / np.float32(POSITION_MAX)
    scale = np.stack((b >> 16 & 255, b >> 24, c & 255), axis=1) / np.float32(255)
    others = (np.stack((c >> 8 & 255, c >> 16 & 255, c >> 24), axis=1) / np.float32(QUAT_MAX) * 2 - 1) * QUAT_LIMIT
    quats = np.empty((len(texels), 4), np.float32)
    rows, largest = np.arange(len(texels))[:, None], (a >> 30).astype(np.int64)[:, None]
    quats[rows, (largest + np.arange(1, 4)) % 4] = others
    quats[rows, largest] = np.sqrt((1 - (others**2).sum(axis=1, keepdims=True)).clip(0))
    rgba = np.stack([d >> shift & 255 for shift in (0, 8, 16, 24)], axis=1) / np.float32(255)
    tensors = {
        "means": bounds[:, 0:3] + bounds[:, 3:6] * position,
        "quats": quats,
        "scales": np.exp(bounds[:, 6:9] + bounds[:, 9:12] * scale),
        "opacities": rgba[:, 3],
        "sh": ((rgba[:, :3] - 0.5) / SH_C0)[:, None],
    }
    return Gaussians(**{name: torch.from_numpy(array.astype(np.float32)) for name, array in tensors.items()})
