"""Exact ray casting of analytic rooms: where a ray ends, on what, and with which colour.

Inside, rays are columns, [3, n], in the room's own frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from onescene.data.rooms.intersect import chords, exit_free_space
from onescene.data.rooms.patterns import Pattern, draw_pattern
from onescene.data.rooms.room import WALLS, FreeBox, Room, Solid, column, turned
from onescene.data.rooms.shading import Surface, shade, sky_colour, to_display

_CELL_BITS = 40  # the lower bits of a region hold the pattern's cell, the upper ones the surface


@dataclass(frozen=True, kw_only=True)
class RoomHit:
    """Where rays end.

    Attributes:
        rgb: Display colour in [0, 1].
        distance: Distance along the ray [m]; ``Room.sky_distance`` for the sky.
        normal_world: Unit normal of the surface, facing the viewer; minus the ray's direction for the sky.
        surface: Number of the surface: six for each box of air, then three for each solid; -1 = sky.
        region: Rays with one region see one surface, one cell of its pattern and the same hard shadows.
        sky: Whether the ray leaves the room.
    """

    rgb: Float[Tensor, "*batch 3"]
    distance: Float[Tensor, "*batch"]
    normal_world: Float[Tensor, "*batch 3"]
    surface: Int[Tensor, "*batch"]
    region: Int[Tensor, "*batch"]
    sky: Bool[Tensor, "*batch"]


def _wall_places(box: FreeBox, side: int, p: Tensor) -> tuple[Tensor, Tensor]:
    """Place on a wall [m] (v grows downwards on upright walls) and its normal."""
    axis, positive = divmod(side, 2)
    q = p - column(box.low, p)
    uv = {0: (q[2], q[1]), 1: (q[0], q[2]), 2: (q[0], q[1])}[axis]
    normal = torch.zeros_like(p)
    normal[axis] = -1.0 if positive else 1.0
    return torch.stack(uv, dim=-1), normal


def _solid_places(solid: Solid, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Place on a solid [m], its normal, and the face: 0 front half or sides, 1 top or bottom, 2 the other sides.

    Ellipsoids wear their pattern like a print, projected along z: no seam and no poles. A cylinder's mantle is rolled
    up and its seam is at the back, between faces 0 (right half) and 2 (left half).
    """
    half = column(solid.half, p)
    local = turned(p - column(solid.centre, p), -solid.yaw_rad)
    unit, corner = local / half, local + half
    face = torch.zeros_like(p[0], dtype=torch.int64)
    normal, uv = unit / half, corner[:2].T
    if solid.kind == "cylinder":
        caps = unit[1].abs() >= (unit[0] ** 2 + unit[2] ** 2).sqrt()
        face = torch.where(caps, 1, 2 * (unit[0] < 0).long())
        around = (math.pi + torch.atan2(unit[0], unit[2])) * (solid.half[0] * solid.half[2]) ** 0.5
        nothing = torch.zeros_like(around)
        normal = torch.where(caps, torch.stack((nothing, unit[1].sign(), nothing)), normal * column((1, 0, 1), p))
        uv = torch.where(caps[:, None], corner[[0, 2]].T, torch.stack((around, corner[1]), dim=-1))
    elif solid.kind == "box":
        axis = unit.abs().argmax(0)
        face = torch.tensor([2, 1, 0], device=p.device)[axis]
        normal = F.one_hot(axis, 3).T.to(p) * unit.sign()
        flat = torch.stack((corner[2], corner[0], corner[0])), torch.stack((corner[1], corner[2], corner[1]))
        uv = torch.stack([torch.gather(x, 0, axis[None])[0] for x in flat], dim=-1)
    return uv, F.normalize(turned(normal, solid.yaw_rad), dim=0), face


