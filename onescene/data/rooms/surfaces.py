"""Floors, walls and colours that go together, drawn for analytic rooms."""

from __future__ import annotations

from onescene.data.rooms.patterns import Pattern, Rgb
from onescene.data.rooms.pieces import Dice, Style

WALL_SIDES = ("left", "right", "back", "front")

STYLES = (
    Style(wood=(0.66, 0.48, 0.32), dark=(0.28, 0.2, 0.15), fabric=(0.52, 0.57, 0.6), accent=(0.76, 0.4, 0.28)),
    Style(wood=(0.8, 0.67, 0.5), dark=(0.3, 0.3, 0.32), fabric=(0.78, 0.74, 0.66), accent=(0.22, 0.45, 0.5)),
    Style(wood=(0.44, 0.29, 0.2), dark=(0.16, 0.12, 0.1), fabric=(0.3, 0.42, 0.36), accent=(0.85, 0.66, 0.3)),
    Style(wood=(0.72, 0.58, 0.44), dark=(0.24, 0.24, 0.28), fabric=(0.4, 0.47, 0.62), accent=(0.8, 0.52, 0.48)),
    Style(wood=(0.86, 0.82, 0.76), dark=(0.2, 0.2, 0.2), fabric=(0.62, 0.5, 0.46), accent=(0.35, 0.52, 0.34)),
)
_PAINTS: tuple[Rgb, ...] = (
    (0.9, 0.87, 0.8), (0.82, 0.86, 0.85), (0.86, 0.78, 0.68), (0.72, 0.79, 0.74),
    (0.74, 0.78, 0.86), (0.9, 0.84, 0.66), (0.84, 0.74, 0.72), (0.62, 0.69, 0.72),
)  # fmt: skip


def _floor(dice: Dice, style: Style, kind: str) -> Pattern:
    seed = dice.whole(0, 999)
    grey = dice.tint(dice.choice(((0.72, 0.7, 0.66), (0.6, 0.62, 0.64), (0.78, 0.7, 0.6))))
    joint = tuple(0.75 * c for c in grey)
    if kind == "courtyard" or (kind in ("hall", "gallery") and dice.chance(0.6)):
        side = dice.uniform(0.4, 0.8)
        choice = dice.choice(("tiles", "bricks", "checker"))
        other = joint if choice != "checker" else dice.tint(tuple(0.8 * c for c in grey))
        return Pattern(kind=choice, a=grey, b=other, size_m=(side, side * 0.8), line_m=0.02, variation=0.12, seed=seed)
    if dice.chance(0.2):
        return Pattern(
            kind="smooth", a=dice.tint(style.fabric), b=dice.tint(style.fabric), size_m=(1.1, 0.9), seed=seed
        )
    size = (dice.uniform(0.9, 1.8), dice.uniform(0.12, 0.22))
    return Pattern(
        kind="planks", a=dice.tint(style.wood), b=style.dark, size_m=size, line_m=0.008, variation=0.2, seed=seed
    )


def _wall(dice: Dice, kind: str) -> Pattern:
    paint = dice.tint(dice.choice(_PAINTS), 0.04)
    seed = dice.whole(0, 999)
    look = dice.choice(
        ("plain", "smooth", "stripes", "bricks", "tiles", "planks") if kind != "gallery" else ("plain", "smooth")
    )
    if kind == "courtyard":
        look = dice.choice(("bricks", "smooth"))
    darker = tuple(0.88 * c for c in paint)
    if look == "bricks":
        red = dice.tint(dice.choice(((0.68, 0.42, 0.34), (0.8, 0.76, 0.7), (0.6, 0.5, 0.42))))
        return Pattern(
            kind=look, a=red, b=(0.82, 0.8, 0.76), size_m=(0.42, 0.15), line_m=0.018, variation=0.22, seed=seed
        )
    if look == "tiles":
        side = dice.uniform(0.3, 0.7)
        return Pattern(kind=look, a=paint, b=darker, size_m=(side, side), line_m=0.015, variation=0.05, seed=seed)
    if look == "planks":
        return Pattern(
            kind=look,
            a=paint,
            b=tuple(0.7 * c for c in paint),
            size_m=(2.4, 0.2),
            line_m=0.01,
            variation=0.06,
            seed=seed,
        )
    if look == "stripes":
        return Pattern(kind=look, a=paint, b=darker, size_m=(dice.uniform(0.12, 0.35), 1.0))
    return Pattern(kind=look, a=paint, b=dice.tint(paint, 0.04), size_m=(2.2, 1.8), seed=seed)


def draw_walls(dice: Dice, style: Style, kind: str) -> tuple[Pattern, ...]:
    base, accent = _wall(dice, kind), _wall(dice, kind)
    special = dice.choice((*WALL_SIDES, ""))
    left, right, back, front = (accent if name == special else base for name in WALL_SIDES)
    ceiling = Pattern(a=dice.tint((0.93, 0.92, 0.9), 0.03))
    return left, right, ceiling, _floor(dice, style, kind), back, front
