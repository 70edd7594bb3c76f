"""Panorama, first form: a photo becomes a 360-degree panorama by classical outpainting (``baseline``).

photo, field of view [degrees] -> placed on the sphere (exact) -> outpainted around (``outpaint``)
    -> the photo itself put back over its field of view, feathered at its rim
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.geometry.perspective import (
    PlacedPhoto,
    check_fov_deg,
    crop_panorama,
    intrinsics_from_fov,
    place_photo,
)
from onescene.geometry.rotations import matrix_from_yaw_pitch_roll
from onescene.stages.outpaint import outpaint
from onescene.types import Cameras

Method = Literal["baseline"]
FovSource = Literal["given", "exif", "assumed"]

ASSUMED_FOV_DEG = 65.0  # long side of a photo by a phone's main camera (26 mm equivalent: 67 degrees)
SMALLEST_PX = 64  # rows of a panorama and sides of a photo
LARGEST_PIXELS = 12_000_000  # of a photo, before it is averaged
RIM_PX = 2.0  # panorama pixels at a photo's border that bilinear sampling mixes with what is outside


@dataclass(frozen=True)
class PanoramaConfig:
    """How a panorama is made."""

    method: Method = "baseline"  # classical outpainting; no learned weights
    height_px: int = 512  # rows of the panorama, even; it has twice as many columns
    fov_deg: float | None = None  # field of view of the photo's long side [degrees]; None: ASSUMED_FOV_DEG
    fov_source: Literal["given", "exif"] = "given"  # where fov_deg comes from, for the record
    pitch_deg: float = 0.0  # how far the photo's camera looks up [degrees]
    roll_deg: float = 0.0  # how far it is turned clockwise about its view axis [degrees]
    feather_px: float = 2.0  # width of the photo's rim that is blended [panorama pixels]
    seed: int = 0  # of what is drawn: the order of the repeated parts, the ground's grain


@dataclass(frozen=True)
class PanoramaOutput:
    """A panorama made from a photo.

    Attributes:
        panorama: RGB in [0, 1].
        mask: True where it is generated, False where the photo is.
        placed: The photo alone, on the sphere.
        method: How the rest was made.
        fov_deg: The field of view that was used, of the photo's long side [degrees].
        fov_source: Where it comes from; ``assumed`` is a guess that stretches or squeezes the scene if it is wrong.
    """

    panorama: Float[Tensor, "3 height width"]
    mask: Bool[Tensor, "height width"]
    placed: PlacedPhoto
    method: str
    fov_deg: float
    fov_source: FovSource


def check_config(config: PanoramaConfig) -> None:
    """Refuses settings that are out of range.

    Raises:
        ValueError: naming the setting, what it is and what it may be.
    """
    if config.method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, got {config.method!r}")
    if config.height_px < SMALLEST_PX or config.height_px % 2:
        raise ValueError(f"height_px must be even and >= {SMALLEST_PX}, got {config.height_px}")
    if config.fov_deg is not None:
        check_fov_deg(config.fov_deg)
    if config.fov_source not in ("given", "exif"):
        raise ValueError(f"fov_source must be one of given, exif, got {config.fov_source!r}")
    if not abs(config.pitch_deg) <= 90:
        raise ValueError(f"pitch_deg must be in [-90, 90] degrees, got {config.pitch_deg}")
    if not abs(config.roll_deg) <= 180:
        raise ValueError(f"roll_deg must be in [-180, 180] degrees, got {config.roll_deg}")
    if not 0 <= config.feather_px <= 64:
        raise ValueError(f"feather_px must be in [0, 64], got {config.feather_px}")
    if config.seed < 0:
        raise ValueError(f"seed must be >= 0, got {config.seed}")


@torch.no_grad()
def run(
    photo: Float[Tensor, "3 h w"],
    config: PanoramaConfig = PanoramaConfig(),
    progress: Callable[[float], None] | None = None,
) -> PanoramaOutput:
    """Makes a panorama whose longitude 0 is the photo's centre.

    Args:
        photo: RGB in [0, 1].
        config: Size, field of view and options.
        progress: Called with the share that is done, in [0, 1].

    Raises:
        ValueError: a setting is out of range, the photo is smaller than 64 pixels or not in [0, 1].
    """
    check_config(config)
    _check_photo(photo)
    fov_deg = ASSUMED_FOV_DEG if config.fov_deg is None else float(config.fov_deg)
    placed = place_exactly(photo, fov_deg, config)
    if progress:
        progress(0.2)
    image = placed.panorama.permute(1, 2, 0).float().cpu().numpy()
    around = outpaint(np.ascontiguousarray(image), placed.mask.cpu().numpy(), config.seed)
    generated = torch.from_numpy(around).permute(2, 0, 1).to(photo)
    panorama = (generated + (placed.panorama - generated) * placed.weight).clamp(0, 1)
    if progress:
        progress(1.0)
    return PanoramaOutput(
        panorama=panorama.contiguous(),
        mask=~placed.mask,
        placed=placed,
        method=config.method,
        fov_deg=fov_deg,
        fov_source="assumed" if config.fov_deg is None else config.fov_source,
    )


def place_exactly(photo: Float[Tensor, "3 h w"], fov_deg: float, config: PanoramaConfig) -> PlacedPhoto:
    """Places a photo such that cutting its view out of the panorama returns it, fine detail included.

    Averaging over the panorama's pixels and interpolating between them both blur; one step of back-projection (what
    the cut-out lacks is placed as well) wins back most of it.
    """
    hw = (config.height_px, 2 * config.height_px)
    photo = _bound_size(photo, fov_deg, config.height_px)
    angles = {"pitch_deg": config.pitch_deg, "roll_deg": config.roll_deg}
    placed = place_photo(photo, hw, fov_deg, **angles, feather_px=config.feather_px)
    rotation = matrix_from_yaw_pitch_roll(torch.deg2rad(torch.tensor([0.0, config.pitch_deg, config.roll_deg])))
    world_from_cam = torch.eye(4)
    world_from_cam[:3, :3] = rotation
    K = intrinsics_from_fov(fov_deg, tuple(photo.shape[-2:]), side="long")
    camera = Cameras(world_from_cam=world_from_cam[None], K=K[None], hw=tuple(photo.shape[-2:])).to(photo)
    lacking = photo - crop_panorama(placed.panorama, camera)[0]
    # at the rim the cut-out mixes with the black outside: no correction there
    detail = place_photo(lacking, hw, fov_deg, **angles, feather_px=2 * RIM_PX)
    inner = ((detail.weight * 2 - 1).clamp(0, 1))[None]
    return replace(placed, panorama=(placed.panorama + detail.panorama * inner).clamp(0, 1))


def _bound_size(photo: Tensor, fov_deg: float, height_px: int) -> Tensor:
    """Averages a photo that is over four times finer than the panorama, or over 12 megapixels."""
    height, width = photo.shape[-2:]
    f_px = float(intrinsics_from_fov(fov_deg, (height, width), side="long")[0, 0])
    factor = min(1.0, 4 * height_px / math.pi / f_px, math.sqrt(LARGEST_PIXELS / (height * width)))
    if factor == 1.0:
        return photo
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    return F.interpolate(photo[None], size=size, mode="area")[0]


def _check_photo(photo: Tensor) -> None:
    if photo.ndim != 3 or photo.shape[0] != 3 or min(photo.shape[1:]) < SMALLEST_PX:
        raise ValueError(f"photo must be [3, h, w] with h and w >= {SMALLEST_PX} pixels, got {list(photo.shape)}")
    low, high = float(photo.min()), float(photo.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"photo must be in [0, 1] without NaN, got values from {low} to {high}")
