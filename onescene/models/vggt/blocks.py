"""Transformer blocks under the key names of DINOv2, VGGT and CroCo: attention, MLP, layer scale, 2-D rotary embedding.

Owns what happens to tokens; where tokens come from and who attends to whom is the caller's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Rope = tuple[Tensor, Tensor]  # cosines and signed sines, both [tokens, head_dim]


def rope_tables(grid_hw: tuple[int, int], head_dim: int, special: int, like: Tensor, base: float = 100.0) -> Rope:
    """Cosines and signed sines of the 2-D rotary embedding of a grid of patches, row by row.

    The first half of a head turns with the row, the second half with the column; inside each half channel ``i`` and
    channel ``i + quarter`` are one plane, turned by ``position * base ** (-i / quarter)`` radians.

    Args:
        grid_hw: Rows and columns of patches.
        head_dim: Channels of a head, a multiple of 4.
        special: Tokens in front of the patches; they stand at position 0 and are not turned, patches start at 1.
        like: Gives device and precision (at least float32).
        base: Of the frequencies.
    """
    quarter = head_dim // 4
    dtype = torch.promote_types(like.dtype, torch.float32)
    rows, columns = (torch.arange(1, n + 1, device=like.device, dtype=dtype) for n in grid_hw)
    frequency = base ** -(torch.arange(quarter, device=like.device, dtype=dtype) / quarter)
    by_row, by_column = rows[:, None] * frequency, columns[:, None] * frequency
    angle = torch.stack(
        (by_row[:, None].expand(-1, grid_hw[1], -1), by_column[None].expand(grid_hw[0], -1, -1)), dim=-2
    ).flatten(0, 1)  # [patches, 2, quarter]
    angle = torch.cat((angle.new_zeros(special, 2, quarter), angle))
    cosine = torch.stack((angle.cos(), angle.cos()), dim=-2).flatten(1)
    sine = torch.stack((-angle.sin(), angle.sin()), dim=-2).flatten(1)
    return cosine, sine


def swap_planes(x: Tensor) -> Tensor:
    """Puts the two channels of every rotary plane in each other's place."""
    a, b, c, d = x.chunk(4, dim=-1)
    return torch.cat((b, a, d, c), dim=-1)


def rotate(x: Float[Tensor, "*batch head_dim"], rope: Rope) -> Float[Tensor, "*batch head_dim"]:
    """Turns queries or keys by their token's position; the tables are broadcast over the axes in front."""
    cosine, sine = rope
    x = x.to(cosine)
    return swap_planes(x).mul_(sine).addcmul_(x, cosine)


_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def project(
    x: Float[Tensor, "*batch n"], weight: Float[Tensor, "m n"], bias: Float[Tensor, " m"], gelu: bool = False
) -> Float[Tensor, "*batch m"]:
    """x W^T + b, and an exact GELU of it where asked for.

    Without gradients on a processor oneDNN does all in one pass, a tenth faster than the BLAS behind ``F.linear``; it
    is the kernel that ``torch.compile`` puts there.
    """
    plain = torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu")
    if not _ONEDNN or plain or x.device.type != "cpu" or {x.dtype, weight.dtype} != {torch.float32}:
        out = F.linear(x, weight, bias)
        return F.gelu(out) if gelu else out
    activation = "gelu" if gelu else "none"
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "none")


class Attention(nn.Module):
    """Multi-head self-attention with a fused projection, optional qk norm and rotary embedding."""

    def __init__(self, dim: int, heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm = nn.LayerNorm(dim // heads) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(dim // heads) if qk_norm else nn.Identity()
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "batch n dim"], rope: Rope | None = None) -> Float[Tensor, "batch n dim"]:
        # one product each: three tensors as the norm needs them, without copies; [B, n, heads, head_dim]
        parts = zip(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), strict=True)
        q, k, v = (project(x, *part).unflatten(-1, (self.heads, -1)) for part in parts)
        q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            cosine, sine = (table[:, None] for table in rope)
            q, k = rotate(q, (cosine, sine)).to(v), rotate(k, (cosine, sine)).to(v)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return project(out, self.proj.weight, self.proj.bias)


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, dim: int, hidden: int, dim_out: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim_out or dim)

    def forward(self, x: Tensor) -> Tensor:
        hidden = project(x, self.fc1.weight, self.fc1.bias, gelu=True)
        return project(hidden, self.fc2.weight, self.fc2.bias)


class LayerScale(nn.Module):
    """Adds a branch to its trunk, every channel of the branch with its own factor."""

    def __init__(self, dim: int, init: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), init))

    def forward(self, trunk: Tensor, branch: Tensor) -> Tensor:
        return torch.addcmul(trunk, branch, self.gamma)


class PlainSum(nn.Module):
    """Adds a branch to its trunk; stands where a network has no layer scale."""

    def forward(self, trunk: Tensor, branch: Tensor) -> Tensor:
        return trunk + branch


class Block(nn.Module):
    """Pre-norm transformer block: x + ls1(attention(norm1 x)), then x + ls2(mlp(norm2 x)).

    Args:
        dim: Channels.
        heads: Attention heads.
        eps: Of the layer norms.
        layer_scale: Start of the per-channel factors; None = the block has none.
        qk_norm: Whether queries and keys are normalised per head.
    """

    def __init__(
        self, dim: int, heads: int, eps: float = 1e-5, layer_scale: float | None = None, qk_norm: bool = False
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps)
        self.attn = Attention(dim, heads, qk_norm)
        self.ls1 = PlainSum() if layer_scale is None else LayerScale(dim, layer_scale)
        self.norm2 = nn.LayerNorm(dim, eps)
        self.mlp = Mlp(dim, 4 * dim)
        self.ls2 = PlainSum() if layer_scale is None else LayerScale(dim, layer_scale)

    def forward(self, x: Float[Tensor, "batch n dim"], rope: Rope | None = None) -> Float[Tensor, "batch n dim"]:
        x = self.ls1(x, self.attn(self.norm1(x), rope))
        return self.ls2(x, self.mlp(self.norm2(x)))
