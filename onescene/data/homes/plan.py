"""The plan of a home: a room, what adjoins it, doors and windows, drawn at random."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onescene.data.homes.shell import SIDES, WALL_M, Opening, Room

AWAY = {"left": "right", "right": "left", "back": "front", "front": "back"}


def draw_rooms(rng: np.random.Generator) -> list[Room]:
    """A room with up to two neighbours behind doors or wide openings, windows in what is left."""
    size, height = rng.uniform(2.6, 7.5, 2), float(rng.uniform(2.3, 3.4))
    main = Room(low=(-size[0] / 2, -size[1] / 2), high=(size[0] / 2, size[1] / 2), height=height)
    holes: dict[str, list[Opening]] = {side: [] for side in SIDES}
    rooms = []
    sides = list(rng.permutation(list(SIDES)))
    for side in sides[: rng.choice([0, 1, 2], p=[0.25, 0.45, 0.3])]:
        axis, greater = SIDES[side]
        reach, span = rng.uniform(2.0, 5.5), rng.uniform(2.2, 6.0)
        middle = rng.uniform(-0.3, 0.3) * size[1 - axis]
        low, high = np.zeros(2), np.zeros(2)
        edge = (main.high if greater else main.low)[axis] + (WALL_M if greater else -WALL_M)
        low[axis], high[axis] = (edge, edge + reach) if greater else (edge - reach, edge)
        low[1 - axis], high[1 - axis] = middle - span / 2, middle + span / 2
        shared = max(low[1 - axis], main.low[1 - axis]), min(high[1 - axis], main.high[1 - axis])
        if any((low < np.array(r.high) + WALL_M).all() and (high > np.array(r.low) - WALL_M).all() for r in rooms):
            continue
        width = min(float(rng.choice([rng.uniform(0.75, 1.0), rng.uniform(1.2, 3.0)])), shared[1] - shared[0] - 0.2)
        if width < 0.6:
            continue
        start = shared[0] + 0.1 + rng.random() * max(0.0, shared[1] - shared[0] - 0.2 - width)
        top = min(float(rng.choice([2.05, height - 0.05, rng.uniform(2.0, height)])), height - 0.02)
        door = Opening(along=(start, start + width), up=(0.0, top), window=False)
        holes[side].append(door)
        other = Room(low=tuple(low), high=tuple(high), height=height, openings={AWAY[side]: (door,)})
        outer = [s for s in SIDES if s != AWAY[side]]
        rooms.append(replace(other, openings=other.openings | _windows(other, outer, rng)))
    outer = [s for s in SIDES if not holes[s]]
    windows = _windows(main, outer, rng)
    return [replace(main, openings={s: tuple(holes[s]) + windows.get(s, ()) for s in SIDES}), *rooms]


def _windows(room: Room, sides: list[str], rng: np.random.Generator) -> dict[str, tuple[Opening, ...]]:
    out = {}
    for side in sides:
        if rng.random() < 0.5:
            continue
        axis = SIDES[side][0]
        a, b = room.low[1 - axis] + 0.3, room.high[1 - axis] - 0.3
        count = 1 if b - a < 2.5 else int(rng.integers(1, 3))
        low = float(rng.choice([rng.uniform(0.7, 1.1), 0.02], p=[0.8, 0.2]))
        high = float(min(rng.uniform(1.9, 2.5), room.height - 0.12))
        width = min(rng.uniform(0.7, 2.4), (b - a) / count - 0.2)
        if width < 0.4:
            continue
        middles = a + (np.arange(count) + 0.5) / count * (b - a)
        out[side] = tuple(Opening(along=(m - width / 2, m + width / 2), up=(low, high), window=True) for m in middles)
    return out
