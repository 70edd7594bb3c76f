"""Lamps, plants, pictures, carpets and what else makes an analytic room look lived in."""

from __future__ import annotations

import math
from dataclasses import replace

from onescene.data.rooms.patterns import Pattern
from onescene.data.rooms.pieces import Dice, Piece, Style, ball, box, plain, post, wooden


def floor_lamp(dice: Dice, style: Style) -> Piece:
    """A lamp on a pole with a glowing shade."""
    height, dark = dice.uniform(1.3, 1.6), plain(style.dark)
    shade = plain((0.97, 0.88, 0.68), glow=0.8)
    solids = (
        post(0.16, 0.03, (0, 0, 0), dark),
        post(0.018, height, (0, -0.03, 0), dark),
        post(dice.uniform(0.16, 0.22), 0.3, (0, -height, 0), shade),
    )
    return Piece(solids=solids, width=0.44, depth=0.44)


def plant(dice: Dice, style: Style) -> Piece:
    """A pot with leaves."""
    pot = Pattern(kind=dice.choice(("plain", "stripes")), a=dice.tint(style.accent), b=style.pale, size_m=(0.06, 1.0))
    solids = [post(0.16, 0.32, (0, 0, 0), pot, plain((0.25, 0.18, 0.12)))]
    for k in range(dice.whole(4, 6)):
        turn, out = 2.4 * k, dice.uniform(0.05, 0.14)
        leaf = plain(dice.tint((0.24, 0.48, 0.22), 0.08))
        half = (dice.uniform(0.11, 0.17), dice.uniform(0.16, 0.28), dice.uniform(0.08, 0.13))
        solids.append(ball(half, (out * math.sin(turn), -0.45 - 0.13 * k, out * math.cos(turn)), leaf))
    return Piece(solids=tuple(solids), width=0.55, depth=0.55)


def tree(dice: Dice, style: Style) -> Piece:
    """A small tree in a planter."""
    height = dice.uniform(1.4, 1.9)
    planter = Pattern(
        kind="bricks", a=(0.6, 0.42, 0.34), b=(0.75, 0.72, 0.68), size_m=(0.24, 0.1), line_m=0.015, variation=0.2
    )
    solids = [box((0.8, 0.4, 0.8), (0, 0, 0), planter, plain((0.3, 0.22, 0.15)))]
    solids.append(post(0.06, height, (0, -0.3, 0), plain((0.4, 0.3, 0.22))))
    for k in range(5):
        turn, r = 1.3 * k, 0.28 if k else 0.0
        half = (dice.uniform(0.35, 0.5),) * 2 + (dice.uniform(0.35, 0.5),)
        at = (r * math.sin(turn), -height - 0.3 - (0.3 if k == 0 else 0.0), r * math.cos(turn))
        solids.append(ball(half, at, plain(dice.tint((0.3, 0.5, 0.22), 0.07))))
    return Piece(solids=tuple(solids), width=1.3, depth=1.3)


def sculpture(dice: Dice, style: Style) -> Piece:
    """A pedestal with balls, eggs or a block on it."""
    height = dice.uniform(0.7, 1.1)
    solids = [box((0.45, height, 0.45), (0, 0, 0), plain(style.pale))]
    top = -height
    for k in range(dice.whole(1, 3)):
        size = dice.uniform(0.12, 0.2) * (1 - 0.2 * k)
        cover = Pattern(
            kind=dice.choice(("plain", "stripes", "dots", "smooth")),
            a=dice.tint(style.accent, 0.15),
            b=style.pale,
            size_m=(0.08, 0.08),
        )
        if dice.chance(0.7):
            solids.append(ball((size, size * dice.uniform(0.8, 1.2), size), (0, top - size, 0), cover))
        else:
            solids.append(
                replace(box((1.5 * size, 2 * size, 1.5 * size), (0, top, 0), cover), yaw_rad=dice.uniform(0, 1.5))
            )
        top -= 2 * size
    return Piece(solids=tuple(solids), width=0.45, depth=0.45)


def bench(dice: Dice, style: Style) -> Piece:
    """A wooden bench without a back."""
    width, wood = dice.uniform(1.2, 1.8), wooden(dice, style)
    ends = [box((0.08, 0.4, 0.4), (side * (width / 2 - 0.15), 0, 0), plain(style.dark)) for side in (-1, 1)]
    return Piece(solids=(*ends, box((width, 0.06, 0.44), (0, -0.4, 0), wood)), width=width, depth=0.44)


def pillar(dice: Dice, style: Style) -> Piece:
    """A pillar from the floor to the ceiling."""
    stone = Pattern(kind="smooth", a=dice.tint((0.82, 0.78, 0.72)), b=dice.tint((0.7, 0.66, 0.6)), size_m=(0.8, 1.1))
    foot = [box((0.5, 0.2, 0.5), (0, y, 0), stone) for y in (0.0, 0.2 - style.height_m)]
    shaft = post(0.19, style.height_m - 0.02, (0, -0.01, 0), stone)
    return Piece(solids=(shaft, *foot), width=0.5, depth=0.5)


def rug(dice: Dice, style: Style) -> Piece:
    """A carpet of a few millimetres."""
    width, depth = dice.uniform(1.6, 2.6), dice.uniform(1.2, 1.8)
    kind = dice.choice(("checker", "dots", "tiles", "stripes", "smooth"))
    cell = dice.uniform(0.2, 0.4)
    cover = Pattern(
        kind=kind, a=dice.tint(style.accent, 0.1), b=dice.tint(style.pale), size_m=(cell, cell), line_m=0.05
    )
    return Piece(solids=(box((width, 0.012, depth), (0, 0, 0), cover),), width=width, depth=depth)


def picture(dice: Dice, style: Style) -> Piece:
    """A framed picture, now and then a switched-off screen; its lower edge is at y = 0."""
    if dice.chance(0.25):
        return _screen(dice)
    width, height = dice.uniform(0.5, 1.3), dice.uniform(0.45, 0.9)
    art = Pattern(
        kind="painting", a=dice.tint(style.accent, 0.15), b=dice.choice((style.dark, style.pale, style.wood)),
        size_m=(width, height), line_m=dice.uniform(0.05, 0.12), seed=dice.whole(0, 9999),
    )  # fmt: skip
    return Piece(solids=(box((width, height, 0.04), (0, 0, 0), art, plain(style.dark)),), width=width, depth=0.04)


def _screen(dice: Dice) -> Piece:
    """A black screen with a faint sheen: dark is not far away."""
    width = dice.uniform(0.7, 1.5)
    black, sheen = dice.uniform(0.005, 0.03), dice.uniform(0.04, 0.12)
    glass = Pattern(kind="smooth", a=(black,) * 3, b=(sheen, sheen, 1.1 * sheen), size_m=(dice.uniform(0.5, 1.2), 0.7))
    return Piece(
        solids=(box((width, 0.57 * width, 0.05), (0, 0, 0), glass, plain((0.02,) * 3)),), width=width, depth=0.05
    )
