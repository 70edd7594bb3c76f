"""The CPU backend: arranges the Numba kernels, hands their shares to threads and joins them to autograd."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from onescene.splatting import (
    numba_blend,
    numba_blend_backward,
    numba_project,
    numba_project_backward,
    numba_tiles,
)
from onescene.splatting import numba_layout as at
from onescene.splatting.projection import TAN_MARGIN
from onescene.types import Cameras, Gaussians

SHARE = 8192  # Gaussians projected by one task
ORDER_SHARE = 16384  # ellipses binned by one task
FLOAT_MAX = float(np.finfo(np.float32).max)
CHANNELS = (slice(0, 3), 3, 4)  # colour, depth_z and alpha in the image that the kernels fill


@dataclass(frozen=True)
class _View:
    """What the forward pass of one camera leaves for the backward pass."""

    camera: np.ndarray  # the flat array of numba_layout
    records: np.ndarray  # [N, RECORD]; the first counts[s] of each share are used
    boxes: np.ndarray  # [N, 4] tiles touched: left, top, right, bottom
    base: np.ndarray  # [N] first row of each record's gradients
    ids: np.ndarray  # [N] the Gaussian of each record
    counts: np.ndarray  # [shares]
    offsets: np.ndarray  # [tiles + 1] first list entry of each tile
    lists: np.ndarray  # [pairs] records of tile 0, of tile 1 and so on, each front to back


@lru_cache(maxsize=4)
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    """Threads of this process (after a fork the child makes its own)."""
    return ThreadPoolExecutor(workers, thread_name_prefix="splatting")


def run_shares(task: Callable[[int], None], shares: int) -> None:
    """Calls ``task`` for every share, on as many threads as torch uses; the caller is one of them."""
    waiting = list(range(shares))[::-1]

    def work() -> None:
        while True:
            try:
                share = waiting.pop()
            except IndexError:
                return
            task(share)

    workers = torch.get_num_threads() - 1
    helpers = min(workers, shares - 1)
    futures = [_pool(workers, os.getpid()).submit(work) for _ in range(helpers)]
    work()
    for future in futures:
        future.result()


def camera_array(cam_from_world: np.ndarray, K: np.ndarray, hw: tuple[int, int], near: float, far: float) -> np.ndarray:
    """The numbers of one camera as the flat float32 array that ``numba_layout`` describes.

    Args:
        cam_from_world: Rigid transform, [4, 4].
        K: Intrinsics [pixels], [3, 3].
        hw: Size of the image [pixels].
        near: Closest depth drawn [world units].
        far: Farthest depth drawn [world units].
    """
    rotation, translation = cam_from_world[:3, :3], cam_from_world[:3, 3]
    focal, centre, size = K.diagonal()[:2], K[:2, 2], np.array(hw[::-1], dtype=np.float64)
    margin = TAN_MARGIN * 0.5 * size / focal
    parts = (rotation.ravel(), translation, focal, centre, size, (near, min(far, FLOAT_MAX)))
    parts += (-(centre / focal + margin), (size - centre) / focal + margin, -rotation.T @ translation)
    return np.concatenate(parts).astype(np.float32)


def _tiles(hw: Sequence[int]) -> tuple[int, int]:
    return -(-hw[0] // at.TILE), -(-hw[1] // at.TILE)


def _cache_lines(rows: int) -> np.ndarray:
    """Rows of 16 floats, not filled in, each a cache line of its own."""
    room = np.empty(16 * rows + 15, np.float32)
    first = -(room.ctypes.data // 4) % 16
    return room[first : first + 16 * rows].reshape(rows, 16)


def _forward_view(scene: tuple[np.ndarray, ...], camera: np.ndarray, image: np.ndarray) -> _View:
    """Runs the forward kernels for one camera; fills ``image`` [5, H, W]."""
    n = len(scene[0])
    shares = -(-n // SHARE)
    records, boxes = _cache_lines(n), np.empty((n, 4), np.int32)
    keys, ids, counts = np.empty(n, np.float32), np.empty(n, np.int32), np.zeros(shares, np.int64)
    project = numba_project.project.bind(scene, camera, (records, boxes, keys, ids, counts))
    run_shares(lambda share: project(share * SHARE, min((share + 1) * SHARE, n), share), shares)
    visible = int(counts.sum())
    order, spare = np.empty((2, visible, numba_tiles.ENTRY), np.uint32)
    base = np.empty(n, np.int64)
    starts = np.arange(shares) * SHARE
    numba_tiles.depth_order.bind(keys.view(np.uint32), boxes, (starts, counts), base, order, spare)()
    tiles_y, tiles_x = _tiles(image.shape[1:])
    offsets, lists = _tile_lists(order, tiles_y, tiles_x)
    blend = numba_blend.blend.bind(offsets, lists, records, image)
    run_shares(lambda row: blend(row * tiles_x, (row + 1) * tiles_x, tiles_x), tiles_y)
    return _View(camera, records, boxes, base, ids, counts, offsets, lists)


def _tile_lists(order: np.ndarray, tiles_y: int, tiles_x: int) -> tuple[np.ndarray, np.ndarray]:
    """First entry of each tile [tiles + 1], and the records of all tiles in a row."""
    shares = max(1, -(-len(order) // ORDER_SHARE))
    places = np.zeros((shares, tiles_y * tiles_x), np.int64)

    def walk(lists: np.ndarray) -> None:
        list_tiles = numba_tiles.list_tiles.bind(order, places, lists)
        entries = len(order)
        run_shares(
            lambda share: list_tiles(share * ORDER_SHARE, min((share + 1) * ORDER_SHARE, entries), share, tiles_x),
            shares,
        )

    walk(np.empty(0, np.int32))
    offsets = np.concatenate(([0], places.sum(0).cumsum()))
    places[:] = offsets[:-1] + places.cumsum(0) - places  # a share writes behind those before it
    lists = np.empty(int(offsets[-1]), np.int32)
    walk(lists)
    return offsets, lists


def _backward_view(
    scene: tuple[np.ndarray, ...],
    view: _View,
    images: tuple[np.ndarray, np.ndarray],
    grads: tuple[np.ndarray, ...],
) -> None:
    """Adds to ``grads`` what one camera's image and its gradient give."""
    tiles_y, tiles_x = _tiles(images[0].shape[1:])
    rows = _cache_lines(len(view.lists))
    bins, seen = (view.offsets, view.lists), (view.records, view.boxes, view.base)
    blend = numba_blend_backward.blend_backward.bind(bins, seen, images, rows)
    run_shares(lambda row: blend(row * tiles_x, (row + 1) * tiles_x, tiles_x), tiles_y)
    found, counts = (*seen, view.ids), view.counts.tolist()
    project = numba_project_backward.project_backward.bind(scene, view.camera, found, rows, grads)
    run_shares(lambda share: project(share * SHARE, counts[share]), len(counts))


