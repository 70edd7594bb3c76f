"""Cubemap faces of a panorama: E2C and C2E of One2Scene (Eq. 5 to 9), on colour, depth and feature maps.

Faces come in the order F R B L U D. All six cameras stand at the panorama's centre; a field of view of 95 degrees
gives neighbours 2.5 degrees of overlap on each side of a seam.

The paper does not print its rotations R_i. We take those of the public release (yaw 0, 90, 180, 270, -90, -90 and
pitch 0, 0, 0, 0, 90, -90 degrees), so the top of face U looks to +x and the top of face D to -x.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.equirect import (
    Mode,
    check_panorama_hw,
    directions_from_panorama,
    not_half,
    panorama_xy_from_directions,
    sample_panorama,
)
from onescene.types import Cameras

FACES = ("F", "R", "B", "L", "U", "D")
Overlap = Literal["angular", "mean", "owner"]
Grid = Literal["paper", "release"]
_AXES = (  # rows: x, y and z axis of each face's camera in the world
    ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ((0, 0, -1), (0, 1, 0), (1, 0, 0)),
    ((-1, 0, 0), (0, 1, 0), (0, 0, -1)),
    ((0, 0, 1), (0, 1, 0), (-1, 0, 0)),
    ((0, 0, 1), (-1, 0, 0), (0, -1, 0)),
    ((0, 0, 1), (1, 0, 0), (0, 1, 0)),
)


def _table(make: Callable) -> Callable:
    """Keeps what ``make`` gives for some sizes; ``torch.compile`` takes it for a constant.

    Notes: as ``torch.compiler.assume_constant_result`` does, which would import the compiler, a second for everyone.
    The compiler names what stands in a tuple, and mistakes one lone tensor for the next.
    """

    @lru_cache(maxsize=32)
    def kept(*sizes):
        return (make(*sizes),)

    def constant(*sizes):
        return kept(*sizes)

    constant._dynamo_marked_constant = True
    return lambda *sizes: constant(*sizes)[0]


def _fixed(tensor: Tensor) -> Tensor:
    """A tensor whose sizes ``torch.compile`` never takes for variable."""
    return torch.nn.Parameter(tensor, requires_grad=False)


def _whole(size: int) -> int:
    """A size as an int; compiled code is made for it, as :func:`operator.index` tells the compiler."""
    return operator.index(int(size))


def _check_face(face_px: int, fov_deg: float, lowest_deg: float = 10.0) -> None:
    if not 2 <= face_px < math.inf or int(face_px) != face_px:
        raise ValueError(f"face_px must be a whole number >= 2, got {face_px}")
    if not lowest_deg <= fov_deg < 170:
        raise ValueError(f"fov_deg must be in [{lowest_deg:g}, 170), got {fov_deg}")


def world_from_face(*, device=None, dtype: torch.dtype = torch.float32) -> Float[Tensor, "6 3 3"]:
    """Rotations R_i that take a face's camera axes (OpenCV) to the world."""
    return torch.tensor(_AXES, device=device, dtype=dtype).transpose(1, 2).contiguous()


def face_intrinsics(
    face_px: int, fov_deg: float, *, device=None, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "3 3"]:
    """Intrinsics K' of one face [pixels]: focal length (w/2) / tan(fov/2), centre w/2 (Eq. 7 and 8).

    Raises:
        ValueError: ``face_px`` < 2 or ``fov_deg`` outside [10, 170).
    """
    _check_face(face_px, fov_deg)
    f_px = face_px / 2 / math.tan(math.radians(fov_deg) / 2)
    c_px = face_px / 2
    return torch.tensor([[f_px, 0, c_px], [0, f_px, c_px], [0, 0, 1]], device=device, dtype=dtype)


def face_cameras(face_px: int, fov_deg: float, *, device=None, dtype: torch.dtype = torch.float32) -> Cameras:
    """The six faces as cameras at the world's origin, in the order F R B L U D."""
    world_from_cam = torch.eye(4, device=device, dtype=dtype).repeat(6, 1, 1)
    world_from_cam[:, :3, :3] = world_from_face(device=device, dtype=dtype)
    K = face_intrinsics(face_px, fov_deg, device=device, dtype=dtype).repeat(6, 1, 1)
    return Cameras(world_from_cam=world_from_cam, K=K, hw=(face_px, face_px))


