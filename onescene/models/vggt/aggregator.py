"""VGGT's aggregator: patch tokens of all frames, turned into features by frame and global attention in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from onescene.models.vggt.blocks import Block, rope_tables
from onescene.models.vggt.patches import ConvPatches, DinoV2, Lite0Patches

REGISTERS = 4
SPECIAL = 1 + REGISTERS  # camera token and registers, in front of every frame's patches


class Features(NamedTuple):
    """Features of the layers that were asked for, and finer maps where the patch embedding makes them."""

    layers: tuple[Float[Tensor, "batch frame n dim2"], ...]
    details: tuple[Float[Tensor, "n c h w"], ...]


class Aggregator(nn.Module):
    """Frames attend to themselves, then to each other, ``depth`` times.

    Args:
        patches: Makes tokens of images, normalised by its ``MEAN`` and ``STD``.
        dim: Channels of a token.
        heads: Attention heads.
        depth: Number of frame blocks, and of global blocks.
        patch_px: Side of a patch [pixels].
        joint: Whether global blocks see all frames; False = each frame apart, in them too.
    """

    def __init__(
        self,
        patches: ConvPatches | DinoV2 | Lite0Patches,
        dim: int,
        heads: int,
        depth: int,
        patch_px: int,
        joint: bool = True,
    ) -> None:
        super().__init__()
        self.patch_px, self.head_dim, self.joint = patch_px, dim // heads, joint
        self.patch_embed = patches
        self.frame_blocks, self.global_blocks = (
            nn.ModuleList(Block(dim, heads, layer_scale=0.01, qk_norm=True) for _ in range(depth)) for _ in range(2)
        )
        # index 0 is for the first frame, whose camera is the world; index 1 for every other
        self.camera_token = nn.Parameter(torch.randn(1, 2, 1, dim) * 1e-6)
        self.register_token = nn.Parameter(torch.randn(1, 2, REGISTERS, dim) * 1e-6)
        for name, value in (("_mean", patches.MEAN), ("_std", patches.STD)):
            self.register_buffer(name, torch.tensor(value).view(3, 1, 1), persistent=False)

    def _embed(self, images: Tensor, code: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Tokens of every frame, the special ones first [B, S, tokens, dim], and details."""
        batch, frames = images.shape[:2]
        patches, details = self.patch_embed(((images - self._mean) / self._std).flatten(0, 1))
        patches = patches.unflatten(0, (batch, frames))
        patches = patches if code is None else patches + code
        special = torch.cat((self.camera_token, self.register_token), dim=2)
        special = torch.cat((special[:, :1], special[:, 1:].expand(-1, frames - 1, -1, -1)), dim=1)
        return torch.cat((special.expand(batch, -1, -1, -1).to(patches), patches), dim=2), details

    def forward(
        self, images: Float[Tensor, "batch frame 3 height width"], layers: Sequence[int] | None = None
    ) -> tuple[Float[Tensor, "batch frame n dim2"], ...]:
        """Features after the frame block and after the global block, side by side, per layer.

        Args:
            images: RGB in [0, 1]; sides are multiples of the patch.
            layers: Which layers to return, in this order; the others are not kept. None = all.
        """
        return self.features(images, range(len(self.frame_blocks)) if layers is None else layers).layers

    def features(
        self,
        images: Float[Tensor, "batch frame 3 height width"],
        layers: Sequence[int],
        code: Float[Tensor, "frame n dim"] | None = None,
    ) -> Features:
        """The same with details.

        Args:
            images: As in :meth:`forward`.
            layers: As in :meth:`forward`.
            code: Added to the patch tokens: what is known of each beside its colours.
        """
        frames = images.shape[1]
        grid_hw = (images.shape[-2] // self.patch_px, images.shape[-1] // self.patch_px)
        x, details = self._embed(images, code)
        rope = rope_tables(grid_hw, self.head_dim, SPECIAL, x)
        rope_all = tuple(table.repeat(frames, 1) for table in rope) if self.joint else rope
        kept: dict[int, Tensor] = {}
        for i, (own, joint) in enumerate(zip(self.frame_blocks, self.global_blocks, strict=True)):
            within = own(x.flatten(0, 1), rope).view_as(x)
            x = joint(within.flatten(*((1, 2) if self.joint else (0, 1))), rope_all).view_as(x)
            if i in layers:
                kept[i] = torch.cat((within, x), dim=-1)
        return Features(tuple(kept[i] for i in layers), details)
