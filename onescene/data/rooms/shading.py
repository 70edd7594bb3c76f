"""Light in analytic rooms: Lambert's law with a few kind lies (soft shadows, darker corners), all closed forms.

A point lamp would cast hard shadows; here a solid dims it by the length of the path through the solid, which fades
towards its silhouette. Corners are darkened by the free distance along the normal. Both are continuous in place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from onescene.data.rooms.intersect import chords, distances, exit_free_space
from onescene.data.rooms.room import WALLS, Light, Room, Solid, column, wall_distance

_GAMMA = 2.2
_WRAP = 0.2  # how far behind the terminator a lamp still reaches, as a cosine: light from the other walls
_CORNERS = ((0.1, 0.25), (0.45, 0.4))  # distance probed along the normal [m], how much a blocked probe takes away
_LIFT_M = 2e-3  # shadow rays start off the surface


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Places on surfaces, in columns.

    Attributes:
        point: Where [m].
        normal: Unit normals.
        albedo: Display colour in [0, 1].
        glow: Share of the colour that is emitted.
    """

    point: Float[Tensor, "3 n"]
    normal: Float[Tensor, "3 n"]
    albedo: Float[Tensor, "3 n"]
    glow: Float[Tensor, " n"]


def to_display(linear: Float[Tensor, "3 n"]) -> Float[Tensor, "3 n"]:
    """Linear light to display values in [0, 1): a soft shoulder, then gamma 2.2."""
    linear = linear.clamp_min(1e-6)
    return (linear / (1 + linear**4) ** 0.25) ** (1 / _GAMMA)


def sky_colour(d: Float[Tensor, "3 n"]) -> Float[Tensor, "3 n"]:
    """Linear colour of a clear sky in a direction: pale at the horizon, blue above."""
    height = (-d[1]).clamp(0, 1) ** 0.6
    horizon, zenith = column((0.75, 0.82, 0.9), d), column((0.14, 0.32, 0.75), d)
    return horizon + height * (zenith - horizon)


def _open_walls(room: Room, wall: Tensor) -> Tensor:
    numbers = [6 * k + WALLS.index(name) for k, box in enumerate(room.free) for name in box.open_walls]
    return torch.isin(wall, torch.tensor(numbers, dtype=torch.int64, device=wall.device))


def _shading_solids(room: Room) -> tuple[Solid, ...]:
    """Solids that keep light away: all but those that glow."""
    return tuple(solid for solid in room.solids if solid.pattern.glow < 0.5)


def _softness(half: tuple[float, float, float]) -> float:
    """Path length in a solid over which a lamp fades to 1/e [m]."""
    return min(max(0.35 * min(half), 0.01), 0.06)


def _light(room: Room, light: Light, surface: Surface) -> tuple[Tensor, Tensor]:
    """What a lamp gives, [n], and where no wall stands before it."""
    start = surface.point + _LIFT_M * surface.normal
    way = column(light.position, start) - start
    length = way.norm(dim=0)
    way = way / length
    cosine = (((surface.normal * way).sum(0) + _WRAP) / (1 + _WRAP)).clamp_min(0)
    given = cosine if math.isinf(light.reach_m) else cosine / (1 + (length / light.reach_m) ** 2)
    lit = torch.ones_like(length, dtype=torch.bool)
    if not room.shadows:
        return given, lit
    if len(room.free) > 1 or room.free[0].open_walls:
        reached, wall = exit_free_space(room.free, start, way)
        lit = (reached >= length - 2 * _LIFT_M) | _open_walls(room, wall)
    reached_by = torch.nonzero(lit & (given > 0))[:, 0]
    path = torch.zeros_like(length[reached_by])
    solids, until = _shading_solids(room), length[reached_by]
    for k, rays, enter, leave in chords(solids, start[:, reached_by], way[:, reached_by]):
        inside = torch.minimum(leave, until[rays]) - enter.clamp_min(0)
        path[rays] += inside.clamp_min(0) / _softness(solids[k].half)
    out = torch.zeros_like(given)
    out[reached_by] = given[reached_by] * (-path).exp()
    return out, lit


def _corners(room: Room, surface: Surface) -> Tensor:
    """Share of the ambient light that is left near corners and contacts."""
    open_share = torch.ones_like(surface.glow)
    for reach, strength in _CORNERS:
        probe = surface.point + reach * surface.normal
        free = wall_distance(room.free, probe)
        for near, distance in distances(_shading_solids(room), probe, reach):
            free[near] = torch.minimum(free[near], distance)
        open_share = open_share * (1 - strength * (1 - free / reach).clamp(0, 1))
    return open_share


def shade(room: Room, surface: Surface) -> tuple[Float[Tensor, "3 n"], Int[Tensor, " n"]]:
    """Linear colour of places on surfaces, and one bit for each of the first four lamps: no wall before it."""
    upward = (1 - 0.15 * surface.normal[1]) / 1.15  # floors see more light than ceilings
    corners = _corners(room, surface) if room.shadows else torch.ones_like(surface.glow)
    light = column(room.ambient, surface.point) * (upward * corners)
    bits = torch.zeros_like(surface.glow, dtype=torch.int64)
    for k, lamp in enumerate(room.lights):
        given, lit = _light(room, lamp, surface)
        light = light + column(lamp.colour, light) * (given * (0.5 + 0.5 * corners))
        bits = bits + (lit.long() << k if k < 4 else 0)
    albedo = surface.albedo.clamp_min(1e-4) ** _GAMMA
    return albedo * (light * (1 - surface.glow) + 1.2 * surface.glow), bits
