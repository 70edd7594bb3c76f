"""What is an error of the multi-view denoiser: the noise that it predicts, or the picture that it makes in one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from onescene.metrics.image import ssim_map
from onescene.models.seva.bundle import ViewModels
from onescene.models.seva.conditioning import Conditions
from onescene.models.seva_schedule import TABLE_SIZE, level_below, sigma_table

ColourError = Literal["absolute", "squared"]
EVEN = 0.1  # error of a colour in [0, 1] that both count alike


def colour_errors(made: Tensor, true: Tensor, kind: ColourError) -> Tensor:
    """Error of every colour: absolute (least for a median, which keeps edges), or squared (for a mean, as PSNR asks).

    The squared one is divided by ``EVEN``, so that weights of other terms mean about the same beside either.
    """
    error = (made - true).abs()
    return error if kind == "absolute" else error.square() / EVEN


def noised(
    conditions: Conditions, true: Float[Tensor, "t c h w"], index: int, noise: Float[Tensor, "t c h w"]
) -> Float[Tensor, "n c h w"]:
    """Scaled latents of a chunk as the sampler shows them to the network: known frames clean, targets noisy.

    Args:
        conditions: Of the chunk.
        true: The targets' latents.
        index: Number of the noise level in SEVA's shifted table, 0 to 999.
        noise: Standard normal.
    """
    sigma = sigma_table()[index].to(true)
    latents = conditions.latents.clone()
    latents[~conditions.input_frames] = true + sigma * noise
    return latents * (sigma**2 + 1).rsqrt()


def chunk_errors(
    forward: nn.Module,
    chunks: list[tuple[Conditions, Tensor]],
    generators: list[torch.Generator],
    adapters: bool,
) -> tuple[Float[Tensor, " b"], list[int]]:
    """Mean squared error of the predicted noise on each chunk's target frames, and the chunks' noise levels.

    Every chunk has one level, drawn evenly from the table.

    Args:
        forward: The network, or what stands for it among several processes.
        chunks: Conditions and true latents, all of one size.
        generators: One per chunk.
        adapters: Whether the network has any, so that frames are routed.
    """
    indices = [int(torch.randint(TABLE_SIZE, (), generator=g)) for g in generators]
    noises = [torch.randn(true.shape, generator=g).to(true) for (_, true), g in zip(chunks, generators, strict=True)]
    parts = zip(chunks, indices, noises, strict=True)
    scaled = [noised(c, true, index, noise) for (c, true), index, noise in parts]
    predicted = _predict(forward, [c for c, _ in chunks], scaled, indices, adapters)
    errors = (predicted.float() - torch.cat(noises)).square()
    return errors.unflatten(0, (len(chunks), -1)).mean((1, 2, 3, 4)), indices


@dataclass(frozen=True)
class PartDistance:
    """A perceptual distance of one part of each picture, drawn at random, since the whole costs more than the network.

    Attributes:
        distance: Of two batches of pictures.
        weight: What it is multiplied with.
        px: Side of the part [pixels].
    """

    distance: Callable[[Tensor, Tensor], Tensor]
    weight: float
    px: int

    def __call__(
        self,
        made: Float[Tensor, "b t 3 s s"],
        true: Float[Tensor, "b t 3 s s"],
        generators: list[torch.Generator],
    ) -> Float[Tensor, "b t"]:
        """The weighed distance of every picture; one generator per chunk."""
        parts = [self._part(g, m, t) for g, m, t in zip(generators, made, true, strict=True)]
        seen, wanted = (torch.cat(pictures) for pictures in zip(*parts, strict=True))
        return self.weight * self.distance(seen, wanted).unflatten(0, true.shape[:2])

    def _part(self, generator: torch.Generator, made: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        """The same square of a chunk's pictures and of what they should be."""
        size = min(self.px, *true.shape[-2:])
        top, left = (int(torch.randint(side - size + 1, (), generator=generator)) for side in true.shape[-2:])
        return tuple(x[..., top : top + size, left : left + size] for x in (made, true))


def one_step_errors(
    forward: nn.Module,
    chunks: list[tuple[Conditions, Tensor]],
    true: Float[Tensor, "b t 3 s s"],
    models: ViewModels,
    sigma: float,
    perceptual: PartDistance | None,
    generators: list[torch.Generator],
    colour_error: ColourError = "absolute",
    ssim_weight: float = 0.0,
) -> Float[Tensor, " b"]:
    """How far each chunk's targets, made in one step from the renders, are from the true pictures.

    Args:
        forward: The network, or what stands for it among several processes.
        chunks: Conditions and true latents, all of one size.
        true: The pictures that should be seen, in [0, 1].
        models: Its auto-encoder turns latents into pictures.
        sigma: Noise level for which the network is to take what is wrong with a render.
        perceptual: Added to the mean error of the colours, if given.
        generators: One per chunk, for the parts that it looks at.
        colour_error: Which error of the colours.
        ssim_weight: Of what is missing to a structural similarity of 1, beside that error (as 3D Gaussian Splatting
            has it, Kerbl et al., SIGGRAPH 2023, Eq. 7).
    """
    conditions, index = [c for c, _ in chunks], level_below(sigma)
    begun = [noised(c, c.rendered, index, torch.zeros_like(c.rendered)) for c in conditions]
    predicted = _predict(forward, conditions, begun, [index] * len(chunks), models.denoiser.config.lora_rank > 0)
    latents = torch.cat([c.rendered for c in conditions]) - sigma_table()[index].to(predicted) * predicted.float()
    with torch.autocast(latents.device.type, enabled=False):  # half precision has fewer shades than a picture
        made = models.autoencoder.decode(latents).unflatten(0, true.shape[:2])
        errors = colour_errors(made, true, colour_error).mean((2, 3, 4))
        if ssim_weight:
            errors = errors + ssim_weight * (1 - ssim_map(made, true)).mean((2, 3, 4))
    return (errors if perceptual is None else errors + perceptual(made, true, generators)).mean(1)


def _predict(
    forward: nn.Module, conditions: list[Conditions], scaled: list[Tensor], indices: list[int], adapters: bool
) -> Float[Tensor, "targets c h w"]:
    """What the network says of all chunks' targets; the arguments are one per chunk."""
    x = torch.cat([c.network_input(state) for c, state in zip(conditions, scaled, strict=True)])
    frames = len(conditions[0].known)
    t = torch.tensor(indices).repeat_interleave(frames).to(x)
    mask = torch.cat([c.source_view_mask for c in conditions]) if adapters else None
    context, rays = (torch.cat([getattr(c, name) for c in conditions]) for name in ("context", "rays"))
    predicted = forward(x, t, context, rays, mask, num_frames=frames)
    return predicted[torch.cat([~c.input_frames for c in conditions])]
