"""Dual-LoRA: two low-rank adapters on one layer, and a mask that says which frame goes through which (Sec. 3.3).

Adapter 1 serves clean frames (anchors, memory, targets), adapter 2 rendered ones; joint attention then mixes them.
Parameter names are the released network's (``lora_A1``, ``lora_B1``, ``lora_A2``, ``lora_B2``).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class DualLoRALinear(nn.Linear):
    """y = W x + (alpha / rank) (m B2 A2 x + (1 - m) B1 A1 x), with m = 1 for tokens of rendered frames.

    The B matrices start at zero: fresh adapters leave the layer as it was.

    Args:
        in_features: Channels in.
        out_features: Channels out.
        rank: Rank of each adapter.
        alpha: Scale; the release has rank 8 and alpha 4, a factor of 0.5.
        bias: Whether the base layer has a bias.
    """

    def __init__(self, in_features: int, out_features: int, rank: int = 8, alpha: float = 4.0, bias: bool = True):
        super().__init__(in_features, out_features, bias)
        if rank < 1:
            raise ValueError(f"rank must be >= 1, got {rank}")
        self.scaling = alpha / rank
        for name in ("1", "2"):
            a = nn.Parameter(torch.randn(rank, in_features) * in_features**-0.5)
            setattr(self, f"lora_A{name}", a)
            setattr(self, f"lora_B{name}", nn.Parameter(torch.zeros(out_features, rank)))

    def forward(self, x: Float[Tensor, "*batch in"], mask: Float[Tensor, "*_"] | None = None) -> Tensor:
        """Applies the layer.

        Args:
            x: Tokens.
            mask: 1 where a token is of a rendered frame, 0 elsewhere, over the batch axes of ``x``; None = no adapter.
        """
        y = F.linear(x, self.weight, self.bias)
        if mask is None:
            return y
        rendered = mask[..., None].to(x)
        update_1 = F.linear(F.linear(x, self.lora_A1), self.lora_B1)
        update_2 = F.linear(F.linear(x, self.lora_A2), self.lora_B2)
        return y + self.scaling * (rendered * update_2 + (1 - rendered) * update_1)


def adapter_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The adapters alone: what the paper trains; everything else is to be frozen."""
    return [p for name, p in network.named_parameters() if ".lora_" in f".{name}"]


class TinyMultiview(nn.Module):
    """A toy multi-view network: tokens of all frames attend to each other, every linear layer carries two adapters.

    Args:
        channels_in: Channels of a token.
        channels_out: Channels of the answer.
        dim: Width.
        depth: Blocks.
        rank: Rank of each adapter.
    """

    def __init__(self, channels_in: int, channels_out: int, dim: int = 48, depth: int = 2, rank: int = 4) -> None:
        super().__init__()
        self.inlet = DualLoRALinear(channels_in, dim, rank, rank)
        self.blocks = nn.ModuleList(_TinyBlock(dim, rank) for _ in range(depth))
        self.outlet = DualLoRALinear(dim, channels_out, rank, rank)

    def forward(
        self, tokens: Float[Tensor, "batch n c"], mask: Float[Tensor, "batch n"] | None = None
    ) -> Float[Tensor, "batch n c2"]:
        """Answers for every token; ``mask`` as in :class:`DualLoRALinear`."""
        x = self.inlet(tokens, mask)
        for block in self.blocks:
            x = block(x, mask)
        return self.outlet(x, mask)

    def attention(self, tokens: Tensor, mask: Tensor | None = None) -> Float[Tensor, "depth batch n n"]:
        """Attention weights of every block: row = who asks, column = who is asked."""
        x, maps = self.inlet(tokens, mask), []
        for block in self.blocks:
            maps.append(block.weights(x, mask))
            x = block(x, mask)
        return torch.stack(maps)


class _TinyBlock(nn.Module):
    def __init__(self, dim: int, rank: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_q, self.to_k, self.to_v, self.to_out = (DualLoRALinear(dim, dim, rank, rank) for _ in range(4))
        self.fc1, self.fc2 = DualLoRALinear(dim, 2 * dim, rank, rank), DualLoRALinear(2 * dim, dim, rank, rank)

    def weights(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.norm1(x)
        q, k = self.to_q(x, mask), self.to_k(x, mask)
        return torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.to_out(self.weights(x, mask) @ self.to_v(self.norm1(x), mask), mask)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x), mask)), mask)
