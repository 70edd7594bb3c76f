"""The terms of the outpainter's loss that need no network: brightness, the border, features, edges by direction."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from onescene.models.outpainter.network import latitude_channels

ORIENTED_WINDOWS = (9, 17)  # pixels of a view over which edges are counted


def area_weight(mask: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """How much each pixel counts: its area on the sphere, 0 inside the photo; 1 on average over the batch."""
    weight = latitude_channels(tuple(mask.shape[-2:]), mask)[:, 1:] * (1 - mask)
    return weight / weight.mean().clamp_min(1e-6)


def layout_distance(
    predicted: Float[Tensor, "b 3 h w"],
    true: Float[Tensor, "b 3 h w"],
    mask: Float[Tensor, "b 1 h w"],
    scales: tuple[int, ...],
) -> Float[Tensor, ""]:
    """L1 outside the photo of pictures averaged over squares of ``scales`` pixels, the mean over the scales.

    How bright and of what colour a region is can be known, what stands exactly where can not: coarse scales ask for
    the former and leave the draft's structure alone; alone they let stripes grow that average out, scale 1 does not.
    """
    terms = []
    weight = area_weight(mask)
    for factor in scales:
        difference, area = (F.avg_pool2d(x, factor) for x in ((predicted - true) * weight, weight))
        terms.append(difference.abs().mean() / area.mean())
    return torch.stack(terms).mean()


def cycle_distance(
    predicted: Float[Tensor, "b 3 h w"], true: Float[Tensor, "b 3 h w"], mask: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, ""]:
    """L1 of the step from the last column to the first one, against the true step, outside the photo.

    Look Beyond names a cycle-consistency loss across a panorama's border (its code has none, and no formula is public);
    this is our reading. A network that is circular by construction has little to gain from it.
    """
    weight = area_weight(mask)[..., 0]
    lacking = (predicted[..., 0] - predicted[..., -1]) - (true[..., 0] - true[..., -1])
    return (lacking * weight).abs().mean()


def feature_distance(a: list[Tensor], b: list[Tensor]) -> Float[Tensor, ""]:
    """L1 of feature maps, each at unit length per pixel, the mean over the levels."""
    return torch.stack([(_unit(x) - _unit(y)).abs().sum(1).mean() for x, y in zip(a, b, strict=True)]).mean()


def _unit(x: Tensor) -> Tensor:
    return x * (x.square().sum(1, keepdim=True) + 1e-8).rsqrt()


def oriented_distance(
    predicted: Float[Tensor, "n 3 h w"], true: Float[Tensor, "n 3 h w"], windows: tuple[int, ...] = ORIENTED_WINDOWS
) -> Float[Tensor, ""]:
    """How much edge there is in which direction: L1 of the mean brightness step along four directions, over windows.

    A perceptual distance would rather see some texture than none, and hatching is the cheapest one. Where a texture's
    direction cannot be known, this one asks for the same amount in all of them, which no hatching has.

    Returns:
        The mean over windows, directions and places, in units of brightness per pixel, times 10.
    """
    terms = []
    for window in windows:
        kept = [F.avg_pool2d(_steps_by_direction(x), window, stride=window // 2) for x in (predicted, true)]
        terms.append((kept[0] - kept[1]).abs().mean())
    return 10 * torch.stack(terms).mean()


def _steps_by_direction(x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 4 h2 w2"]:
    """Size of the brightness step to the right, down and along both diagonals, per pixel of way."""
    grey = x.mean(1, keepdim=True)
    here, right, down, beyond = grey[..., :-1, :-1], grey[..., :-1, 1:], grey[..., 1:, :-1], grey[..., 1:, 1:]
    diagonal = 0.5**0.5
    steps = (right - here, down - here, diagonal * (beyond - here), diagonal * (right - down))
    return torch.cat([(step.square() + 1e-6).sqrt() for step in steps], dim=1)
