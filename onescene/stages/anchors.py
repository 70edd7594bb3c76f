"""Anchors: a panorama becomes six cubemap views, 95 degrees wide (Sec. 3.2 and A.2 of One2Scene)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.cubemap import face_cameras, faces_from_panorama
from onescene.types import Cameras


@dataclass(frozen=True)
class AnchorsConfig:
    """How anchors are cut."""

    face_px: int = 256  # side of a face [pixels]
    fov_deg: float = 95.0  # field of view of a face [degrees]
    grid: Literal["paper", "release"] = "paper"  # pixel centres, or the release's edge-to-edge grid


@dataclass(frozen=True)
class AnchorsOutput:
    """Six anchor views.

    Attributes:
        faces: RGB in [0, 1], in the order F R B L U D.
        cameras: Their cameras, at the panorama's centre.
    """

    faces: Float[Tensor, "6 3 face face"]
    cameras: Cameras


def shrink_for_faces(panorama: Float[Tensor, "c h w"], face_px: int, fov_deg: float) -> Float[Tensor, "c h2 w2"]:
    """Averages a panorama that is over twice as fine as the faces, so that bilinear sampling does not alias."""
    wanted = max(2, round(face_px * 180 / fov_deg))
    factor = panorama.shape[-2] // wanted
    return panorama if factor < 2 else F.avg_pool2d(panorama[None], factor, ceil_mode=True)[0]


def run(panorama: Float[Tensor, "3 height width"], config: AnchorsConfig = AnchorsConfig()) -> AnchorsOutput:
    """Cuts the six anchor views out of a panorama (Eq. 7 to 9).

    Args:
        panorama: RGB in [0, 1], width twice the height.
        config: Size and field of view.

    Raises:
        ValueError: the panorama is not 2:1, or a setting is out of range.
    """
    source = panorama
    if panorama.shape[-2] * 2 == panorama.shape[-1]:
        small = shrink_for_faces(panorama, config.face_px, config.fov_deg)
        source = small if small.shape[-2] * 2 == small.shape[-1] else panorama
    faces = faces_from_panorama(source, config.face_px, config.fov_deg, grid=config.grid)
    return AnchorsOutput(faces=faces, cameras=face_cameras(config.face_px, config.fov_deg).to(panorama))