def _first_surfaces(room: Room, o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of the first surface and its owner: 6 * box + wall, or 6 * boxes + solid."""
    distance, owner = exit_free_space(room.free, o, d)
    outside = owner < 0
    for k, rays, enter, leave in chords(room.solids, o, d):
        outside[rays] |= (enter < 0) & (leave > 0)
        nearer = (enter <= leave) & (enter > 0) & (enter < distance[rays])
        hit = rays[nearer]
        distance[hit] = enter[nearer]
        owner[hit] = 6 * len(room.free) + k
    if outside.any():
        raise ValueError(
            f"origins must lie in the room's free space, got {int(outside.sum())} of {outside.numel()} rays that start "
            "inside a wall or a solid"
        )
    return distance, owner


def _surfaces(room: Room, p: Tensor, owner: Tensor) -> tuple[Surface, Tensor, Tensor]:
    """Albedo, glow and normal at every place, the number of its surface and its cell."""
    n = p.shape[1]
    albedo, glow, normal = torch.zeros(n, 3).to(p), torch.zeros(n).to(p), torch.zeros_like(p)
    surface, cell = torch.zeros_like(owner), torch.zeros_like(owner)
    walls = 6 * len(room.free)
    for k in owner.unique().tolist():
        index = torch.nonzero(owner == k)[:, 0]
        q = p[:, index]
        if k < walls:
            box = room.free[k // 6]
            uv, normal[:, index] = _wall_places(box, k % 6, q)
            faces = [(box.walls[k % 6], torch.ones_like(index, dtype=torch.bool), k)]
        else:
            solid = room.solids[k - walls]
            uv, normal[:, index], face = _solid_places(solid, q)
            base = walls + 3 * (k - walls)
            faces = [(solid.top or solid.pattern if f == 1 else solid.pattern, face == f, base + f) for f in range(3)]
        for pattern, held, number in faces:
            _paint(pattern, uv[held], index[held], number, (albedo, glow, surface, cell))
    return Surface(point=p, normal=normal, albedo=albedo.T, glow=glow), surface, cell


def _paint(pattern: Pattern, uv: Tensor, index: Tensor, number: int, into: tuple[Tensor, ...]) -> None:
    if not len(index):
        return
    albedo, glow, surface, cell = into
    albedo[index], cell[index] = draw_pattern(pattern, uv)
    glow[index], surface[index] = pattern.glow, number


def trace(room: Room, origins: Float[Tensor, "*#batch 3"], directions: Float[Tensor, "*#batch 3"]) -> RoomHit:
    """Casts rays into a room; exact up to rounding, in the dtype of the rays.

    Args:
        room: The scene.
        origins: Where rays start [m], in free space; broadcast against ``directions``.
        directions: Where they go, of any length > 0.

    Raises:
        ValueError: a ray starts in a wall or a solid, or has no direction.
    """
    length = directions.norm(dim=-1, keepdim=True)
    if not torch.isfinite(directions).all() or (length == 0).any():
        raise ValueError("directions must be finite and not zero")
    origins, directions = torch.broadcast_tensors(origins, directions / length)
    batch = directions.shape[:-1]
    o = turned(origins.reshape(-1, 3).T.contiguous(), -room.yaw_rad)
    d = turned(directions.reshape(-1, 3).T.contiguous(), -room.yaw_rad)
    distance, owner = _first_surfaces(room, o, d)
    point = o + distance * d
    surfaces, surface, cell = _surfaces(room, point, owner)
    sky = torch.zeros_like(owner, dtype=torch.bool)
    for k, box in enumerate(room.free):
        for wall in box.open_walls:
            sky |= owner == 6 * k + WALLS.index(wall)
    linear, lit = shade(room, surfaces)
    linear = torch.where(sky, sky_colour(d), linear)
    normal = torch.where(sky, -d, surfaces.normal)
    surface = torch.where(sky, torch.full_like(surface, -1), surface)
    region = ((surface + 1) << _CELL_BITS) + (lit << (_CELL_BITS - 4)) + torch.where(sky, torch.zeros_like(cell), cell)
    distance = torch.where(sky, torch.full_like(distance, room.sky_distance), distance)
    return RoomHit(
        rgb=to_display(linear).T.reshape(*batch, 3),
        distance=distance.reshape(batch),
        normal_world=turned(normal, room.yaw_rad).T.reshape(*batch, 3),
        surface=surface.reshape(batch),
        region=region.reshape(batch),
        sky=sky.reshape(batch),
    )
