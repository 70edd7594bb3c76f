"""Perceptual distances for the rendering loss: LPIPS where its backbone is at hand, else shift-tolerant LPIPS.

The ``lpips`` package fetches its VGG from the network and needs torchvision. The wheel ``stlpips-pytorch`` (BSD-2)
carries a whole trained network in one file; that file is read here by its path, and the wheel's own code, which
imports torchvision and more, is never run. The two distances have different scales and names: one is never the other.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from onescene.models.loading import read_state_dict

Perceptual = Literal["auto", "lpips", "st-lpips"]
_LPIPS_TRUNK = "vgg16-397923af.pth"  # what the lpips package wants in torch's cache
_SLICES = (  # of AlexNet: name of the convolution, its padding, name of the blur before it (after a maximum) or None
    ("slice2.5", 2, "slice2.4"),
    ("slice3.9", 1, "slice3.8"),
    ("slice4.11", 1, None),
    ("slice5.13", 1, None),
)


def _blur(x: Tensor, kernel: Tensor) -> Tensor:
    """Low-pass and halve: the stored 3x3 kernel per channel, two mirrored pixels around."""
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=x.shape[1])


class ShiftTolerantLPIPS(nn.Module):
    """ST-LPIPS (Ghildyal and Liu, ECCV 2022): AlexNet's features, blurred where they are halved, weighed by channel.

    Args:
        weights: The network's tensors under their published names.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        for name, value in weights.items():
            self.register_buffer(name.replace(".", "_"), value)

    def _stored(self, name: str) -> Tensor:
        return getattr(self, name.replace(".", "_"))

    def _features(self, images: Tensor) -> list[Tensor]:
        """Five maps of AlexNet, of images in [0, 1]."""
        x = (images * 2 - 1 - self._stored("scaling_layer.shift")) / self._stored("scaling_layer.scale")
        x = F.conv2d(x, self._stored("net.slice1.0.weight"), self._stored("net.slice1.0.bias"), padding=2)
        maps = [_blur(x, self._stored("net.slice1.1.filt")).relu()]
        for name, padding, blur in _SLICES:
            x = maps[-1]
            if blur:
                x = _blur(F.max_pool2d(x, 3, stride=1), self._stored(f"net.{blur}.filt"))
            weight, bias = self._stored(f"net.{name}.weight"), self._stored(f"net.{name}.bias")
            maps.append(F.conv2d(x, weight, bias, padding=padding).relu())
        return maps

    def forward(
        self, predicted: Float[Tensor, "n 3 height width"], true: Float[Tensor, "n 3 height width"]
    ) -> Float[Tensor, " n"]:
        """Distance of each pair of images in [0, 1]; 0 for equal ones, differentiable."""
        total = predicted.new_zeros(len(predicted))
        for i, (a, b) in enumerate(zip(self._features(predicted), self._features(true), strict=True)):
            square = (_unit(a) - _unit(b)).square()
            total = total + F.conv2d(square, self._stored(f"lin{i}.model.1.weight")).mean((1, 2, 3))
        return total


def _unit(x: Tensor) -> Tensor:
    """Every pixel's features at length 1; the small term keeps the gradient finite where all are 0."""
    return x / (x.square().sum(1, keepdim=True) + 1e-10).sqrt()


def stlpips_path() -> Path | None:
    """The ST-LPIPS weights in the package ``stlpips-pytorch``, or None where it is not installed."""
    spec = importlib.util.find_spec("stlpips_pytorch")  # finds, does not import
    path = Path(spec.origin).parent / "weights/vST0.0/alex_shift_tolerant.pth" if spec and spec.origin else None
    return path if path and path.is_file() else None


def choose_perceptual(name: Perceptual) -> Literal["lpips", "st-lpips"]:
    """The distance that ``auto`` stands for on this machine; a name is kept.

    Raises:
        ValueError: neither is at hand, or an unknown name.
    """
    if name in ("lpips", "st-lpips"):
        return name
    if name != "auto":
        raise ValueError(f"perceptual must be auto, lpips or st-lpips, got {name!r}")
    trunk = Path(torch.hub.get_dir()) / "checkpoints" / _LPIPS_TRUNK
    if importlib.util.find_spec("lpips") and trunk.is_file():
        return "lpips"
    if stlpips_path():
        return "st-lpips"
    raise ValueError("a perceptual loss needs weights: pip install stlpips-pytorch==0.0.2, or set its weight to 0")


def perceptual_distance(name: Perceptual) -> nn.Module:
    """A frozen perceptual distance of two batches of images [n, 3, H, W] in [0, 1], giving [n].

    Args:
        name: ``lpips`` (VGG, the ``lpips`` package), ``st-lpips``, or ``auto``: the first of them that is at hand.

    Raises:
        ValueError: its package or weights are not there.
    """
    if choose_perceptual(name) == "st-lpips":
        path = stlpips_path()
        if path is None:
            raise ValueError("perceptual: st-lpips needs its weights: pip install stlpips-pytorch==0.0.2")
        return ShiftTolerantLPIPS(read_state_dict(path))
    if not importlib.util.find_spec("lpips"):
        raise ValueError("perceptual: lpips needs its package: pip install 'onescene[lpips]'")
    import lpips

    network = lpips.LPIPS(net="vgg", verbose=False).eval().requires_grad_(False)
    return _Scaled(network)


class _Scaled(nn.Module):
    """The lpips package's network on images in [0, 1]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, predicted: Tensor, true: Tensor) -> Tensor:
        return self.network(predicted, true, normalize=True).flatten()
