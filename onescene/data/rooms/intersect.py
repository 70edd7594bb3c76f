"""Where rays meet the parts of an analytic room: the walls of its air, the surfaces of its solids.

Rays come as columns, [3, n], in the room's frame. Solids are met in their unit frame (a cube, a sphere or a cylinder
of radius 1), in which a ray keeps its parameter t, the distance in metres.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.data.rooms.room import FreeBox, Solid, column, solid_distance, turned

_SLACK_M = 0.01  # bounding spheres are this much larger than their solids, against rounding


def _safe(d: Tensor) -> Tensor:
    """Directions without zeros, so that 1 / d is finite."""
    return torch.where(d.abs() < 1e-12, torch.full_like(d, 1e-12), d)


def exit_free_space(free: tuple[FreeBox, ...], o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays leave the union of boxes: distance, and 6 * box + wall (-1 for rays that start outside)."""
    epsilon = 1e-4 if o.dtype == torch.float32 else 1e-9
    inverse = 1 / _safe(d)
    spans = []
    for box in free:
        a, b = (column(box.low, o) - o) * inverse, (column(box.high, o) - o) * inverse
        spans.append((torch.minimum(a, b).amax(0), *torch.maximum(a, b).min(0)))
    reached = torch.zeros_like(spans[0][0])
    for _ in free:  # each pass can step into one more box
        before = reached
        for enter, leave, _ in spans:
            goes_on = (enter <= reached + epsilon) & (leave > reached + epsilon)
            reached = torch.where(goes_on, leave, reached)
        if len(free) == 1 or torch.equal(before, reached):
            break
    wall = torch.full_like(reached, -1, dtype=torch.int64)
    positive = (d > 0).long().expand(3, len(reached))
    for k in range(len(free) - 1, -1, -1):  # the first box that ends there gives the wall
        enter, leave, axis = spans[k]
        ends = ((leave - reached).abs() <= 2 * epsilon) & (enter <= reached + epsilon) & (reached > 0)
        wall = torch.where(ends, 6 * k + 2 * axis + torch.gather(positive, 0, axis[None])[0], wall)
    return reached, wall


def _unit_ray(solid: Solid, o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    half = column(solid.half, o)
    return turned(o - column(solid.centre, o), -solid.yaw_rad) / half, turned(d, -solid.yaw_rad) / half


def _slab(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    inverse = 1 / _safe(d)
    a, b = (-1 - o) * inverse, (1 - o) * inverse
    return torch.minimum(a, b), torch.maximum(a, b)


def _round(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Chord of a sphere (three rows) or an endless cylinder (two rows) of radius 1."""
    a = (d * d).sum(0).clamp_min(1e-12)
    b = (o * d).sum(0)
    closest = o - d * (b / a)  # keeps the digits that b^2 - a c loses in float32
    root_squared = (1 - (closest * closest).sum(0)) / a
    root = root_squared.clamp_min(0).sqrt()
    miss = root_squared < 0
    middle = -b / a
    infinity = torch.full_like(middle, torch.inf)
    return torch.where(miss, infinity, middle - root), torch.where(miss, -infinity, middle + root)


def solid_chord(solid: Solid, o: Float[Tensor, "3 n_or_1"], d: Float[Tensor, "3 n"]) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave a solid; they miss it where enter > leave."""
    o, d = _unit_ray(solid, o, d)
    if solid.kind == "ellipsoid":
        return _round(o, d)
    if solid.kind == "cylinder":
        enter, leave = _round(o[[0, 2]], d[[0, 2]])
        enter_y, leave_y = _slab(o[1], d[1])
        return torch.maximum(enter, enter_y), torch.minimum(leave, leave_y)
    enter, leave = _slab(o, d)
    return enter.amax(0), leave.amin(0)


def _sphere(solid: Solid, like: Tensor) -> tuple[Tensor, float]:
    """Bounding sphere: centre [3] and radius."""
    radius = max(solid.half) if solid.kind == "ellipsoid" else sum(h * h for h in solid.half) ** 0.5
    return column(solid.centre, like)[:, 0], radius + _SLACK_M


def chords(
    solids: tuple[Solid, ...], o: Float[Tensor, "3 n"], d: Float[Tensor, "3 n"]
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """The chords of all solids that unit rays come near to: number of the solid, rays, where they enter and leave.

    Rays far from a solid are sorted out by its bounding sphere, which costs two products of a row with the rays.
    """
    o_along, o_squared = (o * d).sum(0), (o * o).sum(0)
    for k, solid in enumerate(solids):
        centre, radius = _sphere(solid, o)
        along = centre @ d - o_along
        apart_squared = o_squared - 2 * (centre @ o) + centre @ centre
        near = (apart_squared - along * along <= radius * radius) & (along > -radius)
        rays = torch.nonzero(near)[:, 0]
        if len(rays):
            enter, leave = solid_chord(solid, o[:, rays], d[:, rays])
            yield k, rays, enter, leave


def distances(solids: tuple[Solid, ...], p: Float[Tensor, "3 n"], reach: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Distances to all solids of the points within a reach of them [m]: points, distances."""
    p_squared = (p * p).sum(0)
    for solid in solids:
        centre, radius = _sphere(solid, p)
        apart_squared = p_squared - 2 * (centre @ p) + centre @ centre
        points = torch.nonzero(apart_squared <= (radius + reach) ** 2)[:, 0]
        if len(points):
            yield points, solid_distance(solid, p[:, points])
