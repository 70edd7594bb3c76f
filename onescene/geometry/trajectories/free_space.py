"""Free space around a panorama's centre: what the distance map says about places and ways other than the centre.

A place is free if the centre sees past it. What lies behind a surface is not known, and counts as not free.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.geometry.equirect import (
    check_panorama_hw,
    directions_from_panorama,
    panorama_xy_from_directions,
    sample_panorama,
)

_ROWS = 96  # of the panorama from which room is measured: directions 2 degrees apart
_AT_ONCE = 256  # places; bounds the memory to some ten megabytes


@dataclass(frozen=True, kw_only=True)
class Clearance:
    """How a path fares in a scene.

    Attributes:
        free: Whether the panorama's centre sees each place.
        room_world: Distance of each place from the nearest surface [world units].
    """

    free: Bool[Tensor, " n"]
    room_world: Float[Tensor, " n"]

    def state(self, margin_world: float) -> list[str]:
        """``free``, ``near`` (less room than the margin) or ``hit`` (behind a surface), per place."""
        pairs = zip(self.free.tolist(), self.room_world.tolist(), strict=True)
        return ["hit" if not free else "near" if room < margin_world else "free" for free, room in pairs]


def is_free(places: Float[Tensor, "*batch 3"], distance: Float[Tensor, "height width"]) -> Bool[Tensor, "*batch"]:
    """Whether the panorama's centre sees each place: it lies nearer than the surface in its direction.

    Args:
        places: In the panorama's world [world units].
        distance: Distance panorama [world units], finite and > 0.

    Raises:
        ValueError: a place or a distance is out of range.
    """
    hw = _check(distance)
    if not bool(torch.isfinite(places).all()):
        raise ValueError("places must be finite, got a NaN or an infinity")
    flat = places.detach().reshape(-1, 3).to(distance)
    length = flat.norm(dim=-1)
    ways = torch.where(length[:, None] > 0, flat, torch.tensor([0.0, 0, 1]).to(distance))
    seen = sample_panorama(distance[None], panorama_xy_from_directions(ways, hw), mode="nearest")[0]
    return (length < seen).reshape(places.shape[:-1])


def path_clearance(positions: Float[Tensor, "n 3"], distance: Float[Tensor, "height width"]) -> Clearance:
    """Where a path is free, and how much room it has.

    Args:
        positions: Places on the way [world units]; between two of them nothing is looked at.
        distance: Distance panorama [world units], finite and > 0.

    Raises:
        ValueError: a position or a distance is out of range.

    Notes: room is measured to the surface at directions about 2 degrees apart, the nearest of those that share a cell.
    """
    free = is_free(positions, distance)
    surface = _surface(distance)
    places = positions.detach().to(distance)
    room = [torch.cdist(part, surface).amin(dim=1) for part in places.split(_AT_ONCE)]
    return Clearance(free=free, room_world=torch.cat(room) if room else places.new_zeros(0))


def free_plan(
    distance: Float[Tensor, "height width"], *, reach_world: float, height_world: float = 0.0, cells: int = 160
) -> Bool[Tensor, "cells cells"]:
    """The free space of one level from above: rows run from far (+z) to near, columns from left (-x) to right.

    Args:
        distance: Distance panorama [world units], finite and > 0.
        reach_world: Half the side of the square [world units], > 0.
        height_world: The level's y; down is positive [world units].
        cells: Cells along a side.

    Raises:
        ValueError: an argument is out of range.
    """
    if not 0 < reach_world < math.inf or not math.isfinite(height_world):
        raise ValueError(f"reach_world must be > 0 and height_world finite, got {reach_world} and {height_world}")
    if cells < 1:
        raise ValueError(f"cells must be >= 1, got {cells}")
    steps = ((torch.arange(cells, dtype=distance.dtype) + 0.5) / cells * 2 - 1) * reach_world
    z, x = torch.meshgrid(-steps, steps, indexing="ij")
    return is_free(torch.stack((x, torch.full_like(x, height_world), z), dim=-1), distance)


def _surface(distance: Tensor) -> Tensor:
    """Points of the surface [n, 3], a few thousand: the nearest of every cell of the panorama."""
    rows = min(_ROWS, distance.shape[0])
    nearest = -torch.nn.functional.adaptive_max_pool2d(-distance[None, None], (rows, 2 * rows))[0, 0]
    ways = directions_from_panorama((rows, 2 * rows), device=distance.device, dtype=distance.dtype)
    return (ways * nearest[..., None]).reshape(-1, 3)


def _check(distance: Tensor) -> tuple[int, int]:
    hw = check_panorama_hw(tuple(distance.shape[-2:]), "distance's size")
    if not bool((torch.isfinite(distance) & (distance > 0)).all()):
        raise ValueError("distance must be finite and > 0 at every pixel, got another value")
    return hw
