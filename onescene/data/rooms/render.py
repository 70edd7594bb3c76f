"""Panoramas and perspective views of analytic rooms, with exact distance, depth, normals and edges."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from onescene.data.rooms.raycast import trace
from onescene.data.rooms.room import Room
from onescene.geometry.equirect import check_panorama_hw, directions_from_lonlat, directions_from_panorama, pad_panorama
from onescene.geometry.windows import greatest_around, least_around
from onescene.types import Cameras


@dataclass(frozen=True, kw_only=True)
class RoomPanorama:
    """A panorama of a room.

    Attributes:
        rgb: Display colour in [0, 1].
        distance: Distance along the ray [m], ``Room.sky_distance`` in the sky.
        normals_world: Unit normals that face the viewer.
        sky: Where the sky is.
        region: Pixels with one number see one smooth piece of one surface (see ``away_from_edges``).
    """

    rgb: Float[Tensor, "3 height width"]
    distance: Float[Tensor, "height width"]
    normals_world: Float[Tensor, "3 height width"]
    sky: Bool[Tensor, "height width"]
    region: Int[Tensor, "height width"]


@dataclass(frozen=True, kw_only=True)
class RoomViews:
    """Perspective views of a room: as :class:`RoomPanorama`, with the depth along each camera's axis [m]."""

    rgb: Float[Tensor, "views 3 height width"]
    depth_z: Float[Tensor, "views height width"]
    normals_world: Float[Tensor, "views 3 height width"]
    sky: Bool[Tensor, "views height width"]
    region: Int[Tensor, "views height width"]


def away_from_edges(
    region: Int[Tensor, "*batch height width"], radius_px: int = 1, *, panorama: bool = False
) -> Bool[Tensor, "*batch height width"]:
    """Whether all pixels within a square radius belong to one region: no edge of a pattern or a thing is near.

    Args:
        region: ``region`` of a panorama or of views.
        radius_px: Half the side of the square [pixels].
        panorama: Whether the neighbourhood goes on around the sphere.
    """
    _, number = region.unique(return_inverse=True)  # small numbers, exact as floats
    x = number.double().reshape(-1, *region.shape[-2:])
    padded = pad_panorama(x, radius_px) if panorama else F.pad(x, (radius_px,) * 4, mode="replicate")
    return (greatest_around(padded, radius_px) == least_around(padded, radius_px)).reshape(region.shape)


def _check_supersample(supersample: int) -> None:
    if not 1 <= supersample < math.inf or int(supersample) != supersample:
        raise ValueError(f"supersample must be a whole number >= 1, got {supersample}")


def _offsets(supersample: int) -> Tensor:
    """Centres of the s x s parts of a pixel relative to its own, [s * s, 2] (xy), float64."""
    line = (torch.arange(supersample, dtype=torch.float64) + 0.5) / supersample - 0.5
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).reshape(-1, 2)


def render_panorama(
    room: Room,
    hw: tuple[int, int],
    *,
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0),
    supersample: int = 1,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> RoomPanorama:
    """A panorama of a room, row 0 the zenith, from ray casting.

    Args:
        room: The scene.
        hw: Size [pixels], width twice the height.
        centre: Where the panorama is taken, in free space [m].
        supersample: Colours of pixels at edges are the mean of this number squared of rays; the rest, and all
            geometry, comes from the pixels' centres.

    Raises:
        ValueError: ``hw`` is not 2:1, ``supersample`` < 1, or ``centre`` lies in a wall or a solid.
    """
    height, width = check_panorama_hw(hw)
    _check_supersample(supersample)
    directions = directions_from_panorama(hw, device=device, dtype=dtype)
    origin = torch.tensor(centre, device=device, dtype=dtype)
    hit = trace(room, origin, directions)
    rgb = hit.rgb
    if supersample > 1:
        near_edge = ~away_from_edges(hit.region, panorama=True)
        row, col = torch.nonzero(near_edge).cpu().double().unbind(-1)
        finer = torch.stack((col, row), dim=-1)[:, None] + 0.5 + _offsets(supersample)
        lonlat = (finer / torch.tensor([width, height]) - 0.5) * torch.tensor([2 * torch.pi, -torch.pi])
        rays = directions_from_lonlat(lonlat).to(directions)
        rgb = rgb.clone()
        if len(rays):
            rgb[near_edge] = trace(room, origin, rays).rgb.mean(1)
    return RoomPanorama(
        rgb=rgb.permute(2, 0, 1).contiguous(),
        distance=hit.distance,
        normals_world=hit.normal_world.permute(2, 0, 1).contiguous(),
        sky=hit.sky,
        region=hit.region,
    )


def _pixel_rays(cameras: Cameras, index: Tensor, xy: Tensor) -> Tensor:
    """World rays with z = 1 in their camera; ``index`` [...] names the camera of each of ``xy`` [..., 2]."""
    inverse = torch.linalg.inv(cameras.K)[index]
    in_camera = torch.cat((xy, torch.ones_like(xy[..., :1])), dim=-1)
    return (cameras.world_from_cam[:, :3, :3][index] @ inverse @ in_camera[..., None])[..., 0]


def render_views(room: Room, cameras: Cameras, *, supersample: int = 1) -> RoomViews:
    """Perspective views of a room, in the dtype of the cameras.

    Args:
        room: The scene.
        cameras: Where to look from, in free space.
        supersample: As in :func:`render_panorama`.

    Raises:
        ValueError: a camera stands in a wall or a solid, or ``supersample`` < 1.
    """
    _check_supersample(supersample)
    (height, width), like = cameras.hw, cameras.K
    v, row, col = torch.meshgrid(*(torch.arange(n) for n in (len(cameras), height, width)), indexing="ij")
    rays = _pixel_rays(cameras, v, torch.stack((col, row), dim=-1).to(like) + 0.5)
    centres = cameras.world_from_cam[:, :3, 3]
    hit = trace(room, centres[v], rays)
    rgb = hit.rgb
    if supersample > 1:
        near_edge = ~away_from_edges(hit.region)
        view, row, col = torch.nonzero(near_edge).cpu().unbind(-1)
        xy = torch.stack((col, row), dim=-1)[:, None].double() + 0.5 + _offsets(supersample)
        view = view[:, None].expand(xy.shape[:2])
        rgb = rgb.clone()
        if len(view):
            rgb[near_edge] = trace(room, centres[view], _pixel_rays(cameras, view, xy.to(like))).rgb.mean(1)
    return RoomViews(
        rgb=rgb.permute(0, 3, 1, 2).contiguous(),
        depth_z=hit.distance / rays.norm(dim=-1),
        normals_world=hit.normal_world.permute(0, 3, 1, 2).contiguous(),
        sky=hit.sky,
        region=hit.region,
    )
