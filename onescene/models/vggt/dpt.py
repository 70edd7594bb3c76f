"""DPT heads: features of four layers of a transformer, put together coarse to fine into a dense map.

What :class:`Refine` and :func:`resize_layers` do is shared with the release's scaffold; :class:`DPTHead` is VGGT's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Touch = Callable[[str, Tensor], Tensor]  # may change the map of that name; the fusion of the faces comes in here


class ResidualConvUnit(nn.Module):
    """skip + conv2(relu(conv1(relu(x)))).

    Args:
        channels: In and out.
        relu_skip: The skip carries relu(x) instead of x: what VGGT's weights are trained with, because there the first
            activation overwrites its input.
    """

    def __init__(self, channels: int, relu_skip: bool) -> None:
        super().__init__()
        self.relu_skip = relu_skip
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(x)
        return (active if self.relu_skip else x) + self.conv2(F.relu(self.conv1(active)))


class Refine(nn.Module):
    """One step from coarse to fine: add the finer map, refine, enlarge.

    Args:
        channels: In and out.
        relu_skip: As in :class:`ResidualConvUnit`.
        finer: Whether a unit for a finer map exists.
    """

    def __init__(self, channels: int, relu_skip: bool, finer: bool = True) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(channels, channels, 1)
        if finer:
            self.resConfUnit1 = ResidualConvUnit(channels, relu_skip)
        self.resConfUnit2 = ResidualConvUnit(channels, relu_skip)

    def forward(self, x: Tensor, size: Sequence[int], finer: Tensor | None = None) -> Tensor:
        """Refines ``x`` with the finer map and enlarges it to ``size``."""
        if finer is not None:
            x = x + self.resConfUnit1(finer)
        # a 1x1 convolution and an interpolation change places: done here, at the smaller size
        x = self.out_conv(self.resConfUnit2(x))
        return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def plane_code(grid_hw: tuple[int, int], channels: int, aspect: float, like: Tensor) -> Float[Tensor, "c height width"]:
    """Sines and cosines of a pixel's place on a plane whose diagonal is 2, as VGGT's heads add them.

    Args:
        grid_hw: Size of the map.
        channels: Of the map; the first half codes the column, the second the row.
        aspect: Width of the image over its height.
        like: Gives device and precision.
    """
    half_width, half_height = aspect / math.hypot(aspect, 1), 1 / math.hypot(aspect, 1)
    quarter = channels // 4
    frequency = 100.0 ** -(torch.arange(quarter, device=like.device, dtype=torch.float64) / quarter)

    def code(n: int, half: float) -> Tensor:
        last = half * (n - 1) / n
        angle = torch.linspace(-last, last, n, device=like.device, dtype=torch.float64)[:, None] * frequency
        return torch.cat((angle.sin(), angle.cos()), dim=-1).T

    across = code(grid_hw[1], half_width)[:, None, :].expand(-1, grid_hw[0], -1)
    down = code(grid_hw[0], half_height)[:, :, None].expand(-1, -1, grid_hw[1])
    return torch.cat((across, down)).to(like)


def resize_layers(channels: Sequence[int]) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module]:
    """What brings four maps of one size to 4, 2, 1 and 1/2 times that size, fine to coarse."""
    return (
        nn.ConvTranspose2d(channels[0], channels[0], 4, stride=4),
        nn.ConvTranspose2d(channels[1], channels[1], 2, stride=2),
        nn.Identity(),
        nn.Conv2d(channels[3], channels[3], 3, stride=2, padding=1),
    )


class _Scratch(nn.Module):
    """Convolutions of a DPT head under the names that its files use."""

    def __init__(self, channels: int, inputs: Sequence[int], outputs: int, hidden: int) -> None:
        super().__init__()
        for i, n in enumerate(inputs, 1):
            setattr(self, f"layer{i}_rn", nn.Conv2d(n, channels, 3, padding=1, bias=False))
        for i in range(1, 5):
            setattr(self, f"refinenet{i}", Refine(channels, relu_skip=True, finer=i < 4))
        self.output_conv1 = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(channels // 2, hidden, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(hidden, outputs, 1)
        )


def _untouched(name: str, features: Tensor) -> Tensor:
    return features


class DPTHead(nn.Module):
    """VGGT's dense head: raw channels per pixel from four layers of the aggregator.

    Args:
        dim: Channels of the aggregator's output.
        features: Channels of the head.
        channels: Channels of the four maps before they are brought to ``features``.
        outputs: Raw channels per pixel.
        patch_px: Side of a patch [pixels].
        hidden: Channels before the last convolution; VGGT has 32 whatever the size of the network.
    """

    MAPS = (*(f"layer{i}_rn" for i in (4, 3, 2, 1)), *(f"refinenet{i}" for i in (4, 3, 2, 1)), "output_conv1")

    def __init__(
        self, dim: int, features: int, channels: Sequence[int], outputs: int, patch_px: int, hidden: int = 32
    ) -> None:
        super().__init__()
        self.patch_px = patch_px
        self.norm = nn.LayerNorm(dim)
        self.projects = nn.ModuleList(nn.Conv2d(dim, n, 1) for n in channels)
        self.resize_layers = nn.ModuleList(resize_layers(channels))
        self.scratch = _Scratch(features, channels, outputs, hidden)

    def forward(
        self,
        tokens: Sequence[Float[Tensor, "n patches dim"]],
        hw: tuple[int, int],
        touch: Touch = _untouched,
        shortcut: Callable[[int], Float[Tensor, "1 c height width"]] | None = None,
    ) -> Float[Tensor, "n c height width"]:
        """Raw channels of every pixel.

        Args:
            tokens: Patch tokens of four layers, shallow to deep, of any number of frames.
            hw: Size of the images [pixels].
            touch: Called with the name (one of ``MAPS``) and the value of every map; its answer takes the map's place.
            shortcut: The frame's number to what is added at full size before the last convolutions.
        """
        scratch, grid_hw, aspect = self.scratch, (hw[0] // self.patch_px, hw[1] // self.patch_px), hw[1] / hw[0]
        maps = []
        for i, layer in enumerate(tokens):
            x = self.projects[i](self.norm(layer).transpose(1, 2).unflatten(-1, grid_hw))
            x = self.resize_layers[i](x + 0.1 * plane_code(grid_hw, x.shape[1], aspect, x))
            maps.append(getattr(scratch, f"layer{i + 1}_rn")(x))
        maps = [touch(f"layer{i}_rn", m) for i, m in enumerate(maps, 1)]
        sizes = [(2 * maps[0].shape[-2], 2 * maps[0].shape[-1]), *(m.shape[-2:] for m in maps[:3])]
        x = touch("refinenet4", scratch.refinenet4(maps[3], sizes[3]))
        for i in (3, 2, 1):
            x = touch(f"refinenet{i}", getattr(scratch, f"refinenet{i}")(x, sizes[i - 1], maps[i - 1]))
        x = touch("output_conv1", scratch.output_conv1(x))
        code, full = 0.1 * plane_code(hw, x.shape[1], aspect, x), []
        for i, one in enumerate(x.split(1)):  # frame by frame, so that full-size maps stay in the cache
            one = F.interpolate(one, size=hw, mode="bilinear", align_corners=True).add_(code)
            full.append(scratch.output_conv2(one if shortcut is None else one + shortcut(i)))
        return torch.cat(full)
