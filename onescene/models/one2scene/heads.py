"""Heads beside VGGT's: raw Gaussian channels from tokens and the image, and what a token is told of its direction."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from onescene.geometry.cubemap import face_directions
from onescene.geometry.equirect import not_half
from onescene.models.one2scene.config import One2SceneConfig
from onescene.models.one2scene.gaussians import SIZES, raw_channels
from onescene.models.scaffold.network import RAY_CHANNELS, ray_code
from onescene.models.vggt.dpt import DPTHead, Touch

_START_OPACITY = 2.2  # logit of 0.9
_START_SCALE = {"pixelsplat": -1.83, "noposplat": 4.3}  # half a pixel; of 256 at distance 1 in NoPoSplat's range


class GaussianHead(nn.Module):
    """A second DPT head; the image joins at full size through one convolution (NoPoSplat's shortcut).

    A fresh head says: no offset, opacity 0.9, half a pixel wide, grey or the pixel's own colour, all nearly.

    Args:
        config: Of the whole network.
    """

    def __init__(self, config: One2SceneConfig) -> None:
        super().__init__()
        outputs = raw_channels(config.sh_degree, config.sky)
        self.dpt = DPTHead(
            2 * config.embed_dim,
            config.features,
            config.out_channels,
            outputs,
            config.patch_size,
            config.gaussian_hidden,
        )
        self.input_merger = nn.Sequential(nn.Conv2d(3, config.features // 2, 7, padding=3), nn.ReLU())
        last = self.dpt.scratch.output_conv2[-1]
        nn.init.zeros_(last.bias)
        with torch.no_grad():
            last.weight.mul_(0.1)  # random, so that gradients flow, and small
            start = dict(zip(SIZES, last.bias.split((*SIZES.values(), outputs - sum(SIZES.values()))), strict=False))
            last.weight[: SIZES["offset"]].zero_()
            start["opacity"].fill_(_START_OPACITY)
            start["scale"].fill_(_START_SCALE[config.convention])
            start["quaternion"][0] = 1.0

    def forward(
        self, tokens: Sequence[Float[Tensor, "n patches dim"]], images: Float[Tensor, "n 3 height width"], touch: Touch
    ) -> Float[Tensor, "n c height width"]:
        """Raw channels of every pixel; arguments as in :class:`~onescene.models.vggt.dpt.DPTHead`, images in [0, 1]."""
        hw = (images.shape[-2], images.shape[-1])
        return self.dpt(tokens, hw, touch, shortcut=lambda i: self.input_merger(images[i : i + 1]))


class RayCode(nn.Linear):
    """What is added to each patch token: a linear map of where it looks in the world. Silent when fresh."""

    def __init__(self, dim: int) -> None:
        super().__init__(RAY_CHANNELS, dim)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, side: int, fov_deg: float, like: Tensor) -> Float[Tensor, "6 n dim"]:
        """Code of ``side`` x ``side`` patches of six faces, in the device and precision of ``like``."""
        directions = face_directions(side, fov_deg, device=like.device, dtype=not_half(like).dtype)
        return super().forward(ray_code(directions).to(like).flatten(1, 2))
