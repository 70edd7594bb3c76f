"""Skies as a camera sees them, painted onto training panoramas: blown out, overcast, blue, with a sun, at dusk.

Rendered worlds have painted skies, dark and full of clouds. In photographs a sky is as often plain white, which only
homes' ceilings are among the renderings. Where there is no surface a panorama's colours change, nothing else does:

    sin of the elevation -> from the horizon's colour to the zenith's -> clouds, perhaps a tint -> a glow around the sun
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.geometry.equirect import directions_from_panorama
from onescene.training.augment import draw_number

KEPT = 0.5  # share of the panoramas whose sky stays
LEAST = 0.02  # a smaller share of sky stays too
LIGHT = (0.6, 1.8)  # of the horizon; above 1 the sky is blown out
COLOURED = 0.3  # share of the painted skies in a colour of their own: dusk, dust, another planet's
TINT = 0.7  # how much of a channel such a colour takes at most
CLOUDS = 0.12  # standard deviation of clouds at most
GLOW_DEG = (8.0, 60.0)  # how far a sun's glow reaches


def paint_sky(
    rgb: Float[Tensor, "3 h w"], sky: Bool[Tensor, "h w"], generator: torch.Generator
) -> Float[Tensor, "3 h w"]:
    """A panorama under another sky; half of the panoramas stay, and those without a sky or with one below them too.

    Args:
        rgb: In [0, 1], upright.
        sky: Where there is no surface.
        generator: Decides everything.
    """
    above, below = (half.float().mean() / 2 for half in sky.tensor_split([sky.shape[0] // 2]))
    if draw_number(generator) < KEPT or above < LEAST or below > LEAST:
        return rgb
    directions = directions_from_panorama(tuple(rgb.shape[-2:]))
    painted = (_gradient(directions, generator) + _clouds(tuple(sky.shape), generator)).clamp(0, None)
    if draw_number(generator) < COLOURED:
        painted = painted * (1 - TINT * torch.rand(3, 1, 1, generator=generator))
    painted = (painted + _glow(directions, generator)).clamp(0, 1)
    around = F.pad(sky.to(rgb)[None, None], (1, 1, 0, 0), mode="circular")
    share = F.avg_pool2d(F.pad(around, (0, 0, 1, 1), mode="replicate"), 3, stride=1)[0]  # an edge is a pixel soft
    return rgb + (painted - rgb) * share


def _gradient(directions: Tensor, generator: torch.Generator) -> Tensor:
    """From the horizon's colour to the zenith's, which is bluer and darker or the same [3, h, w]."""
    light, blue = draw_number(generator, *LIGHT), draw_number(generator) ** 2
    away = torch.tensor((0.6, 0.35, 0.05))[:, None, None] * blue  # what the air takes from white
    share = (-directions[..., 1]).clamp(0, 1) ** draw_number(generator, 0.4, 1.2)
    return light * (1 - away * (0.3 + 0.7 * share)) * (1 - share * draw_number(generator, 0, 0.3))


def _clouds(hw: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Noise of two sizes, one all around [h, w]."""
    total = torch.zeros(hw)
    for rows, weight in ((6, 0.8), (18, 0.4)):
        noise = torch.randn(1, 1, rows, 2 * rows, generator=generator)
        wide = F.pad(noise, (2, 2, 0, 0), mode="circular")
        size = hw[0], round(hw[1] * (2 * rows + 4) / (2 * rows))
        fine = F.interpolate(wide, size, mode="bicubic", align_corners=False)[0, 0]
        first = (size[1] - hw[1]) // 2
        total = total + weight * fine[:, first : first + hw[1]]
    return total * CLOUDS * draw_number(generator) ** 2


def _glow(directions: Tensor, generator: torch.Generator) -> Tensor:
    """Of a sun somewhere above the horizon [h, w]."""
    longitude, height = draw_number(generator, -math.pi, math.pi), draw_number(generator)
    flat = math.sqrt(1 - height**2)
    sun = torch.tensor((flat * math.sin(longitude), -height, flat * math.cos(longitude)))
    angle = torch.rad2deg(torch.acos((directions @ sun).clamp(-1, 1)))
    return draw_number(generator) * torch.exp(-angle / draw_number(generator, *GLOW_DEG))