@_table
def _face_rays(face_px: int, fov_deg: float, grid: str) -> Tensor:
    """Rays K'^-1 u of one face (z = 1), [S, S, 3], float64."""
    half = math.tan(math.radians(fov_deg) / 2)
    if grid == "paper":
        line = ((torch.arange(face_px, dtype=torch.float64) + 0.5) / face_px * 2 - 1) * half
    elif grid == "release":  # the release samples end point to end point
        line = torch.linspace(-half, half, face_px, dtype=torch.float64)
    else:
        raise ValueError(f"grid must be 'paper' or 'release', got {grid!r}")
    x, y = torch.meshgrid(line, line, indexing="xy")
    return _fixed(torch.stack((x, y, torch.ones_like(x)), dim=-1))


def face_directions(
    face_px: int, fov_deg: float, *, grid: Grid = "paper", device=None, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "6 face face 3"]:
    """Unit world directions of every face pixel.

    Args:
        face_px: Side of a face [pixels].
        fov_deg: Field of view of a face [degrees].
        grid: ``paper``: pixel centres of Eq. 8. ``release``: the public code's grid from edge to edge.

    Raises:
        ValueError: a size, field of view or grid out of range.
    """
    _check_face(face_px, fov_deg)
    rays = F.normalize(_face_rays(_whole(face_px), float(fov_deg), grid), dim=-1)
    directions = torch.einsum("fij,hwj->fhwi", world_from_face(dtype=torch.float64), rays)
    return directions.to(device=device, dtype=dtype)


@_table
def _e2c_xy(hw: tuple[int, int], face_px: int, fov_deg: float, grid: str) -> Tensor:
    return _fixed(panorama_xy_from_directions(face_directions(face_px, fov_deg, grid=grid, dtype=torch.float64), hw))


def faces_from_panorama(
    panorama: Float[Tensor, "*batch channels height width"],
    face_px: int,
    fov_deg: float,
    *,
    grid: Grid = "paper",
    mode: Mode = "bilinear",
) -> Float[Tensor, "*batch 6 channels face face"]:
    """E2C: cuts the six faces out of a panorama (Eq. 5 to 9 of One2Scene).

    Args:
        panorama: Colour, distance or features, width twice the height.
        face_px: Side of a face [pixels].
        fov_deg: Field of view of a face [degrees]; 90 tiles the sphere, 95 is the paper's.
        grid: Where face pixels sample: ``paper`` (pixel centres) or ``release`` (edge to edge).
        mode: Interpolation in the panorama.

    Raises:
        ValueError: the panorama is not 2:1 or holds whole numbers, or another argument is out of range.
    """
    hw = check_panorama_hw(tuple(panorama.shape[-2:]), "panorama's size")
    _check_face(face_px, fov_deg)
    xy = _e2c_xy((_whole(hw[0]), _whole(hw[1])), _whole(face_px), float(fov_deg), grid).to(not_half(panorama))
    faces = sample_panorama(panorama, xy, mode)  # [*, C, 6, S, S]
    return faces.movedim(-3, -4)


class _Slot(NamedTuple):
    """One of the up to three faces that see a direction: where it reads the row of faces, and its weight."""

    index: Tensor | None  # flat panorama pixels, None = all of them
    grid: Tensor  # [n, 2] in grid_sample's units
    weight: Tensor  # [n]


def _overlap_weight(tangent: Tensor, fov_deg: float, overlap: str, rank: int) -> Tensor:
    """Unnormalised weight of a face for directions at ``tangent`` = max(|x|, |y|) / z; ``rank`` 0 owns the pixel."""
    if overlap == "owner" or fov_deg <= 90:
        return torch.full_like(tangent, float(rank == 0))
    inside = tangent <= math.tan(math.radians(fov_deg) / 2)
    if overlap == "mean":
        return inside.to(tangent)
    angle_deg = torch.rad2deg(torch.atan(tangent))  # 1 inside, 0.5 on the cube's edge, 0 on the face's border
    return ((fov_deg / 2 - angle_deg) / (fov_deg - 90)).clamp(0, 1)


