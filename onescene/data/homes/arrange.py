"""Puts furniture into rooms: backs to walls, chairs at tables, small things on top, without standing in each other."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from onescene.data.homes.library import SMALL_M, Piece
from onescene.data.homes.shell import SIDES, Room, before_opening
from onescene.data.maps.raytrace import yaw_rotation

TRIES = 24
DOOR_SPACE_M = 0.7
TURN = {"back": 0.0, "front": np.pi, "left": np.pi / 2, "right": -np.pi / 2}

ROLES = (
    ("big", re.compile(r"pool table|football table|table tennis|grand piano|treadmill|fitness|workbench|technical")),
    ("sofa", re.compile(r"couch|sofa|futon")),
    ("armchair", re.compile(r"armchair|relax|lounge")),
    ("chair", re.compile(r"chair|stool|seat|bench")),
    ("bed", re.compile(r"\bbed$|bunk")),
    (
        "storage",
        re.compile(r"book|shelves|cupboard|wardrobe|cabinet|dresser|chest|stand$|piano|vanity|safe|bedside|tele"),
    ),
    ("table", re.compile(r"table|desk|island")),
    ("plant", re.compile(r"plant|yucca|bamboo|cactus|lily|tree|tulip|spath|orchid|bonsai")),
)
# how many of which role stand at the walls and how many in the middle, by what a room is for
THEMES: dict[str, tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]]]] = {
    "living": (
        {"sofa": (1, 2), "storage": (3, 6), "plant": (0, 2), "chair": (0, 1), "other": (0, 2)},
        {"set": (0, 2), "armchair": (0, 3)},
    ),
    "bed": ({"bed": (1, 2), "storage": (3, 5), "chair": (0, 1), "plant": (0, 1)}, {"other": (0, 1)}),
    "kitchen": ({"Kitchen": (5, 11), "storage": (0, 1)}, {"set": (0, 1)}),
    "bath": ({"Bathroom": (3, 5), "storage": (0, 1)}, {}),
    "office": ({"table": (2, 4), "storage": (2, 5), "plant": (0, 1), "Office": (0, 2)}, {"chair": (0, 2)}),
    "play": ({"storage": (0, 2), "sofa": (0, 1), "other": (0, 2)}, {"big": (1, 1), "chair": (0, 1)}),
    "store": ({"storage": (1, 4), "other": (2, 5), "Miscellaneous": (1, 3)}, {"other": (0, 3)}),
    "bare": ({"other": (0, 1), "chair": (0, 1)}, {}),
}

SHARES = (0.26, 0.2, 0.14, 0.08, 0.12, 0.05, 0.08, 0.07)  # how often each theme is drawn


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A piece at its place.

    Attributes:
        piece: What.
        at_m: Middle of its lower end [3] [m], y down.
        angle: About the vertical; 0 = back towards -z.
    """

    piece: Piece
    at_m: np.ndarray
    angle: float


def on_floor(angle: float) -> np.ndarray:
    """Turns x and z of a piece to x and z of the home [2, 2]."""
    return yaw_rotation(angle)[::2, ::2]


def role_of(piece: Piece) -> str:
    """What a piece is for: one of the roles, "small", "hung", or "other"."""
    if piece.elevation_m > 0.3:
        return "hung"
    for role, words in ROLES:
        if words.search(piece.name.lower()) and max(piece.size_m) > SMALL_M:
            return role
    return "small" if max(piece.size_m) <= SMALL_M else "other"


@dataclass
class _Floor:
    """The floor of a room: what of it is taken."""

    room: Room
    taken: list[tuple[float, float, float, float]]

    def free(self, low: np.ndarray, high: np.ndarray) -> bool:
        inside = (low >= np.array(self.room.low) - 1e-6).all() and (high <= np.array(self.room.high) + 1e-6).all()
        return inside and all(high[0] <= a or low[0] >= b or high[1] <= c or low[1] >= d for a, b, c, d in self.taken)

    def take(self, low: np.ndarray, high: np.ndarray) -> None:
        self.taken.append((low[0], high[0], low[1], high[1]))


