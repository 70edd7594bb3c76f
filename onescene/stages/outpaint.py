"""Classical outpainting of a placed photo: mirrors, blur, colour spread on the sphere and a ground texture.

Private to the panorama stage; everything is NumPy, [height, width, 3], and measured in degrees so that the result does
not depend on the resolution.

    placed photo, mask
      -> tour: which column of the photo each missing column repeats, forward and mirrored, around the circle
      -> strip: the repeated columns, mirrored upwards and downwards at the photo's rim as well
      -> blurred more the farther from the photo
      -> caps: the colours of the strip's rim spread to the poles, each pole one colour
      -> ground texture with the spectrum of the ground in the photo (``ground``)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from onescene.stages.ground import ground_texture, smoothstep
from onescene.stages.tour import TOURS, Columns, choose_tour, degrees, latitudes, photo_columns

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # Rec. 601

# Chosen by eye on crops of panoramas; the blur also by ST-LPIPS and Frechet distance to twelve of them: least is best.
BLUR_DEG_PER_DEG = 0.002  # standard deviation of the blur per degree of distance from the photo
BLUR_FREE_DEG = 3.0  # no blur closer than this
RISE_BLUR = 0.1  # the same for what is mirrored upwards and downwards
RISE_DEG, FALL_DEG = 5.0, 9.0  # mirrored structure fades into the cap over this height, above and below
RIM_DEG = 5.0  # height of the band whose colours a cap takes
POLE_DEG = 45.0  # from the rim to where a cap has one colour
SKY_CONTRAST = 8.0  # bright colours spread further above: what stands in front of sky or ceiling is darker
GROUND_CONTRAST = 8.0  # grey colours spread further below: what stands on the ground is more colourful


# --- the strip -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Strip:
    """The photo's rows, all around.

    Attributes:
        image: Colour everywhere; only near the rim rows is it meant to be used.
        top: The photo's first row in every column.
        bottom: Its last row.
        above: How far a pixel is above the rim [pixels], else 0.
        below: How far it is below.
    """

    image: np.ndarray
    top: np.ndarray
    bottom: np.ndarray
    above: np.ndarray
    below: np.ndarray


def unroll(placed: np.ndarray, columns: Columns, tour: np.ndarray) -> Strip:
    """Lays the photo's columns out along the tour, and mirrors their rows at the rim."""
    height, width = placed.shape[:2]
    source = np.concatenate((np.arange(columns.count), tour)).astype(np.float32)
    top = np.interp(source, np.arange(columns.count), columns.top) + 1  # the outermost pixel may be half photo
    bottom = np.interp(source, np.arange(columns.count), columns.bottom) - 1
    rows = np.arange(height, dtype=np.float32)[:, None]
    above, below = np.maximum(top - rows, 0), np.maximum(rows - bottom, 0)
    mirrored = np.clip(rows + 2 * above - 2 * below, top, np.maximum(bottom, top))
    x = np.broadcast_to(source + columns.start, (height, width)).astype(np.float32)
    image = cv2.remap(placed, x, mirrored.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    turn = [np.roll(a, columns.start, axis=-1) for a in (top, bottom, above, below)]
    return Strip(np.roll(image, columns.start, axis=1), *turn)


def wrap_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of a panorama, periodic in longitude [pixels]."""
    pad = min(int(4 * sigma) + 1, image.shape[1])
    padded = np.concatenate((image[:, -pad:], image, image[:, :pad]), axis=1)
    return cv2.GaussianBlur(padded, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)[:, pad:-pad]


def variable_blur(image: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Blur with its own standard deviation at every pixel [pixels], between five blurred copies."""
    unit = degrees(image.shape[0])
    levels = unit * np.array([0, 0.5, 1, 2, 4, 8])
    out = image.copy()
    lower = image
    for low, high in pairwise(levels):
        if sigma.max() <= low:
            break
        upper = wrap_blur(image, high)
        share = np.clip((sigma - low) / (high - low), 0, 1)[..., None]
        out = np.where(sigma[..., None] > low, lower + (upper - lower) * share, out)
        lower = upper
    return out.astype(np.float32)


def distance_from(mask: np.ndarray) -> np.ndarray:
    """Distance of every pixel from the mask [pixels], around the circle, zero inside."""
    half = mask.shape[1] // 2
    around = np.concatenate((mask[:, -half:], mask, mask[:, :half]), axis=1)
    return cv2.distanceTransform((~around).astype(np.uint8), cv2.DIST_L2, 5)[:, half:-half]


def extend(placed: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Gives every pixel outside the mask the colour of the nearest one inside, so that no black can leak in."""
    _, labels = cv2.distanceTransformWithLabels(
        (~mask).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((int(labels.max()) + 1, 3), dtype=np.float32)
    colours[labels[mask]] = placed[mask]
    return colours[labels]


# --- the caps --------------------------------------------------------------------------------------------------------


def rim_colours(strip: Strip, upper: bool) -> np.ndarray:
    """Mean colour of a band just inside the strip's upper or lower rim [width, 3]."""
    height, width = strip.image.shape[:2]
    edge, inwards = (strip.top, 1) if upper else (strip.bottom, -1)
    band = edge[None] + inwards * np.arange(1, max(2, round(RIM_DEG * degrees(height))))[:, None]
    return strip.image[np.clip(band, 0, height - 1).astype(int), np.arange(width)].mean(axis=0)


def spread(rim: np.ndarray, weight: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Weighted means of colours around the circle, with a Gaussian as wide as ``sigma`` [radians] at every pixel.

    Args:
        rim: Colours around the circle [width, 3].
        weight: How much each of them counts [width].
        sigma: Standard deviation of longitude [height, width]; above half a turn it is the mean of all.
    """
    width = len(rim)
    levels = np.deg2rad(2) * 2.0 ** np.arange(8)
    frequency = np.arange(width // 2 + 1)[:, None]
    spectrum = np.fft.rfft(np.column_stack((rim * weight[:, None], weight)), axis=0)
    rings = [np.fft.irfft(spectrum * np.exp(-0.5 * (frequency * s) ** 2), n=width, axis=0) for s in levels]
    rings = np.stack([r[:, :3] / np.maximum(r[:, 3:], 1e-4) for r in rings]).astype(np.float32)
    level = np.clip(np.log2(sigma / levels[0]), 0, len(levels) - 1.001)
    below = level.astype(int)
    share = (level - below)[..., None].astype(np.float32)
    column = np.arange(width)
    return rings[below, column] * (1 - share) + rings[below + 1, column] * share


def cap(strip: Strip, columns: slice | np.ndarray, upper: bool, rim: np.ndarray | None = None) -> np.ndarray:
    """Spreads the colours of the strip's upper or lower rim over the sphere, wider the farther from it.

    The pole has one colour, the median over the photo's own ``columns``. ``rim`` are other colours than
    :func:`rim_colours`.
    """
    height = strip.image.shape[0]
    rim = rim_colours(strip, upper) if rim is None else rim
    score = SKY_CONTRAST * (rim @ LUMA) if upper else -GROUND_CONTRAST * np.ptp(rim, axis=1)
    own, own_score = rim[columns], score[columns]
    pole = np.median(own[own_score >= np.quantile(own_score, 0.4)], axis=0)
    score = np.minimum(score, np.quantile(score, 0.75))  # a window or a lamp does not outshine the ceiling
    weight = np.exp(score - score.max()) + 0.004
    latitude = latitudes(height)[:, None]
    away = (strip.above if upper else strip.below) / degrees(height)
    # around the pole every longitude is the same place
    polar = smoothstep((np.abs(latitude) - np.deg2rad(65)) / np.deg2rad(20))
    away = away + (away.mean(axis=1, keepdims=True) - away) * polar
    sigma = np.deg2rad(2 + 0.5 * away) / np.maximum(np.cos(latitude), 1e-3)  # an angle on the sphere
    share = smoothstep(away / POLE_DEG)[..., None].astype(np.float32)
    return spread(rim, weight, sigma) * (1 - share) + pole * share


def outpaint(placed: np.ndarray, mask: np.ndarray, seed: int, tours: int = TOURS) -> np.ndarray:
    """A whole panorama from a photo on it.

    Args:
        placed: RGB [height, width, 3], float32, black outside the photo.
        mask: True where the photo is [height, width].
        seed: For the tour and the texture.
        tours: Random tours to choose from; fewer are quicker and repeat more.

    Returns:
        RGB [height, width, 3] in [0, 1]; inside the photo it is close to the photo but not exactly it.
    """
    return draft_and_strip(placed, mask, np.random.default_rng(seed), tours)[0]


def draft_and_strip(
    placed: np.ndarray, mask: np.ndarray, rng: np.random.Generator, tours: int = TOURS
) -> tuple[np.ndarray, Strip]:
    """What :func:`outpaint` returns, and the photo's rows all around that it is made of."""
    height, width = mask.shape
    unit = degrees(height)
    placed = extend(placed, mask)
    columns = photo_columns(placed, mask)
    strip = unroll(placed, columns, choose_tour(columns, width - columns.count, rng, tours))
    outside = np.maximum(strip.above / RISE_DEG, strip.below / FALL_DEG) / unit
    share = smoothstep(outside)[..., None]
    rows = np.arange(height)[:, None]
    own = slice(columns.start, columns.start + columns.count)
    is_above = (rows < (strip.top + strip.bottom) / 2)[..., None]
    caps = np.where(is_above, cap(strip, own, True), cap(strip, own, False))
    mixed = variable_blur(strip.image, RISE_BLUR * (strip.above + strip.below)) * (1 - share) + caps * share
    away = distance_from(mask)
    mixed = variable_blur(mixed, BLUR_DEG_PER_DEG * np.maximum(away - BLUR_FREE_DEG * unit, 0))
    return np.clip(mixed + grain(placed, mask, strip, rng), 0, 1), strip


def grain(placed: np.ndarray, mask: np.ndarray, strip: Strip, rng: np.random.Generator) -> np.ndarray:
    """The ground's texture, below the strip, to be added; ``placed`` as :func:`extend` makes it."""
    rows = np.arange(len(placed))[:, None]
    below = smoothstep((rows - strip.bottom) / (10 * degrees(len(placed))))
    return ground_texture(placed, mask, rng) * below[..., None]
