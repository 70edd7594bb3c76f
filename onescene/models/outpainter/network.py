"""The small outpainter: a U-Net on the sphere that sees a placed photo, its mask and a classical draft.

    placed photo, mask, draft, latitude, noise [H, 2H]
      -> halved by a pixel shuffle -> blocks at 1/2, 1/4, 1/8 and, with attention over all pixels, 1/16
      -> back up with skips -> a correction that is added to the draft

Every convolution continues around the circle and across the poles, so the result has no border: a panorama turned by
a multiple of 16 columns gives the turned result. With ``circular: false`` none does, to see what is lost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SHRINK = 16  # pixels per token of the attention


@dataclass(frozen=True)
class OutpainterConfig:
    """Sizes of an outpainter."""

    height_px: int = 128  # rows of the panoramas it works on, a multiple of 16; twice as many columns
    channels: tuple[int, int, int, int] = (32, 64, 128, 192)  # at 1/2, 1/4, 1/8 and 1/16
    blocks: tuple[int, int, int, int] = (1, 1, 2, 3)  # residual blocks of each level, on the way down and up
    heads: int = 4  # of the attention
    noise: int = 2  # channels of noise: what the seed decides
    circular: bool = True  # convolutions continue across the borders; False: they repeat the border, as plain ones do


SMALL = OutpainterConfig()
LARGE = OutpainterConfig(height_px=192, channels=(64, 96, 176, 256), blocks=(2, 2, 3, 4), heads=8)


def pad_sphere(x: Float[Tensor, "b c h w"], pixels: int = 1) -> Float[Tensor, "b c h2 w2"]:
    """Continues a panorama around the circle and across the poles, where the opposite longitude follows."""
    half = x.shape[-1] // 2
    above, below = x[..., :pixels, :].flip(-2).roll(half, -1), x[..., -pixels:, :].flip(-2).roll(half, -1)
    x = torch.cat((above, x, below), dim=-2)
    return torch.cat((x[..., -pixels:], x, x[..., :pixels]), dim=-1)


def latitude_channels(hw: tuple[int, int], like: Tensor) -> Float[Tensor, "1 2 h w"]:
    """Sine and cosine of every row's latitude."""
    latitude = math.pi * (0.5 - (torch.arange(hw[0], device=like.device, dtype=like.dtype) + 0.5) / hw[0])
    return torch.stack((latitude.sin(), latitude.cos()))[None, :, :, None].expand(1, 2, *hw)


class SphereConv(nn.Conv2d):
    """3x3 convolution of panoramas."""

    def __init__(self, channels_in: int, channels_out: int, circular: bool) -> None:
        super().__init__(channels_in, channels_out, 3)
        self.circular = circular

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(pad_sphere(x) if self.circular else F.pad(x, (1, 1, 1, 1), mode="replicate"))


class Block(nn.Module):
    """Residual block: normalised once, two convolutions; starts as the identity."""

    def __init__(self, channels: int, circular: bool) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.first, self.second = (SphereConv(channels, channels, circular) for _ in range(2))
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(self.norm(x)))))


class Attention(nn.Module):
    """Every pixel of the coarsest level looks at all of them; starts as the identity."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, channels)
        self.read, self.write = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        nn.init.zeros_(self.write.weight)
        nn.init.zeros_(self.write.bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.read(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.write(mixed).transpose(1, 2).reshape(batch, channels, height, width)


class Outpainter(nn.Module):
    """The network; about 4.0 M parameters in ``SMALL``."""

    def __init__(self, config: OutpainterConfig = SMALL) -> None:
        super().__init__()
        self.config = config
        c, n, around = config.channels, config.blocks, config.circular
        self.read = SphereConv(4 * (3 + 1 + 3 + 2 + config.noise), c[0], around)
        self.down = nn.ModuleList(nn.Sequential(*(Block(c[i], around) for _ in range(n[i]))) for i in range(3))
        self.shrink = nn.ModuleList(nn.Conv2d(c[i], c[i + 1], 2, stride=2) for i in range(3))
        pairs = ((Block(c[3], around), Attention(c[3], config.heads)) for _ in range(n[3]))
        self.middle = nn.Sequential(*(module for pair in pairs for module in pair))
        self.grow = nn.ModuleList(nn.Conv2d(c[i + 1], c[i], 1) for i in range(3))
        self.join = nn.ModuleList(nn.Conv2d(2 * c[i], c[i], 1) for i in range(3))
        self.up = nn.ModuleList(nn.Sequential(*(Block(c[i], around) for _ in range(n[i]))) for i in range(3))
        self.write = SphereConv(c[0], 3, around)
        nn.init.zeros_(self.write.weight)
        nn.init.zeros_(self.write.bias)

    def forward(
        self,
        placed: Float[Tensor, "b 3 h w"],
        mask: Float[Tensor, "b 1 h w"],
        draft: Float[Tensor, "b 3 h w"],
        noise: Float[Tensor, "b n h w"],
    ) -> Float[Tensor, "b 3 h w"]:
        """The corrected draft; not clamped, the photo is not put back.

        Args:
            placed: The photo on the panorama, RGB in [0, 1], 0 outside.
            mask: 1 where the photo is.
            draft: A classical outpainting of it.
            noise: Standard normal.

        Raises:
            ValueError: a height that is no multiple of 16, or a width that is not twice the height.
        """
        height, width = draft.shape[-2:]
        if height % SHRINK or width != 2 * height:
            raise ValueError(f"draft must be [b, 3, h, 2h] with h a multiple of {SHRINK}, got {list(draft.shape)}")
        latitude = latitude_channels((height, width), draft).expand(len(draft), -1, -1, -1)
        seen = torch.cat((placed * 2 - mask, mask * 2 - 1, draft * 2 - 1, latitude, noise), dim=1)
        x = self.read(F.pixel_unshuffle(seen, 2))
        skips = []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            x = blocks(x)
            skips.append(x)
            x = shrink(x)
        x = self.middle(x)
        for i in (2, 1, 0):
            x = F.interpolate(self.grow[i](x), scale_factor=2)  # mixed at the coarse size: a quarter of the work
            x = self.up[i](self.join[i](torch.cat((x, skips[i]), dim=1)))
        # enlarged, then mixed: a pixel shuffle left stripes of one pixel in flat ceilings
        return draft + self.write(F.interpolate(F.silu(x), scale_factor=2)).to(draft)
