"""A sheet behind the scaffold: coarse, opaque Gaussians that close the cracks between pixels seen from close by."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.equirect import pad_panorama
from onescene.geometry.windows import greatest_around
from onescene.models.scaffold.lift import LiftConfig, lift_faces
from onescene.stages.scaffold import face_distance_from_panorama
from onescene.types import Gaussians


@dataclass(frozen=True)
class SheetConfig:
    """How the sheet is made."""

    coarser: int = 3  # anchor pixels along the side of one of its Gaussians, at least
    most_px: int = 86  # Gaussians along the side of a face, at most
    behind: float = 1.02  # its distance over the scaffold's
    lift: LiftConfig = field(default_factory=lambda: LiftConfig(footprint=0.75, opacity=0.99, thickness=0.02))


@torch.no_grad()
def backing_sheet(
    faces: Float[Tensor, "6 3 face face"],
    distance: Float[Tensor, "height width"],
    fov_deg: float,
    config: SheetConfig = SheetConfig(),
) -> Gaussians:
    """Lifts shrunk anchors to the farthest distance around each of their pixels, a little behind the scaffold.

    A scaffold of one Gaussian per pixel is a grid when its pixels grow large on the screen; the sheet shows the same
    colours through the gaps. Taking the farthest distance keeps it behind every edge, where it never sticks out.

    Args:
        faces: The anchors [0, 1].
        distance: The scaffold's distance panorama [world units], finite and > 0.
        fov_deg: Field of view of the anchors [degrees].
        config: Size and place.

    Raises:
        ValueError: a distance is not finite and positive.
    """
    side = max(8, min(faces.shape[-1] // config.coarser, config.most_px))
    reach = max(1, round(distance.shape[0] * fov_deg / 180 / side))  # one of its pixels, in the panorama's
    far = greatest_around(pad_panorama(distance[None], reach), reach)[0] * config.behind
    small = F.interpolate(faces, size=(side, side), mode="area")
    on_faces = face_distance_from_panorama(far, side, fov_deg, config.lift.edge_ratio)
    return lift_faces(small, on_faces, torch.zeros_like(on_faces, dtype=torch.bool), fov_deg, config.lift)
