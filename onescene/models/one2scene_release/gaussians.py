"""From the release's raw channels to Gaussians, with its activations, its ranges and its placement."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix, quaternion_multiply
from onescene.types import Gaussians

SH_COEFFICIENTS = 25  # degree 4
RAW_CHANNELS = 1 + 3 + 4 + 3 * SH_COEFFICIENTS
_SCALE_RANGE_PX = (0.5, 15.0)
_SCALE_FACTOR = 0.1
_KEPT_SH = 16  # degree 3: what files and renderers carry


@dataclass(frozen=True)
class ReleaseGaussians:
    """One Gaussian per face pixel, in the order face, row, column.

    Attributes:
        means: Centres in the world.
        opacities: In [0, 1].
        scales: Standard deviations along the Gaussian's own axes [world units]; negative where the distance is.
        quats_xyzw_cam: Unit quaternions, **xyzw**, in the **camera** frame of the face.
        sh_cam: Colour coefficients of degree 4, which the release never turns into the world.
        covariances: In the world.
    """

    means: Float[Tensor, "batch n 3"]
    opacities: Float[Tensor, "batch n"]
    scales: Float[Tensor, "batch n 3"]
    quats_xyzw_cam: Float[Tensor, "batch n 4"]
    sh_cam: Float[Tensor, "batch n 3 25"]
    covariances: Float[Tensor, "batch n 3 3"]


def unit_rays(K_normalised: Float[Tensor, "*batch 3 3"], hw: tuple[int, int]) -> Float[Tensor, "*batch h w 3"]:
    """Unit directions through the pixel centres, in the camera's frame."""
    y, x = ((torch.arange(n, device=K_normalised.device, dtype=K_normalised.dtype) + 0.5) / n for n in hw)
    pixels = torch.stack((x.expand(hw[0], -1), y[:, None].expand(-1, hw[1]), torch.ones(hw).to(x)), dim=-1)
    return F.normalize(torch.einsum("...ij,hwj->...hwi", torch.linalg.inv(K_normalised), pixels), dim=-1)


def _sh_damping(like: Tensor) -> Tensor:
    """1 at degree 0, 0.1 / 4^l at degree l: colours change little with the direction at first."""
    degree = torch.arange(SH_COEFFICIENTS, device=like.device).to(torch.float64).sqrt().floor()
    return torch.where(degree == 0, 1.0, 0.1 * 0.25**degree).to(like)


def place_gaussians(
    raw: Float[Tensor, "batch face height width c"],
    distance: Float[Tensor, "batch face height width"],
    K_normalised: Float[Tensor, "batch face 3 3"],
    world_from_cam: Float[Tensor, "batch face 4 4"],
) -> ReleaseGaussians:
    """Activates the 83 raw channels and places a Gaussian at the end of every pixel's ray.

    Args:
        raw: Opacity 1, scale 3, quaternion xyzw 4, colour 75 (25 per colour).
        distance: Along the unit ray [world units].
        K_normalised: Intrinsics over width and height.
        world_from_cam: OpenCV cameras.
    """
    hw = (distance.shape[-2], distance.shape[-1])
    opacity, scale, quat, sh = raw.split((1, 3, 4, 3 * SH_COEFFICIENTS), dim=-1)
    rotation, centre = world_from_cam[..., None, None, :3, :3], world_from_cam[..., None, None, :3, 3]
    rays = (rotation @ unit_rays(K_normalised, hw)[..., None])[..., 0]
    pixel = torch.tensor((1 / hw[1], 1 / hw[0])).to(K_normalised)
    footprint = (torch.linalg.inv(K_normalised[..., :2, :2]) @ pixel).sum(-1)[..., None, None, None]
    low, high = _SCALE_RANGE_PX
    scales = (low + (high - low) * scale.sigmoid()) * distance[..., None] * _SCALE_FACTOR * footprint
    quats = quat / (quat.norm(dim=-1, keepdim=True) + 1e-8)
    axes = rotation @ matrix_from_quaternion(quats.roll(1, -1)) * scales[..., None, :]
    return ReleaseGaussians(
        means=(centre + distance[..., None] * rays).flatten(1, 3),
        opacities=opacity[..., 0].sigmoid().flatten(1, 3),
        scales=scales.flatten(1, 3),
        quats_xyzw_cam=quats.flatten(1, 3),
        sh_cam=(sh.unflatten(-1, (3, SH_COEFFICIENTS)) * _sh_damping(sh)).flatten(1, 3),
        covariances=(axes @ axes.mT).flatten(1, 3),
    )


def as_gaussians(found: ReleaseGaussians, world_from_cam: Float[Tensor, "face 4 4"], scene: int = 0) -> Gaussians:
    """The Gaussians of one scene in this kit's convention: world frame, wxyz, colour up to degree 3.

    Colour is taken as the release renders it: coefficients of the camera frame, evaluated with world directions.

    Args:
        found: What the network gave.
        world_from_cam: The six cameras that placed them.
        scene: Which scene of the batch.
    """
    turn = quaternion_from_matrix(world_from_cam[:, :3, :3])[:, None]
    quats = found.quats_xyzw_cam[scene].roll(1, -1).unflatten(0, (len(world_from_cam), -1))
    return Gaussians(
        means=found.means[scene],
        quats=quaternion_multiply(turn, quats).flatten(0, 1),
        scales=found.scales[scene].abs(),
        opacities=found.opacities[scene],
        sh=found.sh_cam[scene].mT[:, :_KEPT_SH].contiguous(),
    )
