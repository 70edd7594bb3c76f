"""Flat things that hang on walls, painted onto training panoramas: posters, plates and switched-off screens.

In rendered worlds a dark or framed rectangle is nearly always an opening. In photographs it is as often a screen or a
picture, which lies on its wall. The distance of a panorama stays what it is, only its colours change:

    a pixel of an upright, even surface -> the plane through it -> a rectangle on that plane
      -> does the true surface lie on the plane there? -> frame and content take the place of the wall's colours
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.geometry.equirect import directions_from_panorama
from onescene.training.augment import draw_number

MOST = 8  # rectangles on one panorama
TRIES = 20  # places looked at for each
BAND_DEG = 35.0  # a rectangle's middle is at most so far above or below the horizon
HALF_DEG = (4.0, 22.0)  # what half of a rectangle's width is seen under, straight on
ASPECT = (0.5, 2.2)  # width over height
UPRIGHT = 0.25  # a wall's normal rises no more than this [sine]
FACING = 0.3  # and turns towards the camera at least so much [cosine]
FLUSH = 0.04  # so near its plane is a surface even [share of the distance]
SHOWN = 0.85  # least share of a rectangle that the wall carries; the rest is behind something that stands before it
STEP = 3  # pixels over which a normal is measured
LEAST_PX = 32  # rows of a panorama that can show a rectangle


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A rectangle on a wall: where it is seen, and the rectangle's own coordinates there."""

    seen: Bool[Tensor, "h w"]
    u: Float[Tensor, " n"]  # to the right, in [-1, 1]
    v: Float[Tensor, " n"]  # downwards, in [-1, 1]
    aspect: float


def hang_decals(
    rgb: Float[Tensor, "3 h w"],
    log_distance: Float[Tensor, "h w"],
    sky: Bool[Tensor, "h w"],
    generator: torch.Generator,
) -> Float[Tensor, "3 h w"]:
    """A panorama with up to ``MOST`` rectangles on its walls; a fifth of the panoramas stay as they are.

    Args:
        rgb: In [0, 1], upright.
        log_distance: Logarithm of the distance; NaN where it is unknown.
        sky: Where there is no surface.
        generator: Decides everything.
    """
    if draw_number(generator) < 1 / 5 or rgb.shape[-2] < LEAST_PX:
        return rgb
    directions = directions_from_panorama(tuple(rgb.shape[-2:]))
    distance = torch.where(sky, torch.nan, log_distance.exp())
    surface = distance, directions, distance[..., None] * directions
    painted = rgb
    for _ in range(1 + int(draw_number(generator, 0, MOST))):
        half, aspect = (math.exp(draw_number(generator, *map(math.log, limits))) for limits in (HALF_DEG, ASPECT))
        for _ in range(TRIES):
            place = _find_place(surface, (half, aspect), generator)
            if place is not None:
                painted = _paint(painted, rgb, place, generator)
                break
    return painted


def _normal(points: Tensor, row: int, column: int) -> Tensor:
    """Of the surface around a pixel, towards the camera; NaN where the surface is not known."""
    width = points.shape[1]
    across = points[row, (column + STEP) % width] - points[row, (column - STEP) % width]
    down = points[row + STEP, column] - points[row - STEP, column]
    normal = F.normalize(torch.linalg.cross(across, down), dim=0)
    return -normal if float(normal @ points[row, column]) > 0 else normal


def _find_place(
    surface: tuple[Tensor, Tensor, Tensor], shape: tuple[float, float], generator: torch.Generator
) -> _Place | None:
    """A rectangle of a shape (half its width [degrees], aspect) around a random pixel; None if no wall carries it.

    ``surface``: the distance of every pixel, its direction, and the point there.
    """
    distance, directions, points = surface
    height, width = distance.shape
    row = int(height * (0.5 + draw_number(generator, -1, 1) * BAND_DEG / 180))
    column = int(draw_number(generator, 0, width)) % width
    aspect, size = shape[1], math.tan(math.radians(shape[0])) * float(distance[row, column])
    point, normal = points[row, column], _normal(points, row, column)
    facing = -float(normal @ directions[row, column])
    if not (abs(float(normal[1])) <= UPRIGHT and facing >= FACING):  # NaN is neither
        return None
    to_plane = (normal @ point) / (directions @ normal)  # the distance at which each ray meets the plane
    right = F.normalize(torch.stack((-normal[2], torch.zeros(()), normal[0])), dim=0)
    offset = to_plane[..., None] * directions - point
    down = torch.linalg.cross(normal, right)
    u, v = offset @ right / size, offset @ (down * torch.sign(down[1])) * aspect / size
    inside = (to_plane > 0) & (u.abs() < 1) & (v.abs() < 1)
    flush = inside & ((to_plane - distance).abs() < FLUSH * distance)
    if float(flush.sum()) < SHOWN * float(inside.sum()):
        return None
    return _Place(seen=flush, u=u[flush], v=v[flush], aspect=aspect)


def _paint(painted: Tensor, rgb: Tensor, place: _Place, generator: torch.Generator) -> Tensor:
    """Frame and content: a part of the panorama as a poster, the same faintly in a dark screen, or one colour."""
    content, grey = _part(rgb, place, generator), torch.rand(3, generator=generator)
    kind, light = draw_number(generator), float(rgb[:, place.seen].mean())
    if kind < 0.5:
        content = draw_number(generator, 0.0, 0.06) + draw_number(generator, 0.0, 0.15) * content
    elif kind < 0.8:
        content = content * draw_number(generator, 0.6, 1.4)
    else:
        content = (light * 2 * grey.mean() + 0.3 * light * (grey - grey.mean()))[:, None].expand_as(content)
    rim = draw_number(generator, -0.03, 0.08)  # of half the width; below 0 = no frame
    framed = (1 - place.u.abs() < rim) | (1 - place.v.abs() < rim * place.aspect)
    frame = draw_number(generator, 0.0, 1.0) ** 2 * grey[:, None]
    painted = painted.clone()
    painted[:, place.seen] = torch.where(framed, frame, content).clamp(0, 1)
    return painted


def _part(rgb: Tensor, place: _Place, generator: torch.Generator) -> Tensor:
    """What another part of the panorama would show in the place, mirrored: colours [3, n]."""
    height, width = rgb.shape[-2:]
    half = draw_number(generator, 0.04, 0.15)  # of the part's width [panorama widths]
    x = draw_number(generator, -0.8, 0.8) - place.u * half
    y = draw_number(generator, -0.3, 0.3) + place.v * half / place.aspect * width / height
    grid = torch.stack((x, y), -1)[None, None]
    return F.grid_sample(rgb[None], grid, align_corners=False, padding_mode="reflection")[0, :, 0]
