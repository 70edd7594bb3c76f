"""Seams: what a panorama shows of the way it was made.

``seam_jump`` looks for the borders of the cubemap's faces in a distance map, ``wrap_seams`` for the +-180 degree
meridian and the poles in an image. Both compare a place where a seam may be with comparable places where none is.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.equirect import check_panorama_hw, panorama_xy_from_directions, sample_panorama

# The slope of a room's log distance is largest about 45 degrees from a wall's foot, where the borders lie: lines near
# a border are comparable with it (true distances of 60 sampled rooms get 1.06), lines all over a face are not (1.36).
BESIDE_DEG = (-20.0, -10.0, 10.0, 20.0)
EVERYWHERE_DEG = (15.0, 30.0, 45.0, 60.0, 75.0)  # the opposite border is at 90
_TINY = 1e-12  # jumps below this are rounding


@lru_cache(maxsize=64)
def _pairs_xy(offset_deg: float, hw: tuple[int, int], step_px: float) -> Tensor:
    """Pairs of places either side of the 12 cube edges, turned by an angle about the edges' own axes, [2, n, 2] px.

    At 0 the pairs straddle the edges of the 90-degree cube; turned by up to 90 degrees the same arcs cross its faces
    parallel to the edges. The two of a pair lie ``step_px`` rows of the panorama apart.
    """
    half_rad = step_px / 2 * math.pi / hw[0]
    along = (torch.arange(hw[0], dtype=torch.float64) + 0.5) / hw[0] * 2 - 1  # the edge, [-1, 1]
    axes = torch.eye(3, dtype=torch.float64)
    sides = []
    for sign in (-1, 1):
        arcs = []
        for axis in range(3):
            a, b, e = axes[(axis + 1) % 3], axes[(axis + 2) % 3], axes[axis]
            for quarter in range(4):
                angle = math.radians(45 + 90 * quarter + offset_deg) + sign * half_rad
                arcs.append(math.sqrt(2) * (math.cos(angle) * a + math.sin(angle) * b) + along[:, None] * e)
        sides.append(panorama_xy_from_directions(torch.cat(arcs), hw))
    return torch.stack(sides)


def _jumps(values: Tensor, offset_deg: float, step_px: float) -> Tensor:
    """Absolute differences of all pairs of one turn, [images, pairs]."""
    xy = _pairs_xy(offset_deg, (values.shape[-2], values.shape[-1]), step_px)
    ends = sample_panorama(values[:, None], xy.to(values.device), "nearest")[:, 0]  # [images, 2, pairs]
    return (ends[:, 0] - ends[:, 1]).abs()


def _ratio(border: float, inside: float) -> float:
    if inside <= _TINY:
        return 1.0 if border <= _TINY else math.inf
    return border / inside


def _check_distance(distance: Tensor, step_px: float) -> None:
    if distance.ndim < 2 or distance.numel() == 0:
        raise ValueError(f"distance must have shape [*, H, 2 H], got {tuple(distance.shape)}")
    check_panorama_hw(tuple(distance.shape[-2:]), "distance's size")
    if not (torch.isfinite(distance).all() and (distance > 0).all()):
        raise ValueError("distance must be finite and > 0 everywhere")
    if not 0 < step_px < math.inf:
        raise ValueError(f"step_px must be > 0 and finite, got {step_px}")


def seam_jump(distance: Float[Tensor, "*batch height width"], *, step_px: float = 1.0) -> dict[str, float]:
    """How much more a distance map jumps across the borders of the cube's faces than across lines inside them.

    Pairs of neighbouring directions straddle the 12 edges of the 90-degree cube; the reference are the same pairs
    turned by 10 and 20 degrees to either side about each edge's axis: inside the faces, parallel to the edges.

    Args:
        distance: Distance along the ray, finite and > 0; the mean is taken over all panoramas given.
        step_px: Distance of the two directions of a pair [panorama rows].

    Returns:
        ``seam_jump_border`` and ``seam_jump_inside``: mean absolute differences of the log distance.
        ``seam_jump_ratio``: border / inside; 1 where both vanish (a sphere), inf where only the inside does.
        ``seam_jump_ratio_whole_face``: the same against lines all over the faces (turned by 15, 30, 45, 60 and 75
        degrees), which are flatter: true distances of rooms get about 1.4 there, about 1 in ``seam_jump_ratio``.

    Raises:
        ValueError: the map is not 2:1, not finite or not positive, or ``step_px`` is not positive.
    """
    _check_distance(distance, step_px)
    values = distance.detach().double().reshape(-1, *distance.shape[-2:]).log()

    def mean_jump(offsets_deg: tuple[float, ...]) -> float:
        return sum(_jumps(values, offset, step_px).mean().item() for offset in offsets_deg) / len(offsets_deg)

    border, beside, everywhere = mean_jump((0.0,)), mean_jump(BESIDE_DEG), mean_jump(EVERYWHERE_DEG)
    return {
        "seam_jump_ratio": _ratio(border, beside),
        "seam_jump_ratio_whole_face": _ratio(border, everywhere),
        "seam_jump_border": border,
        "seam_jump_inside": beside,
    }


def seam_map(distance: Float[Tensor, "height width"], *, step_px: float = 1.0) -> Float[Tensor, "height width"]:
    """Where the borders of the cube's faces show: the jump of the log distance at every pixel on a border.

    Args:
        distance: As in :func:`seam_jump`.
        step_px: As in :func:`seam_jump`.

    Returns:
        |log distance| across the border, the largest of a pixel's; NaN away from the borders.

    Raises:
        ValueError: as :func:`seam_jump`.
    """
    _check_distance(distance, step_px)
    if distance.ndim != 2:
        raise ValueError(f"distance must have shape [H, 2 H], got {tuple(distance.shape)}")
    height, width = distance.shape
    values = distance.detach().double().log()
    ends = _pairs_xy(0.0, (height, width), step_px).to(values.device)
    jumps = _jumps(values[None], 0.0, step_px)[0]
    out = torch.full((height * width,), -1.0, dtype=torch.float64, device=values.device)
    for xy in ends:  # the pixels on both sides
        x, y = xy[:, 0].long() % width, xy[:, 1].long().clamp(0, height - 1)
        out = out.scatter_reduce(0, y * width + x, jumps, "amax")
    return torch.where(out < 0, torch.nan, out).reshape(height, width).to(distance)


def wrap_seams(panorama: Float[Tensor, "*batch channels height width"]) -> dict[str, float]:
    """How visible the +-180 degree meridian and the poles of a panorama are.

    Args:
        panorama: Colour or any other map on the sphere.

    Returns:
        ``seam_energy_180``: mean difference between the last and the first column over the mean difference of the
        neighbouring columns within 45 degrees (weighted by the cosine of the latitude). ``seam_energy_zenith`` and
        ``seam_energy_nadir``: mean difference between pixels of the first (last) row that face each other across the
        pole, one row apart on the sphere, over the mean difference of neighbouring rows within 22.5 degrees. About 1
        where nothing shows; 1 where both vanish, inf where only the reference does.

    Raises:
        ValueError: the panorama is not 2:1, not finite, empty or has under 8 rows.
    """
    if panorama.ndim < 3 or panorama.numel() == 0:
        raise ValueError(f"panorama must have shape [*, C, H, 2 H], got {tuple(panorama.shape)}")
    height, width = check_panorama_hw(tuple(panorama.shape[-2:]), "panorama's size")
    if height < 8:
        raise ValueError(f"panorama must have at least 8 rows to have neighbours beside its seams, got {height}")
    if not torch.isfinite(panorama).all():
        raise ValueError("panorama must be finite, got nan or inf")
    x = panorama.detach().double().reshape(-1, height, width)
    latitude = (0.5 - (torch.arange(height, dtype=x.dtype, device=x.device) + 0.5) / height) * math.pi
    share = latitude.cos() / latitude.cos().sum()
    near = width // 8
    around = x.roll(near, dims=-1)[..., : 2 * near]  # the meridian in the middle
    columns = ((around[..., 1:] - around[..., :-1]).abs().mean(dim=0).T @ share).tolist()
    across = (x - x.roll(width // 2, dims=-1)).abs().mean(dim=(0, 2))  # to the opposite meridian
    rows = (x[:, 1:] - x[:, :-1]).abs().mean(dim=(0, 2)).tolist()
    cap = height // 8
    beside = columns[: near - 1] + columns[near:]
    return {
        "seam_energy_180": _ratio(columns[near - 1], sum(beside) / len(beside)),
        "seam_energy_zenith": _ratio(across[0].item(), sum(rows[:cap]) / cap),
        "seam_energy_nadir": _ratio(across[-1].item(), sum(rows[-cap:]) / cap),
    }