def _half(piece: Piece, angle: float) -> np.ndarray:
    """Half of the upright box around a turned footprint, in x and z [m]."""
    c, s = abs(np.cos(angle)), abs(np.sin(angle))
    width, _, depth = piece.size_m
    return np.array([c * width + s * depth, s * width + c * depth]) / 2


def _doors(room: Room) -> list[tuple[float, float, float, float]]:
    """Where nothing may stand: before doors."""
    out = []
    for side, openings in room.openings.items():
        axis, greater = SIDES[side]
        for o in openings:
            if o.window and o.up[0] > 0.3:
                continue
            edge = (room.high if greater else room.low)[axis]
            depth = (edge - DOOR_SPACE_M, edge) if greater else (edge, edge + DOOR_SPACE_M)
            out.append((*depth, *o.along) if axis == 0 else (*o.along, *depth))
    return out


def arrange(room: Room, theme: str, pieces: list[Piece], rng: np.random.Generator) -> list[Placed]:
    """Furnishes a room.

    Args:
        room: The room.
        theme: One of THEMES.
        pieces: What there is to choose from.
        rng: Randomness.
    """
    groups: dict[str, list[Piece]] = {}
    for piece in pieces:
        role = role_of(piece)
        groups.setdefault(role, []).append(piece)
        if role not in ("small", "hung"):
            groups.setdefault(piece.category, []).append(piece)
    floor = _Floor(room, _doors(room))
    placed: list[Placed] = []
    walls, middle = THEMES[theme]
    for role, (least, most) in walls.items():
        for _ in range(rng.integers(least, most + 1)):
            placed += _at_wall(floor, groups.get(role, []), rng)
    for role, (least, most) in middle.items():
        for _ in range(rng.integers(least, most + 1)):
            placed += _table_set(floor, groups, rng) if role == "set" else _standing(floor, groups.get(role, []), rng)
    placed += _on_top(placed, groups.get("small", []), rng)
    return placed + _hang(room, groups.get("hung", []), rng)


def _at_wall(floor: _Floor, choice: list[Piece], rng: np.random.Generator) -> list[Placed]:
    if not choice:
        return []
    piece = choice[rng.integers(len(choice))]
    for _ in range(TRIES):
        side = str(rng.choice(list(SIDES)))
        axis, greater = SIDES[side]
        half = _half(piece, TURN[side])
        low, high = np.array(floor.room.low) + half, np.array(floor.room.high) - half
        if (high < low).any() or piece.size_m[1] > floor.room.height:
            continue
        centre = rng.uniform(low, high)
        gap = rng.uniform(0.0, 0.06)
        centre[axis] = high[axis] - gap if greater else low[axis] + gap
        windows = [o for o in floor.room.openings.get(side, ()) if o.window and o.up[0] < piece.size_m[1] - 0.2]
        if before_opening(centre[1 - axis], half[1 - axis], windows):
            continue
        if floor.free(centre - half, centre + half):
            floor.take(centre - half, centre + half)
            return [Placed(piece=piece, at_m=np.array([centre[0], 0, centre[1]]), angle=TURN[side])]
    return []


def _standing(floor: _Floor, choice: list[Piece], rng: np.random.Generator) -> list[Placed]:
    if not choice:
        return []
    piece = choice[rng.integers(len(choice))]
    angle = float(rng.choice([rng.uniform(-np.pi, np.pi), rng.integers(4) * np.pi / 2]))
    half = _half(piece, angle)
    low, high = np.array(floor.room.low) + half + 0.2, np.array(floor.room.high) - half - 0.2
    for _ in range(TRIES if (high > low).all() else 0):
        centre = rng.uniform(low, high)
        if floor.free(centre - half, centre + half):
            floor.take(centre - half, centre + half)
            return [Placed(piece=piece, at_m=np.array([centre[0], 0, centre[1]]), angle=angle)]
    return []


