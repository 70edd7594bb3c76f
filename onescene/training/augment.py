"""Augmentation of panoramas: what leaves an upright panorama an upright panorama (O15)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def roll_and_flip(
    rgb: Float[Tensor, "batch 3 h w"],
    log_distance: Float[Tensor, "batch h w"],
    sky: Bool[Tensor, "batch h w"],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Turns each panorama by a random yaw and mirrors half of them; exact, by whole columns."""
    outs: list[list[Tensor]] = [[], [], []]
    width = rgb.shape[-1]
    for i in range(rgb.shape[0]):
        shift = int(torch.randint(width, (1,), generator=generator))
        mirror = bool(torch.rand(1, generator=generator) < 0.5)
        for out, x in zip(outs, (rgb[i], log_distance[i], sky[i]), strict=True):
            x = x.roll(shift, dims=-1)
            out.append(x.flip(-1) if mirror else x)
    return torch.stack(outs[0]), torch.stack(outs[1]), torch.stack(outs[2])


def jitter_colour(rgb: Float[Tensor, "batch 3 h w"], generator: torch.Generator) -> Float[Tensor, "batch 3 h w"]:
    """Random exposure, contrast, gamma, white balance, saturation and noise: from game light towards cameras'."""

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(rgb.shape[0], *shape, generator=generator)

    x = rgb.clamp(1e-4, 1) ** draw(0.5, 1.5, 1, 1, 1)
    x = x * draw(0.7, 1.5, 1, 1, 1) * draw(0.85, 1.15, 3, 1, 1)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * draw(0.0, 1.4, 1, 1, 1)
    middle = x.mean((1, 2, 3), keepdim=True)
    x = middle + (x - middle) * draw(0.7, 1.3, 1, 1, 1)
    noise = torch.randn(x.shape, generator=generator) * draw(0.0, 0.03, 1, 1, 1)
    return (x + noise).clamp(0, 1)
