"""Panoramas of a world that is stretched along its axes: another world, seen from the same place, and exact.

A stretch maps rays through the camera to rays through the camera, so nothing hides or comes to light: a panorama with
its distance is enough. A box of a room becomes a longer or a wider one.

Source: PanoStretch augmentation of HorizonNet (Sun et al. 2019), on colours and distance instead of corners.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.equirect import Mode, directions_from_panorama, panorama_xy_from_directions, sample_panorama


@dataclass(frozen=True)
class Stretch:
    """The point (x, y, z) of a world goes to (factors[0] x, factors[1] y, factors[2] z).

    Attributes:
        factors: Along x, y and z.

    Raises:
        ValueError: they are not three positive, finite numbers.
    """

    factors: tuple[float, float, float]

    def __post_init__(self) -> None:
        if len(self.factors) != 3 or not all(math.isfinite(f) and f > 0 for f in self.factors):
            raise ValueError(f"factors of a stretch must be three positive, finite numbers, got {self.factors}")

    def panorama(self, x: Float[Tensor, "*batch c h w"], mode: Mode = "bilinear") -> Float[Tensor, "*batch c h w"]:
        """What is seen of the stretched world; ``nearest`` for what must not be mixed."""
        return sample_panorama(x, _sources(self.factors, tuple(x.shape[-2:]), x.device)[0], mode)

    def log_distance(self, x: Float[Tensor, "*batch h w"], mode: Mode = "bilinear") -> Float[Tensor, "*batch h w"]:
        """Logarithm of the distance in the stretched world.

        The point d v / |v| with v = S^-1 u goes to d u / |v|.
        """
        length = _sources(self.factors, tuple(x.shape[-2:]), x.device)[1]
        return self.panorama(x[..., None, :, :], mode)[..., 0, :, :] - length.log()


@lru_cache(maxsize=1)  # colours, distance and sky of a world are stretched one after the other
def _sources(
    factors: tuple[float, float, float], hw: tuple[int, int], device: torch.device
) -> tuple[Float[Tensor, "h w 2"], Float[Tensor, "h w"]]:
    """Where each ray u of the new panorama came from, v = S^-1 u: its place [pixels] and the length of v."""
    sources = directions_from_panorama(hw, device=device) / torch.tensor(factors, device=device)
    return panorama_xy_from_directions(sources, hw), sources.norm(dim=-1)
