"""From a network that predicts noise to a denoised latent, and from noise to a sample by Euler steps.

Noise levels are SEVA's table (:mod:`onescene.models.seva_schedule`); the network is told the index of a level in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from onescene.models.seva_schedule import sigma_table

SIGMA_LIFT = 1e-6  # the sampler of SEVA raises every level by this and adds the noise that belongs to it

NoisePredictor = Callable[[Tensor, Tensor], Tensor]
"""Scaled latents [T, c, h, w] and noise indices [T] to the predicted noise [T, c, h, w]."""


@dataclass(frozen=True)
class Scalings:
    """Factors of a prediction: denoised = c_skip x + c_out network(c_in x, index).

    Attributes:
        sigma: Noise level, taken to the nearest of the table.
        index: Its place in the table, 0 to 999.
        c_skip: 1.
        c_out: -sigma.
        c_in: 1 / sqrt(sigma^2 + 1).
    """

    sigma: Float[Tensor, " frames"]
    index: Int[Tensor, " frames"]
    c_skip: Float[Tensor, " frames"]
    c_out: Float[Tensor, " frames"]
    c_in: Float[Tensor, " frames"]


def scalings(sigma: Float[Tensor, " frames"]) -> Scalings:
    """Factors for noise levels, each taken to the nearest of SEVA's table."""
    table = sigma_table().to(sigma)
    index = (sigma[:, None] - table).abs().argmin(dim=1)
    nearest = table[index]
    return Scalings(nearest, index, torch.ones_like(nearest), -nearest, (nearest**2 + 1).rsqrt())


def denoise(
    predict_noise: NoisePredictor,
    x: Float[Tensor, "frames c h w"],
    sigma: Float[Tensor, " frames"],
    latents: Float[Tensor, "frames c h w"],
    known: Float[Tensor, "frames 1 #h #w"],
) -> Float[Tensor, "frames c h w"]:
    """What a noisy latent would be without its noise.

    Args:
        predict_noise: The network with its conditions.
        x: Noisy latents.
        sigma: Noise level of each frame.
        latents: Clean latents of the input frames; anything where ``known`` is 0.
        known: 1 where ``latents`` replaces ``x``, else 0.
    """
    s = scalings(sigma)
    x = x * (1 - known) + latents * known
    c_skip, c_out, c_in = (c[:, None, None, None] for c in (s.c_skip, s.c_out, s.c_in))
    return c_out * predict_noise(c_in * x, s.index) + c_skip * x


def euler_states(
    denoiser: Callable[[Tensor, Tensor], Tensor],
    start: Float[Tensor, "frames c h w"],
    sigmas: Float[Tensor, " levels"],
    draw: Callable[[Tensor], Tensor],
) -> Iterator[Float[Tensor, "frames c h w"]]:
    """Yields the state after every Euler step from noise to a sample.

    Args:
        denoiser: State and noise level [T] to the denoised state, guidance included.
        start: Standard normal noise.
        sigmas: Noise levels, descending, the last 0 (:func:`~onescene.models.seva_schedule.sigma_schedule`).
        draw: Standard normal noise like the tensor it is given; called once per step, as SEVA does.
    """
    x = start * torch.sqrt(1 + sigmas[0] ** 2)
    for sigma, following in pairwise(sigmas):
        lifted = sigma + SIGMA_LIFT
        x = x + draw(x) * torch.sqrt(lifted**2 - sigma**2)
        slope = (x - denoiser(x, lifted.expand(x.shape[0]))) / lifted
        x = x + (following - lifted) * slope
        yield x
