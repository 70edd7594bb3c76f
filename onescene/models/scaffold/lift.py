"""Depth becomes Gaussians: one per face pixel, mu = K^-1 u d, no face speaks twice for a direction.

A Gaussian is its pixel, projected along the rays onto the local surface: as wide as the pixel seen from the centre,
stretched where the surface turns away, thin along the normal. Whoever comes nearer sees no cracks between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.geometry.cubemap import face_directions, face_intrinsics, world_from_face
from onescene.geometry.rotations import quaternion_from_matrix
from onescene.types import SH_C0, Gaussians


@dataclass(frozen=True)
class LiftConfig:
    """How a pixel becomes a Gaussian."""

    footprint: float = 0.55  # standard deviation in the surface [pixels]; below, close views show a grid of gaps
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


def pixel_sides(rays: Float[Tensor, "6 face face 3"], fov_deg: float) -> tuple[Tensor, Tensor]:
    """How far a face pixel reaches to the right and downwards on the unit sphere, as vectors across its ray.

    The outermost pixels that :func:`owned_pixels` keeps reach to the border of the 90 degree cube, which no pixel
    grid of 95 degrees meets: two faces leave no crack between them.
    """
    face_px = rays.shape[-2]
    f_px = float(face_intrinsics(face_px, fov_deg)[0, 0])
    from_middle = (torch.arange(face_px) + 0.5 - face_px / 2).abs()  # [pixels]; the border is at f_px
    outermost = from_middle[from_middle < f_px].max()
    reach = torch.where(from_middle == outermost, (2 * (f_px - outermost)).clamp_min(1), 1).to(rays)
    axes = world_from_face(device=rays.device, dtype=rays.dtype)[:, None, None] / f_px
    z_unit = rays.abs().amax(-1, keepdim=True)  # cosine of the angle to the face's axis, where the pixel is kept
    sides = (axes[..., 0] * reach[None, None, :, None], axes[..., 1] * reach[None, :, None, None])
    right, down = (z_unit * (side - rays * (rays * side).sum(-1, keepdim=True)) for side in sides)
    return right, down


def project_along(side: Tensor, rays: Tensor, normal: Tensor, least_cosine: float) -> Tensor:
    """Moves vectors across the rays [N, 3] along them onto the surface; ``least_cosine`` bounds the stretch."""
    cosine = -(normal * rays).sum(-1, keepdim=True)
    moved = side + rays * (normal * side).sum(-1, keepdim=True) / cosine.clamp_min(least_cosine)
    return moved - normal * (normal * moved).sum(-1, keepdim=True)


def ellipse_axes(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Long and short half axis [N, 3] of the ellipse x cos t + y sin t (Rytz): orthogonal, with the same area."""
    angle = 0.5 * torch.atan2(2 * (x * y).sum(-1), x.square().sum(-1) - y.square().sum(-1))[:, None]
    return x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()


def lift_faces(
    faces: Float[Tensor, "6 3 face face"],
    distance: Float[Tensor, "6 face face"],
    sky: Bool[Tensor, "6 face face"],
    fov_deg: float,
    config: LiftConfig = LiftConfig(),
    keep: Bool[Tensor, "6 face face"] | None = None,
) -> Gaussians:
    """Lifts six faces to Gaussians (mu = K^-1 u d of Sec. 3.2, d along the unit ray as in the release).

    Args:
        faces: RGB in [0, 1].
        distance: Distance along each pixel's ray [world units], finite and > 0.
        sky: Where the surface is far away and has no normal.
        fov_deg: Field of view of the faces [degrees].
        config: Sizes and opacity.
        keep: Pixels that become Gaussians; None: those that each face owns.

    Raises:
        ValueError: a distance is not finite and positive.
    """
    if not bool((torch.isfinite(distance) & (distance > 0)).all()):
        raise ValueError("distance must be finite and > 0 at every face pixel")
    face_px = faces.shape[-1]
    keep = owned_pixels(face_px, fov_deg).to(faces.device) if keep is None else keep
    rays = face_directions(face_px, fov_deg, device=faces.device, dtype=faces.dtype)
    normal = surface_normals(distance, fov_deg, config.edge_ratio)
    normal, right, down = (x[keep] for x in (torch.where(sky[..., None], -rays, normal), *pixel_sides(rays, fov_deg)))
    rays, d = rays[keep], distance[keep]
    sides = (project_along(side, rays, normal, 1 / config.max_stretch) for side in (right, down))
    long, short = ellipse_axes(*sides)
    short_length = config.footprint * d * short.norm(dim=-1)
    long_length = (config.footprint * d * long.norm(dim=-1)).minimum(config.max_stretch * short_length)
    scales = torch.stack((long_length, short_length, config.thickness * short_length), dim=-1)
    long = F.normalize(long, dim=-1)
    rgb = faces.permute(0, 2, 3, 1)[keep]
    return Gaussians(
        means=rays * d[:, None],
        quats=quaternion_from_matrix(torch.stack((long, torch.linalg.cross(normal, long), normal), dim=-1)),
        scales=scales,
        opacities=torch.full_like(d, config.opacity),
        sh=((rgb - 0.5) / SH_C0)[:, None],
    )
