"""A smooth field of factors on the Gaussians' distances from the world's origin, learnt beside the Gaussians.

A start that was lifted from a panorama at the origin looks right from there, and is wrong in its distances: whole walls
stand too near or too far. The gradient of one Gaussian says little about that, the sum over a cell of them does.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.equirect import lonlat_from_directions
from onescene.stages.refine.adam import Adam

# Cells along log distance, latitude and longitude. Coarse levels move much at once, the finest tells walls apart; near
# and far in one direction have cells of their own, so that what stands before a wall need not move with it.
LEVELS = ((2, 4, 8), (4, 8, 16), (6, 16, 32))


class DistanceField:
    """Log factors on a grid over direction and log distance, zero at first: the sum of ``LEVELS``, trilinear between.

    Args:
        means: Of the start [world units]; the grid spans the distances of nearly all of them.
        lr: Adam's learning rate, per step [log factor].
    """

    def __init__(self, means: Float[Tensor, "n 3"], lr: float) -> None:
        logs = means.norm(dim=-1).clamp_min(1e-12).log()
        self.near, self.far = (float(logs.quantile(share)) if len(logs) else 0.0 for share in (0.02, 0.98))
        self.adam = [Adam(torch.zeros(level).to(means).requires_grad_(True), lr) for level in LEVELS]

    def places(self, means: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Where Gaussians lie in the grid, as ``grid_sample`` counts: longitude, latitude, log distance."""
        depth, _, width = LEVELS[-1]
        longitude, latitude = lonlat_from_directions(means).unbind(-1)
        logs = means.norm(dim=-1).clamp_min(1e-12).log()
        across = (logs - self.near) / max(self.far - self.near, 1e-3) * 2 - 1  # -1 and 1: the outer cells' centres
        x = longitude / math.pi * width / (width + 2)  # a column of the other end stands at either side
        return torch.stack((x, -latitude / (math.pi / 2), across * (depth - 1) / depth), dim=-1)

    def factors(self, places: Float[Tensor, "n 3"]) -> Float[Tensor, "n 1"]:
        """By how much the distances and sizes of the Gaussians there are multiplied; differentiable in the field."""
        depth, height, width = LEVELS[-1]
        total = torch.zeros(depth, height, width + 2).to(places)
        for adam in self.adam:
            level = adam.parameter
            finer = width // level.shape[-1]
            around = torch.cat((level[..., -1:], level, level[..., :1]), dim=-1)
            size = (depth, height, finer * around.shape[-1])
            fine = F.interpolate(around[None, None], size, mode="trilinear", align_corners=False)[0, 0]
            total = total + fine[..., finer - 1 : finer - 1 + width + 2]
        grid = places[None, None, None]
        logs = F.grid_sample(total[None, None], grid, mode="bilinear", padding_mode="border", align_corners=False)
        return logs[0, 0, 0, 0, :, None].exp()

    def step(self, rate: float) -> None:
        """One step of Adam."""
        for adam in self.adam:
            adam.step(rate)

    def state_dict(self) -> list[dict]:
        """A copy of everything that a resumed fit of the same start needs."""
        return [adam.state_dict() for adam in self.adam]

    def load_state_dict(self, state: list[dict]) -> None:
        """Goes on from a saved state."""
        for adam, saved in zip(self.adam, state, strict=True):
            adam.load_state_dict(saved)
