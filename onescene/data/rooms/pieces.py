"""What furniture of analytic rooms is made of: dice, colours that go together, and simple solids.

A piece stands with its back to -z: the middle of its footprint is the origin of its own frame, the floor is y = 0 and
up is -y. ``placed`` carries it into the room.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from onescene.data.rooms.patterns import Pattern, Rgb
from onescene.data.rooms.room import Solid, Xyz


class Dice:
    """Named ways to draw from a ``torch.Generator``."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * torch.rand((), generator=self._generator, dtype=torch.float64).item()

    def whole(self, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        return int(torch.randint(low, high + 1, (), generator=self._generator))

    def chance(self, share: float) -> bool:
        """True in that share of the draws."""
        return self.uniform(0, 1) < share

    def choice(self, options: Sequence):
        """One of the options."""
        return options[self.whole(0, len(options) - 1)]

    def tint(self, rgb: Rgb, spread: float = 0.06) -> Rgb:
        """A colour near another one."""
        light = self.uniform(-spread, spread)
        return tuple(min(max(c + light + self.uniform(-spread, spread) / 2, 0.02), 0.97) for c in rgb)


@dataclass(frozen=True, kw_only=True)
class Style:
    """Colours that go together, and the height of the room they are for [m]."""

    wood: Rgb
    dark: Rgb
    fabric: Rgb
    accent: Rgb
    pale: Rgb = (0.92, 0.9, 0.86)
    height_m: float = 2.5


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A piece of furniture: its solids, and the width and depth of its footprint [m]."""

    solids: tuple[Solid, ...]
    width: float
    depth: float


def placed(piece: Piece, x: float, floor_y: float, z: float, yaw_rad: float) -> tuple[Solid, ...]:
    """The solids of a piece that stands at (x, z), turned by an angle (0: facing +z, positive: to +x)."""
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    out = []
    for solid in piece.solids:
        sx, sy, sz = solid.centre
        centre = (x + c * sx + s * sz, floor_y + sy, z + c * sz - s * sx)
        out.append(replace(solid, centre=centre, yaw_rad=solid.yaw_rad + yaw_rad))
    return tuple(out)


def plain(rgb: Rgb, glow: float = 0.0) -> Pattern:
    """One colour."""
    return Pattern(a=rgb, glow=glow)


def wooden(dice: Dice, style: Style) -> Pattern:
    """Wood with grain, without joints."""
    return Pattern(
        kind="planks",
        a=dice.tint(style.wood, 0.03),
        b=style.dark,
        size_m=(3.0, 0.6),
        variation=0.1,
        seed=dice.whole(0, 99),
    )


def box(size: Xyz, at: Xyz, pattern: Pattern, top: Pattern | None = None) -> Solid:
    """A box by its full size and the middle of its lower face."""
    return Solid(centre=(at[0], at[1] - size[1] / 2, at[2]), half=tuple(v / 2 for v in size), pattern=pattern, top=top)


def post(radius: float, height: float, at: Xyz, pattern: Pattern, top: Pattern | None = None) -> Solid:
    """A standing cylinder by the middle of its lower face."""
    centre = (at[0], at[1] - height / 2, at[2])
    return Solid(kind="cylinder", centre=centre, half=(radius, height / 2, radius), pattern=pattern, top=top)


def ball(half: Xyz, at: Xyz, pattern: Pattern) -> Solid:
    """An ellipsoid by its middle."""
    return Solid(kind="ellipsoid", centre=at, half=half, pattern=pattern)


def legs(width: float, depth: float, height: float, pattern: Pattern, radius: float = 0.03) -> list[Solid]:
    """Four legs under the corners of a top."""
    x, z = width / 2 - 0.07, depth / 2 - 0.07
    return [post(radius, height, (i * x, 0.0, j * z), pattern) for i in (-1, 1) for j in (-1, 1)]
