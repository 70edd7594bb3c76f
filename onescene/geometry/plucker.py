"""SEVA's view of cameras: Pluecker ray maps, normalised poses, default intrinsics, camera distance.

Intrinsics here are SEVA's: row 0 divided by the image width, row 1 by its height, so that they fit any size.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.equirect import not_half
from onescene.geometry.perspective import intrinsics_from_fov
from onescene.geometry.rotations import invert_rigid, rotation_angle

SEVA_FOV_DEG = 54.0
_INLIER_QUANTILE, _INLIER_FACTOR = 0.97, 10.0
_AT_CENTRE = 1e-5  # tolerance of the release for a camera that stands on the scene's centre


def normalised_intrinsics(K_px: Float[Tensor, "*batch 3 3"], hw: tuple[int, int]) -> Float[Tensor, "*batch 3 3"]:
    """Intrinsics divided by the image's width (row 0) and height (row 1)."""
    return K_px / torch.tensor((hw[1], hw[0], 1.0), device=K_px.device, dtype=K_px.dtype)[:, None]


def default_intrinsics(fov_deg: float = SEVA_FOV_DEG, aspect: float = 1.0) -> Float[Tensor, "3 3"]:
    """Normalised intrinsics of SEVA where none are given.

    Args:
        fov_deg: Field of view of the longer side [degrees].
        aspect: Width / height of the image.

    Raises:
        ValueError: ``aspect`` is not positive or ``fov_deg`` outside (0, 180).
    """
    if not 0 < aspect < float("inf"):
        raise ValueError(f"aspect must be > 0 and finite, got {aspect}")
    K = intrinsics_from_fov(fov_deg, (1, 1))
    K[0, 0] *= max(1.0, 1 / aspect)
    K[1, 1] *= max(1.0, aspect)
    return K


def _centred_rays(K_normalised: Tensor, hw: tuple[int, int]) -> Tensor:
    """K^-1 (x, y, 1) at the pixel centres of a map of size ``hw``, [*, h, w, 3]."""
    x = (torch.arange(hw[1], device=K_normalised.device, dtype=K_normalised.dtype) + 0.5) / hw[1]
    y = (torch.arange(hw[0], device=K_normalised.device, dtype=K_normalised.dtype) + 0.5) / hw[0]
    xy = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    pixels = torch.cat((xy, torch.ones_like(xy[..., :1])), dim=-1)
    return torch.einsum("...ij,hwj->...hwi", torch.linalg.inv(K_normalised), pixels)


def plucker_maps(
    world_from_cam: Float[Tensor, "*batch v 4 4"],
    K_normalised: Float[Tensor, "*batch v 3 3"],
    hw: tuple[int, int],
    *,
    keep_source_translation: bool = True,
) -> Float[Tensor, "*batch v 6 h w"]:
    """Pluecker ray maps of SEVA: per pixel the unit direction d and the moment o x d, in the frame of camera 0.

    Args:
        world_from_cam: Camera poses; the first is the reference.
        K_normalised: Intrinsics divided by the image's width and height.
        hw: Size of the maps (the latent's size in SEVA: an eighth of the image).
        keep_source_translation: False is a switch of SEVA's first release that is never used at inference: the
            reference camera's translation is dropped before the poses are composed.

    Raises:
        ValueError: poses and intrinsics differ in count, intrinsics are singular, or ``hw`` is below 1.
    """
    if world_from_cam.shape[:-2] != K_normalised.shape[:-2]:
        got = tuple(world_from_cam.shape[:-2]), tuple(K_normalised.shape[:-2])
        raise ValueError(f"world_from_cam and K_normalised must have the same batch shape, got {got[0]} and {got[1]}")
    if min(hw) < 1:
        raise ValueError(f"hw must be two sizes >= 1, got {tuple(hw)}")
    given, (world_from_cam, K_normalised) = world_from_cam.dtype, map(not_half, (world_from_cam, K_normalised))
    if not (torch.linalg.det(K_normalised).abs() > 0).all():
        raise ValueError("K_normalised must be invertible, got a singular matrix or a NaN")
    reference_from_world = invert_rigid(world_from_cam[..., :1, :, :])
    if not keep_source_translation:
        linear = torch.ones_like(reference_from_world)
        linear[..., :3, 3] = 0
        reference_from_world = reference_from_world * linear
    reference_from_cam = reference_from_world @ world_from_cam
    rays = torch.einsum("...ij,...hwj->...hwi", reference_from_cam[..., :3, :3], _centred_rays(K_normalised, hw))
    directions = torch.nn.functional.normalize(rays, dim=-1)
    centres = reference_from_cam[..., None, None, :3, 3].expand_as(directions)
    return torch.cat((directions, torch.linalg.cross(centres, directions)), dim=-1).movedim(-1, -3).to(given)


def normalise_cameras(
    world_from_cam: Float[Tensor, "v 4 4"],
    scene_world_from_cam: Float[Tensor, "n 4 4"] | None = None,
    *,
    camera_scale: float = 2.0,
) -> Float[Tensor, "v 4 4"]:
    """Moves and scales the cameras of a chunk as SEVA does before it makes ray maps.

    The origin goes to the mean of the scene's camera centres without far outliers (more than ten times the 97 %
    quantile of the distance to the median); then the chunk's first camera is put at distance ``camera_scale``. If it
    stands on the origin, positions are multiplied by ``camera_scale`` instead.

    Args:
        world_from_cam: Cameras of the chunk.
        scene_world_from_cam: All cameras of the scene; the chunk itself if not given.
        camera_scale: Distance of the first camera [normalised units], > 0.

    Raises:
        ValueError: ``camera_scale`` is not positive, or there is no camera.
    """
    if not 0 < camera_scale < float("inf"):
        raise ValueError(f"camera_scale must be > 0 and finite, got {camera_scale}")
    scene = world_from_cam if scene_world_from_cam is None else scene_world_from_cam
    if min(len(world_from_cam), len(scene)) == 0:
        raise ValueError("world_from_cam and scene_world_from_cam must hold at least one camera, got none")
    given, (world_from_cam, scene) = world_from_cam.dtype, map(not_half, (world_from_cam, scene))
    centres = scene[:, :3, 3]
    spread = (centres - centres.median(dim=0).values).norm(dim=-1)
    inliers = spread <= _INLIER_FACTOR * torch.quantile(spread, _INLIER_QUANTILE)
    positions = world_from_cam[:, :3, 3] - centres[inliers].mean(dim=0)
    first = positions[0].norm()
    factor = camera_scale if float(first.detach()) < _AT_CENTRE else camera_scale / first
    out = world_from_cam.clone()
    out[:, :3, 3] = positions * factor
    return out.to(given)


def camera_distance(
    a: Float[Tensor, "a 4 4"], b: Float[Tensor, "b 4 4"]
) -> tuple[Float[Tensor, "a b"], Float[Tensor, "a b"]]:
    """Rotation [degrees] and distance of the centres [world units] between every two of two sets of cameras."""
    relative = a[:, None, :3, :3].transpose(-1, -2) @ b[None, :, :3, :3]
    return torch.rad2deg(rotation_angle(relative)), (a[:, None, :3, 3] - b[None, :, :3, 3]).norm(dim=-1)
