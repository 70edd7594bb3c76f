"""Multi-view transformer of SEVA: attention within frames or over all of them, then mixing along time.

Tokens are [scenes * frames, positions, channels] everywhere, so that a routing mask has one value per frame wherever it
is used. Where frames attend to each other only queries, keys and values are rearranged.

The image embedding is one token. Attention over one key returns its value whatever the query asks, so its queries
and keys are not computed. With adapters, frames differ in their key: where all frames of a scene attend jointly, the
release has one key per position, all positions of a frame alike; a softmax over equally many copies of each frame's
key equals the softmax over one copy each, so one key per frame is enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onescene.models.dual_lora import DualLoRAConv2d, DualLoRALinear


@dataclass(frozen=True)
class Adapters:
    """Rank and scale of the adapters that a layer gets; rank 0 = none."""

    rank: int = 0
    alpha: float = 4.0

    def linear(self, channels_in: int, channels_out: int, bias: bool = True) -> nn.Linear:
        """A linear layer, with adapters if there are any."""
        if self.rank:
            return DualLoRALinear(channels_in, channels_out, self.rank, self.alpha, bias)
        return nn.Linear(channels_in, channels_out, bias)

    def conv(self, channels_in: int, channels_out: int, kernel: int) -> nn.Conv2d:
        """A convolution that keeps the image's size, with adapters if there are any."""
        if self.rank:
            return DualLoRAConv2d(channels_in, channels_out, kernel, self.rank, self.alpha)
        return nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2)


