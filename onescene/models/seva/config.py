"""Sizes of SEVA's U-Net, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class SevaConfig:
    """Sizes of :class:`~onescene.models.seva.network.SevaUNet`; the defaults are the published 1.26 G network's.

    A level is a resolution of the U-Net; level i works on the latent divided by 2**i.
    """

    in_channels: int = 11  # latent 4, mask 1, ray map 6
    out_channels: int = 4
    model_channels: int = 320  # a multiple of 32, as GroupNorm has 32 groups
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)  # channels of a level / model_channels
    num_res_blocks: int = 2  # per level on the way down; one more on the way up
    attention_resolutions: tuple[int, ...] = (4, 2, 1)  # divisors of the latent's size at which frames attend
    num_head_channels: int = 64
    transformer_depth: tuple[int, ...] = (1, 1, 1, 1)  # transformer blocks per level
    context_dim: int = 1024  # of the image embedding
    dense_in_channels: int = 6  # of the ray map
    num_frames: int = 21  # frames of one scene
    unflatten_names: tuple[str, ...] = ("middle_ds8", "output_ds4", "output_ds2")  # where all frames attend jointly
    dropout: float = 0.0
    lora_rank: int = 0  # of each of the two adapters; 0 = the plain network
    lora_alpha: float = 4.0  # an adapter's update is scaled by lora_alpha / lora_rank

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
        if len(self.transformer_depth) != len(self.channel_mult):
            got = len(self.transformer_depth), len(self.channel_mult)
            raise ValueError(f"transformer_depth must have one entry per level: got {got[0]} for {got[1]} levels")
        if min(self.num_head_channels, len(self.channel_mult)) < 1:
            raise ValueError("num_head_channels must be >= 1 and channel_mult have a level")
        if self.model_channels < 32 or self.model_channels % 32:
            raise ValueError(f"model_channels must be a multiple of 32, got {self.model_channels}")
        for level, mult in enumerate(self.channel_mult):
            attends = 2**level in self.attention_resolutions or level == len(self.channel_mult) - 1
            if attends and self.model_channels * mult % self.num_head_channels:
                raise ValueError(
                    f"num_head_channels must divide the {self.model_channels * mult} channels of level {level}, "
                    f"got {self.num_head_channels}"
                )
        if min(self.num_frames, self.num_res_blocks, *self.transformer_depth) < 1 or self.lora_rank < 0:
            raise ValueError("num_frames, num_res_blocks and transformer_depth must be >= 1, lora_rank >= 0")

    @property
    def stride(self) -> int:
        """What the latent's height and width must be multiples of [latent pixels]."""
        return 2 ** (len(self.channel_mult) - 1)

    @staticmethod
    def from_official(config: Mapping[str, Any]) -> SevaConfig:
        """Reads the official parameters (``SevaParams``); absent ones take the published size, others are left out."""
        known = {f.name: f.default for f in fields(SevaConfig)}
        sizes = known | {name: value for name, value in config.items() if name in known}
        sizes["transformer_depth"] = sizes["transformer_depth"][: len(sizes["channel_mult"])]  # more are never read
        return SevaConfig(**sizes)


PAPER = SevaConfig()
RELEASE = SevaConfig(lora_rank=8)
"""The denoiser of the One2Scene release: SEVA with two adapters of rank 8 per layer, scaled by 0.5."""
SMALL = SevaConfig(
    in_channels=199,  # latent 192, mask 1, ray map 6
    out_channels=192,  # of a linear auto-encoder: 8 x 8 pixels keep all of their numbers
    model_channels=128,
    channel_mult=(1, 1, 1),
    num_res_blocks=1,
    num_head_channels=32,
    transformer_depth=(1, 1, 1),
    attention_resolutions=(4,),
    context_dim=48,  # of a thumbnail
    num_frames=10,
    unflatten_names=("middle_ds4", "output_ds4"),
)
