"""The shell of a home: floors, ceilings, walls with doors and windows, skirting, frames, the ground outside.

Axes of the project: x right, y down, z forward; the floor lies at y = 0. Surfaces are cut into cells, because light is
kept at corners.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

WALL_M = 0.2  # thickness
CELL_M = 0.18  # light is kept at corners this far apart


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A hole in a wall.

    Attributes:
        along: From and to, along the wall [m].
        up: From and to, above the floor [m].
        window: It leads outside; else to another room.
    """

    along: tuple[float, float]
    up: tuple[float, float]
    window: bool


@dataclass(frozen=True, kw_only=True)
class Room:
    """A box of air.

    Attributes:
        low: Least x and z [m].
        high: Greatest x and z [m].
        height: Of the ceiling [m].
        openings: By side: "left" (x low), "right", "back" (z low), "front"; `along` in x or z of the home.
    """

    low: tuple[float, float]
    high: tuple[float, float]
    height: float
    openings: dict[str, tuple[Opening, ...]] = field(default_factory=dict)


# of each side: which of x and z is constant there, whether it is the greater one
SIDES = {"left": (0, False), "right": (0, True), "back": (1, False), "front": (1, True)}


@dataclass
class Panels:
    """Triangles gathered surface by surface.

    Attributes:
        corners: Lists of triangle corners [t, 3, 3] [m].
        uv: Of texture coordinates in metres [t, 3, 2].
        material: Of names, one a list of triangles.
    """

    corners: list[np.ndarray] = field(default_factory=list)
    uv: list[np.ndarray] = field(default_factory=list)
    material: list[str] = field(default_factory=list)

    def rectangle(
        self,
        origin: np.ndarray,
        right: np.ndarray,
        down: np.ndarray,
        material: str,
        facing: np.ndarray,
        holes: tuple[tuple[float, float, float, float], ...] = (),
        cell: float = CELL_M,
    ) -> None:
        """Adds a rectangle without its holes.

        Args:
            origin: A corner [3] [m].
            right: Edge from there [3] [m].
            down: Other edge [3] [m].
            material: Name of its look.
            facing: To its visible side [3].
            holes: From and to along ``right``, from and to along ``down`` [m].
            cell: Greatest side of a cell [m].
        """
        width, height = float(np.linalg.norm(right)), float(np.linalg.norm(down))
        if width < 1e-4 or height < 1e-4:
            return
        u = _cuts(width, [e for h in holes for e in h[:2]], cell)
        v = _cuts(height, [e for h in holes for e in h[2:]], cell)
        uu, vv = np.meshgrid((u[:-1] + u[1:]) / 2, (v[:-1] + v[1:]) / 2, indexing="ij")
        keep = np.ones(uu.shape, bool)
        for a0, a1, b0, b1 in holes:
            keep &= ~((uu > a0) & (uu < a1) & (vv > b0) & (vv < b1))
        i, j = np.nonzero(keep)
        a = np.stack([u[i], v[j]], -1)
        b, c, d = np.stack([u[i + 1], v[j]], -1), np.stack([u[i + 1], v[j + 1]], -1), np.stack([u[i], v[j + 1]], -1)
        flat = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
        if np.cross(right, down) @ facing < 0:
            flat = flat[:, ::-1]
        self.corners.append(origin + flat[..., :1] * (right / width) + flat[..., 1:] * (down / height))
        self.uv.append(flat)
        self.material.append(material)

    def box(self, low: np.ndarray, high: np.ndarray, material: str, cell: float = CELL_M) -> None:
        """Adds the six sides of a box between two corners [3] [m]."""
        low, high = np.minimum(low, high), np.maximum(low, high)
        size = high - low
        for axis in range(3):
            right, down = np.zeros(3), np.zeros(3)
            right[(axis + 1) % 3], down[(axis + 2) % 3] = size[(axis + 1) % 3], size[(axis + 2) % 3]
            lift = np.zeros(3)
            lift[axis] = size[axis]
            self.rectangle(low, right, down, material, -lift, cell=cell)
            self.rectangle(low + lift, right, down, material, lift, cell=cell)


def _cuts(length: float, edges: list[float], cell: float) -> np.ndarray:
    marks = np.unique(np.clip([0.0, length, *edges], 0.0, length))
    parts = [np.linspace(a, b, max(1, int(np.ceil((b - a) / cell))) + 1) for a, b in itertools.pairwise(marks)]
    return np.unique(np.concatenate(parts).round(6))


