"""Pinhole cameras: rays, unproject and project, crops of a panorama, and a photo placed on the panorama."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.geometry.equirect import (
    check_panorama_hw,
    directions_from_lonlat,
    directions_from_panorama,
    not_half,
    panorama_xy_from_directions,
    sample_panorama,
)
from onescene.geometry.rotations import matrix_from_yaw_pitch_roll
from onescene.types import Cameras

FOV_RANGE_DEG = (10.0, 170.0)  # exclusive; beyond, a photo's pixels are too unequal to be of use
_MAX_SAMPLES = 8  # per pixel and axis, when a fine image is averaged into coarse pixels


@dataclass(frozen=True, kw_only=True)
class PlacedPhoto:
    """A photo on the sphere.

    Attributes:
        panorama: The photo's colour where ``mask`` holds, 0 elsewhere, in [0, 1] for a photo in [0, 1].
        mask: True where the centre of the panorama's pixel lies inside the photo.
        weight: In [0, 1]: grows from 0 at the photo's border to 1 at ``feather_px`` inside it; 0 outside.
    """

    panorama: Float[Tensor, "3 height width"]
    mask: Bool[Tensor, "height width"]
    weight: Float[Tensor, "height width"]


def check_fov_deg(fov_deg: float, name: str = "fov_deg") -> float:
    """Returns a photo's field of view if it lies inside (10, 170) degrees.

    Raises:
        ValueError: it does not (NaN included).
    """
    low, high = FOV_RANGE_DEG
    if not low < float(fov_deg) < high:
        raise ValueError(f"{name} must be inside ({low:g}, {high:g}) degrees, got {fov_deg}")
    return float(fov_deg)


def intrinsics_from_fov(
    fov_deg: Float[Tensor, "*batch"] | float, hw: tuple[int, int], *, side: Literal["width", "long"] = "width"
) -> Float[Tensor, "*batch 3 3"]:
    """Intrinsics K [pixels] of square pixels and a centred principal point.

    Args:
        fov_deg: Field of view [degrees], in (0, 180); a float gives float32.
        hw: Image size [pixels].
        side: The side that the field of view spans.

    Raises:
        ValueError: a field of view outside (0, 180), a size below 1 or an unknown side.
    """
    height, width = int(hw[0]), int(hw[1])
    if min(height, width) < 1:
        raise ValueError(f"hw must be two sizes >= 1, got {tuple(hw)}")
    if side not in ("width", "long"):
        raise ValueError(f"side must be 'width' or 'long', got {side!r}")
    fov = torch.as_tensor(fov_deg, dtype=None if isinstance(fov_deg, Tensor) else torch.float64)
    if not bool(((fov > 0) & (fov < 180)).all()):
        raise ValueError(f"fov_deg must be inside (0, 180) degrees, got {fov_deg}")
    span = width if side == "width" else max(height, width)
    f_px = span / 2 / torch.tan(torch.deg2rad(fov) / 2)
    one, zero = torch.ones_like(f_px), torch.zeros_like(f_px)
    rows = ((f_px, zero, one * (width / 2)), (zero, f_px, one * (height / 2)), (zero, zero, one))
    K = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    return K if isinstance(fov_deg, Tensor) else K.float()


def _pixel_xy(hw: tuple[int, int], like: Tensor) -> Tensor:
    """Pixel centres, [H, W, 2]."""
    x = torch.arange(hw[1], device=like.device, dtype=like.dtype) + 0.5
    y = torch.arange(hw[0], device=like.device, dtype=like.dtype) + 0.5
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def _rays_cam(K: Tensor, xy: Tensor) -> Tensor:
    """K^-1 (x, y, 1) [V, H, W, 3] for intrinsics [V, 3, 3] (skew allowed) and pixels [H, W, 2]."""
    y = (xy[..., 1] - K[:, None, None, 1, 2]) / K[:, None, None, 1, 1]
    x = (xy[..., 0] - K[:, None, None, 0, 2] - K[:, None, None, 0, 1] * y) / K[:, None, None, 0, 0]
    return torch.stack((x, y, torch.ones_like(x)), dim=-1)


def _rotate(rotation: Tensor, vectors: Tensor) -> Tensor:
    """Rotations [V, 3, 3] on vectors [V, H, W, 3]."""
    return torch.einsum("vij,vhwj->vhwi", rotation, vectors)


def camera_rays(cameras: Cameras) -> tuple[Float[Tensor, "v 3"], Float[Tensor, "v height width 3"]]:
    """Centres of the cameras and unit directions through their pixel centres, both in the world."""
    rays = F.normalize(_rays_cam(cameras.K, _pixel_xy(cameras.hw, cameras.K)), dim=-1)
    return cameras.world_from_cam[:, :3, 3], _rotate(cameras.world_from_cam[:, :3, :3], rays)


def unproject(depth_z: Float[Tensor, "v height width"], cameras: Cameras) -> Float[Tensor, "v height width 3"]:
    """World points of depth maps: R (z K^-1 u) + t (Eq. 3 of One2Scene without its offset).

    Args:
        depth_z: Depth along each camera's z axis [world units].
        cameras: Cameras of the same count and size.

    Raises:
        ValueError: the depth maps do not fit the cameras.
    """
    wanted = (len(cameras), *cameras.hw)
    if tuple(depth_z.shape) != wanted:
        raise ValueError(f"depth_z must have shape {wanted} as its cameras, got {tuple(depth_z.shape)}")
    points_cam = _rays_cam(cameras.K, _pixel_xy(cameras.hw, cameras.K)) * depth_z[..., None]
    return _rotate(cameras.world_from_cam[:, :3, :3], points_cam) + cameras.world_from_cam[:, None, None, :3, 3]


def project(points: Float[Tensor, "n 3"], cameras: Cameras) -> tuple[Float[Tensor, "v n 2"], Float[Tensor, "v n"]]:
    """Pixel coordinates and depth z of world points in every camera.

    Only points with ``z > 0`` are in front of a camera; the coordinates of others mean nothing but stay finite, and
    so does their gradient.
    """
    cam_from_world = cameras.cam_from_world
    points_cam = torch.einsum("vij,nj->vni", cam_from_world[:, :3, :3], points) + cam_from_world[:, None, :3, 3]
    z = points_cam[..., 2]
    eps = torch.finfo(z.dtype).eps
    divisor = torch.where(z.abs() < eps, torch.full_like(z, eps), z)
    uv = points_cam[..., :2] / divisor[..., None]
    xy = torch.einsum("vij,vnj->vni", cameras.K[:, :2, :2], uv) + cameras.K[:, None, :2, 2]
    return xy, z


def _offsets(samples: int) -> list[float]:
    """Centres of ``samples`` equal parts of a pixel, relative to its centre."""
    return [(i + 0.5) / samples - 0.5 for i in range(samples)]


def crop_panorama(
    panorama: Float[Tensor, "*batch channels height width"], cameras: Cameras, *, antialias: bool = False
) -> Float[Tensor, "*batch v channels h w"]:
    """What cameras at the panorama's centre see of it; only their rotation and intrinsics count.

    Args:
        panorama: Colour, distance or features, width twice the height.
        cameras: Views to cut.
        antialias: Averages several rays per pixel where the crop is coarser than the panorama (for colour; off for
            distances and labels). A crop that is finer is the same either way.

    Raises:
        ValueError: the panorama is not 2:1.
    """
    hw = check_panorama_hw(tuple(panorama.shape[-2:]), "panorama's size")
    f_px = float(cameras.K.detach()[:, (0, 1), (0, 1)].abs().min())
    coarser = hw[1] / (2 * math.pi) / f_px  # panorama pixels per crop pixel, on the optical axis
    samples = min(_MAX_SAMPLES, math.ceil(coarser - 1e-6)) if antialias and coarser > 1 else 1
    like = not_half(panorama)
    K, rotation = cameras.K.to(like), cameras.world_from_cam[:, :3, :3].to(like)
    xy = _pixel_xy(cameras.hw, like)
    total = None
    for dy in _offsets(samples):
        for dx in _offsets(samples):
            rays = _rotate(rotation, _rays_cam(K, xy + xy.new_tensor((dx, dy))))
            part = sample_panorama(like, panorama_xy_from_directions(rays, hw))  # [*, C, V, h, w]
            total = part if total is None else total + part
    return (total / samples**2).movedim(-3, -4).to(panorama.dtype)


def _shrink_photo(photo: Tensor, K: Tensor, f_wanted_px: float) -> tuple[Tensor, Tensor]:
    """Area-averages a photo that is far finer than needed to about ``f_wanted_px``; intrinsics follow exactly."""
    factor = f_wanted_px / float(K[0, 0])
    height, width = photo.shape[-2:]
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    if factor > 0.5:  # uneven bins would blur more than they help
        return photo, K
    scale = K.new_tensor((size[1] / width, size[0] / height, 1.0))
    return F.interpolate(photo[None], size=size, mode="area")[0], K * scale[:, None]


def _photo_xy(directions: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """Photo pixels [..., 2] of directions in the photo's camera frame, and where these lie inside the photo's size."""
    z = directions[..., 2]
    front = z > 1e-6
    uv = directions[..., :2] / z.clamp_min(1e-6)[..., None]  # beside and behind: far outside, on the right side
    xy = uv * torch.stack((K[0, 0], K[1, 1])) + K[:2, 2]
    inside = front & (xy >= 0).all(-1) & (xy <= 2 * K[:2, 2]).all(-1)
    return xy, inside


def _sample_photo(photo: Tensor, xy: Tensor) -> Tensor:
    """Bilinear colours [C, n] at pixels [n, 2]; outside, the border continues."""
    size = xy.new_tensor((photo.shape[-1], photo.shape[-2]))
    grid = (2 * xy / size - 1).to(photo)[None, :, None]
    return F.grid_sample(photo[None], grid, padding_mode="border", align_corners=False)[0, :, :, 0]


def place_photo(
    photo: Float[Tensor, "3 h w"],
    hw: tuple[int, int],
    fov_deg: float,
    *,
    pitch_deg: float = 0.0,
    roll_deg: float = 0.0,
    yaw_deg: float = 0.0,
    feather_px: float = 0.0,
) -> PlacedPhoto:
    """Places a photo on the panorama by exact central projection.

    Args:
        photo: Colour; bilinear where the panorama is finer, averaged by area where it is coarser.
        hw: Size of the panorama [pixels], width twice the height.
        fov_deg: Field of view of the photo's long side [degrees], inside (10, 170).
        pitch_deg: How far the photo's camera looks up [degrees].
        roll_deg: How far it is turned clockwise about its view axis [degrees].
        yaw_deg: How far it looks to the right [degrees].
        feather_px: Width of the rim in which ``weight`` grows to 1 [panorama pixels at the photo's centre]; 0: none.

    Raises:
        ValueError: a size, the field of view, an angle or the feather is out of range.

    Notes: HunyuanWorld scales the short side's field of view linearly with the aspect; a lens does so by its tangent.
    """
    hw = check_panorama_hw(hw)
    check_fov_deg(fov_deg)
    angles_deg = (yaw_deg, pitch_deg, roll_deg)
    if not all(math.isfinite(a) for a in angles_deg):
        raise ValueError(f"yaw_deg, pitch_deg and roll_deg must be finite, got {angles_deg}")
    if not 0 <= feather_px < math.inf:
        raise ValueError(f"feather_px must be >= 0 and finite, got {feather_px}")
    device, f64 = photo.device, torch.float64
    fov = torch.tensor(float(fov_deg), device=device, dtype=f64)
    K = intrinsics_from_fov(fov, tuple(photo.shape[-2:]), side="long")
    f_panorama_px = hw[1] / (2 * math.pi)
    rotation = matrix_from_yaw_pitch_roll(torch.deg2rad(torch.tensor(angles_deg, device=device, dtype=f64)))
    directions = directions_from_panorama(hw, device=device, dtype=f64) @ rotation
    xy, mask = _photo_xy(directions, K)
    border_px = torch.minimum(xy, 2 * K[:2, 2] - xy).amin(-1) * (f_panorama_px / K[0, 0])
    weight = (border_px / feather_px).clamp(0, 1) * mask if feather_px > 0 else mask.to(f64)
    rows, columns = torch.nonzero(mask, as_tuple=True)
    colours = _average_photo(not_half(photo), K, rotation, hw, (rows, columns)).to(photo.dtype)
    panorama = photo.new_zeros(3, *hw).index_put((torch.arange(3, device=device)[:, None], rows, columns), colours)
    return PlacedPhoto(panorama=panorama, mask=mask, weight=weight.to(photo))


def _average_photo(
    photo: Tensor, K: Tensor, rotation: Tensor, hw: tuple[int, int], pixels: tuple[Tensor, Tensor]
) -> Tensor:
    """Colours [3, n] of panorama pixels (rows, columns): the photo's mean over each pixel's area.

    The area is that of the panorama's pixel: far from the photo's centre it covers more of the photo's pixels.
    """
    f_panorama_px = hw[1] / (2 * math.pi)
    photo, K = _shrink_photo(photo, K, 2 * f_panorama_px)
    finer = float(K[0, 0]) / f_panorama_px  # photo pixels per panorama pixel, on the optical axis
    if finer > 1:  # in the corner the photo's pixels per angle grow by 1/cos^2
        finer *= 1 + float((K[0, 2] / K[0, 0]) ** 2 + (K[1, 2] / K[1, 1]) ** 2)
    samples = min(_MAX_SAMPLES, max(1, math.ceil(finer - 1e-6)))
    total = photo.new_zeros(photo.shape[0], len(pixels[0]))
    y, x = (p.to(rotation.dtype) + 0.5 for p in pixels)
    for dy in _offsets(samples):
        for dx in _offsets(samples):
            lonlat = torch.stack((((x + dx) / hw[1] - 0.5) * 2, 0.5 - (y + dy) / hw[0]), dim=-1) * math.pi
            directions = directions_from_lonlat(lonlat) @ rotation  # in the photo's camera
            total = total + _sample_photo(photo, _photo_xy(directions, K)[0])
    return total / samples**2