def _table_set(floor: _Floor, groups: dict[str, list[Piece]], rng: np.random.Generator) -> list[Placed]:
    """A table with chairs of one kind around it."""
    tables = [p for p in groups.get("table", []) if p.size_m[1] > 0.6]
    chairs = [p for p in groups.get("chair", []) if p.size_m[0] < 0.7 and p.size_m[2] < 0.7]
    found = _standing(floor, tables, rng)
    if not found or not chairs:
        return found
    table, chair = found[0], chairs[rng.integers(len(chairs))]
    width, _, depth = table.piece.size_m
    turn = on_floor(table.angle)
    out = list(found)
    for facing in (0.0, np.pi, np.pi / 2, -np.pi / 2):
        reach, side = (depth, width) if facing in (0.0, np.pi) else (width, depth)
        seats = max(1, int(side / 0.7))
        for k in range(seats):
            if rng.random() < 0.25:
                continue
            away = reach / 2 + chair.size_m[2] / 2 - rng.uniform(0.0, 0.25)
            across = (k + 0.5) / seats * side - side / 2
            back = np.array([-np.sin(facing), -np.cos(facing)])
            local = back * away + np.array([-back[1], back[0]]) * across
            centre = table.at_m[[0, 2]] + turn @ local
            half = _half(chair, 0.0)
            if not ((centre - half > floor.room.low) & (centre + half < floor.room.high)).all():
                continue
            angle = table.angle + facing + rng.normal() * 0.12
            out.append(Placed(piece=chair, at_m=np.array([centre[0], 0, centre[1]]), angle=angle))
            floor.take(centre - half, centre + half)
    return out


def _on_top(placed: list[Placed], small: list[Piece], rng: np.random.Generator) -> list[Placed]:
    """Small things on what is flat and not too high."""
    out = []
    for below in placed:
        flat = role_of(below.piece) in ("table", "storage") or below.piece.category == "Kitchen"
        if not flat or not small or not 0.3 < below.piece.top_m < 1.5:
            continue
        spots: list[tuple[np.ndarray, float]] = []
        for _ in range(rng.integers(0, 5)):
            piece = small[rng.integers(len(small))]
            reach = max(piece.size_m[0], piece.size_m[2]) / 2
            room = np.array([below.piece.size_m[0], below.piece.size_m[2]]) / 2 - reach
            if (room <= 0).any():
                continue
            local = rng.uniform(-room, room)
            if any(np.linalg.norm(local - spot) < reach + other for spot, other in spots):
                continue
            spots.append((local, reach))
            x, z = on_floor(below.angle) @ local
            at = below.at_m + np.array([x, -below.piece.top_m, z])
            out.append(Placed(piece=piece, at_m=at, angle=float(rng.uniform(-np.pi, np.pi))))
    return out


def _hang(room: Room, hung: list[Piece], rng: np.random.Generator) -> list[Placed]:
    """A few things at their height on walls."""
    out = []
    for _ in range(rng.integers(0, 3) if hung else 0):
        piece = hung[rng.integers(len(hung))]
        side = str(rng.choice(list(SIDES)))
        axis, greater = SIDES[side]
        half = _half(piece, TURN[side])
        low, high = np.array(room.low) + half, np.array(room.high) - half
        if (high < low).any() or piece.elevation_m + piece.size_m[1] > room.height:
            continue
        centre = rng.uniform(low, high)
        centre[axis] = high[axis] if greater else low[axis]
        if before_opening(centre[1 - axis], half[1 - axis], room.openings.get(side, ())):
            continue
        out.append(Placed(piece=piece, at_m=np.array([centre[0], -piece.elevation_m, centre[1]]), angle=TURN[side]))
    return out