def before_opening(middle: float, half: float, openings: Iterable[Opening]) -> bool:
    """Whether what hangs on a wall or stands at it, so far along and half as wide, is before one of its holes."""
    return any(middle + half > o.along[0] and middle - half < o.along[1] for o in openings)


def wall_frame(room: Room, side: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A wall's lower corner at the least x or z, the unit way along it, and the unit way out of the room."""
    axis, greater = SIDES[side]
    corner, along, out = np.zeros(3), np.zeros(3), np.zeros(3)
    corner[[0, 2]] = room.low
    if greater:
        corner[2 * axis] = room.high[axis]
    along[2 - 2 * axis] = 1.0
    out[2 * axis] = 1.0 if greater else -1.0
    return corner, along, out


def add_room(
    panels: Panels, room: Room, materials: dict[str, str], skirting_m: float, wall_m: float, frame_m: float
) -> None:
    """Adds a room's surfaces: floor, ceiling, walls with holes, what lines them, skirting boards.

    Args:
        panels: Where to.
        room: The room.
        materials: Names of the looks of "floor", "ceiling", "left", "right", "back", "front", "trim".
        skirting_m: Height of the skirting boards; 0 = none.
        wall_m: Thickness of the walls.
        frame_m: Thickness of the windows' frames.
    """
    x, z = room.high[0] - room.low[0], room.high[1] - room.low[1]
    up = np.array([0.0, -room.height, 0.0])
    low = np.array([room.low[0], 0.0, room.low[1]])
    panels.rectangle(low, np.array([x, 0, 0]), np.array([0, 0, z]), materials["floor"], up)
    panels.rectangle(low + up, np.array([x, 0, 0]), np.array([0, 0, z]), materials["ceiling"], -up)
    for side in SIDES:
        corner, along, out = wall_frame(room, side)
        start = float(corner @ along)
        length = z if SIDES[side][0] == 0 else x
        openings = room.openings.get(side, ())
        holes = tuple((o.along[0] - start, o.along[1] - start, o.up[0], o.up[1]) for o in openings)
        panels.rectangle(corner, along * length, up, materials[side], -out, holes)
        for opening in openings:
            _line(panels, opening, corner - along * start, along, out * wall_m, materials["trim"])
            if opening.window:
                _frame(panels, opening, corner - along * start + out * wall_m / 2, along, frame_m, materials["trim"])
        if skirting_m > 0:
            floor_holes = sorted(o.along for o in openings if o.up[0] < skirting_m)
            edges = [start, *(e for hole in floor_holes for e in hole), start + length]
            for a, b in zip(edges[::2], edges[1::2], strict=True):
                foot = corner + along * (a - start)
                top = foot + along * (b - a) - out * 0.015 + np.array([0, -skirting_m, 0])
                panels.box(foot, top, materials["trim"], cell=0.5)


def _line(panels: Panels, opening: Opening, zero: np.ndarray, along: np.ndarray, out: np.ndarray, trim: str) -> None:
    """The faces of the wall inside a hole."""
    a, b = along * opening.along[0], along * opening.along[1]
    low, high = np.array([0, -opening.up[0], 0]), np.array([0, -opening.up[1], 0])
    panels.rectangle(zero + a + low, out, high - low, trim, b - a)
    panels.rectangle(zero + b + low, out, high - low, trim, a - b)
    panels.rectangle(zero + a + high, out, b - a, trim, low - high)
    panels.rectangle(zero + a + low, out, b - a, trim, high - low)


def _frame(panels: Panels, opening: Opening, zero: np.ndarray, along: np.ndarray, bar: float, trim: str) -> None:
    """Bars around a window and one or two across it."""
    out = np.abs(np.cross(along, [0.0, 1.0, 0.0])) * 0.03
    a, b = opening.along
    low, high = opening.up
    posts = [a + bar / 2, b - bar / 2] + ([(a + b) / 2] if b - a > 0.9 else [])
    rails = [low + bar / 2, high - bar / 2] + ([low + 0.65 * (high - low)] if high - low > 1.7 else [])
    for place in posts:
        centre = zero + along * place
        _bar(panels, centre, along * bar / 2 + out, low, high, trim)
    for place in rails:
        centre = zero + along * (a + b) / 2
        _bar(panels, centre, along * (b - a) / 2 + out, place - bar / 2, place + bar / 2, trim)


def _bar(panels: Panels, centre: np.ndarray, half: np.ndarray, low: float, high: float, trim: str) -> None:
    down, up = np.array([0, -low, 0]), np.array([0, -high, 0])
    panels.box(centre - half + down, centre + half + up, trim, cell=0.4)
