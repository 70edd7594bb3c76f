"""From Gaussians in the world to ellipses on the screen: EWA projection with gsplat's conventions, in torch.

Readable and differentiable; the Numba kernels compute the same numbers, and their tests hold them to this module.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from onescene.geometry.rotations import matrix_from_quaternion
from onescene.splatting.sh import sh_colours
from onescene.types import Cameras, Gaussians

BLUR_PX2 = 0.3  # gsplat's eps2d: variance added to every ellipse, a low-pass filter of about one pixel [px^2]
ALPHA_MIN = 1 / 255  # weaker contributions are skipped
ALPHA_MAX = 0.999  # stronger ones are clamped
TRANSMITTANCE_MIN = 1e-4  # a pixel is finished before it would let less light through
TAN_MARGIN = 0.3  # the Jacobian is evaluated at most this share of the half width outside the image


@dataclass(frozen=True, kw_only=True)
class Ellipses:
    """What one camera sees of a set of Gaussians, front to back.

    Attributes:
        index: Which Gaussian each ellipse is.
        xy_px: Centres on the image [pixels].
        conics: Inverse covariances (xx, xy, yy) [1 / pixels^2].
        half_px: Half width and height of the box outside of which alpha < 1/255 [pixels].
        depth_z: Depth of the centres [world units].
        opacities: Peak opacities.
        colours: RGB seen from this camera, >= 0.
    """

    index: Int[Tensor, " m"]
    xy_px: Float[Tensor, "m 2"]
    conics: Float[Tensor, "m 3"]
    half_px: Float[Tensor, "m 2"]
    depth_z: Float[Tensor, " m"]
    opacities: Float[Tensor, " m"]
    colours: Float[Tensor, "m 3"]


def projection_jacobian(
    points_cam: Float[Tensor, "n 3"], K: Float[Tensor, "3 3"], hw: tuple[int, int]
) -> Float[Tensor, "n 2 3"]:
    """Derivative of the pinhole projection at camera points [pixels per world unit].

    Notes: as gsplat does, x / z and y / z are clamped to the image plus 30 % of its half size, because the linear
    approximation is useless far outside the picture.
    """
    x, y, z = points_cam.unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    height, width = hw
    margin_x, margin_y = TAN_MARGIN * 0.5 * width / fx, TAN_MARGIN * 0.5 * height / fy
    x = z * (x / z).clamp(-(cx / fx + margin_x), (width - cx) / fx + margin_x)
    y = z * (y / z).clamp(-(cy / fy + margin_y), (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    rows = (torch.stack((fx / z, zero, -fx * x / z**2), -1), torch.stack((zero, fy / z, -fy * y / z**2), -1))
    return torch.stack(rows, dim=-2)


def screen_covariances(
    points_cam: Float[Tensor, "n 3"],
    axes_cam: Float[Tensor, "n 3 3"],
    K: Float[Tensor, "3 3"],
    hw: tuple[int, int],
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
    """Covariances (xx, xy, yy) on the image, blur included [pixels^2], and their determinants [pixels^4].

    Args:
        points_cam: Centres in the camera.
        axes_cam: Columns: the Gaussian's axes in the camera, each as long as its standard deviation.
        K: Intrinsics [pixels].
        hw: Size of the image [pixels].

    Notes: the determinant is summed from positive terms (Cauchy-Binet: the squared 2x2 minors of J A, plus the
    blur's part), where xx yy - xy^2 would cancel for long thin ellipses.
    """
    across = projection_jacobian(points_cam, K, hw) @ axes_cam  # J A, [n, 2, 3]
    row_x, row_y = across.unbind(-2)
    xx, xy, yy = (row_x * row_x).sum(-1), (row_x * row_y).sum(-1), (row_y * row_y).sum(-1)
    minors = torch.linalg.cross(row_x, row_y)
    det = (minors * minors).sum(-1) + BLUR_PX2 * (xx + yy) + BLUR_PX2**2
    return torch.stack((xx + BLUR_PX2, xy, yy + BLUR_PX2), dim=-1), det


def project_gaussians(gaussians: Gaussians, camera: Cameras, near: float, far: float) -> Ellipses:
    """Projects Gaussians into one camera, drops what it cannot see and sorts the rest by depth.

    Args:
        gaussians: The scene.
        camera: Exactly one camera.
        near: Closest depth of a centre [world units], > 0.
        far: Farthest depth of a centre [world units].

    Notes: the box follows gsplat's opacity-aware rule, sqrt(2 ln(255 opacity)) standard deviations; at opacities up
    to 1 that is never above its other limit of 3.33.
    """
    cam_from_world, K = camera.cam_from_world[0], camera.K[0]
    height, width = camera.hw
    points = gaussians.means @ cam_from_world[:3, :3].T + cam_from_world[:3, 3]
    with torch.no_grad():
        depth = points[:, 2]
        seen = torch.nonzero((depth >= near) & (depth <= far) & (gaussians.opacities >= ALPHA_MIN))[:, 0]
    points, subset = points[seen], gaussians.select(seen)
    axes_world = matrix_from_quaternion(subset.quats) * subset.scales[:, None, :]
    covariance, det = screen_covariances(points, cam_from_world[:3, :3] @ axes_world, K, camera.hw)
    xy_px = points[:, :2] / points[:, 2:] * K.diagonal()[:2] + K[:2, 2]
    with torch.no_grad():
        reach = (2 * torch.log(subset.opacities / ALPHA_MIN)).sqrt()
        half_px = reach[:, None] * covariance[:, [0, 2]].sqrt()
        size = torch.tensor([width, height]).to(xy_px)
        inside = ((xy_px + half_px > 0) & (xy_px - half_px < size)).all(-1)
        order = torch.nonzero(inside)[:, 0]
        order = order[torch.argsort(points[order, 2], stable=True)]
    conics = torch.stack((covariance[:, 2], -covariance[:, 1], covariance[:, 0]), dim=-1) / det[:, None]
    directions = subset.means - camera.world_from_cam[0, :3, 3]
    return Ellipses(
        index=seen[order],
        xy_px=xy_px[order],
        conics=conics[order],
        half_px=half_px[order],
        depth_z=points[order, 2],
        opacities=subset.opacities[order],
        colours=sh_colours(subset.sh[order], directions[order]),
    )