@_table
def _c2e_slots(hw: tuple[int, int], face_px: int, fov_deg: float, overlap: str) -> tuple[_Slot, ...]:
    directions = directions_from_panorama(hw, dtype=torch.float64).reshape(-1, 3)
    magnitude, axis = directions.abs().sort(dim=-1, descending=True)
    positive = torch.gather(directions, 1, axis) > 0
    face_of = torch.tensor([[3, 1], [4, 5], [2, 0]])  # x: L R, y: U D, z: B F
    rotation = world_from_face(dtype=torch.float64)
    f_px = face_px / 2 / math.tan(math.radians(fov_deg) / 2)
    raw = []
    for rank in range(3):
        face = face_of[axis[:, rank], positive[:, rank].long()]
        local = torch.einsum("nij,ni->nj", rotation[face], directions)  # R_i^T q
        z = magnitude[:, rank].clamp_min(1e-12)
        uv = local[:, :2] / z[:, None]
        weight = _overlap_weight(uv.abs().amax(-1), fov_deg, overlap, rank)
        xy = (uv * f_px + face_px / 2).clamp(0.5, face_px - 0.5)  # as grid_sample's border rule, face by face
        x = xy[:, 0] + face * face_px
        grid = torch.stack((2 * x / (6 * face_px) - 1, 2 * xy[:, 1] / face_px - 1), dim=-1)
        raw.append((grid, weight))
    total = sum(weight for _, weight in raw)
    slots = [_Slot(None, _fixed(raw[0][0]), _fixed(raw[0][1] / total))]
    for grid, weight in raw[1:]:
        index = torch.nonzero(weight > 0)[:, 0]
        if len(index):
            slots.append(_Slot(*map(_fixed, (index, grid[index], (weight / total)[index]))))
    return tuple(slots)


def panorama_from_faces(
    faces: Float[Tensor, "*batch 6 channels face face"],
    hw: tuple[int, int],
    fov_deg: float,
    *,
    overlap: Overlap = "angular",
    mode: Mode = "bilinear",
) -> Float[Tensor, "*batch channels height width"]:
    """C2E: projects six faces back onto the panorama by differentiable bilinear sampling.

    Args:
        faces: Six square faces, in the order F R B L U D.
        hw: Size of the panorama [pixels], width twice the height.
        fov_deg: Field of view of the faces [degrees], >= 90.
        overlap: Who speaks where faces overlap. ``owner``: the face whose axis is nearest. ``mean``: all that see
            the direction, equally. ``angular``: a ramp over the angle, 1 inside, 1/2 on the cube's edge, 0 on the
            face's border, normalised (continuous everywhere).
        mode: Interpolation in the faces.

    Raises:
        ValueError: sizes, field of view, rule or mode out of range, or faces of whole numbers.
    """
    if overlap not in ("angular", "mean", "owner"):
        raise ValueError(f"overlap must be 'angular', 'mean' or 'owner', got {overlap!r}")
    if mode not in ("bilinear", "nearest"):
        raise ValueError(f"mode must be 'bilinear' or 'nearest', got {mode!r}")
    if faces.ndim < 4 or faces.shape[-4] != 6 or faces.shape[-1] != faces.shape[-2]:
        raise ValueError(f"faces must have shape [*, 6, C, S, S], got {tuple(faces.shape)}")
    height, width = check_panorama_hw(hw)
    face_px, channels, batch = faces.shape[-1], faces.shape[-3], faces.shape[:-4]
    _check_face(face_px, fov_deg, 90.0)
    row = not_half(faces).movedim(-4, -2).reshape(-1, channels, face_px, 6 * face_px)  # F R B L U D side by side
    out = None
    for slot in _c2e_slots((_whole(height), _whole(width)), _whole(face_px), float(fov_deg), overlap):
        grid = slot.grid.to(row)[None, :, None].expand(row.shape[0], -1, -1, -1)
        part = F.grid_sample(row, grid, mode=mode, padding_mode="border", align_corners=False)[..., 0]
        part = part * slot.weight.to(row)
        out = part if slot.index is None else out.index_add(-1, slot.index.to(row.device), part)
    return out.reshape(*batch, channels, height, width).to(faces.dtype)


def _z_of_unit_ray(face_px: int, fov_deg: float, like: Tensor) -> Tensor:
    return (1 / _face_rays(_whole(face_px), float(fov_deg), "paper").norm(dim=-1)).to(like)


def depth_z_from_distance(
    distance: Float[Tensor, "*batch 6 face face"], fov_deg: float
) -> Float[Tensor, "*batch 6 face face"]:
    """Depth along each face's axis from the distance along each pixel's ray, in the same unit."""
    return distance * _z_of_unit_ray(distance.shape[-1], fov_deg, distance)


def distance_from_depth_z(
    depth_z: Float[Tensor, "*batch 6 face face"], fov_deg: float
) -> Float[Tensor, "*batch 6 face face"]:
    """Distance along each pixel's ray from the depth along each face's axis, in the same unit."""
    return depth_z / _z_of_unit_ray(depth_z.shape[-1], fov_deg, depth_z)
