"""How far a camera can leave the panorama's centre without walking into the scene."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.equirect import (
    check_panorama_hw,
    directions_from_panorama,
    panorama_xy_from_directions,
    sample_panorama,
)

_AT_CENTRE = 1e-9  # a camera nearer to the centre than this part of the nearest surface has not moved


def _check_distance(distance: Tensor) -> tuple[int, int]:
    hw = check_panorama_hw(tuple(distance.shape[-2:]), "distance's size")
    if not bool((torch.isfinite(distance) & (distance > 0)).all()):
        raise ValueError("distance must be finite and > 0 at every pixel, got another value")
    return hw


def free_radius(
    distance: Float[Tensor, "height width"],
    n_directions: int = 36,
    *,
    band_deg: float = 20.0,
    percentile: float = 5.0,
) -> Float[Tensor, " n_directions"]:
    """How far the scene lies from the centre in each horizontal direction.

    Args:
        distance: Distance panorama [world units], finite and > 0.
        n_directions: Number of directions; number k looks to longitude ((k + 0.5) / n - 0.5) * 360 degrees.
        band_deg: Pixels within this latitude of the horizon count, and longitudes as near as that, but never less
            than one direction's share of the circle or one pixel [degrees].
        percentile: The percentile of their distances that is returned; 0 is the nearest [percent].

    Raises:
        ValueError: an argument is out of range.
    """
    height, width = _check_distance(distance)
    if not 1 <= n_directions < math.inf or int(n_directions) != n_directions:
        raise ValueError(f"n_directions must be a whole number >= 1, got {n_directions}")
    if not 0 < band_deg <= 90:
        raise ValueError(f"band_deg must be in (0, 90] degrees, got {band_deg}")
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile must be in [0, 100], got {percentile}")
    latitude = (0.5 - (torch.arange(height, dtype=torch.float64) + 0.5) / height) * 180
    longitude = ((torch.arange(width, dtype=torch.float64) + 0.5) / width - 0.5) * 360
    rows = latitude.abs() <= max(band_deg, 180 / height)
    reach = max(band_deg, 180 / n_directions, 360 / width)
    out = []
    for k in range(int(n_directions)):
        centre = ((k + 0.5) / n_directions - 0.5) * 360
        columns = ((longitude - centre + 180) % 360 - 180).abs() <= reach
        near = distance[rows.to(distance.device)][:, columns.to(distance.device)]
        out.append(torch.quantile(near.reshape(-1), percentile / 100))
    return torch.stack(out)


def fit_trajectory_scale(
    positions: Float[Tensor, "v 3"],
    distance: Float[Tensor, "height width"],
    margin: float = 0.6,
    *,
    requested: float = 1.0,
    cone_deg: float = 5.0,
) -> float:
    """The largest factor, at most ``requested``, by which camera positions can be multiplied and stay in free space.

    A scaled position is in free space if it lies within ``margin`` times the distance of everything that the centre
    sees in its direction, give or take ``cone_deg``.

    Args:
        positions: Camera centres around the panorama's centre [world units].
        distance: Distance panorama [world units], finite and > 0.
        margin: Part of the free way that may be used, in (0, 1].
        requested: The factor wanted, > 0.
        cone_deg: Half angle around a position's direction in which nothing may be hit, in [0, 90] degrees; 0 looks
            at the one pixel in its direction.

    Raises:
        ValueError: an argument is out of range.
    """
    hw = _check_distance(distance)
    if not bool(torch.isfinite(positions).all()):
        raise ValueError("positions must be finite, got a NaN or an infinity")
    if not 0 < margin <= 1:
        raise ValueError(f"margin must be in (0, 1], got {margin}")
    if not 0 < requested < math.inf:
        raise ValueError(f"requested must be > 0 and finite, got {requested}")
    if not 0 <= cone_deg <= 90:
        raise ValueError(f"cone_deg must be in [0, 90] degrees, got {cone_deg}")
    positions = positions.detach().to(distance)
    moved = positions[positions.norm(dim=-1) > _AT_CENTRE * float(distance.min())]
    if len(moved) == 0:
        return float(requested)
    length = moved.norm(dim=-1)
    free = sample_panorama(distance[None], panorama_xy_from_directions(moved, hw), mode="nearest")[0]
    if cone_deg > 0:
        directions = directions_from_panorama(hw, device=distance.device, dtype=distance.dtype)
        cos_cone = math.cos(math.radians(cone_deg))
        for i, way in enumerate(moved / length[:, None]):  # one at a time: memory stays that of one panorama
            inside = directions @ way >= cos_cone
            if bool(inside.any()):
                free[i] = torch.minimum(free[i], distance[inside].min())
    return min(float(requested), margin * float((free / length).min()))
