"""What an analytic room is made of: free space, solids in it, lights.

Free space is a union of axis-aligned boxes, so a doorway or an L-shape is one more box; where two boxes meet they
overlap by half a metre or more (which changes nothing of their union). Solids are boxes, ellipsoids and elliptic
cylinders, each turned about the vertical. All lengths are metres; axes are OpenCV's, so the floor is at +y.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.data.rooms.patterns import Pattern, Rgb

Xyz = tuple[float, float, float]
WALLS = ("left", "right", "ceiling", "floor", "back", "front")  # -x +x -y +y -z +z
SOLIDS = ("box", "ellipsoid", "cylinder")
_PLAIN = Pattern()


def _check_xyz(value: Xyz, name: str) -> None:
    if len(value) != 3 or not all(math.isfinite(v) for v in value):
        raise ValueError(f"{name} must be three finite numbers, got {value}")


@dataclass(frozen=True, kw_only=True)
class FreeBox:
    """A box of air, seen from inside.

    Attributes:
        low: Corner with the smallest coordinates [m].
        high: Corner with the largest coordinates [m].
        walls: Patterns of the six sides, in the order of ``WALLS``.
        open_walls: Names of the sides that are open to the sky.
    """

    low: Xyz
    high: Xyz
    walls: tuple[Pattern, ...] = (_PLAIN,) * 6
    open_walls: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_xyz(self.low, "low")
        _check_xyz(self.high, "high")
        if any(lo >= hi for lo, hi in zip(self.low, self.high, strict=True)):
            raise ValueError(f"low must be below high on every axis, got {self.low} and {self.high}")
        if len(self.walls) != 6:
            raise ValueError(f"walls must hold six patterns ({', '.join(WALLS)}), got {len(self.walls)}")
        unknown = set(self.open_walls) - set(WALLS)
        if unknown:
            raise ValueError(f"open_walls must name walls of {', '.join(WALLS)}, got {', '.join(sorted(unknown))}")


@dataclass(frozen=True, kw_only=True)
class Solid:
    """A thing that stands in the room.

    Attributes:
        kind: ``box``, ``ellipsoid`` or ``cylinder`` (standing).
        centre: Where it is [m].
        half: Half its extents before the turn [m].
        yaw_rad: Turn about the vertical; positive turns forward (+z) to the right (+x).
        pattern: How its sides look, and its top unless ``top`` is given.
        top: How its upper and lower face look.
    """

    kind: str = "box"
    centre: Xyz
    half: Xyz
    yaw_rad: float = 0.0
    pattern: Pattern = _PLAIN
    top: Pattern | None = None

    def __post_init__(self) -> None:
        if self.kind not in SOLIDS:
            raise ValueError(f"kind must be one of {', '.join(SOLIDS)}, got {self.kind!r}")
        _check_xyz(self.centre, "centre")
        _check_xyz(self.half, "half")
        if min(self.half) <= 0:
            raise ValueError(f"half must be > 0 on every axis, got {self.half}")


@dataclass(frozen=True, kw_only=True)
class Light:
    """A lamp without extent.

    Attributes:
        position: Where it is [m].
        colour: Linear RGB strength.
        reach_m: Distance at which it has fallen to half [m]; inf for the sun.
    """

    position: Xyz
    colour: Rgb = (0.9, 0.85, 0.75)
    reach_m: float = 4.0


@dataclass(frozen=True, kw_only=True)
class Room:
    """An analytic scene.

    Attributes:
        free: Boxes of air; the first that holds a place gives it its walls.
        solids: Things in it.
        lights: Lamps; they cast soft shadows of solids and hard ones of walls.
        ambient: Linear RGB light from everywhere.
        shadows: Whether shadows and the darkening of corners are drawn.
        sky_distance: Distance that is reported for the sky [m].
        yaw_rad: Turn of the whole room about the world's vertical axis.
    """

    free: tuple[FreeBox, ...]
    solids: tuple[Solid, ...] = ()
    lights: tuple[Light, ...] = ()
    ambient: Rgb = (0.45, 0.45, 0.45)
    shadows: bool = True
    sky_distance: float = 100.0
    yaw_rad: float = 0.0
    name: str = field(default="room", compare=False)

    def __post_init__(self) -> None:
        if not self.free:
            raise ValueError("free must hold at least one box of air, got none")

    def clearance(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """Distance to the nearest surface [m], negative inside walls and solids.

        Notes: a lower bound near the place where two boxes of air meet and for ellipsoids that are far from round.
        """
        p = turned(points.reshape(-1, 3).T, -self.yaw_rad)
        clearance = wall_distance(self.free, p)
        for solid in self.solids:
            clearance = torch.minimum(clearance, solid_distance(solid, p))
        return clearance.reshape(points.shape[:-1])

    def is_free(self, points: Float[Tensor, "*batch 3"], clearance_m: float = 0.0) -> Bool[Tensor, "*batch"]:
        """Whether a camera can stand there, ``clearance_m`` away from everything [m]."""
        return self.clearance(points) > clearance_m


def turned(xyz: Float[Tensor, "3 n"], yaw_rad: float) -> Float[Tensor, "3 n"]:
    """Turns vectors (in columns) about the vertical; a positive angle takes +z to +x."""
    if yaw_rad == 0:
        return xyz
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    x, y, z = xyz
    return torch.stack((c * x + s * z, y, c * z - s * x))


def column(values: Xyz, like: Tensor) -> Float[Tensor, "3 1"]:
    """Three numbers as a column of ``like``'s dtype and device."""
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]


