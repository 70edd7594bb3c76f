"""Surface patterns: colour as an exact function of a place on a surface, in metres.

Every pattern also names the cell a place lies in; the colour is smooth inside a cell and may jump between cells, which
is how a test finds the places "away from the pattern's edges".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

Rgb = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """What a surface looks like.

    Attributes:
        kind: One of ``PATTERNS``.
        a: Main colour, display RGB in [0, 1].
        b: Second colour (joints, other squares, frame), display RGB in [0, 1].
        size_m: Width and height of one cell [m].
        line_m: Width of joints, grooves or frames [m].
        variation: How much the brightness of cells differs, in [0, 1].
        glow: Share of the colour that the surface emits itself: 0 lit by the lights alone, 1 a lamp.
        seed: Which of the pattern's many instances.
    """

    kind: str = "plain"
    a: Rgb = (0.8, 0.8, 0.8)
    b: Rgb = (0.5, 0.5, 0.5)
    size_m: tuple[float, float] = (1.0, 1.0)
    line_m: float = 0.0
    variation: float = 0.0
    glow: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in PATTERNS:
            raise ValueError(f"kind must be one of {', '.join(sorted(PATTERNS))}, got {self.kind!r}")
        for name, colour in (("a", self.a), ("b", self.b)):
            if len(colour) != 3 or not all(0 <= c <= 1 for c in colour):
                raise ValueError(f"{name} must be three numbers in [0, 1], got {colour}")
        if len(self.size_m) != 2 or not min(self.size_m) > 0:
            raise ValueError(f"size_m must be two sizes > 0, got {self.size_m}")


Cell = Int[Tensor, " n"]
Drawn = tuple[Float[Tensor, "n 3"], Cell]


def _hash(i: Tensor, j: Tensor, seed: int) -> Tensor:
    """A number in [0, 1) for each cell: multiplicative mixing of the integers, the same on every device."""
    h = (i * 374761393 + j * 668265263 + (seed + 1) * 974634133) & 0x7FFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0x7FFFFFFF
    h = ((h ^ (h >> 15)) * 739982445) & 0x7FFFFFFF
    return (h ^ (h >> 16)).double() / 0x80000000


def _cell_id(i: Tensor, j: Tensor) -> Tensor:
    return ((i & 0xFFFF) << 16) + (j & 0xFFFF)


def _colour(rgb: Rgb, like: Tensor) -> Tensor:
    return torch.tensor(rgb, dtype=like.dtype, device=like.device)


def _varied(pattern: Pattern, i: Tensor, j: Tensor, like: Tensor) -> Tensor:
    """Brightness factor of a cell, about 1."""
    return 1 + pattern.variation * (_hash(i, j, pattern.seed).to(like) - 0.5)


def _mix(pattern: Pattern, share: Tensor) -> Tensor:
    """Colour b at share 1, a at share 0."""
    a, b = _colour(pattern.a, share), _colour(pattern.b, share)
    return a + share[:, None] * (b - a)


def _plain(pattern: Pattern, uv: Tensor) -> Drawn:
    return _colour(pattern.a, uv).expand(len(uv), 3), torch.zeros(len(uv), dtype=torch.int64, device=uv.device)


def _smooth(pattern: Pattern, uv: Tensor) -> Drawn:
    """Soft waves of two colours: smooth everywhere, one cell."""
    x, y = (2 * math.pi * uv[:, k] / pattern.size_m[k] for k in (0, 1))
    phase = 1.7 * pattern.seed
    share = 0.5 + 0.25 * (x + 0.8 * (y + phase).sin()).sin() + 0.25 * (y * 0.7 - 0.6 * (x * 0.5 + phase).cos()).sin()
    return _mix(pattern, share), torch.zeros(len(uv), dtype=torch.int64, device=uv.device)


def _checker(pattern: Pattern, uv: Tensor) -> Drawn:
    i, j = ((uv[:, k] / pattern.size_m[k]).floor().long() for k in (0, 1))
    share = ((i + j) & 1).to(uv)
    return _mix(pattern, share) * _varied(pattern, i, j, uv)[:, None], _cell_id(i, j)


def _stripes(pattern: Pattern, uv: Tensor) -> Drawn:
    i = (uv[:, 0] / pattern.size_m[0]).floor().long()
    return _mix(pattern, (i & 1).to(uv)), _cell_id(i, torch.zeros_like(i))


def _laid(pattern: Pattern, uv: Tensor, shift: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cells in rows that are shifted against each other: column, row, place inside [m], whether on a joint."""
    width, height = pattern.size_m
    j = (uv[:, 1] / height).floor()
    x = uv[:, 0] + shift(j.long()) * width
    i = (x / width).floor()
    place = torch.stack((x - i * width, uv[:, 1] - j * height), dim=-1)
    edge = torch.minimum(place, _colour((width, height, 0.0), uv)[:2] - place).amin(-1)
    return i.long(), j.long(), place, edge < pattern.line_m / 2


def _jointed(pattern: Pattern, colour: Tensor, i: Tensor, j: Tensor, joint: Tensor) -> Drawn:
    colour = torch.where(joint[:, None], _colour(pattern.b, colour), colour)
    return colour, torch.where(joint, torch.full_like(i, 1 << 33), _cell_id(i, j))


def _tiles(pattern: Pattern, uv: Tensor) -> Drawn:
    i, j, _, joint = _laid(pattern, uv, lambda row: torch.zeros_like(row).to(uv))
    return _jointed(pattern, _colour(pattern.a, uv) * _varied(pattern, i, j, uv)[:, None], i, j, joint)


