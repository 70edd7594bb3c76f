"""Dual-LoRA: two low-rank adapters on one layer, and a mask that says which frame goes through which (Sec. 3.3).

Adapter 1 serves clean frames (anchors, memory, targets), adapter 2 rendered ones; joint attention then mixes them.
Parameter names are the released network's (``lora_A1``, ``lora_B1``, ``lora_A2``, ``lora_B2``).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class _Adapters:
    """Two low-rank pairs beside a layer's own weight, made and applied alike for linear layers and convolutions."""

    def _add_adapters(self, channels_in: int, channels_out: int, rank: int, alpha: float) -> None:
        if rank < 1:
            raise ValueError(f"rank must be >= 1, got {rank}")
        self.scaling = alpha / rank
        for name in ("1", "2"):
            a = nn.Parameter(torch.randn(rank, channels_in) * channels_in**-0.5)
            setattr(self, f"lora_A{name}", a)
            setattr(self, f"lora_B{name}", nn.Parameter(torch.zeros(channels_out, rank)))

    def _routed(self, mask: Tensor) -> Tensor:
        """What the hidden channels of both pairs, side by side, are multiplied with: [*mask, 2 rank]."""
        rank = self.lora_A1.shape[0]
        pairs = torch.stack((1 - mask, mask), dim=-1) * self.scaling
        return pairs.to(self.lora_A1).repeat_interleave(rank, dim=-1)


class DualLoRALinear(_Adapters, nn.Linear):
    """y = W x + (alpha / rank) (m B2 A2 x + (1 - m) B1 A1 x), with m = 1 for tokens of rendered frames.

    The B matrices start at zero: fresh adapters leave the layer as it was.

    Args:
        in_features: Channels in.
        out_features: Channels out.
        rank: Rank of each adapter.
        alpha: Scale; the release has rank 8 and alpha 4, a factor of 0.5.
        bias: Whether the base layer has a bias.

    Raises:
        ValueError: ``rank`` is below 1.
    """

    def __init__(self, in_features: int, out_features: int, rank: int = 8, alpha: float = 4.0, bias: bool = True):
        super().__init__(in_features, out_features, bias)
        self._add_adapters(in_features, out_features, rank, alpha)

    def forward(self, x: Float[Tensor, "*batch in"], mask: Float[Tensor, "*_"] | None = None) -> Tensor:
        """Applies the layer.

        Args:
            x: Tokens.
            mask: 1 where a token is of a rendered frame, 0 elsewhere, broadcast over the batch axes of ``x``; None = no
                adapter.
        """
        y = F.linear(x, self.weight, self.bias)
        if mask is None:
            return y
        hidden = F.linear(x, torch.cat((self.lora_A1, self.lora_A2))) * self._routed(mask)
        return y + F.linear(hidden, torch.cat((self.lora_B1, self.lora_B2), dim=1))


class DualLoRAConv2d(_Adapters, nn.Conv2d):
    """A convolution with stride 1 whose two adapters look at one pixel only, whatever its kernel (as the release's do).

    y = W * x + (alpha / rank) (m B2 A2 x + (1 - m) B1 A1 x), A and B acting on the channels of each pixel.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        kernel_size: Side of the kernel [pixels], odd; the image keeps its size.
        rank: Rank of each adapter.
        alpha: Scale, as in :class:`DualLoRALinear`.

    Raises:
        ValueError: ``rank`` is below 1.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, rank: int = 8, alpha: float = 4.0):
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self._add_adapters(in_channels, out_channels, rank, alpha)

    def forward(
        self, x: Float[Tensor, "frame channel h w"], mask: Float[Tensor, " frame"] | None = None
    ) -> Float[Tensor, "frame channel2 h w"]:
        """Applies the layer; ``mask`` has one value per frame, None = no adapter."""
        y = super().forward(x)
        if mask is None:
            return y
        a, b = torch.cat((self.lora_A1, self.lora_A2)), torch.cat((self.lora_B1, self.lora_B2), dim=1)
        hidden = F.conv2d(x, a[..., None, None]) * self._routed(mask)[..., None, None]
        return y + F.conv2d(hidden, b[..., None, None])


def adapter_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The adapters alone: what the paper trains; everything else is to be frozen."""
    return [p for name, p in network.named_parameters() if ".lora_" in f".{name}"]


def train_adapters_only(network: nn.Module) -> list[nn.Parameter]:
    """Freezes everything but the adapters, and returns them.

    Raises:
        ValueError: the network has no adapters.
    """
    adapters = adapter_parameters(network)
    if not adapters:
        raise ValueError("network must have adapters to train, found no parameter named lora_*")
    network.requires_grad_(False)
    for parameter in adapters:
        parameter.requires_grad_(True)
    return adapters
