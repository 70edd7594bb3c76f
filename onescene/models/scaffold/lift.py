"""Depth becomes Gaussians: one per face pixel, mu = K^-1 u d, no face speaks twice for a direction.

A Gaussian is the footprint of its pixel on the local surface: a disc as wide as the pixel seen from the centre,
stretched where the surface turns away, thin along the normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.geometry.cubemap import face_directions, face_intrinsics
from onescene.geometry.rotations import quaternion_from_matrix
from onescene.types import SH_C0, Gaussians


@dataclass(frozen=True)
class LiftConfig:
    """How a pixel becomes a Gaussian."""

    footprint: float = 0.45  # standard deviation in the surface [pixels]
    max_stretch: float = 3.0  # longest axis over the shortest in the surface
    thickness: float = 0.15  # standard deviation along the normal over that across
    opacity: float = 0.97
    edge_ratio: float = 1.08  # neighbours whose distances differ by more are another surface


def owned_pixels(face_px: int, fov_deg: float) -> Bool[Tensor, "6 face face"]:
    """Face pixels whose direction belongs to their face: inside the 90 degree cube, borders to one side only."""
    directions = face_directions(face_px, fov_deg, dtype=torch.float64).reshape(-1, 3)
    axis = directions.abs().argmax(-1)
    positive = directions.gather(1, axis[:, None])[:, 0] > 0
    owner = torch.tensor([[3, 1], [4, 5], [2, 0]])[axis, positive.long()].reshape(6, face_px, face_px)
    return owner == torch.arange(6)[:, None, None]


def _one_sided(points: Tensor, distance: Tensor, dim: int, edge_ratio: float) -> tuple[Tensor, Tensor]:
    """Difference to the neighbour along ``dim`` on the smoother side, and whether it is on the same surface."""
    steps = points.diff(dim=dim)
    jump = distance.log().diff(dim=dim).abs()
    size = points.shape[dim]
    first = (steps.narrow(dim, 0, 1), jump.narrow(dim, 0, 1))
    last = (steps.narrow(dim, size - 2, 1), jump.narrow(dim, size - 2, 1))
    forward, forward_jump = torch.cat((steps, last[0]), dim), torch.cat((jump, last[1]), dim)
    backward, backward_jump = torch.cat((first[0], steps), dim), torch.cat((first[1], jump), dim)
    use_forward = forward_jump <= backward_jump
    step = torch.where(use_forward[..., None], forward, backward)
    return step, torch.minimum(forward_jump, backward_jump) < torch.tensor(edge_ratio).log()


def surface_normals(
    distance: Float[Tensor, "6 face face"], fov_deg: float, edge_ratio: float = 1.08
) -> Float[Tensor, "6 face face 3"]:
    """Unit normals of the surface at each face pixel, facing the centre; along the ray where no surface is seen."""
    rays = face_directions(distance.shape[-1], fov_deg, device=distance.device, dtype=distance.dtype)
    points = rays * distance[..., None]
    across, same_u = _one_sided(points, distance, 2, edge_ratio)
    down, same_v = _one_sided(points, distance, 1, edge_ratio)
    normal = torch.linalg.cross(across, down)
    length = normal.norm(dim=-1, keepdim=True)
    good = (same_u & same_v)[..., None] & (length > 1e-12)
    normal = torch.where(good, normal / length.clamp_min(1e-12), -rays)
    return normal * -torch.sign((normal * rays).sum(-1, keepdim=True))


def lift_faces(
    faces: Float[Tensor, "6 3 face face"],
    distance: Float[Tensor, "6 face face"],
    sky: Bool[Tensor, "6 face face"],
    fov_deg: float,
    config: LiftConfig = LiftConfig(),
) -> Gaussians:
    """Lifts six faces to Gaussians (mu = K^-1 u d of Sec. 3.2, d along the unit ray as in the release).

    Args:
        faces: RGB in [0, 1].
        distance: Distance along each pixel's ray [world units], finite and > 0.
        sky: Where the surface is far away and has no normal.
        fov_deg: Field of view of the faces [degrees].
        config: Sizes and opacity.

    Raises:
        ValueError: a distance is not finite and positive.
    """
    if not bool((torch.isfinite(distance) & (distance > 0)).all()):
        raise ValueError("distance must be finite and > 0 at every face pixel")
    face_px = faces.shape[-1]
    keep = owned_pixels(face_px, fov_deg).to(faces.device)
    rays = face_directions(face_px, fov_deg, device=faces.device, dtype=faces.dtype)
    normal = surface_normals(distance, fov_deg, config.edge_ratio)
    normal = torch.where(sky[..., None], -rays, normal)[keep]
    rays, d = rays[keep], distance[keep]
    cosine = -(normal * rays).sum(-1)
    tangent = rays + cosine[:, None] * normal  # the ray's shadow on the surface: the direction of stretch
    facing = tangent.norm(dim=-1, keepdim=True) < 1e-3
    helper = torch.where(normal[:, :1].abs() < 0.9, torch.eye(3)[0].to(normal), torch.eye(3)[1].to(normal))
    tangent = F.normalize(torch.where(facing, torch.linalg.cross(normal, helper), tangent), dim=-1)
    f_px = float(face_intrinsics(face_px, fov_deg)[0, 0])
    z_unit = rays.abs().amax(-1)  # cosine of the angle to the face's axis
    width = config.footprint * d * z_unit.pow(1.5) / f_px  # square root of the pixel's solid angle
    stretch = 1 / cosine.clamp_min(1 / config.max_stretch)
    scales = torch.stack((width * stretch, width, width * config.thickness), dim=-1)
    rgb = faces.permute(0, 2, 3, 1)[keep]
    return Gaussians(
        means=rays * d[:, None],
        quats=quaternion_from_matrix(torch.stack((tangent, torch.linalg.cross(normal, tangent), normal), dim=-1)),
        scales=scales,
        opacities=torch.full_like(d, config.opacity),
        sh=((rgb - 0.5) / SH_C0)[:, None],
    )
