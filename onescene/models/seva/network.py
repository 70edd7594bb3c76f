"""SEVA's multi-view U-Net, and the same with two routed adapters per layer: the denoiser of One2Scene (Sec. 3.3).

The forward pass (T = scenes * frames, latent of h x w):

    x [T, 11, h, w] = noisy latent, mask, rays;  t [T];  context [T, 1, d];  dense [T, 6, h, w] = rays
    t -> noise embedding [T, 4 c]
    x -> 3x3 convolution -> down: (residual block, transformer) x 2, half the size, per level  -> middle
      -> up: (skip joined, residual block, transformer) x 3, twice the size, per level         -> latent [T, 4, h, w]

Parameters have the official names, so that published files load as they are.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from onescene.models.seva.config import SevaConfig
from onescene.models.seva.layers import Downsample, ResBlock, Upsample, noise_embedding
from onescene.models.seva.transformer import Adapters, MultiviewTransformer


class _Intensity(nn.Module):
    """Present in the released file, used by nothing: kept so that its keys load."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(1, 128), nn.SiLU(), nn.Linear(128, 1))


def _start_at_zero(network: nn.Module) -> None:
    """Every branch that is added to its input, and the answer, start at zero: a fresh network trains from there."""
    for name, parameter in network.named_parameters():
        if any(last in f".{name}" for last in (".out_layers.3.", ".proj_out.", ".out.2.")) and ".lora_" not in name:
            nn.init.zeros_(parameter)