def routed(layer: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    """Applies a layer, through its adapters where a mask says which."""
    return layer(x) if mask is None else layer(x, mask)


@dataclass(frozen=True)
class Scope:
    """Which tokens of [scenes * frames, positions, channels] attend to each other.

    Attributes:
        how: ``frame`` = the positions of one frame; ``joint`` = all positions of all frames of a scene (3D attention);
            ``time`` = one position through all frames of a scene.
        frames: Frames of a scene.
    """

    how: Literal["frame", "joint", "time"]
    frames: int

    def join(self, x: Tensor) -> Tensor:
        """[scenes * frames, positions, c] -> [batch, tokens that attend to each other, c]."""
        if self.how == "frame":
            return x
        x = x.unflatten(0, (-1, self.frames))
        return x.flatten(1, 2) if self.how == "joint" else x.transpose(1, 2).flatten(0, 1)

    def split(self, x: Tensor, positions: int) -> Tensor:
        """The inverse of :meth:`join`."""
        if self.how == "frame":
            return x
        if self.how == "joint":
            return x.unflatten(1, (self.frames, positions)).flatten(0, 1)
        return x.unflatten(0, (-1, positions)).transpose(1, 2).flatten(0, 1)


class Attention(nn.Module):
    """Multi-head attention of tokens to each other, or to ``context_dim`` channels of another source."""

    def __init__(self, dim: int, heads: int, adapters: Adapters, context_dim: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = adapters.linear(dim, dim, bias=False)
        self.to_k = adapters.linear(context_dim or dim, dim, bias=False)
        self.to_v = adapters.linear(context_dim or dim, dim, bias=False)
        self.to_out = nn.ModuleList((adapters.linear(dim, dim),))

    def forward(self, x: Tensor, mask: Tensor | None, scope: Scope) -> Tensor:
        """Self-attention over the tokens that ``scope`` brings together."""
        q, k, v = (scope.join(routed(layer, x, mask)) for layer in (self.to_q, self.to_k, self.to_v))
        return routed(self.to_out[0], scope.split(self._softmax(q, k, v), x.shape[1]), mask)

    def weights(self, x: Tensor, mask: Tensor | None, scope: Scope) -> Tensor:
        """Self-attention's shares [batch, who asks, who is asked], mean over heads; rows sum to 1."""
        q, k = (scope.join(routed(layer, x, mask)) for layer in (self.to_q, self.to_k))
        q, k = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k))
        return torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1).mean(dim=1)

    def cross(self, x: Tensor, context: Tensor, mask: Tensor | None, scope: Scope) -> Tensor:
        """Attention to ``context`` [scenes * frames, n, channels]; where frames meet, to that of a scene's first frame.

        Returns:
            [scenes * frames, positions or 1, channels]: 1 where every position receives the same.

        Raises:
            ValueError: more than one context token where adapters are routed between frames.
        """
        group = 1 if scope.how == "frame" else scope.frames  # frames that share their keys
        context = context[::group]
        if mask is not None and group > 1:
            if context.shape[1] != 1:
                raise ValueError(f"context must hold one token where adapters are routed, got {context.shape[1]}")
            context, key_mask = context.expand(-1, group, -1), mask.view(-1, group)
        else:
            key_mask = mask
        v = routed(self.to_v, context, key_mask)
        if context.shape[1] == 1:
            return routed(self.to_out[0], v.repeat_interleave(group, dim=0), mask)
        q = routed(self.to_q, x, mask).unflatten(0, (-1, group)).flatten(1, 2)
        out = self._softmax(q, routed(self.to_k, context, key_mask), v)
        return routed(self.to_out[0], out.view(x.shape), mask)

    def _softmax(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class _Gated(nn.Module):
    def __init__(self, dim: int, inner: int, adapters: Adapters) -> None:
        super().__init__()
        self.proj = adapters.linear(dim, 2 * inner)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        value, gate = routed(self.proj, x, mask).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """A gated layer (GEGLU) four times as wide as the tokens, and back."""

    def __init__(self, dim: int, adapters: Adapters, dropout: float) -> None:
        super().__init__()
        inlet, outlet = _Gated(dim, 4 * dim, adapters), adapters.linear(4 * dim, dim)
        self.net = nn.ModuleList((inlet, nn.Dropout(dropout), outlet))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Applies it to every token."""
        inlet, dropout, outlet = self.net
        return routed(outlet, dropout(inlet(x, mask)), mask)


class TransformerBlock(nn.Module):
    """Self-attention, attention to the image embedding, feed-forward: each on normed tokens and added to them."""

    def __init__(self, dim: int, heads: int, context_dim: int, adapters: Adapters, dropout: float) -> None:
        super().__init__()
        self.attn1 = Attention(dim, heads, adapters)
        self.ff = FeedForward(dim, adapters, dropout)
        self.attn2 = Attention(dim, heads, adapters, context_dim)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim) for _ in range(3))

    def attended(self, x: Tensor, context: Tensor, mask: Tensor | None, scope: Scope) -> Tensor:
        """Tokens after both attentions."""
        x = x + self.attn1(self.norm1(x), mask, scope)
        return x + self.attn2.cross(self.norm2(x), context, mask, scope)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None, scope: Scope) -> Tensor:
        """Tokens to tokens."""
        x = self.attended(x, context, mask, scope)
        return x + self.ff(self.norm3(x), mask)


class TimeMixBlock(TransformerBlock):
    """The same along time, after a feed-forward of its own; what it returns is to be added, its last layer is not."""

    def __init__(self, dim: int, heads: int, context_dim: int, adapters: Adapters, dropout: float) -> None:
        super().__init__(dim, heads, context_dim, adapters, dropout)
        self.norm_in = nn.LayerNorm(dim)
        self.ff_in = FeedForward(dim, adapters, dropout)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None, scope: Scope) -> Tensor:
        """Tokens to an update of them."""
        x = x + self.ff_in(self.norm_in(x), mask)
        return self.ff(self.norm3(self.attended(x, context, mask, scope)), mask)


class MultiviewTransformer(nn.Module):
    """Tokens of all frames through spatial and time-mixing blocks, added to the feature map they came from.

    Args:
        dim: Channels of the feature map.
        heads: Attention heads.
        depth: Pairs of blocks. With adapters only the first pair runs, as in the release (whose depth is 1).
        context_dim: Channels of the image embedding.
        joint: Whether the spatial blocks attend over all frames of a scene.
        adapters: What every linear layer carries.
        dropout: Share of hidden units left out while training.
    """

    def __init__(
        self, dim: int, heads: int, depth: int, context_dim: int, joint: bool, adapters: Adapters, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.how: Literal["joint", "frame"] = "joint" if joint else "frame"
        self.runs = 1 if adapters.rank else depth
        sizes = (dim, heads, context_dim, adapters, dropout)
        self.norm = nn.GroupNorm(32, dim, eps=1e-6)
        self.proj_in = adapters.linear(dim, dim)
        self.transformer_blocks = nn.ModuleList(TransformerBlock(*sizes) for _ in range(depth))
        self.proj_out = adapters.linear(dim, dim)
        self.time_mix_blocks = nn.ModuleList(TimeMixBlock(*sizes) for _ in range(depth))

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None, frames: int) -> Tensor:
        """Feature map [scenes * frames, c, h, w] to feature map."""
        mask = None if mask is None else mask[:, None]  # frames, positions
        tokens = routed(self.proj_in, self.norm(x).flatten(2).transpose(1, 2), mask)
        for index in range(self.runs):
            tokens = self.transformer_blocks[index](tokens, context, mask, Scope(self.how, frames))
            tokens = tokens + self.time_mix_blocks[index](tokens, context, mask, Scope("time", frames))
        return x + routed(self.proj_out, tokens, mask).transpose(1, 2).reshape(x.shape)
