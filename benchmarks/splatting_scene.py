"""What the splatting benchmarks draw: one Gaussian per pixel of six cube faces, on the walls of a room with spheres."""

from __future__ import annotations

import torch

from onescene.geometry.cubemap import face_directions
from onescene.types import SH_C0, Cameras, Gaussians

SPHERES = (((1.0, 0.6, 1.5), 0.5), ((-1.2, 0.8, -1.0), 0.6), ((0.3, 0.9, 2.2), 0.35))  # centre, radius
FACE_PX = {"50k": 91, "300k": 224, "1.5M": 500, "5M": 913}


def room(face_px: int) -> Gaussians:
    """One Gaussian per face pixel, as wide as the pixel's footprint and thin along the ray."""
    generator = torch.Generator().manual_seed(0)
    rays = face_directions(face_px, 90.0).reshape(-1, 3)
    distance = (torch.tensor([2.5, 1.3, 3.0]) / rays.abs().clamp_min(1e-6)).amin(-1)
    for centre, radius in SPHERES:
        middle = torch.tensor(centre)
        along = rays @ middle
        inside = along**2 - middle.square().sum() + radius**2
        hit = along - inside.clamp_min(0).sqrt()
        distance = torch.where((inside > 0) & (along > 0) & (hit < distance), hit, distance)
    n = len(rays)
    distance = distance * (1 + 0.004 * torch.randn(n, generator=generator))
    means = rays * distance[:, None]
    scales = (1.4 / face_px * distance)[:, None] * torch.exp(0.3 * torch.randn(n, 3, generator=generator))
    half_way = rays + torch.tensor([0.0, 0.0, 1.0])  # the half turn about it takes z to the ray
    quats = torch.cat((torch.zeros(n, 1), half_way), dim=-1) * (0.5 + torch.rand(n, 1, generator=generator))
    waves = torch.stack([torch.sin(3 * means[:, i]) * torch.cos(2 * means[:, (i + 1) % 3]) for i in range(3)], dim=-1)
    return Gaussians(
        means=means,
        quats=quats,
        scales=scales * torch.tensor([1.0, 1.0, 0.2]),
        opacities=torch.sigmoid(1.2 + 1.5 * torch.randn(n, generator=generator)),
        sh=(0.4 * waves / SH_C0)[:, None],
    )


def camera(px: int, fov_deg: float = 90.0) -> Cameras:
    """One camera 0.72 units beside the centre."""
    f_px = px / 2 / torch.tan(torch.deg2rad(torch.tensor(fov_deg)) / 2)
    world_from_cam = torch.eye(4)
    world_from_cam[:3, 3] = torch.tensor([0.43, -0.1, 0.56])
    K = torch.tensor([[f_px, 0, px / 2], [0, f_px, px / 2], [0, 0, 1]])
    return Cameras(world_from_cam=world_from_cam[None], K=K[None], hw=(px, px))