def _arrays(tensors: Sequence[Tensor]) -> tuple[np.ndarray, ...]:
    return tuple(np.ascontiguousarray(t.detach().numpy()) for t in tensors)


class _Splat(torch.autograd.Function):
    """Joins the kernels to autograd: five Gaussian tensors in, colour, depth and alpha out."""

    @staticmethod
    def forward(ctx, means, quats, scales, opacities, sh, cameras, hw):
        scene = _arrays((means, quats, scales, opacities, sh))
        image = np.empty((len(cameras), 5, *hw), np.float32)
        views = [_forward_view(scene, camera, plane) for camera, plane in zip(cameras, image, strict=True)]
        # three tensors in one memory, none a view of another: nobody has to put their gradients together
        parts = tuple(torch.from_numpy(image[:, channels]) for channels in CHANNELS)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(means, quats, scales, opacities, sh, *parts)
            ctx.image, ctx.views = image, views
            ctx.set_materialize_grads(False)
        return parts

    @staticmethod
    @once_differentiable
    def backward(ctx, *parts):
        scene = _arrays(ctx.saved_tensors[:5])  # torch refuses here if an image was changed meanwhile
        grad_image = np.zeros_like(ctx.image)
        for channels, part in zip(CHANNELS, parts, strict=True):
            if part is not None:
                grad_image[:, channels] = part.detach().numpy()
        # One allocation, by NumPy, which asks for huge pages: five smaller ones would go back to the system and be
        # faulted in anew with every call, one page of 4 kB after the other.
        slab = torch.from_numpy(np.zeros(sum(array.size for array in scene), np.float32))
        grads = tuple(g.view(a.shape) for g, a in zip(slab.split([a.size for a in scene]), scene, strict=True))
        for i, view in enumerate(ctx.views):
            _backward_view(scene, view, (ctx.image[i], grad_image[i]), _arrays(grads))
        return (*grads, None, None)


def render_numba(
    gaussians: Gaussians, cameras: Cameras, near: float, far: float
) -> tuple[Float[Tensor, "v 3 h w"], Float[Tensor, "v h w"], Float[Tensor, "v h w"]]:
    """Renders every camera; see :func:`onescene.splatting.render`.

    Returns:
        RGB, depth_z and alpha.
    """
    g = gaussians
    cam_from_world, K = cameras.cam_from_world.double().numpy(), cameras.K.double().numpy()
    flat = [camera_array(m, k, cameras.hw, near, far) for m, k in zip(cam_from_world, K, strict=True)]
    return _Splat.apply(g.means, g.quats, g.scales, g.opacities, g.sh, flat, cameras.hw)