class SevaUNet(nn.Module):
    """The multi-view denoising network of SEVA.

    Args:
        config: Sizes; ``lora_rank`` > 0 gives every layer of the residual blocks and the transformers two adapters.
    """

    def __init__(self, config: SevaConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SevaConfig()
        if config.lora_rank:
            self.source_view_intensity_mlp = _Intensity()
        width = config.model_channels
        embedding = (nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width))
        self.time_embed = nn.Sequential(*embedding)
        self.input_blocks, skips = self._down()
        self.middle_block = self._middle()
        self.output_blocks = self._up(skips)
        last = nn.Conv2d(width * config.channel_mult[0], config.out_channels, 3, padding=1)
        self.out = nn.Sequential(nn.GroupNorm(32, width * config.channel_mult[0]), nn.SiLU(), last)
        _start_at_zero(self)

    @property
    def _adapters(self) -> Adapters:
        return Adapters(self.config.lora_rank, self.config.lora_alpha)

    def _residual(self, channels_in: int, channels_out: int) -> ResBlock:
        c = self.config
        return ResBlock(channels_in, channels_out, 4 * c.model_channels, c.dense_in_channels, self._adapters, c.dropout)

    def _transformer(self, part: str, level: int) -> MultiviewTransformer:
        c = self.config
        channels = c.model_channels * c.channel_mult[level]
        joint = f"{part}_ds{2**level}" in c.unflatten_names
        heads = channels // c.num_head_channels
        return MultiviewTransformer(
            channels, heads, c.transformer_depth[level], c.context_dim, joint, self._adapters, c.dropout
        )

    def _level(self, part: str, level: int, channels_in: int) -> list[nn.Module]:
        """A residual block, and a transformer where the level has them."""
        channels = self.config.model_channels * self.config.channel_mult[level]
        block: list[nn.Module] = [self._residual(channels_in, channels)]
        if 2**level in self.config.attention_resolutions:
            block.append(self._transformer(part, level))
        return block

    def _down(self) -> tuple[nn.ModuleList, list[int]]:
        """The way down, and the channels of what it leaves for the way up."""
        c = self.config
        channels, skips = c.model_channels, [c.model_channels]
        blocks = [nn.ModuleList((nn.Conv2d(c.in_channels, channels, 3, padding=1),))]
        for level, mult in enumerate(c.channel_mult):
            for _ in range(c.num_res_blocks):
                blocks.append(nn.ModuleList(self._level("input", level, channels)))
                channels = c.model_channels * mult
                skips.append(channels)
            if level < len(c.channel_mult) - 1:
                blocks.append(nn.ModuleList((Downsample(channels),)))
                skips.append(channels)
        return nn.ModuleList(blocks), skips

    def _middle(self) -> nn.ModuleList:
        level = len(self.config.channel_mult) - 1
        channels = self.config.model_channels * self.config.channel_mult[level]
        first, second = (self._residual(channels, channels) for _ in range(2))
        return nn.ModuleList((first, self._transformer("middle", level), second))

    def _up(self, skips: list[int]) -> nn.ModuleList:
        c = self.config
        channels, blocks = c.model_channels * c.channel_mult[-1], []
        for level in reversed(range(len(c.channel_mult))):
            for index in range(c.num_res_blocks + 1):
                parts = self._level("output", level, channels + skips.pop())
                channels = c.model_channels * c.channel_mult[level]
                if level and index == c.num_res_blocks:
                    parts.append(Upsample(channels))
                blocks.append(nn.ModuleList(parts))
        return nn.ModuleList(blocks)

    def forward(
        self,
        x: Float[Tensor, "frames channels h w"],
        t: Float[Tensor, " frames"],
        context: Float[Tensor, "frames tokens d"],
        dense: Float[Tensor, "frames rays h w"],
        source_view_mask: Float[Tensor, " frames"] | None = None,
        num_frames: int | None = None,
    ) -> Float[Tensor, "frames latent h w"]:
        """Predicts the noise of every frame.

        Args:
            x: Scaled noisy latents, mask and rays of one or more scenes of ``num_frames`` frames each.
            t: Noise index, 0 to 999.
            context: Image embedding, the same for all frames of a scene.
            dense: Ray maps.
            source_view_mask: 1 = rendered frame, through adapter 2; 0 = any other, through adapter 1; None = no
                adapters.
            num_frames: Frames of a scene, if they are not ``config.num_frames``; no weight depends on it.

        Raises:
            ValueError: the frames are no whole scenes, the size does not fit the levels, or a mask is given to a
                network without adapters.
        """
        frames = self.config.num_frames if num_frames is None else num_frames
        self._check(x, source_view_mask, frames)
        noise = self.time_embed(noise_embedding(t, self.config.model_channels).to(x.dtype))
        left = []
        for block in self.input_blocks:
            x = _run(block, x, noise, (dense, context, source_view_mask, frames))
            left.append(x)
        x = _run(self.middle_block, x, noise, (dense, context, source_view_mask, frames))
        for block in self.output_blocks:
            x = _run(block, torch.cat((x, left.pop()), dim=1), noise, (dense, context, source_view_mask, frames))
        return self.out(x)

    def _check(self, x: Tensor, mask: Tensor | None, frames: int) -> None:
        stride = self.config.stride
        if frames < 1 or x.shape[0] == 0 or x.shape[0] % frames:
            raise ValueError(f"x must hold whole scenes of {frames} frames, got {x.shape[0]} frames")
        if x.shape[2] % stride or x.shape[3] % stride:
            raise ValueError(f"x's height and width must be multiples of {stride}, got {tuple(x.shape[2:])}")
        if mask is not None and not self.config.lora_rank:
            raise ValueError("source_view_mask needs a network with adapters: lora_rank is 0")
        if mask is not None and tuple(mask.shape) != x.shape[:1]:
            raise ValueError(f"source_view_mask must hold a number per frame, {x.shape[0]}, got {tuple(mask.shape)}")


def _run(block: nn.ModuleList, x: Tensor, noise: Tensor, given: tuple[Tensor, Tensor, Tensor | None, int]) -> Tensor:
    """One stop on the way down or up; ``given`` = rays, context, mask and frames of a scene."""
    rays, context, mask, frames = given
    for part in block:
        if isinstance(part, ResBlock):
            x = part(x, noise, rays, mask)
        elif isinstance(part, MultiviewTransformer):
            x = part(x, context, mask, frames)
        else:
            x = part(x)
    return x
