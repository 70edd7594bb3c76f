"""Fast3R's backbone: CroCo's encoder on every face, then self-attention over the tokens of all six."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from onescene.models.vggt.blocks import Block, rope_tables
from onescene.models.vggt.patches import ConvPatches

_EPS = 1e-6
_UV_GRID = (64, 64, 1024)  # of the released file, whatever the width of the network
_INTRINSIC_CHANNELS = (9, 1024)  # likewise


class _UnusedGrid(nn.Module):
    """A table that the released file carries and its network never reads."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("grid", torch.zeros(_UV_GRID))


def face_code(faces: int, channels: int, like: Tensor) -> Float[Tensor, "face c"]:
    """Sines, then cosines, of the face's number: how the decoder tells the six apart."""
    half = channels // 2
    number = torch.arange(faces, device=like.device, dtype=torch.float64)
    angle = number[:, None] * 10000.0 ** -(torch.arange(half, device=like.device, dtype=torch.float64) / half)
    return torch.cat((angle.sin(), angle.cos()), dim=-1).to(like)


class FaceBackbone(nn.Module):
    """Tokens of six faces after the encoder and after every block of the decoder.

    ``mask_token``, ``uv_embed`` and ``intrinsic_encoder`` are in the released file and act nowhere.

    Args:
        encoder: Channels, blocks and heads of the encoder.
        decoder: The same of the decoder.
        patch_px: Side of a patch [pixels].
        rope_base: Of the rotary embedding in the encoder; the decoder has none.
    """

    def __init__(
        self, encoder: tuple[int, int, int], decoder: tuple[int, int, int], patch_px: int, rope_base: float
    ) -> None:
        super().__init__()
        (dim, depth, heads), (dec_dim, dec_depth, dec_heads) = encoder, decoder
        self.patch_px, self.head_dim, self.rope_base = patch_px, dim // heads, rope_base
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dec_dim))
        self.patch_embed = ConvPatches(dim, patch_px)
        self.enc_blocks = nn.ModuleList(Block(dim, heads, _EPS) for _ in range(depth))
        self.enc_norm = nn.LayerNorm(dim, _EPS)
        self.decoder_embed = nn.Linear(dim, dec_dim)
        self.dec_blocks = nn.ModuleList(Block(dec_dim, dec_heads, _EPS) for _ in range(dec_depth))
        self.dec_norm = nn.LayerNorm(dec_dim, _EPS)
        self.uv_embed = _UnusedGrid()
        self.intrinsic_encoder = nn.Linear(*_INTRINSIC_CHANNELS)

    def forward(self, images: Float[Tensor, "batch face 3 height width"]) -> list[Float[Tensor, "n patches c"]]:
        """``1 + decoder depth`` lists of tokens, of all faces of the batch one after the other.

        Args:
            images: RGB normalised to [-1, 1].
        """
        batch, faces = images.shape[:2]
        grid_hw = (images.shape[-2] // self.patch_px, images.shape[-1] // self.patch_px)
        x = self.patch_embed(images.flatten(0, 1)).tokens
        rope = rope_tables(grid_hw, self.head_dim, 0, x, self.rope_base)
        for block in self.enc_blocks:
            x = block(x, rope)
        tokens = [self.enc_norm(x)]
        x = self.decoder_embed(tokens[0]).unflatten(0, (batch, faces))
        x = (x + face_code(faces, x.shape[-1], x)[:, None]).flatten(1, 2)
        for block in self.dec_blocks:
            x = block(x)
            tokens.append(x.unflatten(1, (faces, -1)).flatten(0, 1))
        tokens[-1] = self.dec_norm(tokens[-1])
        return tokens
