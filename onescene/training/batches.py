"""Batches: panoramas with their exact distance, and where the data has them views from beside their centre.

What a step sees follows from the seed, the step and the place in the batch alone: a resumed run, or one that several
processes share, sees what one unbroken process would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.data.panoramas import PackedViews, pictures
from onescene.training.augment import add_noise, draw_colours, draw_focus, draw_stretch, draw_turn
from onescene.training.decals import hang_decals
from onescene.training.skies import paint_sky
from onescene.types import Cameras


@runtime_checkable
class PanoramaSet(Protocol):
    """What training asks of data: panoramas with their exact distance."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """RGB uint8 [H, 2H, 3], distance [m] float32 [H, 2H] (NaN where unknown) and sky bool [H, 2H]."""


@runtime_checkable
class PosedSet(PanoramaSet, Protocol):
    """Panoramas with posed views from beside their centre."""

    def views(self, index: int) -> PackedViews | None:
        """Displaced views of one panorama's place; None where it has none."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One augmented panorama.

    Attributes:
        seen: RGB in [0, 1] as the network gets it, with noise, softer or sharper.
        rgb: The same before that.
        log_distance: Logarithm of the distance [log m]; anything in the sky, NaN where it is unknown.
        sky: Where there is no surface.
        views: Displaced views in [0, 1], in the same colours, or None.
        cameras: Their cameras in the panorama's frame [m], or None.
    """

    seen: Float[Tensor, "3 height width"]
    rgb: Float[Tensor, "3 height width"]
    log_distance: Float[Tensor, "height width"]
    sky: Bool[Tensor, "height width"]
    views: Float[Tensor, "v 3 h w"] | None = None
    cameras: Cameras | None = None


def load_batch(data: PanoramaSet, index: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """RGB [B, 3, H, 2H] in [0, 1], log distance [log m] (0 in the sky, NaN where unknown) and sky, both [B, H, 2H]."""
    items = [data[int(i)] for i in index]
    rgb = pictures(np.stack([item[0] for item in items]))
    sky = torch.from_numpy(np.stack([item[2] for item in items]))
    distance = torch.from_numpy(np.stack([item[1] for item in items])).float()
    return rgb, torch.where(sky, torch.ones_like(distance), distance).clamp_min(1e-2).log(), sky


def known_ground(log_distance: Float[Tensor, "*batch h w"], sky: Bool[Tensor, "*batch h w"]) -> Tensor:
    """Where there is a surface whose distance is known: a scanner's holes are NaN."""
    return ~sky & torch.isfinite(log_distance)


def shrink_targets(log_distance: Tensor, sky: Tensor, height: int) -> tuple[Tensor, Tensor]:
    """Averages the known log distance over each target pixel, NaN where there is none; sky where most of it is sky."""
    factor = log_distance.shape[-2] // height
    if factor <= 1:
        return log_distance, sky
    known = known_ground(log_distance, sky)
    total = F.avg_pool2d(torch.where(known, log_distance, torch.zeros_like(log_distance))[:, None], factor)[:, 0]
    share, sky_share = (F.avg_pool2d(x.to(total)[:, None], factor)[:, 0] for x in (known, sky))
    return torch.where(share > 0, total / share.clamp_min(1e-6), torch.nan), sky_share > 0.5


def _views(packed: PackedViews, count: int, generator: torch.Generator) -> tuple[Tensor, Cameras]:
    """Some of a place's views, drawn at random."""
    chosen = torch.randperm(len(packed.rgb), generator=generator)[:count].numpy()
    rgb = pictures(packed.rgb[chosen])
    matrices = {"world_from_cam": packed.world_from_cam, "K": packed.K}
    return rgb, Cameras(**{k: torch.from_numpy(v[chosen]) for k, v in matrices.items()}, hw=tuple(rgb.shape[-2:]))


def draw_sample(data: PanoramaSet, index: int, generator: torch.Generator, views: int = 0) -> Sample:
    """One panorama turned, mirrored and coloured at random, with up to ``views`` of its displaced views.

    Where there are none, pictures and screens are hung on its walls, its sky is painted anew and its world is stretched
    along its own axes: the views would not show that.
    """
    rgb, log_distance, sky = (x[0] for x in load_batch(data, [index]))
    packed = data.views(index) if views and isinstance(data, PosedSet) else None
    if packed is None:
        rgb = paint_sky(hang_decals(rgb, log_distance, sky, generator), sky, generator)
        if (stretch := draw_stretch(generator)) is not None:
            rgb, log_distance = stretch.panorama(rgb), stretch.log_distance(log_distance, "nearest")
            sky = stretch.panorama(sky[None].to(rgb), "nearest")[0] > 0.5
    turn, colours = draw_turn(rgb.shape[-1], generator), draw_colours(rgb, generator)
    rgb = turn.panorama(colours(rgb))
    truth = {"log_distance": turn.panorama(log_distance), "sky": turn.panorama(sky)}
    seen = add_noise(draw_focus(rgb, generator), generator)
    if packed is None:
        return Sample(seen=seen, rgb=rgb, **truth)
    images, cameras = _views(packed, views, generator)
    beside = {"views": turn.images(colours(images)), "cameras": turn.cameras(cameras)}
    return Sample(seen=seen, rgb=rgb, **truth, **beside)


def draw_batch(
    data: PanoramaSet, step: int, seed: int, batch: int, views: int = 0, part: tuple[int, int] = (0, 1)
) -> list[Sample]:
    """The samples of one step, or one process's part of them.

    Args:
        data: Where they come from; epochs are permutations drawn from the seed and the epoch's number.
        step: Number of the step.
        seed: Of everything drawn at random.
        batch: Panoramas per step, over all processes.
        views: Displaced views per panorama at most.
        part: Which part of how many, (rank, number of processes).
    """
    rank, parts = part
    share, first = batch // parts, step * batch
    samples = []
    for place in range(first + rank * share, first + (rank + 1) * share):
        epoch, turn = divmod(place, len(data))
        index = int(np.random.default_rng((seed, epoch)).permutation(len(data))[turn])
        generator = torch.Generator().manual_seed(seed * 1_000_003 + place)
        samples.append(draw_sample(data, index, generator, views))
    return samples
