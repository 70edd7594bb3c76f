"""Floor, ceiling and clouds of an outpainting, continued in perspective: patches of what the photo shows of them.

Private to the panorama stage. Everything below the photo's rows is seen as a plane under the viewer (or above), on a
chart on which the plane's texture has one scale everywhere; there the ring that the photo, repeated around the circle,
shows of it is the known part, and all within is filled with its patches (``patches.py``):

    strip, draft -> chart (gnomonic, seen from above) -> patches -> panorama

What stands on the floor at the photo's lower rim is cut off there; what lies on it goes on. In a room both planes begin
in straight lines; where the photo's upper rim shows the sky there is no ceiling (``walls.py``, ``sky.py``): of that sky
what differs from its even colours goes on, on a plane of clouds.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from onescene.stages.outpaint import Strip, degrees, draft_and_strip, extend, grain, rim_colours, spread, wrap_blur
from onescene.stages.patches import fill_from_patches
from onescene.stages.sky import IS_SKY, continue_sky, sky_at_rim, what_is_above
from onescene.stages.tour import latitudes
from onescene.stages.walls import RIM_PX, below_sky, rising, straightened

REACH_DEG = 12.0  # height of the ring whose patches are used
SHALLOWEST_DEG = 8.0  # a plane is not looked at flatter than this
DENSITY = 0.8  # side of the chart's pixels over what the panorama resolves of the plane at the photo's rim, radially
UNLIKE = 1.5  # times the median distance of the ring's colours from the start's at the pole: another thing
LEAST_UNLIKE = 0.1  # never less than this, summed over the channels
TINTED = 0.3  # summed over the channels, brightness apart: another tint than the pole's is another thing in any case
LARGEST_PX = 448  # side of the chart: 1.5 s
EVEN_DEG = 12.0  # standard deviation of what evens a sky: what is left are its clouds
EVEN_PX = 256  # rows on which that is done at most


def outpaint_planes(
    placed: np.ndarray, mask: np.ndarray, seed: int, sky_of: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """The classical outpainting, its ground and its ceiling continued in perspective, or its sky in colour.

    Args:
        placed: RGB [height, width, 3], float32, black outside the photo.
        mask: True where the photo is [height, width].
        seed: Of everything drawn.
        sky_of: Probability of sky on a panorama, of any size; it is given the classical outpainting.

    Returns:
        RGB [height, width, 3] in [0, 1].
    """
    rng = np.random.default_rng(seed)
    draft, strip = draft_and_strip(placed, mask, rng)
    ground = continue_plane(draft, strip.image, strip.bottom, False, rng)
    out = draft if ground is None else ground + grain(extend(placed, mask), mask, strip, rng)
    sky, own = sky_of(draft), mask.any(axis=0)
    at_rim = sky_at_rim(sky, strip)
    above = what_is_above(sky, strip, at_rim[own])
    if above == "ceiling":
        start = np.where(strip.above[..., None] > 0, _ceiling_colours(strip), draft)
        ceiling = continue_plane(start, strip.image, strip.top, True, rng)
        out = out if ceiling is None else np.where(strip.above[..., None] > 0, ceiling, out)
        out = straightened(out, strip, own)
    elif above == "things":
        out = rising(out, strip, own)
    else:
        clear = cv2.resize(sky, draft.shape[1::-1], interpolation=cv2.INTER_LINEAR) > IS_SKY
        out = continue_sky(below_sky(out, strip, own, at_rim, clouds(strip, clear, rng)), mask, sky)
    return np.clip(out, 0, 1)


def _ceiling_colours(strip: Strip) -> np.ndarray:
    """The upper rim's colours spread over the zenith, none before the others: where patches begin."""
    latitude = latitudes(len(strip.above))[:, None]
    sigma = np.deg2rad(2 + 0.5 * strip.above / degrees(len(strip.above))) / np.maximum(np.cos(latitude), 1e-3)
    rim = rim_colours(strip, True)
    return spread(rim, np.ones(len(rim)), sigma)


def clouds(strip: Strip, clear: np.ndarray, rng: np.random.Generator) -> np.ndarray | float:
    """What a sky shows beside its even colours, on a plane overhead: it goes on above the photo.

    Args:
        strip: The photo's rows all around.
        clear: Where the sky is, of the strip's image [height, width].
        rng: For where the search begins.

    Returns:
        Above the rim what to add to even colours [height, width, 3], zero below it; one zero where too little is seen.
    """
    weight = clear[..., None].astype(np.float32)
    image = strip.image.astype(np.float32)
    sums = _blurred(np.concatenate((image * weight, weight), axis=-1), EVEN_DEG)
    beside = (image - sums[..., :3] / np.maximum(sums[..., 3:], 1e-3)) * weight
    by_row = beside.sum(axis=1, keepdims=True) / np.maximum(weight.sum(axis=1, keepdims=True), 1)
    beside = (beside - by_row) * weight  # a sky's colour changes with the elevation, and ends
    found = continue_plane(np.zeros_like(beside), beside, strip.top, True, rng, clear)
    return 0.0 if found is None else found


