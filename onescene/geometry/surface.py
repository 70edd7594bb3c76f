"""The surface that a distance map shows: as a mesh cut at depth edges, or as points spread evenly over the sphere.

One vertex per map pixel at its distance, neighbours joined by triangles (as Matrix-3D warps a panorama, M2). Where the
paper blackens the vertices around a change of depth, the triangles across it are left out here: nothing is stretched
from a chair to the wall behind it, and both keep their own rims. Colours stay in the panorama, reached by ``uv``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from onescene.geometry.equirect import (
    check_panorama_hw,
    directions_from_panorama,
    pad_panorama,
    panorama_xy_from_directions,
    sample_panorama,
)

_MIN_ROWS = 4
_PLANE_TOLERANCE = 0.5  # how far steps of disparity on one plane may differ, over the step


@dataclass(frozen=True)
class MeshConfig:
    """How a distance map becomes a mesh."""

    max_triangles: int = 500_000  # the map is made coarser until they suffice; a map of 512 rows has a million
    edge_ratio: float = 1.1  # neighbours whose distances differ by more are two surfaces, unless a plane joins them


@dataclass(frozen=True, kw_only=True)
class SurfaceMesh:
    """Triangles around the panorama's centre.

    Attributes:
        vertices: In the world [world units].
        uv: Where each vertex lies in the panorama: u in [0, 1 + half a pixel] to the right (it repeats), v in [0, 1]
            downwards, (0, 0) the corner of the image.
        faces: Three vertices each, counterclockwise as seen from the centre.
    """

    vertices: Float[Tensor, "n 3"]
    uv: Float[Tensor, "n 2"]
    faces: Int[Tensor, "f 3"]


@dataclass(frozen=True, kw_only=True)
class PointCloud:
    """Coloured points.

    Attributes:
        xyz: In the world [world units].
        rgb: Colours [0, 1].
    """

    xyz: Float[Tensor, "n 3"]
    rgb: Float[Tensor, "n 3"]


def mesh_from_distance(distance: Float[Tensor, "height width"], config: MeshConfig = MeshConfig()) -> SurfaceMesh:
    """The surface of a distance map as triangles, cut at depth edges; the poles are closed by fans.

    Args:
        distance: Along each panorama ray [world units], finite and > 0; the sky at its large value is a part of it.
        config: Budget and what counts as an edge.

    Raises:
        ValueError: no panorama's size, a distance that is not finite and positive, a budget or a ratio too small.
    """
    smallest = 4 * _MIN_ROWS**2
    if config.max_triangles < smallest:
        raise ValueError(f"max_triangles must be >= {smallest}, got {config.max_triangles}")
    if not config.edge_ratio > 1:
        raise ValueError(f"edge_ratio must be > 1, got {config.edge_ratio}")
    distance = _coarser(distance, math.isqrt(config.max_triangles // 4), config.edge_ratio)
    height, width = distance.shape
    right, down = joined_neighbours(distance, config.edge_ratio)
    log = distance.log()
    poles = torch.stack((distance[0].median(), distance[-1].median()))
    rows = torch.cat((poles[:1].expand(1, width), distance, poles[1:].expand(1, width)))
    rows = torch.cat((rows, rows[:, :1]), dim=1)  # the first column again: a texture has to end where it begins
    uv = _grid_uv(height, width).to(rows)
    vertices = directions_from_uv(uv) * rows[..., None]
    near_pole = (log[[0, -1]] - poles.log()[:, None]).abs() <= math.log(config.edge_ratio)
    fans = right[[0, -1]] & near_pole & near_pole.roll(-1, dims=1)
    faces = torch.cat((_fan_faces(fans, height, width), _grid_faces(log, right, down)))
    used, compact = faces.unique(return_inverse=True)
    return SurfaceMesh(vertices=vertices.reshape(-1, 3)[used], uv=uv.reshape(-1, 2)[used], faces=compact)


def points_from_distance(
    panorama: Float[Tensor, "3 rows columns"], distance: Float[Tensor, "height width"], max_points: int = 500_000
) -> PointCloud:
    """The surface of a distance map as coloured points, as many to each part of the sphere.

    Args:
        panorama: Colours [0, 1], any size.
        distance: Along each panorama ray [world units], finite and > 0.
        max_points: At most so many points.

    Raises:
        ValueError: no panorama's size, a distance that is not finite and positive, a budget too small.
    """
    smallest = 2 * _MIN_ROWS**2
    if max_points < smallest:
        raise ValueError(f"max_points must be >= {smallest}, got {max_points}")
    check_panorama_hw(tuple(panorama.shape[-2:]), "panorama's size")
    # rows of height h hold 2 h cos(latitude) points each, 4/pi h^2 together; rounding up adds at most h
    height = int((math.sqrt(1 + 16 / math.pi * max_points) - 1) / (8 / math.pi))
    distance = _coarser(distance, height, MeshConfig().edge_ratio)
    height, width = distance.shape
    rgb = F.interpolate(panorama[None], size=(height, width), mode="area")[0]
    latitude = (0.5 - (torch.arange(height, dtype=torch.float64) + 0.5) / height) * math.pi
    keep = torch.zeros(height, width, dtype=torch.bool)
    for row, count in enumerate((width * latitude.cos()).ceil().long().tolist()):
        keep[row, ((torch.arange(count) + 0.5) * width / count).long()] = True
    directions = directions_from_panorama((height, width), dtype=distance.dtype)
    return PointCloud(xyz=(directions * distance[..., None])[keep], rgb=rgb.permute(1, 2, 0)[keep])


def joined_neighbours(distance: Float[Tensor, "height width"], edge_ratio: float) -> tuple[Tensor, Tensor]:
    """Whether each pixel lies on one surface with its right neighbour [H, W] and with the one below [H - 1, W].

    Two pixels do if their distances differ by less than ``edge_ratio``, or if a plane explains the difference: on a
    plane, disparity changes by equal steps from ray to ray, so the steps before and after the pair resemble its own. A
    floor far away stays whole; a chair's rim has no such steps on either side.
    """
    disparity = 1 / pad_panorama(distance[None], 1)[0]
    return (
        _joined(torch.cat((disparity[1:-1], disparity[1:-1, 2:3]), dim=1).T, edge_ratio).T,
        _joined(disparity[:, 1:-1], edge_ratio),
    )


def directions_from_uv(uv: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3"]:
    """Unit directions of texture coordinates of a panorama."""
    longitude, latitude = (uv[..., 0] - 0.5) * (2 * math.pi), (0.5 - uv[..., 1]) * math.pi
    cos = latitude.cos()
    return torch.stack((longitude.sin() * cos, -latitude.sin(), longitude.cos() * cos), dim=-1)


def _joined(disparity: Tensor, edge_ratio: float) -> Tensor:
    """Along dim 0: whether each of the inner entries (but the last) is on one surface with the next."""
    step = disparity.diff(dim=0)
    before, pair, after = step[:-2], step[1:-1], step[2:]
    close = (disparity[1:-2] / disparity[2:-1]).log().abs() <= math.log(edge_ratio)
    slack = _PLANE_TOLERANCE * pair.abs()
    return close | (((before - pair).abs() <= slack) & ((after - pair).abs() <= slack))


def _coarser(distance: Tensor, rows: int, edge_ratio: float) -> Tensor:
    """The map with at most so many rows: disparity interpolated on surfaces, the nearest pixel's across edges."""
    hw = check_panorama_hw(tuple(distance.shape), "distance's size")
    bad = ~((distance > 0) & (distance < math.inf))
    if bad.any():
        raise ValueError(f"distance must be finite and positive everywhere, got {int(bad.sum())} other values")
    if hw[0] <= rows:
        return distance
    xy = panorama_xy_from_directions(directions_from_panorama((rows, 2 * rows), dtype=distance.dtype), hw)
    smooth = 1 / sample_panorama(1 / distance[None], xy)[0]
    nearest = sample_panorama(distance[None], xy, "nearest")[0]
    return torch.where((smooth / nearest).log().abs() <= math.log(edge_ratio), smooth, nearest)