def solid_distance(solid: Solid, p: Float[Tensor, "3 n"]) -> Float[Tensor, " n"]:
    """Distance to a solid [m], negative inside; a first-order one for ellipsoids that are no spheres."""
    q = turned(p - column(solid.centre, p), -solid.yaw_rad)
    half = column(solid.half, p)
    if solid.kind == "ellipsoid":
        unit = (q / half).norm(dim=0)
        return unit * (unit - 1) / (q / half**2).norm(dim=0).clamp_min(1e-9)
    if solid.kind == "cylinder":
        radius = (solid.half[0] * solid.half[2]) ** 0.5
        side = ((q[0] / half[0]) ** 2 + (q[2] / half[2]) ** 2).sqrt() * radius - radius
        beyond = torch.stack((side, q[1].abs() - half[1]))
    else:
        beyond = q.abs() - half
    return beyond.clamp_min(0).norm(dim=0) + beyond.amax(0).clamp_max(0)


def wall_distance(free: tuple[FreeBox, ...], p: Float[Tensor, "3 n"]) -> Float[Tensor, " n"]:
    """Distance to the walls around the union of boxes [m], negative outside; the open ones are infinitely far."""
    out = None
    for box in free:
        low, high = column(box.low, p).clone(), column(box.high, p).clone()
        for wall in box.open_walls:
            i = WALLS.index(wall)
            (high if i % 2 else low)[i // 2] = math.inf if i % 2 else -math.inf
        inside = torch.minimum((p - low).amin(0), (high - p).amin(0))
        out = inside if out is None else torch.maximum(out, inside)
    return out


def box_room(
    low: Xyz, high: Xyz, walls: Pattern | tuple[Pattern, ...] = _PLAIN, *, light: bool = True, **room_fields
) -> Room:
    """The simplest room: one box of air with a lamp under the middle of its ceiling.

    Args:
        low: Corner with the smallest coordinates [m].
        high: Corner with the largest coordinates [m].
        walls: One pattern for all sides, or six in the order of ``WALLS``.
        light: Whether there is a lamp; without, ``ambient`` is all the light.
        room_fields: Further fields of :class:`Room`.
    """
    six = (walls,) * 6 if isinstance(walls, Pattern) else walls
    box = FreeBox(low=low, high=high, walls=six)
    lamp = Light(position=((low[0] + high[0]) / 2, low[1] + 0.2 * (high[1] - low[1]), (low[2] + high[2]) / 2))
    return Room(free=(box,), lights=(lamp,) if light else (), **room_fields)
