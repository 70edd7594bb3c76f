"""Augmentation of panoramas and of views around them: what leaves an upright scene an upright scene (O15)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from onescene.geometry.stretch import Stretch
from onescene.types import Cameras

NOISE = 0.03  # largest standard deviation of the noise that a network's input gets
SOFTEST = 0.35  # least share of the resolution that a softened picture keeps
SHARPEST = 1.0  # largest share of its detail that a sharpened picture has once more
WIDEST = 1.6  # a stretched world is at most so many times as wide or as narrow, along x and along z


def draw_number(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    """A number between two others, each as likely as any other."""
    return low + (high - low) * float(torch.rand((), generator=generator))


@dataclass(frozen=True)
class Turn:
    """A yaw by whole columns of a panorama, then perhaps a mirror image (x becomes -x): exact, nothing is resampled."""

    columns: int
    width: int
    mirror: bool

    def panorama(self, x: Shaped[Tensor, "*batch h w"]) -> Shaped[Tensor, "*batch h w"]:
        """The turned panorama."""
        x = x.roll(self.columns, dims=-1)
        return x.flip(-1) if self.mirror else x

    def images(self, x: Shaped[Tensor, "*batch h w"]) -> Shaped[Tensor, "*batch h w"]:
        """What the turned cameras see."""
        return x.flip(-1) if self.mirror else x

    def cameras(self, cameras: Cameras) -> Cameras:
        """Cameras that see the same in the turned world."""
        angle = 2 * math.pi * self.columns / self.width
        yaw = torch.eye(4).to(cameras.world_from_cam)
        yaw[0, 0] = yaw[2, 2] = math.cos(angle)
        yaw[0, 2], yaw[2, 0] = math.sin(angle), -math.sin(angle)
        world_from_cam, K = yaw @ cameras.world_from_cam, cameras.K
        if self.mirror:
            flip = torch.tensor([-1.0, 1.0, 1.0, 1.0]).to(world_from_cam)
            world_from_cam = flip[:, None] * world_from_cam * flip
            K = K.clone()
            K[:, 0, 2] = cameras.hw[1] - K[:, 0, 2]
        return replace(cameras, world_from_cam=world_from_cam, K=K)


def draw_turn(width: int, generator: torch.Generator) -> Turn:
    """A random yaw, mirrored every other time."""
    columns = int(torch.randint(width, (1,), generator=generator))
    return Turn(columns, width, bool(torch.rand(1, generator=generator) < 0.5))


def draw_stretch(generator: torch.Generator) -> Stretch | None:
    """Another width and depth of the world, every other time none: the same heights in rooms of another plan."""
    kind, x, z = torch.rand(3, generator=generator).tolist()
    return None if kind < 0.5 else Stretch((WIDEST ** (2 * x - 1), 1.0, WIDEST ** (2 * z - 1)))


@dataclass(frozen=True)
class Colours:
    """Exposure, contrast, gamma, white balance and saturation of a camera: from game light towards photographs.

    Attributes:
        gamma: Exponent of the colours.
        gain: Factor per channel.
        saturation: 0 = grey, 1 = as it is.
        contrast: Factor about ``middle``.
        middle: Mean colour of the panorama before the contrast changes.
    """

    gamma: float
    gain: Float[Tensor, "3 1 1"]
    saturation: float
    contrast: float
    middle: float = 0.0

    def _before_contrast(self, rgb: Tensor) -> Tensor:
        x = rgb.clamp(1e-4, 1) ** self.gamma * self.gain
        grey = x.mean(-3, keepdim=True)
        return grey + (x - grey) * self.saturation

    def __call__(self, rgb: Float[Tensor, "*batch 3 h w"]) -> Float[Tensor, "*batch 3 h w"]:
        """The same picture taken with these colours, in [0, 1]."""
        return (self.middle + (self._before_contrast(rgb) - self.middle) * self.contrast).clamp(0, 1)


def draw_colours(panorama: Float[Tensor, "3 h w"], generator: torch.Generator) -> Colours:
    """Random colours for a panorama and every view of its scene."""

    def draw(low: float, high: float, count: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    gamma = float(draw(0.5, 1.5))
    gain = (draw(0.7, 1.5) * draw(0.85, 1.15, 3))[:, None, None]
    colours = Colours(gamma, gain, saturation=float(draw(0.0, 1.4)), contrast=float(draw(0.7, 1.3)))
    return replace(colours, middle=float(colours._before_contrast(panorama).mean()))


def add_noise(rgb: Float[Tensor, "*batch 3 h w"], generator: torch.Generator) -> Float[Tensor, "*batch 3 h w"]:
    """A sensor's noise of a random strength, in [0, 1]."""
    strength = NOISE * float(torch.rand(1, generator=generator))
    return (rgb + strength * torch.randn(rgb.shape, generator=generator)).clamp(0, 1)


def draw_focus(panorama: Float[Tensor, "3 h w"], generator: torch.Generator) -> Float[Tensor, "3 h w"]:
    """Soft, as it is (every other time) or sharpened: how fine a texture is drawn must not tell its distance.

    Soft is a lower resolution, enlarged again; sharp adds the detail that the next lower octave lacks. In [0, 1].
    """
    kind, strength = torch.rand(2, generator=generator).tolist()
    if kind < 0.5:
        return panorama
    if kind < 0.8:
        return _at_resolution(panorama, 1 - (1 - SOFTEST) * strength)
    return (panorama + SHARPEST * strength * (panorama - _at_resolution(panorama, 0.5))).clamp(0, 1)


def _at_resolution(panorama: Tensor, share: float) -> Tensor:
    """The same size with a share of its resolution; columns go round."""
    height, width = panorama.shape[-2:]
    around = torch.cat((panorama[..., -width // 4 :], panorama, panorama[..., : width // 4]), dim=-1)[None]
    low = (max(2, round(height * share)), max(2, round(1.5 * width * share)))
    soft = F.interpolate(F.interpolate(around, size=low, mode="area"), size=around.shape[-2:], mode="bilinear")
    return soft[0, :, :, width // 4 : width // 4 + width]
