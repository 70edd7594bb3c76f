"""Equirectangular panoramas: pixels <-> longitude and latitude <-> directions, and sampling on the sphere.

Owns the panorama's pixel convention (see :mod:`onescene.types`); faces live in ``cubemap``, crops in ``perspective``.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Mode = Literal["bilinear", "nearest"]


def check_panorama_hw(hw: tuple[int, int], name: str = "hw") -> tuple[int, int]:
    """Returns ``hw`` if it is a panorama's size (width twice the height, height >= 2).

    Raises:
        ValueError: the size is not 2:1 or too small.
    """
    height, width = int(hw[0]), int(hw[1])
    if height < 2 or width != 2 * height:
        raise ValueError(f"{name} must be (H, 2 H) with H >= 2, got ({height}, {width})")
    return height, width


def directions_from_lonlat(lonlat: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3"]:
    """Unit directions q of longitude (to the right) and latitude (up), both in radians: Eq. 6 of One2Scene.

    Notes: the paper's y axis points along its latitude; ours points down, hence the sign.
    """
    longitude, latitude = lonlat.unbind(-1)
    cos_latitude = latitude.cos()
    return torch.stack((longitude.sin() * cos_latitude, -latitude.sin(), longitude.cos() * cos_latitude), dim=-1)


def lonlat_from_directions(directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 2"]:
    """Longitude in [-pi, pi] and latitude in [-pi/2, pi/2] of directions of any length, in radians.

    The gradient is finite everywhere, the poles included (where the longitude has none and is 0).
    """
    x, y, z = directions.unbind(-1)
    horizontal_squared = x * x + z * z
    at_pole = horizontal_squared == 0
    horizontal = torch.where(at_pole, torch.ones_like(y), horizontal_squared).sqrt()
    horizontal = torch.where(at_pole, torch.zeros_like(y), horizontal)
    longitude = torch.atan2(x, torch.where(at_pole, torch.ones_like(z), z))
    return torch.stack((longitude, torch.atan2(-y, horizontal)), dim=-1)


def directions_from_panorama(
    hw: tuple[int, int], *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "height width 3"]:
    """Unit world directions of a panorama's pixel centres.

    Args:
        hw: Size of the panorama [pixels], width = 2 * height.
    """
    height, width = check_panorama_hw(hw)
    longitude = ((torch.arange(width, dtype=torch.float64) + 0.5) / width - 0.5) * (2 * math.pi)
    latitude = (0.5 - (torch.arange(height, dtype=torch.float64) + 0.5) / height) * math.pi
    grid = torch.stack(torch.meshgrid(longitude, latitude, indexing="xy"), dim=-1)
    return directions_from_lonlat(grid).to(device=device, dtype=dtype)


def panorama_xy_from_directions(
    directions: Float[Tensor, "*batch 3"], hw: tuple[int, int]
) -> Float[Tensor, "*batch 2"]:
    """Panorama pixel coordinates of directions, x in [0, W], y in [0, H]; (0, 0) is the corner of the image."""
    height, width = check_panorama_hw(hw)
    longitude, latitude = lonlat_from_directions(directions).unbind(-1)
    x = (longitude / (2 * math.pi) + 0.5) * width
    y = (0.5 - latitude / math.pi) * height
    return torch.stack((x, y), dim=-1)


def pad_panorama(panorama: Float[Tensor, "*batch height width"], pad_px: int) -> Float[Tensor, "*batch h w"]:
    """Surrounds a panorama with its own continuation on the sphere.

    Left and right continue around the circle; above the zenith and below the nadir stands the opposite meridian.
    """
    if pad_px == 0:
        return panorama
    half = panorama.shape[-1] // 2
    opposite = panorama.roll(half, dims=-1)
    top = opposite[..., :pad_px, :].flip(-2)
    bottom = opposite[..., -pad_px:, :].flip(-2)
    tall = torch.cat((top, panorama, bottom), dim=-2)
    return torch.cat((tall[..., -pad_px:], tall, tall[..., :pad_px]), dim=-1)


def not_half(values: Tensor) -> Tensor:
    """The same, in float32 where it is half precision.

    What is projected has to be: places are computed beside the values, and a place in bfloat16 is off by two pixels in
    512 (and ``grid_sample`` with such places reads outside its memory on a processor, PyTorch 2.13).

    Raises:
        ValueError: whole numbers, which nothing can be interpolated between.
    """
    if not values.is_floating_point():
        raise ValueError(f"what is projected must be floating-point, got {values.dtype}")
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def sample_panorama(
    panorama: Float[Tensor, "*batch channels height width"],
    xy: Float[Tensor, "*points 2"],
    mode: Mode = "bilinear",
) -> Float[Tensor, "*batch channels *points"]:
    """Samples a panorama at pixel coordinates; differentiable in both arguments.

    Args:
        panorama: Colour, depth or features.
        xy: Pixel coordinates, any shape; x is periodic, y in [0, H].
        mode: Interpolation between pixel centres.

    Raises:
        ValueError: the panorama is not 2:1 or holds whole numbers, or the mode is unknown.
    """
    height, width = check_panorama_hw(tuple(panorama.shape[-2:]), "panorama's size")
    if panorama.ndim < 3:
        raise ValueError(f"panorama must have shape [*, C, H, 2 H], got {tuple(panorama.shape)}")
    if mode not in ("bilinear", "nearest"):
        raise ValueError(f"mode must be 'bilinear' or 'nearest', got {mode!r}")
    batch, channels, points = panorama.shape[:-3], panorama.shape[-3], xy.shape[:-1]
    padded = pad_panorama(not_half(panorama).reshape(-1, channels, height, width), 1)
    xy = xy.to(padded.dtype).reshape(1, -1, 1, 2)
    x = torch.remainder(xy[..., 0], width) + 1
    y = xy[..., 1].clamp(0, height) + 1
    grid = torch.stack((2 * x / (width + 2) - 1, 2 * y / (height + 2) - 1), dim=-1)
    grid = grid.expand(padded.shape[0], -1, -1, -1)
    out = F.grid_sample(padded, grid, mode=mode, padding_mode="border", align_corners=False)
    return out.reshape(*batch, channels, *points).to(panorama.dtype)
