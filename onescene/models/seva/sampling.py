"""Sampling a chunk: network, conditions, guidance and Euler steps put together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.models.seva.conditioning import Conditions, Routing
from onescene.models.seva.denoiser import NoisePredictor, denoise, euler_states
from onescene.models.seva.guidance import MINIMAL_SCALE, guide, multiview_scales, temporal_scales
from onescene.models.seva.network import SevaUNet
from onescene.models.seva_schedule import level_below, sigma_schedule, sigma_table


@dataclass(frozen=True)
class SamplerConfig:
    """How a chunk is sampled; the defaults are the release's, but for ``routing``."""

    steps: int = 50
    guidance: Literal["none", "multiview", "temporal"] = "none"  # the release's scale of 1 is no guidance
    scale: float = 2.0  # SEVA's default where there is guidance
    minimal: float = MINIMAL_SCALE
    routing: Routing = "trained"  # "released" = all frames through adapter 2, as the release's sampler does in fact

    def __post_init__(self) -> None:
        if self.guidance not in ("none", "multiview", "temporal"):
            raise ValueError(f"guidance must be none, multiview or temporal, got {self.guidance!r}")
        if self.routing not in ("trained", "released"):
            raise ValueError(f"routing must be trained or released, got {self.routing!r}")


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where targets begin instead of pure noise: pictures with some noise on them (SDEdit; Meng et al., ICLR 2022).

    Attributes:
        latents: Of the pictures, such as the scaffold's renders.
        sigma: Noise on them, at least the table's lowest level.
        noisy: False = there is none: their own faults are what the network, told of that level, takes for noise
            (Difix3D+; Wu et al., CVPR 2025).
    """

    latents: Float[Tensor, "targets c h w"]
    sigma: float
    noisy: bool = True

    def levels(self, steps: int) -> Float[Tensor, " levels"]:
        """``steps`` noise levels of SEVA's table from ``sigma`` down, and a final 0.

        Raises:
            ValueError: ``sigma`` is below the table's lowest level.
        """
        indices = torch.linspace(level_below(self.sigma), 0, steps + 1)[:-1].long()
        return torch.cat((sigma_table()[indices], torch.zeros(1)))


def noise_predictor(network: SevaUNet, conditions: Conditions, routing: Routing = "trained") -> NoisePredictor:
    """The network with its conditions, as :func:`~onescene.models.seva.denoiser.denoise` calls it.

    The network runs in its own precision; what stands around it keeps that of the conditions.
    """
    like = next(network.parameters())
    mask = conditions.routing_mask(routing).to(like) if network.config.lora_rank else None
    context, rays, frames = conditions.context.to(like), conditions.rays.to(like), len(conditions.known)

    def predict(scaled: Tensor, index: Tensor) -> Tensor:
        x = conditions.network_input(scaled).to(like)
        return network(x, index.to(x), context, rays, mask, num_frames=frames).to(scaled)

    return predict


def guidance_scales(config: SamplerConfig, conditions: Conditions) -> Float[Tensor, " t"] | None:
    """Guidance scale per frame; None where there is no guidance and the unconditional half need not run."""
    if config.guidance == "none":
        return None
    rule = {"multiview": multiview_scales, "temporal": temporal_scales}[config.guidance]
    cameras = conditions.world_from_cam, conditions.K_normalised
    return rule(config.scale, *cameras, conditions.input_frames, config.minimal)


@torch.no_grad()
def sample_states(
    network: SevaUNet,
    conditions: Conditions,
    config: SamplerConfig,
    generator: torch.Generator,
    start: Start | None = None,
) -> Iterator[Float[Tensor, "t c h w"]]:
    """Yields the latents of a chunk after every step; the last ones are the sample, its targets where known = 0.

    Args:
        network: With or without adapters, in evaluation mode.
        conditions: Of the chunk.
        config: Steps, guidance and routing.
        generator: On the CPU, so that a seed means the same on every device.
        start: Where the targets begin; None = pure noise.
    """
    scales = guidance_scales(config, conditions)

    def half(x: Tensor, sigma: Tensor, given: Conditions) -> Tensor:
        predictor = noise_predictor(network, given, config.routing)
        return denoise(predictor, x, sigma, given.latents, given.known_map)

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        conditional = half(x, sigma, conditions)
        if scales is None:
            return conditional
        return guide(half(x, sigma, conditions.unconditional()), conditional, scales.to(x))

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator).to(like)

    sigmas = (sigma_schedule(config.steps) if start is None else start.levels(config.steps)).to(conditions.latents)
    noise = draw(conditions.latents)
    if start is not None:
        begin = conditions.latents.clone()
        begin[~conditions.input_frames] = start.latents.to(begin)
        noise = (begin + sigmas[0] * noise * start.noisy) * (1 + sigmas[0] ** 2).rsqrt()
    yield from euler_states(denoiser, noise, sigmas, draw)


def sample(
    network: SevaUNet,
    conditions: Conditions,
    config: SamplerConfig,
    generator: torch.Generator,
    start: Start | None = None,
) -> Float[Tensor, "targets c h w"]:
    """The targets of a chunk, after the last step; arguments as :func:`sample_states`."""
    *_, last = sample_states(network, conditions, config, generator, start)
    return last[~conditions.input_frames]
