"""From normalised images to patch tokens: one strided convolution, a DINOv2 with registers, or an EfficientNet."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from onescene.models.encoder import TAP_CHANNELS, EfficientNetLite0
from onescene.models.vggt.blocks import Block

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Patches(NamedTuple):
    """Tokens of images, and finer maps of them where the network makes some (1/4 and 1/8 of the image's size)."""

    tokens: Float[Tensor, "n patches dim"]
    details: tuple[Tensor, ...] = ()


class ConvPatches(nn.Module):
    """One convolution as large as its stride: every patch becomes a token."""

    MEAN, STD = IMAGENET_MEAN, IMAGENET_STD

    def __init__(self, dim: int, patch_px: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch_px, stride=patch_px)

    def forward(self, images: Float[Tensor, "n 3 height width"]) -> Patches:
        return Patches(self.proj(images).flatten(2).transpose(1, 2))


class Lite0Patches(nn.Module):
    """EfficientNet-Lite0's features at 1/16 and 1/32 become the tokens of patches of 16 pixels, 1/4 and 1/8 details.

    Args:
        dim: Channels of a token.
    """

    MEAN, STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # the encoder normalises
    PATCH_PX, SIDE_PX = 16, 32  # side of a patch, and what the image's sides must be multiples of [pixels]
    DETAIL_CHANNELS = TAP_CHANNELS[1:3]  # at 1/4 and 1/8

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.encoder = EfficientNetLite0()
        self.token_16, self.token_32 = nn.Conv2d(TAP_CHANNELS[3], dim, 1), nn.Conv2d(TAP_CHANNELS[4], dim, 1)

    def forward(self, images: Float[Tensor, "n 3 height width"]) -> Patches:
        _, f4, f8, f16, f32 = self.encoder(images.contiguous(memory_format=torch.channels_last))
        deep = F.interpolate(self.token_32(f32), size=f16.shape[-2:], mode="bilinear", align_corners=False)
        return Patches((self.token_16(f16) + deep).flatten(2).transpose(1, 2), (f4, f8))


class DinoV2(nn.Module):
    """DINOv2 with registers; of its output the normalised patch tokens are kept.

    Args:
        dim: Channels.
        heads: Attention heads.
        depth: Blocks.
        patch_px: Side of a patch [pixels].
        image_px: Side of the square images that the position table was made for [pixels].
        registers: Register tokens between the class token and the patches.
    """

    MEAN, STD = IMAGENET_MEAN, IMAGENET_STD

    def __init__(self, dim: int, heads: int, depth: int, patch_px: int, image_px: int, registers: int = 4) -> None:
        super().__init__()
        self.table_side = image_px // patch_px
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.randn(1, self.table_side**2 + 1, dim) * 0.02)
        self.register_tokens = nn.Parameter(torch.zeros(1, registers, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))  # of the training of DINOv2; acts nowhere here
        self.patch_embed = ConvPatches(dim, patch_px)
        self.blocks = nn.ModuleList(Block(dim, heads, eps=1e-6, layer_scale=1.0) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.patch_px = patch_px

    def _positions(self, grid_hw: tuple[int, int]) -> Tensor:
        """The position table of the patches, resampled where the grid is another one; [1, patches, dim]."""
        table = self.pos_embed[:, 1:]
        if grid_hw == (self.table_side, self.table_side):
            return table
        square = table.float().transpose(1, 2).unflatten(-1, (self.table_side, self.table_side))
        resized = F.interpolate(square, size=grid_hw, mode="bicubic", antialias=True, align_corners=False)
        return resized.flatten(2).transpose(1, 2).to(table)

    def forward(self, images: Float[Tensor, "n 3 height width"]) -> Patches:
        grid_hw = (images.shape[-2] // self.patch_px, images.shape[-1] // self.patch_px)
        patches = self.patch_embed(images).tokens + self._positions(grid_hw)
        front = torch.cat((self.cls_token + self.pos_embed[:, :1], self.register_tokens), dim=1)
        x = torch.cat((front.expand(len(images), -1, -1).to(patches), patches), dim=1)
        for block in self.blocks:
            x = block(x)
        return Patches(self.norm(x[:, front.shape[1] :]))
