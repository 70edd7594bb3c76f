"""Tables, chairs, sofas, beds, shelves and desks for analytic rooms."""

from __future__ import annotations

from onescene.data.rooms.patterns import Pattern
from onescene.data.rooms.pieces import Dice, Piece, Style, ball, box, legs, plain, post, wooden


def table(dice: Dice, style: Style) -> Piece:
    """A four-legged or a round table with something on it."""
    wood = wooden(dice, style)
    height = dice.uniform(0.68, 0.78)
    if dice.chance(0.4):
        width = depth = dice.uniform(0.9, 1.3)
        solids = [post(width / 2, 0.05, (0, 0.05 - height, 0), wood), post(0.06, height - 0.05, (0, 0, 0), wood)]
        solids.append(post(0.3, 0.04, (0, 0, 0), wood))
    else:
        width, depth = dice.uniform(1.2, 1.9), dice.uniform(0.7, 0.95)
        solids = [box((width, 0.05, depth), (0, 0.05 - height, 0), wood), *legs(width, depth, height - 0.05, wood)]
    solids.append(ball((0.1, 0.17, 0.1), (0.15, -height - 0.15, 0), plain(dice.tint(style.accent))))
    solids.append(post(0.14, 0.05, (-0.25, -height, 0.05), plain(dice.tint(style.pale))))
    return Piece(solids=tuple(solids), width=width, depth=depth)


def chair(dice: Dice, style: Style) -> Piece:
    """A chair with a straight back."""
    wood, seat = plain(dice.tint(style.wood)), plain(dice.tint(style.accent))
    solids = [*legs(0.46, 0.46, 0.42, wood, 0.02), box((0.46, 0.06, 0.46), (0, -0.42, 0), seat)]
    solids.append(box((0.46, 0.48, 0.05), (0, -0.48, -0.205), wood))
    return Piece(solids=tuple(solids), width=0.46, depth=0.46)


def sofa(dice: Dice, style: Style) -> Piece:
    """A sofa with arms and cushions."""
    width, depth = dice.uniform(1.6, 2.4), 0.9
    fabric = Pattern(kind="smooth", a=dice.tint(style.fabric), b=dice.tint(style.fabric), size_m=(0.9, 0.9))
    solids = [box((width, 0.4, depth), (0, 0, 0), fabric), box((width, 0.42, 0.24), (0, -0.4, -0.33), fabric)]
    solids += [box((0.2, 0.2, depth), (side * (width / 2 - 0.1), -0.4, 0), fabric) for side in (-1, 1)]
    kinds = ("plain", "stripes", "dots", "checker")
    for k in range(dice.whole(2, 3)):
        cover = Pattern(kind=dice.choice(kinds), a=dice.tint(style.accent, 0.1), b=style.pale, size_m=(0.09, 0.09))
        x = (k / 2 - 0.5) * (width - 0.9)
        solids.append(ball((0.23, 0.2, 0.1), (x, -0.58, -0.14), cover))
    return Piece(solids=tuple(solids), width=width, depth=depth)


def bed(dice: Dice, style: Style) -> Piece:
    """A bed with its head at the wall."""
    width, length = dice.uniform(1.2, 1.8), 2.05
    wood = wooden(dice, style)
    cover = Pattern(
        kind=dice.choice(("stripes", "checker", "dots", "smooth")),
        a=dice.tint(style.accent),
        b=style.pale,
        size_m=(0.25, 0.25),
    )
    solids = [
        box((width, 0.28, length), (0, 0, 0), wood),
        box((width - 0.06, 0.2, length - 0.06), (0, -0.28, 0), plain(style.pale)),
        box((width + 0.04, 0.24, length * 0.62), (0, -0.27, length * 0.2), cover),
        box((width, dice.uniform(0.8, 1.1), 0.08), (0, 0, -length / 2 + 0.04), wood),
    ]
    for side in (-1, 1):
        solids.append(
            ball((width * 0.2, 0.1, 0.2), (side * width * 0.24, -0.55, -length / 2 + 0.34), plain(style.pale))
        )
    return Piece(solids=tuple(solids), width=width + 0.04, depth=length)


def bookcase(dice: Dice, style: Style) -> Piece:
    """A tall shelf full of books."""
    width, height, depth = dice.uniform(0.8, 1.6), dice.uniform(1.6, 2.1), 0.34
    shelf = (height - 0.1) / dice.whole(4, 5)
    books = Pattern(
        kind="books", a=(0.75, 0.62, 0.5), b=style.wood, size_m=(0.13, shelf), line_m=0.03, seed=dice.whole(0, 999)
    )
    wood = wooden(dice, style)
    front = box((width - 0.08, height - 0.1, 0.3), (0, -0.05, 0.025), books, wood)
    return Piece(solids=(box((width, height, 0.32), (0, 0, -0.01), wood), front), width=width, depth=depth)


def cabinet(dice: Dice, style: Style) -> Piece:
    """A low cabinet with doors and a vase on it."""
    width, height, depth = dice.uniform(0.9, 1.8), dice.uniform(0.6, 0.95), 0.45
    doors = Pattern(
        kind="tiles", a=dice.tint(style.wood), b=style.dark, size_m=(width / dice.whole(2, 3), height), line_m=0.02
    )
    solids = [box((width, height, depth), (0, 0, 0), doors, wooden(dice, style))]
    solids.append(
        ball((0.11, 0.2, 0.11), (dice.uniform(-0.3, 0.3) * width, -height - 0.18, 0), plain(dice.tint(style.accent)))
    )
    return Piece(solids=tuple(solids), width=width, depth=depth)


def desk(dice: Dice, style: Style) -> Piece:
    """A desk with a screen and a keyboard."""
    width, depth = dice.uniform(1.2, 1.7), 0.75
    wood, dark = wooden(dice, style), plain((0.12, 0.12, 0.13))
    screen = Pattern(
        kind="painting",
        a=(0.3, 0.45, 0.6),
        b=(0.1, 0.1, 0.1),
        size_m=(0.62, 0.38),
        line_m=0.03,
        glow=0.5,
        seed=dice.whole(0, 99),
    )
    solids = [box((width, 0.04, depth), (0, -0.7, 0), wood), *legs(width, depth, 0.7, dark)]
    solids += [
        box((0.62, 0.38, 0.04), (0, -0.86, -0.2), screen, dark),
        box((0.06, 0.14, 0.06), (0, -0.74, -0.2), dark),
    ]
    solids.append(box((0.44, 0.025, 0.15), (0, -0.74, 0.12), plain((0.75, 0.75, 0.76))))
    return Piece(solids=tuple(solids), width=width, depth=depth)
