"""Colours of the scaffold's Gaussians, matched to the anchors against the blur of splatting.

Splatting blurs by the Gaussians' overlap. Seen from the centre every Gaussian has one pixel, so what that pixel lacks
is its correction, found in a few rounds. Beside a depth edge a part of the blur comes from the other side; to make up
for that too would paint an outline onto the surface, which shows as soon as the camera moves. At a face's border part
of it comes from the next face, and the rounds do not converge. There a colour keeps to what the anchor shows around it
on its own side.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.geometry.cubemap import face_cameras
from onescene.geometry.windows import greatest_around, least_around
from onescene.models.scaffold.density import Blocks, every_pixel
from onescene.splatting import render
from onescene.types import SH_C0, Gaussians

COLOUR_MARGIN = 0.3  # how far matched colours may leave [0, 1]
EDGE_REACH_PX = 2  # so far from a depth edge splats of its other side are seen, from a border those of the next face
SAME_SIDE = 0.5  # neighbours count as one surface below this share of the log range that makes an edge


@torch.no_grad()
def match_colours(
    gaussians: Gaussians,
    faces: Float[Tensor, "6 3 face face"],
    face_distance: Float[Tensor, "6 face face"],
    fov_deg: float,
    steps: int,
    *,
    edge_threshold: float = 0.25,
    blocks: Blocks | None = None,
) -> Gaussians:
    """Adds to each Gaussian's colour what its own pixels lack when the anchors are rendered, a few times over.

    Args:
        gaussians: As :func:`onescene.models.scaffold.lift.lift_faces` or ``lift_blocks`` orders them.
        faces: The anchors [0, 1].
        face_distance: Distance at every face pixel [any unit].
        fov_deg: The anchors' field of view [degrees].
        steps: Rounds; 0 leaves the colours alone.
        edge_threshold: Log range that counts as a depth edge.
        blocks: Which pixels each of them stands for; None: each for one.
    """
    if not steps:
        return gaussians
    face_px = faces.shape[-1]
    cameras, pixels = face_cameras(face_px, fov_deg).to(faces), every_pixel(face_px, fov_deg, faces.device)
    blocks = pixels if blocks is None else blocks
    held = near_edge(face_distance.log(), edge_threshold) | near_edge(pixels.kept[0].float(), 0.5)
    low, high = map(blocks.means, colour_limits(faces, face_distance, held, edge_threshold))
    for _ in range(steps):
        residual = blocks.means(faces - render(gaussians, cameras).rgb.clamp(0, 1))
        colour = (gaussians.rgb + residual).clamp(low, high)
        gaussians = replace(gaussians, sh=((colour - 0.5) / SH_C0)[:, None])
    return gaussians


def colour_limits(
    faces: Float[Tensor, "6 3 face face"],
    face_distance: Float[Tensor, "6 face face"],
    held: Bool[Tensor, "6 face face"],
    edge_threshold: float,
) -> tuple[Float[Tensor, "6 3 face face"], Float[Tensor, "6 3 face face"]]:
    """The least and the greatest colour that each pixel's Gaussian may have.

    ``COLOUR_MARGIN`` beyond [0, 1]; where it is ``held``, what those of the 3x3 pixels around show that are on the same
    surface.
    """
    log_distance = face_distance.log()[:, None]
    low, high = faces, faces
    around = F.pad(torch.cat((faces, log_distance), dim=1), (1, 1, 1, 1), mode="replicate")
    height, width = faces.shape[-2:]
    for dy in range(3):
        for dx in range(3):
            shown = around[:, :, dy : dy + height, dx : dx + width]
            same_side = (shown[:, 3:] - log_distance).abs() < SAME_SIDE * edge_threshold
            low = torch.where(same_side, torch.minimum(low, shown[:, :3]), low)
            high = torch.where(same_side, torch.maximum(high, shown[:, :3]), high)
    held = held[:, None]
    return torch.where(held, low, -COLOUR_MARGIN), torch.where(held, high, 1 + COLOUR_MARGIN)


def near_edge(values: Float[Tensor, "6 face face"], step: float) -> Bool[Tensor, "6 face face"]:
    """Pixels with a step of at least ``step`` within ``EDGE_REACH_PX`` of them."""
    reach = EDGE_REACH_PX
    padded = F.pad(values, (reach,) * 4, mode="replicate")
    return greatest_around(padded, reach) - least_around(padded, reach) >= step
