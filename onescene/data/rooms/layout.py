"""The plan of a room in the making: what is taken on the floor and on the walls, and how things find their place."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from onescene.data.rooms.decor import picture, rug
from onescene.data.rooms.patterns import Pattern
from onescene.data.rooms.pieces import Dice, Piece, Style, placed
from onescene.data.rooms.room import WALLS, FreeBox, Light, Solid
from onescene.data.rooms.surfaces import WALL_SIDES, draw_walls

Build = Callable[[Dice, Style], Piece]
_OVERLAP_M = 0.5  # how far boxes of air reach into each other
_THICK_M = 0.2  # of walls between rooms
_SUN_M = 1000.0
_QUARTERS = (0.0, math.pi / 2)
_TURN = {"left": math.pi / 2, "right": -math.pi / 2, "back": 0.0, "front": math.pi}  # a piece's back to the wall


@dataclass
class Layout:
    """A room in the making."""

    dice: Dice
    style: Style
    main: FreeBox
    free: list[FreeBox]
    solids: list[Solid] = field(default_factory=list)
    lights: list[Light] = field(default_factory=list)
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)  # x0 z0 x1 z1 on the floor
    hung: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {w: [] for w in WALL_SIDES})

    def keep_free(self, a: tuple[float, float], b: tuple[float, float]) -> None:
        """Takes the rectangle between two corners (x, z) of the floor."""
        self.taken.append((min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1])))

    def reserve(self, a: tuple[float, float], b: tuple[float, float]) -> bool:
        """Takes the rectangle between two corners if it is free."""
        self.keep_free(a, b)
        x0, z0, x1, z1 = self.taken[-1]
        if any(x0 < t[2] and t[0] < x1 and z0 < t[3] and t[1] < z1 for t in self.taken[:-1]):
            self.taken.pop()
            return False
        return True

    def put(self, piece: Piece, xz: tuple[float, float], yaw_rad: float, up_m: float = 0.0) -> None:
        """Stands a piece at (x, z), ``up_m`` above the floor [m]."""
        self.solids += placed(piece, xz[0], self.main.high[1] - up_m, xz[1], yaw_rad)

    def span(self, wall: str) -> tuple[float, float]:
        """Where a wall begins and ends, along x or z."""
        axis = 2 if wall in ("left", "right") else 0
        return self.main.low[axis], self.main.high[axis]

    def at(self, wall: str, along: float, away: float) -> tuple[float, float]:
        """The place (x, z) at this way along a wall and this far from it."""
        low, high = self.main.low, self.main.high
        return {
            "left": (low[0] + away, along),
            "right": (high[0] - away, along),
            "back": (along, low[2] + away),
            "front": (along, high[2] - away),
        }[wall]

    def hang(self, wall: str, width: float, tries: int = 8) -> float | None:
        """A free stretch of a wall: its middle, or None if none was found."""
        low, high = self.span(wall)
        if high - low < width + 0.3:
            return None
        for _ in range(tries):
            s = self.dice.uniform(low + width / 2 + 0.15, high - width / 2 - 0.15)
            if all(s + width / 2 < a or b < s - width / 2 for a, b in self.hung[wall]):
                self.hung[wall].append((s - width / 2 - 0.1, s + width / 2 + 0.1))
                return s
        return None


def _recess(layout: Layout, wall: str, across: tuple[float, float], y: tuple[float, float], depth: float) -> FreeBox:
    """Air through a wall, ``across`` wide (from, to): from inside the room to ``depth`` beyond the wall."""
    a, b = layout.at(wall, across[0], _OVERLAP_M), layout.at(wall, across[1], -depth)
    low, high = (min(a[0], b[0]), y[0], min(a[1], b[1])), (max(a[0], b[0]), y[1], max(a[1], b[1]))
    return FreeBox(low=low, high=high, walls=(Pattern(a=layout.style.pale),) * 6)


def add_window(layout: Layout) -> None:
    """A window with a deep reveal; its glass glows and hides what is behind."""
    dice, floor = layout.dice, layout.main.high[1]
    wall, width = dice.choice(WALL_SIDES), dice.uniform(0.9, 2.2)
    middle = layout.hang(wall, width)
    if middle is None:
        return
    tall = min(1.35, layout.style.height_m - 1.1)
    pane = (width / dice.whole(1, 3), tall)
    sky, seed = dice.tint((0.62, 0.78, 0.93), 0.04), dice.whole(0, 99)
    glass = Pattern(kind="window", a=sky, b=layout.style.pale, size_m=pane, line_m=0.07, glow=0.75, seed=seed)
    recess = _recess(layout, wall, (middle - width / 2, middle + width / 2), (floor - 0.85 - tall, floor - 0.85), 0.15)
    walls = tuple(glass if name == wall else reveal for name, reveal in zip(WALLS, recess.walls, strict=True))
    layout.free.append(replace(recess, walls=walls))


def add_second_room(layout: Layout, kind: str) -> None:
    """A doorway or a wide opening to another room, with its own lamp."""
    dice, main, style = layout.dice, layout.main, layout.style
    wall, wide = dice.choice(WALL_SIDES), dice.chance(0.4)
    low, high = layout.span(wall)
    width = dice.uniform(0.4, 0.6) * (high - low) if wide else dice.uniform(0.9, 1.5)
    middle = layout.hang(wall, width)
    if middle is None:
        return
    deep, across = dice.uniform(2.5, 4.5), (middle - width / 2, middle + width / 2)
    walls = draw_walls(dice, style, kind)
    if wide:
        walls = (*walls[:2], main.walls[2], main.walls[3], *walls[4:])
        room = replace(_recess(layout, wall, across, (main.low[1], main.high[1]), deep), walls=walls)
        layout.free.append(room)
    else:
        door = min(2.1, style.height_m - 0.2)
        passage = _recess(layout, wall, across, (main.high[1] - door, main.high[1]), _THICK_M + _OVERLAP_M)
        half, top = (width + dice.uniform(1.2, 3.0)) / 2, style.height_m * dice.uniform(0.9, 1.0)
        a, b = layout.at(wall, middle - half, -_THICK_M), layout.at(wall, middle + half, -_THICK_M - deep)
        low, high = (
            (min(a[0], b[0]), main.high[1] - top, min(a[1], b[1])),
            (max(a[0], b[0]), main.high[1], max(a[1], b[1])),
        )
        layout.free += [FreeBox(low=low, high=high, walls=walls), passage]
    x, z = layout.at(wall, middle, -deep / 2 - _THICK_M)
    lamp = (x, layout.free[1].low[1] + 0.5, z)
    layout.lights.append(Light(position=lamp, colour=(0.5, 0.45, 0.37), reach_m=2.5))
    layout.keep_free(layout.at(wall, across[0], 0.0), layout.at(wall, across[1], 0.8))


def add_at_wall(layout: Layout, build: Build) -> None:
    """Puts a piece with its back to a wall, if there is room; a tall one not before a window or a picture."""
    piece, dice = build(layout.dice, layout.style), layout.dice
    tall = min(s.centre[1] - s.half[1] for s in piece.solids) < -1.1
    for _ in range(10):
        wall = dice.choice(WALL_SIDES)
        low, high = layout.span(wall)
        if high - low < piece.width + 0.1:
            continue
        along = dice.uniform(low + piece.width / 2 + 0.02, high - piece.width / 2 - 0.02)
        span = (along - piece.width / 2, along + piece.width / 2)
        if tall and any(span[0] < b and a < span[1] for a, b in layout.hung[wall]):
            continue
        if layout.reserve(layout.at(wall, span[0], 0.02), layout.at(wall, span[1], piece.depth + 0.02)):
            if tall:
                layout.hung[wall].append(span)
            layout.put(piece, layout.at(wall, along, piece.depth / 2 + 0.02), _TURN[wall])
            return


def add_anywhere(layout: Layout, build: Build) -> None:
    """Puts a piece somewhere on the floor, turned by any angle, if there is room."""
    piece, dice = build(layout.dice, layout.style), layout.dice
    r = 0.5 * math.hypot(piece.width, piece.depth) + 0.05
    (x0, _, z0), (x1, _, z1) = layout.main.low, layout.main.high
    if min(x1 - x0, z1 - z0) < 2 * r + 0.1:
        return
    for _ in range(12):
        x, z = dice.uniform(x0 + r, x1 - r), dice.uniform(z0 + r, z1 - r)
        if layout.reserve((x - r, z - r), (x + r, z + r)):
            layout.put(piece, (x, z), dice.uniform(0, 2 * math.pi))
            return


def add_picture(layout: Layout) -> None:
    """Hangs a picture at eye height."""
    piece, wall = picture(layout.dice, layout.style), layout.dice.choice(WALL_SIDES)
    middle = layout.hang(wall, piece.width)
    if middle is not None:
        layout.put(piece, layout.at(wall, middle, piece.depth / 2), _TURN[wall], layout.dice.uniform(1.15, 1.4))


def add_rug(layout: Layout) -> None:
    """Lays a carpet under whatever stands there."""
    dice, piece = layout.dice, rug(layout.dice, layout.style)
    (x0, _, z0), (x1, _, z1) = layout.main.low, layout.main.high
    layout.put(piece, (dice.uniform(x0 + 1.4, x1 - 1.4), dice.uniform(z0 + 1.4, z1 - 1.4)), dice.choice(_QUARTERS))


def add_lamp(layout: Layout) -> None:
    """A lamp under the ceiling of the main room, or the sun over a courtyard."""
    dice, (x0, y0, z0), (x1, _, z1) = layout.dice, layout.main.low, layout.main.high
    if layout.main.open_walls:
        turn, high = dice.uniform(0, 2 * math.pi), math.radians(dice.uniform(45, 65))
        sun = (math.cos(high) * math.sin(turn), -math.sin(high), math.cos(high) * math.cos(turn))
        sun = tuple(_SUN_M * v for v in sun)
        layout.lights.insert(0, Light(position=sun, colour=(1.15, 1.05, 0.9), reach_m=math.inf))
        return
    x, z = x0 + (x1 - x0) * dice.uniform(0.4, 0.6), z0 + (z1 - z0) * dice.uniform(0.4, 0.6)
    radius, drop = dice.uniform(0.14, 0.24), dice.uniform(0.0, 0.15)
    glow = Pattern(a=(0.98, 0.95, 0.85), glow=0.95)
    disc = Solid(kind="cylinder", centre=(x, y0 + 0.05 + drop, z), half=(radius, 0.05, radius), pattern=glow)
    layout.solids.append(disc)
    warm = dice.choice(((0.95, 0.88, 0.74), (0.9, 0.9, 0.88), (0.98, 0.86, 0.66)))
    reach = 0.75 * max(x1 - x0, z1 - z0)
    layout.lights.insert(0, Light(position=(x, y0 + drop + 0.3, z), colour=warm, reach_m=reach))
