"""Endless different rooms: air, surfaces, light and furniture drawn from a seed.

The camera's place is the world's origin, in free space and half a metre or more away from everything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from onescene.data.rooms import decor, furniture
from onescene.data.rooms import layout as room_plan
from onescene.data.rooms.layout import Build, Layout
from onescene.data.rooms.pieces import Dice
from onescene.data.rooms.room import FreeBox, Room
from onescene.data.rooms.surfaces import STYLES, draw_walls

_EYE_M = 0.75  # half the side of the square around the camera that stays empty


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What a kind of room holds: pieces along walls, pieces anywhere, and how large it is."""

    at_walls: tuple[Build, ...]
    anywhere: tuple[Build, ...]
    side_m: tuple[float, float]
    height_m: tuple[float, float] = (2.4, 2.9)
    pictures: tuple[int, int] = (1, 4)
    windows: tuple[int, int] = (1, 2)
    pieces: tuple[int, int] = (5, 9)
    rug: float = 0.6


PLANS: dict[str, _Plan] = {
    "living": _Plan(
        at_walls=(furniture.sofa, furniture.sofa, furniture.bookcase, furniture.cabinet, decor.floor_lamp, decor.plant),
        anywhere=(furniture.table, furniture.chair, decor.plant),
        side_m=(4.0, 6.5),
    ),
    "bedroom": _Plan(
        at_walls=(furniture.bed, furniture.cabinet, furniture.bookcase, decor.floor_lamp, decor.plant),
        anywhere=(furniture.chair, decor.bench),
        side_m=(3.6, 5.2),
    ),
    "office": _Plan(
        at_walls=(furniture.desk, furniture.desk, furniture.bookcase, furniture.cabinet, decor.plant),
        anywhere=(furniture.chair, furniture.table),
        side_m=(3.8, 6.5),
        pictures=(0, 2),
    ),
    "gallery": _Plan(
        at_walls=(decor.bench, decor.sculpture),
        anywhere=(decor.sculpture, decor.sculpture, decor.bench),
        side_m=(5.0, 9.0),
        height_m=(3.0, 4.0),
        pictures=(5, 9),
        windows=(0, 1),
        rug=0.1,
    ),
    "hall": _Plan(
        at_walls=(decor.bench, decor.plant, furniture.cabinet),
        anywhere=(decor.pillar, decor.pillar, decor.sculpture),
        side_m=(6.0, 11.0),
        height_m=(3.2, 5.0),
        windows=(1, 3),
        pieces=(6, 10),
    ),
    "courtyard": _Plan(
        at_walls=(decor.bench, decor.tree, decor.plant),
        anywhere=(decor.tree, furniture.table, decor.plant),
        side_m=(6.0, 11.0),
        height_m=(2.6, 4.0),
        pictures=(0, 0),
        windows=(0, 3),
        rug=0.0,
    ),
}
ROOM_KINDS = tuple(PLANS)


def _start(dice: Dice, plan: _Plan, kind: str) -> Layout:
    width, depth, height = dice.uniform(*plan.side_m), dice.uniform(*plan.side_m), dice.uniform(*plan.height_m)
    x, z = (-dice.uniform(0.3, 0.7) * size for size in (width, depth))
    style = replace(dice.choice(STYLES), height_m=height)
    eye = dice.uniform(1.35, 1.65)
    main = FreeBox(
        low=(x, eye - height, z),
        high=(x + width, eye, z + depth),
        walls=draw_walls(dice, style, kind),
        open_walls=("ceiling",) if kind == "courtyard" else (),
    )
    layout = Layout(dice, style, main, [main])
    layout.keep_free((-_EYE_M, -_EYE_M), (_EYE_M, _EYE_M))
    return layout


def sample_room(seed: int | torch.Generator, kind: str | None = None) -> Room:
    """Draws a furnished room; the same seed gives the same room.

    Args:
        seed: A number, or a generator to draw from.
        kind: One of ``ROOM_KINDS``; drawn, too, if None.

    Returns:
        A room whose origin is in free space, eye height above the floor, half a metre or more from everything.

    Raises:
        ValueError: an unknown kind.
    """
    if kind is not None and kind not in PLANS:
        raise ValueError(f"kind must be one of {', '.join(ROOM_KINDS)}, got {kind!r}")
    dice = Dice(seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(int(seed)))
    kind = kind or dice.choice(ROOM_KINDS)
    plan = PLANS[kind]
    layout = _start(dice, plan, kind)
    if kind != "courtyard" and dice.chance(0.55):
        room_plan.add_second_room(layout, kind)
    for _ in range(dice.whole(*plan.windows)):
        room_plan.add_window(layout)
    room_plan.add_at_wall(layout, plan.at_walls[0])
    for _ in range(dice.whole(*plan.pieces)):
        free_standing = dice.chance(0.4)
        build = dice.choice(plan.anywhere if free_standing else plan.at_walls)
        (room_plan.add_anywhere if free_standing else room_plan.add_at_wall)(layout, build)
    for _ in range(dice.whole(*plan.pictures)):
        room_plan.add_picture(layout)
    if dice.chance(plan.rug):
        room_plan.add_rug(layout)
    room_plan.add_lamp(layout)
    level = dice.uniform(0.42, 0.56)
    ambient = (0.5, 0.55, 0.62) if kind == "courtyard" else tuple(level * c for c in (1.0, 0.98, 0.95))
    return Room(
        free=tuple(layout.free),
        solids=tuple(layout.solids),
        lights=tuple(layout.lights),
        ambient=ambient,
        yaw_rad=dice.uniform(-math.pi, math.pi),
        name=kind,
    )
