"""What is learnt of each view beside the scene: its exposure, and how it is bent. Thrown away after the fit.

rendered image -> resampled at place + offset(place) (distortion) -> 3x3 matrix on colours + 3 numbers (exposure)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from onescene.stages.refine.adam import Adam
from onescene.stages.refine.config import DistortionConfig, RefineConfig
from onescene.stages.refine.views import FitView


class DistortionField:
    """A small MLP from a place in the image to an offset [pixels], zero at first (WorldRecipe).

    Args:
        hw: Size of the image [pixels].
        config: Sizes.
        like: Device and dtype.
        generator: Draws the first weights.
    """

    def __init__(self, hw: tuple[int, int], config: DistortionConfig, like: Tensor, generator: torch.Generator):
        self.hw, self.config = hw, config
        self.features = self._features().to(like)
        sizes = (self.features.shape[-1], config.hidden, config.hidden, 2)
        self.adam: dict[str, Adam] = {}
        for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            spread = 0.0 if fan_out == 2 else math.sqrt(2 / fan_in)
            weight = spread * torch.randn(fan_in, fan_out, generator=generator)
            for name, value in ((f"weight{layer}", weight), (f"bias{layer}", torch.zeros(fan_out))):
                self.adam[name] = Adam(value.to(like).requires_grad_(True), config.lr)

    def _features(self) -> Tensor:
        """Places on a coarse grid that reaches the image's borders, as sines and cosines, [rows, columns, features]."""
        rows, columns = (max(2, round(size / self.config.cell_px) + 1) for size in self.hw)
        y, x = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
        place = torch.stack((x, y), dim=-1)
        waves = [f(math.pi / 2 * 2**k * place) for k in range(self.config.octaves) for f in (torch.sin, torch.cos)]
        return torch.cat((place, *waves), dim=-1)

    def offsets_px(self) -> Float[Tensor, "h w 2"]:
        """Offset (x, y) of every pixel [pixels]."""
        value = self.features
        for layer in range(3):
            value = value @ self.adam[f"weight{layer}"].parameter + self.adam[f"bias{layer}"].parameter
            value = torch.relu(value) if layer < 2 else value
        coarse = value.permute(2, 0, 1)[None]
        return F.interpolate(coarse, self.hw, mode="bilinear", align_corners=True)[0].permute(1, 2, 0)

    def __call__(self, rgb: Float[Tensor, "1 3 h w"]) -> tuple[Float[Tensor, "1 3 h w"], Float[Tensor, ""]]:
        """The image, resampled at every pixel's place plus its offset, and what the loss gains for it."""
        offsets = self.offsets_px()
        penalty = self.config.weight * offsets.square().sum(-1).mean()
        return resampled(rgb, offsets), penalty


def resampled(rgb: Float[Tensor, "1 3 h w"], offsets_px: Float[Tensor, "h w 2"]) -> Float[Tensor, "1 3 h w"]:
    """The image seen at every pixel's centre plus an offset (x, y) [pixels]; outside, its border goes on."""
    height, width = rgb.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    place = torch.stack((x, y), dim=-1).to(offsets_px) + offsets_px
    grid = 2 * place / place.new_tensor((width, height)) - 1
    return F.grid_sample(rgb, grid[None], mode="bilinear", padding_mode="border", align_corners=False)


class ViewModel:
    """Exposure and distortion of one view, as far as the config asks for them."""

    def __init__(self, view: FitView, config: RefineConfig, generator: torch.Generator) -> None:
        self.exposure: Adam | None = None
        self.distortion: DistortionField | None = None
        if config.exposure == "affine":
            neutral = torch.eye(3, 4).to(view.image).requires_grad_(True)
            self.exposure = Adam(neutral, config.lr_exposure)
        if config.distortion is not None:
            self.distortion = DistortionField(view.camera.hw, config.distortion, view.image, generator)

    def __call__(self, rgb: Float[Tensor, "1 3 h w"]) -> tuple[Float[Tensor, "1 3 h w"], Tensor | float]:
        """A rendered image as this view would show it, and what the loss gains for it."""
        penalty: Tensor | float = 0.0
        if self.distortion is not None:
            rgb, penalty = self.distortion(rgb)
        if self.exposure is not None:
            matrix = self.exposure.parameter
            rgb = torch.einsum("ij,bjhw->bihw", matrix[:, :3], rgb) + matrix[:, 3, None, None]
        return rgb, penalty

    def adams(self) -> dict[str, Adam]:
        """Everything that is learnt, by name."""
        parts = {} if self.exposure is None else {"exposure": self.exposure}
        return parts | (self.distortion.adam if self.distortion is not None else {})

    def step(self, rate: float) -> None:
        """One step of Adam."""
        for adam in self.adams().values():
            adam.step(rate)

    def state_dict(self) -> dict:
        """A copy of everything that a resumed fit needs."""
        return {name: adam.state_dict() for name, adam in self.adams().items()}

    def load_state_dict(self, state: dict) -> None:
        """Goes on from a saved state."""
        for name, adam in self.adams().items():
            adam.load_state_dict(state[name])


@torch.no_grad()
def centre_exposures(models: Sequence[ViewModel]) -> None:
    """Makes the mean exposure neutral again: what all views share belongs to the scene, which others look at."""
    exposures = [model.exposure.parameter for model in models if model.exposure is not None]
    if exposures:
        surplus = torch.stack(exposures).mean(0) - torch.eye(3, 4).to(exposures[0])
        for exposure in exposures:
            exposure -= surplus