def _blurred(image: np.ndarray, sigma_deg: float) -> np.ndarray:
    """Gaussian blur of a panorama, wide enough to be made of a small copy."""
    rows = min(len(image), EVEN_PX)
    small = cv2.resize(image, (2 * rows, rows), interpolation=cv2.INTER_AREA)
    return cv2.resize(wrap_blur(small, sigma_deg * degrees(rows)), image.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def continue_plane(
    start: np.ndarray,
    known: np.ndarray,
    rim: np.ndarray,
    upper: bool,
    rng: np.random.Generator,
    usable: np.ndarray | None = None,
) -> np.ndarray | None:
    """A panorama whose ground (or ceiling) goes on inwards from the photo's rim.

    Args:
        start: RGB [height, width, 3] in [0, 1], float32; beyond the rim it gives the colours to begin with.
        known: The photo's rows all around [height, width, 3], used up to the rim.
        rim: The last row that is known in every column [width].
        upper: The ceiling above the rim instead of the ground below it.
        rng: For where the search begins.
        usable: Where patches may come from [height, width]; None = wherever the ring looks like the pole.

    Returns:
        RGB [height, width, 3], as ``start`` up to the rim; None where the ring shows too little.
    """
    height = start.shape[0]
    rows = np.arange(height, dtype=np.float32)[:, None]
    beyond = (rim - rows) if upper else (rows - rim)  # [pixels]
    hole = beyond > -1
    rim_deg = ((np.median(rim) + 0.5) / height - 0.5) * (-180 if upper else 180)  # beyond the horizon
    if not SHALLOWEST_DEG + 1 <= rim_deg < 90 or not hole.any():
        return None
    reach = 1 / np.tan(np.deg2rad(max(rim_deg - REACH_DEG, SHALLOWEST_DEG)))
    per_px = np.pi / height / np.sin(np.deg2rad(rim_deg)) ** 2  # of the plane, in a row at the rim [plane heights]
    side = min(16 * int(np.ceil(2 * reach / per_px / DENSITY / 16)), LARGEST_PX)
    base = np.where(hole[..., None], start, known).astype(np.float32)
    where = _chart_places((height, start.shape[1]), side, reach, upper)
    inside = np.hypot(*_plane(side, reach)) < reach
    in_hole = _looked_up(hole.astype(np.float32), where) > 0.02
    chart, ring = _looked_up(base, where), inside & ~in_hole
    if usable is not None:
        ring &= _looked_up(usable.astype(np.float32), where) > 0.99
    elif ring.any():
        ring = _alike(chart, ring, start[0 if upper else -1].mean(axis=0))
    found = fill_from_patches(chart, in_hole, ring, rng)
    if found is None:
        return None
    share = np.clip(beyond / RIM_PX, 0, 1)[..., None]
    return start + (_on_panorama(found, start.shape[:2], reach, upper) - start) * share


def _alike(chart: np.ndarray, ring: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """The ring without what is of quite another colour: what stands on a floor, windows below a ceiling."""
    apart = chart - colour
    away, tint = np.abs(apart).sum(axis=-1), np.abs(apart - apart.mean(axis=-1, keepdims=True)).sum(axis=-1)
    return ring & (away < max(UNLIKE * float(np.median(away[ring])), LEAST_UNLIKE)) & (tint < TINTED)


def _plane(side: int, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the chart's pixels lie on the plane, to the right and ahead [plane heights]."""
    along = ((np.arange(side) + 0.5) / side * 2 - 1) * reach
    return tuple(np.meshgrid(along, along))


def _chart_places(hw: tuple[int, int], side: int, reach: float, upper: bool) -> tuple[np.ndarray, np.ndarray]:
    """Column (two more, for the wrapped border) and row of the panorama that each pixel of the chart shows."""
    right, ahead = _plane(side, reach)
    latitude = np.arctan2(1, np.hypot(right, ahead)) * (1 if upper else -1)
    column = (np.arctan2(right, ahead) / (2 * np.pi) + 0.5) * hw[1] - 0.5
    row = (0.5 - latitude / np.pi) * hw[0] - 0.5
    return (column + 2).astype(np.float32), row.astype(np.float32)


def _looked_up(panorama: np.ndarray, where: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    around = cv2.copyMakeBorder(panorama, 0, 0, 2, 2, cv2.BORDER_WRAP)
    return cv2.remap(around, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _on_panorama(chart: np.ndarray, hw: tuple[int, int], reach: float, upper: bool) -> np.ndarray:
    """The chart seen in the panorama; its border where the plane is farther away than it reaches."""
    longitude = ((np.arange(hw[1]) + 0.5) / hw[1] - 0.5) * 2 * np.pi
    towards = ((np.arange(hw[0]) + 0.5) / hw[0] - 0.5)[:, None] * np.pi * (-1 if upper else 1)
    away = np.minimum(1 / np.tan(np.maximum(towards, 1e-3)), 2 * reach)
    right, ahead = away * np.sin(longitude), away * np.cos(longitude)
    side = len(chart)
    places = (((x / reach + 1) / 2 * side - 0.5).astype(np.float32) for x in (right, ahead))
    return cv2.remap(chart, *places, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