def _grid_uv(height: int, width: int) -> Tensor:
    """Texture coordinates [height + 2, width + 1, 2]: pixel centres between a row at each pole."""
    u = (torch.arange(width + 1, dtype=torch.float64) + 0.5) / width
    v = torch.cat((torch.zeros(1), (torch.arange(height, dtype=torch.float64) + 0.5) / height, torch.ones(1)))
    uv = torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)
    uv[[0, -1], :, 0] += 0.5 / width  # the tip of a fan lies between the two columns that it joins
    return uv


def _fan_faces(kept: Tensor, height: int, width: int) -> Tensor:
    """Triangles between the poles and the rows next to them."""
    column = torch.arange(width)
    tops = torch.stack((column, column + width + 1, column + width + 2), dim=-1)
    last = height * (width + 1)
    bottoms = torch.stack((column + last + width + 1, column + last + 1, column + last), dim=-1)
    return torch.cat((tops[kept[0]], bottoms[kept[1]]))


def _grid_faces(log: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Two triangles to a square of pixels a b / c d, split where the diagonal is flatter; each has a side along a row
    and one along a column, and is kept if both are joined."""
    height, width = log.shape
    index = torch.arange(1, height + 1)[:, None] * (width + 1) + torch.arange(width + 1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    log_b, log_d = log.roll(-1, dims=1)[:-1], log.roll(-1, dims=1)[1:]
    rising = (log_b - log[1:]).abs() <= (log[:-1] - log_d).abs()  # the diagonal from c to b
    top, bottom, left, far = right[:-1], right[1:], down, down.roll(-1, dims=1)
    parts = (
        ((a, c, b), rising & top & left),
        ((b, c, d), rising & bottom & far),
        ((a, c, d), ~rising & left & bottom),
        ((a, d, b), ~rising & top & far),
    )
    return torch.cat([torch.stack(corners, dim=-1)[kept] for corners, kept in parts])
