"""From the network's coarse distance to the panorama's resolution: joint bilateral upsampling and crisp edges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.equirect import pad_panorama
from onescene.geometry.windows import greatest_around, least_around


def resize_panorama(panorama: Float[Tensor, "c h w"], hw: tuple[int, int]) -> Float[Tensor, "c h2 w2"]:
    """Bilinear resize that continues around the circle and over the poles; averages when it shrinks."""
    h, w = panorama.shape[-2:]
    if (h, w) == tuple(hw):
        return panorama
    if hw[0] <= h:
        return F.interpolate(panorama[None], size=hw, mode="area")[0]
    up = F.interpolate(
        pad_panorama(panorama, 2)[None],
        size=(round(hw[0] * (h + 4) / h), round(hw[1] * (w + 4) / w)),
        mode="bilinear",
        align_corners=False,
    )[0]
    top, left = (up.shape[-2] - hw[0]) // 2, (up.shape[-1] - hw[1]) // 2
    return up[:, top : top + hw[0], left : left + hw[1]]


def joint_bilateral_upsample(
    coarse: Float[Tensor, "c h w"],
    guide: Float[Tensor, "3 height width"],
    *,
    radius: int = 2,
    sigma_colour: float = 0.08,
) -> Float[Tensor, "c height width"]:
    """Kopf 2007: each fine pixel averages coarse neighbours that are near and look alike.

    Args:
        coarse: Maps at low resolution, on a panorama.
        guide: RGB panorama in [0, 1] at the wanted resolution.
        radius: Coarse neighbours on each side [coarse pixels].
        sigma_colour: Colour difference at which a neighbour loses 40 % of its say.
    """
    height, width = guide.shape[-2:]
    h, w = coarse.shape[-2:]
    colours = F.interpolate(guide[None], size=(h, w), mode="area")[0]
    both = pad_panorama(torch.cat((coarse, colours)), radius)
    y = (torch.arange(height, device=guide.device) + 0.5) * h / height
    x = (torch.arange(width, device=guide.device) + 0.5) * w / width
    row, column = y.long().clamp(0, h - 1), x.long().clamp(0, w - 1)
    total, weight_sum = 0.0, 0.0
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            near = both[:, row[:, None] + dy + radius, column[None] + dx + radius]
            offset = ((row + dy + 0.5 - y)[:, None] ** 2 + (column + dx + 0.5 - x)[None] ** 2) / 2
            colour = (near[-3:] - guide).square().sum(0) / (2 * sigma_colour**2)
            weight = torch.exp(-offset - colour) + 1e-9 * torch.exp(-offset)
            total, weight_sum = total + weight * near[:-3], weight_sum + weight
    return total / weight_sum


def sharpen_edges(
    log_distance: Float[Tensor, "height width"],
    *,
    radius: int = 2,
    threshold: float = 0.25,
    share: float = 0.7,
    iterations: int = 4,
) -> Float[Tensor, "height width"]:
    """Snaps the ramp across a depth edge to its nearer side, so that no curtain hangs between front and back.

    Kramer and Bruckner's toggle mapping. A ramp is where a small window already spans most of what a window three
    times as wide spans: across an edge both see front and back, on a slanted surface the wide one sees more.

    Args:
        log_distance: On a panorama [log of any unit].
        radius: Of the small window [pixels]; about the width of one coarse pixel.
        threshold: Smallest range within the small window that counts as an edge [log].
        share: Smallest range of the small window over that of the wide one.
        iterations: Repetitions; each moves a ramp's end by up to ``radius`` pixels.
    """

    def window(x: Tensor, reach: int) -> tuple[Tensor, Tensor]:
        padded = pad_panorama(x, reach)
        return greatest_around(padded, reach), least_around(padded, reach)

    x = log_distance[None]
    for _ in range(iterations):
        high, low = window(x, radius)
        wide_high, wide_low = window(x, 3 * radius)
        ramp = (high - low > threshold) & (high - low > share * (wide_high - wide_low))
        x = torch.where(ramp, torch.where(high - x < x - low, high, low), x)
    return x[0]