def _bricks(pattern: Pattern, uv: Tensor) -> Drawn:
    i, j, _, joint = _laid(pattern, uv, lambda row: (row & 1).to(uv) / 2)
    return _jointed(pattern, _colour(pattern.a, uv) * _varied(pattern, i, j, uv)[:, None], i, j, joint)


def _planks(pattern: Pattern, uv: Tensor) -> Drawn:
    """Boards along u with grain: sines bent by sines, so the colour is smooth inside a board."""
    i, j, place, joint = _laid(pattern, uv, lambda row: _hash(row, row, pattern.seed).to(uv))
    own = 20 * _hash(i, j, pattern.seed + 1).to(uv)
    x, y = place.unbind(-1)
    bend = y * 90 + 2.2 * (x * 2.1 + own).sin() + 0.8 * (x * 5.3 - own).sin()
    grain = 0.5 + 0.3 * bend.sin() + 0.2 * (x * 1.3 + own * 3).sin()
    factor = _varied(pattern, i, j, uv) * (0.9 + 0.16 * grain)
    return _jointed(pattern, _colour(pattern.a, uv) * factor[:, None], i, j, joint)


def _dots(pattern: Pattern, uv: Tensor) -> Drawn:
    i, j, place, _ = _laid(pattern, uv, lambda row: (row & 1).to(uv) / 2)
    radius = 0.28 * min(pattern.size_m)
    inside = (place - _colour((*pattern.size_m, 0.0), uv)[:2] / 2).norm(dim=-1) < radius
    return _mix(pattern, inside.to(uv)), torch.where(inside, _cell_id(i, j) + 1, torch.zeros_like(i))


def _painting(pattern: Pattern, uv: Tensor) -> Drawn:
    """Soft colour fields inside a frame of colour b; one picture per cell."""
    i, j, place, frame = _laid(pattern, uv, lambda row: torch.zeros_like(row).to(uv))
    x, y = place[:, 0] / pattern.size_m[0], place[:, 1] / pattern.size_m[1]
    fields = []
    for channel in range(3):
        r = [6.28 * _hash(torch.tensor(channel), torch.tensor(k), pattern.seed).item() for k in range(4)]
        wave = (2.2 * x + r[0] + 1.4 * (3 * y + r[1]).sin()).sin() + (4.1 * y + r[2] + (2.5 * x + r[3]).sin()).cos()
        fields.append(0.5 + 0.23 * wave)
    colour = torch.stack(fields, dim=-1) * 0.6 + 0.4 * _colour(pattern.a, uv)
    return _jointed(pattern, colour, i, j, frame)


def _window(pattern: Pattern, uv: Tensor) -> Drawn:
    """Panes with a bright sky over soft hills, in a frame of colour b."""
    i, j, _, frame = _laid(pattern, uv, lambda row: torch.zeros_like(row).to(uv))
    horizon = 1.25 + 0.12 * (uv[:, 0] * 1.9 + pattern.seed).sin() + 0.05 * (uv[:, 0] * 5.1).sin()
    land = torch.sigmoid((uv[:, 1] - horizon) * 12)[:, None]
    high = (uv[:, 1] / 1.3).clamp(0, 1)[:, None]
    sky = _colour(pattern.a, uv) * (1 - high) + _colour((0.95, 0.96, 0.97), uv) * high
    colour = sky * (1 - land) + _colour((0.42, 0.55, 0.33), uv) * land
    return _jointed(pattern, colour, i, j, frame)


def _books(pattern: Pattern, uv: Tensor) -> Drawn:
    """Shelves (boards of colour b) with books of many widths, heights and colours."""
    width, height = pattern.size_m
    j = (uv[:, 1] / height).floor().long()
    i = (uv[:, 0] / width).floor().long()
    split = 0.35 + 0.3 * _hash(i, j, pattern.seed + 5).to(uv)  # each cell holds two books
    book = 2 * i + (uv[:, 0] / width - i > split).long()
    below = height - (uv[:, 1] - j * height) - pattern.line_m  # height above the board
    tall = (0.6 + 0.3 * _hash(book, j, pattern.seed).to(uv)) * height
    hue = 6.28 * torch.stack([_hash(book, j, pattern.seed + 2 + k) for k in (0, 1, 2)], dim=-1).to(uv)
    colour = _colour(pattern.a, uv) * (0.75 + 0.35 * hue.sin()).clamp(0.25, 1.1)
    empty = below > tall
    colour = torch.where(empty[:, None], _colour(pattern.b, uv) * 0.45, colour)
    cell = torch.where(empty, _cell_id(j, j) + (1 << 34), _cell_id(book, j))
    board = below < 0
    return torch.where(board[:, None], _colour(pattern.b, uv), colour), torch.where(board, j + (1 << 35), cell)


PATTERNS: dict[str, Callable[[Pattern, Tensor], Drawn]] = {
    "plain": _plain,
    "smooth": _smooth,
    "checker": _checker,
    "stripes": _stripes,
    "tiles": _tiles,
    "bricks": _bricks,
    "planks": _planks,
    "dots": _dots,
    "painting": _painting,
    "window": _window,
    "books": _books,
}


def draw_pattern(pattern: Pattern, uv: Float[Tensor, "n 2"]) -> tuple[Float[Tensor, "n 3"], Int[Tensor, " n"]]:
    """Colours a surface.

    Args:
        pattern: What to draw.
        uv: Places on the surface [m].

    Returns:
        Display RGB in [0, 1], and the cell of each place (>= 0): the colour is smooth inside a cell.
    """
    colour, cell = PATTERNS[pattern.kind](pattern, uv)
    return colour.clamp(0, 1), cell
