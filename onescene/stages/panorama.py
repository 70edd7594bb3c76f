"""Panorama: a photo becomes a 360-degree panorama by one of several methods (``panorama_methods.METHODS``).

What the methods share is done here, once:

photo, field of view [degrees] -> placed on the sphere (exact, or as the release places it)
    -> the method makes the surroundings (``synthesise``)
    -> the photo itself put back over its field of view, feathered at its rim, so that its pixels survive
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.geometry.equirect import check_panorama_hw
from onescene.geometry.perspective import (
    PlacedPhoto,
    check_fov_deg,
    crop_panorama,
    intrinsics_from_fov,
    place_photo,
)
from onescene.geometry.rotations import matrix_from_yaw_pitch_roll
from onescene.stages.panorama_methods import PanoramaRequest, method_named
from onescene.stages.release_placement import place_as_released
from onescene.types import Cameras

Placement = Literal["exact", "release"]
FovSource = Literal["given", "exif", "estimated", "assumed", "none"]

ASSUMED_FOV_DEG = 65.0  # long side of a photo by a phone's main camera (26 mm equivalent: 67 degrees)
SMALLEST_PX = 64  # rows of a panorama and sides of a photo
LARGEST_ASPECT = 4.0  # of a photo: a longer strip is a stitched panorama, which no pinhole camera took
LARGEST_PIXELS = 12_000_000  # of a photo, before it is averaged
RIM_PX = 2.0  # panorama pixels at a photo's border that bilinear sampling mixes with what is outside
PLACED, SYNTHESISED = 0.2, 0.95  # shares of the work that are done then


@dataclass(frozen=True)
class PanoramaConfig:
    """How a panorama is made."""

    method: str = "baseline"  # a name of panorama_methods.METHODS
    height_px: int = 512  # rows of the panorama, even; it has twice as many columns
    fov_deg: float | None = None  # field of view of the photo's long side [degrees]; None: ASSUMED_FOV_DEG
    fov_source: Literal["given", "exif", "estimated"] = "given"  # where fov_deg comes from, for the record
    pitch_deg: float = 0.0  # how far the photo's camera looks up [degrees]
    roll_deg: float = 0.0  # how far it is turned clockwise about its view axis [degrees]
    placement: Placement = "exact"  # exact: central projection; release: HunyuanWorld's rule, level photos only
    feather_px: float = 2.0  # width of the photo's rim that is blended [panorama pixels]
    prompt: str = ""  # what the panorama shows; for methods that read it
    negative_prompt: str = ""  # what it must not show
    options: Any = None  # the method's own settings (its ``options`` dataclass); None: their defaults
    seed: int = 0  # of what is drawn


@dataclass(frozen=True)
class PanoramaOutput:
    """A panorama made from a photo.

    Attributes:
        panorama: RGB in [0, 1].
        mask: True where it is generated, False where the photo is.
        placed: The photo alone, on the sphere.
        method: How the rest was made.
        fov_deg: The field of view that was used, of the photo's long side [degrees]; 360 for a panorama that was given,
            0 where there was no photo.
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
    method = method_named(config.method)
    if config.options is not None and not (method.options and isinstance(config.options, method.options)):
        wanted = method.options.__name__ if method.options else "None"
        raise ValueError(f"options of {method.name} must be {wanted}, got {type(config.options).__name__}")
    if config.height_px < SMALLEST_PX or config.height_px % 2:
        raise ValueError(f"height_px must be even and >= {SMALLEST_PX}, got {config.height_px}")
    if config.fov_deg is not None:
        check_fov_deg(config.fov_deg)
    if config.fov_source not in ("given", "exif", "estimated"):
        raise ValueError(f"fov_source must be one of given, exif, estimated, got {config.fov_source!r}")
    if not abs(config.pitch_deg) <= 90:
        raise ValueError(f"pitch_deg must be in [-90, 90] degrees, got {config.pitch_deg}")
    if not abs(config.roll_deg) <= 180:
        raise ValueError(f"roll_deg must be in [-180, 180] degrees, got {config.roll_deg}")
    if config.placement not in get_args(Placement):
        raise ValueError(f"placement must be one of {', '.join(get_args(Placement))}, got {config.placement!r}")
    if config.placement == "release" and (config.pitch_deg or config.roll_deg):
        raise ValueError("placement release knows level photos only: pitch_deg and roll_deg must be 0")
    if not 0 <= config.feather_px <= 64:
        raise ValueError(f"feather_px must be in [0, 64], got {config.feather_px}")
    if config.seed < 0:
        raise ValueError(f"seed must be >= 0, got {config.seed}")
    if (config.prompt or config.negative_prompt) and not method.prompted:
        raise ValueError(f"method {method.name} reads no prompt; leave it out or choose another method")


