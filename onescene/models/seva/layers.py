"""Convolutions of SEVA's U-Net: residual blocks that rays and noise level modulate, and changes of resolution."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from onescene.models.seva.transformer import Adapters, routed

_MAX_PERIOD = 10_000.0


def noise_embedding(t: Float[Tensor, " frames"], dim: int) -> Float[Tensor, "frames dim"]:
    """Cosines, then sines of a noise index at ``dim / 2`` frequencies from 1 down to (almost) 1 / 10,000."""
    exponents = torch.arange(dim // 2, dtype=torch.float32, device=t.device) / (dim // 2)
    angles = t[:, None].float() * torch.exp(-math.log(_MAX_PERIOD) * exponents)
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


class ResBlock(nn.Module):
    """Two normed convolutions around the noise level, the first modulated by the ray map, added to their input.

    Args:
        channels_in: Channels of the feature map.
        channels_out: Channels of the result.
        channels_noise: Channels of the noise level's embedding.
        channels_rays: Channels of the ray map.
        adapters: What its five (with a skip projection) or four layers carry.
        dropout: Share of features left out while training.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        channels_noise: int,
        channels_rays: int,
        adapters: Adapters,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        norm, conv = nn.GroupNorm(32, channels_in), adapters.conv(channels_in, channels_out, 3)
        self.in_layers = nn.ModuleList((norm, nn.SiLU(), conv))
        self.emb_layers = nn.ModuleList((nn.SiLU(), adapters.linear(channels_noise, channels_out)))
        self.dense_emb_layers = nn.ModuleList((adapters.conv(channels_rays, 2 * channels_in, 1),))
        norm, conv = nn.GroupNorm(32, channels_out), adapters.conv(channels_out, channels_out, 3)
        self.out_layers = nn.ModuleList((norm, nn.SiLU(), nn.Dropout(dropout), conv))
        same = channels_in == channels_out
        self.skip_connection = nn.Identity() if same else adapters.conv(channels_in, channels_out, 1)

    def forward(self, x: Tensor, noise: Tensor, rays: Tensor, mask: Tensor | None) -> Tensor:
        """Feature map to feature map; ``rays`` has any size, ``mask`` one value per frame."""
        rays = F.interpolate(rays, size=x.shape[2:], mode="bilinear", align_corners=True)
        scale, shift = routed(self.dense_emb_layers[0], rays, mask).chunk(2, dim=1)
        norm, act, conv = self.in_layers
        h = routed(conv, act(norm(x)) * (1 + scale) + shift, mask)
        h = h + routed(self.emb_layers[1], self.emb_layers[0](noise), mask)[..., None, None]
        norm, act, dropout, conv = self.out_layers
        h = routed(conv, dropout(act(norm(h))), mask)
        same = isinstance(self.skip_connection, nn.Identity)
        return h + (x if same else routed(self.skip_connection, x, mask))


class Downsample(nn.Module):
    """Half the resolution, by a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Feature map to feature map."""
        return self.op(x)


class Upsample(nn.Module):
    """Twice the resolution, every pixel doubled and then convolved."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Feature map to feature map."""
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