@torch.no_grad()
def run(
    photo: Float[Tensor, "3 h w"] | None,
    config: PanoramaConfig = PanoramaConfig(),
    progress: Callable[[float], None] | None = None,
) -> PanoramaOutput:
    """Makes a panorama whose longitude 0 is the photo's centre.

    Args:
        photo: RGB in [0, 1]; for the method ``file`` the panorama itself; None for text alone, by a method that can.
        config: Size, field of view, method and options.
        progress: Called with the share that is done, in [0, 1].

    Raises:
        ValueError: a setting is out of range; the photo is missing, smaller than 64 pixels, longer than 4:1 or not in
            [0, 1]; what the method refuses.
        FileNotFoundError: weights of the method are missing.
    """
    check_config(config)
    method = method_named(config.method)
    report = progress or (lambda share: None)
    options = config.options if config.options is not None or method.options is None else method.options()
    placed, fov_deg, fov_source = _place(photo, config)
    synthesise = method.load(options)
    report(PLACED)
    request = PanoramaRequest(
        placed=placed,
        fov_deg=None if photo is None else fov_deg,
        prompt=config.prompt,
        negative_prompt=config.negative_prompt,
        seed=config.seed,
        generator=torch.Generator().manual_seed(config.seed),
        progress=lambda share: report(PLACED + (SYNTHESISED - PLACED) * share),
    )
    generated = synthesise(request)
    if generated.shape != placed.panorama.shape:
        raise ValueError(f"method {method.name} made {list(generated.shape)}, not {list(placed.panorama.shape)}")
    panorama = (generated + (placed.panorama - generated) * placed.weight).clamp(0, 1)
    report(1.0)
    return PanoramaOutput(
        panorama=panorama.contiguous(),
        mask=~placed.mask,
        placed=placed,
        method=config.method,
        fov_deg=fov_deg,
        fov_source=fov_source,
    )


def _place(photo: Tensor | None, config: PanoramaConfig) -> tuple[PlacedPhoto, float, FovSource]:
    """The photo on the sphere, the field of view that was used [degrees], and where that comes from."""
    if photo is None:
        if not method_named(config.method).from_text:
            raise ValueError(f"method {config.method} needs a photo")
        hw = (config.height_px, 2 * config.height_px)
        nothing = torch.zeros(hw)
        return PlacedPhoto(panorama=nothing.expand(3, *hw), mask=nothing > 0, weight=nothing), 0.0, "none"
    check_photo(photo, config.method)
    if not method_named(config.method).with_photo:
        raise ValueError(f"method {config.method} works from words alone: leave the photo out or choose another method")
    if config.method == "file":
        hw = check_panorama_hw(tuple(photo.shape[-2:]), "panorama's size")
        everywhere = torch.ones(hw, device=photo.device)
        return PlacedPhoto(panorama=photo, mask=everywhere > 0, weight=everywhere.to(photo)), 360.0, "given"
    fov_deg = ASSUMED_FOV_DEG if config.fov_deg is None else float(config.fov_deg)
    if config.placement == "release":
        placed = place_as_released(
            photo, (config.height_px, 2 * config.height_px), fov_deg, feather_px=config.feather_px
        )
    else:
        placed = place_exactly(photo, fov_deg, config)
    return placed, fov_deg, "assumed" if config.fov_deg is None else config.fov_source


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


def check_photo(photo: Float[Tensor, "3 h w"], method: str) -> None:
    """Refuses a photo that the stage can not use.

    Args:
        photo: RGB in [0, 1]; for the method ``file`` the panorama itself.
        method: A name of ``panorama_methods.METHODS``.

    Raises:
        ValueError: it is smaller than 64 pixels, longer than 4:1 or not in [0, 1].
    """
    if photo.ndim != 3 or photo.shape[0] != 3 or min(photo.shape[1:]) < SMALLEST_PX:
        raise ValueError(f"photo must be [3, h, w] with h and w >= {SMALLEST_PX} pixels, got {list(photo.shape)}")
    low, high = float(photo.min()), float(photo.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"photo must be in [0, 1] without NaN, got values from {low} to {high}")
    height, width = photo.shape[-2:]
    if method != "file" and max(height, width) > LARGEST_ASPECT * min(height, width):
        raise ValueError(
            f"photo must be at most {LARGEST_ASPECT:g} times as long as wide, got {width} x {height}: such a strip is"
            " stitched from several, and no pinhole camera's field of view describes it; cut a part out of it"
        )
