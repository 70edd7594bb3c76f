"""Where the walls of an outpainting end: in straight lines of four walls around the viewer, under a ceiling or a sky.

Private to the panorama stage. A photo cuts off what is higher than its upper rim. In a room its walls go on to the line
in which the ceiling begins; outdoors what stands before the sky (houses, a slope) goes on to such a line, ends there,
and behind it is the colour of the sky that the photo shows beside it. In a wood, where no sky is clear, it rises.
"""

from __future__ import annotations

import cv2
import numpy as np

from onescene.stages.ground import smoothstep
from onescene.stages.outpaint import (
    LUMA,
    RISE_DEG,
    SKY_CONTRAST,
    Strip,
    cap,
    degrees,
    rim_colours,
    spread,
    variable_blur,
    wrap_blur,
)

MARGIN_DEG = 1.5  # of wall beyond the photo's rim, so that what is beyond is not seen in the photo's last row
STEEPEST_RAD = 1.55  # of a line: a photo of the ceiling has no rim that a wall could end at
LINE_DEG = 10.0  # walls go on or are cut so far at most: a photo that was turned has a slanting rim
RIM_PX = 2.0  # over which what is beyond a rim comes in [pixels of the panorama]
BAND_DEG = 8.0  # of the photo below its upper rim that things go on with, there and back: more would turn bushes over
TALL_DEG, GONE_DEG = 15.0, 70.0  # above the rim; between these they fade (seven photos: ST-LPIPS less than to 50)
ZENITH_DEG = 5.0  # around it they are gone
ROOF_DEG = 1.0  # over which the sky comes in above a roof
ROOF_BLUR = 0.03  # standard deviation over the distance from the rim, of what is mirrored there
BEHIND_DEG = 30.0  # standard deviation of longitude over which the sky is taken that is behind a wall
SKY, NO_SKY = (0.5, 0.9), (0.45, 0.7)  # probabilities at the rim between which sky colours count, and things end softly
FAINT = 0.02  # weight of a bright column without any sky
BURNT = (0.8, 0.95)  # colours of a column, between which it is white as no wall is
DARKER = (0.15, 0.3)  # brightness less than the sky's around, between which a column is no sky
CONTRAST = (0.06, 0.18)  # of a thing with the sky behind it, summed over the channels: what differs less fades into it
NEAR_DEG = 0.5  # over which that contrast is averaged


def straightened(panorama: np.ndarray, strip: Strip, own: np.ndarray) -> np.ndarray:
    """A room's panorama whose walls end in straight lines above and below, as four walls around the viewer do.

    The rim of a level photo is such a line, on a wall that faces it; its copies' rims are arcs that meet in cusps.
    Between line and rim everything is mirrored at the rim: walls go on where the line is farther from the horizon,
    ceiling or floor come nearer where it is not.

    Args:
        panorama: RGB [height, width, 3], float32.
        strip: The photo's rows all around.
        own: Whether a column shows the photo itself [width]; all of it lies between the lines.
    """
    rows, columns = np.indices(panorama.shape[:2], dtype=np.float32)
    source, share = rows, np.zeros_like(rows)
    for rim, outwards in ((strip.top, -1), (strip.bottom, 1)):
        line = _line(rim, outwards, own, len(panorama))
        plane_comes = outwards * (rim - line) > 0
        mirror = np.where(plane_comes, rim + outwards * (RIM_PX + 1), rim)  # there the plane has come in
        beyond = (rows - line) * np.sign(mirror - line)
        between = (beyond > 0) & (beyond <= np.abs(mirror - line))
        source = np.where(between, 2 * mirror - rows, source)
        share = np.where(between, np.minimum(beyond / RIM_PX, 1), share)
    places = columns, source.astype(np.float32)
    mirrored = cv2.remap(panorama, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return panorama + (mirrored - panorama) * share[..., None]


def wall_line(rim: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Where four walls at right angles end, the first one ahead, as near to the horizon as holds the photo's rim.

    Args:
        rim: Of the photo in every column, from the horizon [width, pixels].
        own: Whether a column shows the photo itself [width].

    Returns:
        Likewise: straight lines of a room [width].
    """
    angle = 2 * np.pi / len(rim)  # of a pixel
    longitude = (np.arange(len(rim)) + 0.5) * angle - np.pi
    across = np.cos((longitude + np.pi / 4) % (np.pi / 2) - np.pi / 4)  # a wall's distance ahead over that of the place
    rise = np.tan(np.minimum(rim * angle, STEEPEST_RAD))
    return np.arctan((rise / across)[own].max() * across) / angle


def below_sky(
    panorama: np.ndarray, strip: Strip, own: np.ndarray, sky: np.ndarray, clouds: np.ndarray | float = 0.0
) -> np.ndarray:
    """A panorama in which what reaches the photo's upper rim ends in straight lines before the sky.

    Args:
        panorama: RGB [height, width, 3], float32.
        strip: The photo's rows all around.
        own: Whether a column shows the photo itself [width].
        sky: Probability of sky at the rim of every column (:func:`onescene.stages.sky.sky_at_rim`).
        clouds: What to add to the sky's colours, behind everything else [height, width, 3].

    Returns:
        The same where the photo is; above it sky, and things up to the line.
    """
    unit = degrees(len(panorama))
    rows = np.arange(len(panorama), dtype=np.float32)[:, None]
    rim, sky = _sky_behind(rim_colours(strip, True), sky)
    behind = cap(strip, own, True, rim)
    image = variable_blur(strip.image, ROOF_BLUR * strip.above)
    contrast = wrap_blur(np.abs(image - behind).sum(axis=-1).astype(np.float32), NEAR_DEG * unit)
    differs, over = _rise(contrast, CONTRAST), strip.above > 0
    stands = np.minimum.accumulate(np.where(over, differs, 1)[::-1], axis=0)[::-1]
    stands = np.where(over, stands, differs)  # what is mirrored and hovers does not
    thing = stands * (1 - _rise(sky, NO_SKY))
    fading = (1 - smoothstep(strip.above / (RISE_DEG * unit))) * (1 - (differs - stands))
    ending = np.clip((rows - _line(strip.top, -1, own, len(panorama))) / (ROOF_DEG * unit) + 0.5, 0, 1)
    share = fading + (ending - fading) * thing
    behind = behind + clouds
    above = behind + (np.where(over[..., None], image, panorama) - behind) * share[..., None]
    return np.where((rows < (strip.top + strip.bottom) / 2)[..., None], above, panorama).astype(np.float32)


def rising(panorama: np.ndarray, strip: Strip, own: np.ndarray) -> np.ndarray:
    """A panorama in which what reaches the photo's upper rim goes on upwards and fades into the colours up there.

    Upright lines are meridians of a panorama: a trunk that goes on along its columns goes on straight.

    Args:
        panorama: RGB [height, width, 3], float32.
        strip: The photo's rows all around.
        own: Whether a column shows the photo itself [width].

    Returns:
        The same up to the photo's upper rim.
    """
    unit = degrees(len(panorama))
    columns = np.indices(panorama.shape[:2], dtype=np.float32)[1]
    band = np.maximum(np.minimum(BAND_DEG * unit, (strip.bottom - strip.top) / 2), 1)
    row = strip.top + band - np.abs(strip.above % (2 * band) - band)
    image = cv2.remap(strip.image, columns, row.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    things = variable_blur(image, ROOF_BLUR * strip.above)
    gone = np.clip(strip.top / unit - ZENITH_DEG, 1, GONE_DEG)
    share = 1 - _rise(strip.above / unit, (np.minimum(TALL_DEG, gone / 2), gone))
    colours = cap(strip, own, True)
    above = colours + (things - colours) * share[..., None]
    return np.where(strip.above[..., None] > 0, above, panorama).astype(np.float32)


def _sky_behind(rim: np.ndarray, sky: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rim's colours, where there is no sky those of the sky around [width, 3]; and the probability that there is.

    What is burnt out is sky, and a column far darker than the sky around is none.
    """
    luma, sky = rim @ LUMA, np.maximum(sky, _rise(rim.min(axis=1), BURNT))
    bright = FAINT * np.exp(SKY_CONTRAST * (luma - luma.max()))  # where there is next to no sky

    def around(share: np.ndarray) -> np.ndarray:
        return spread(rim, share + bright, np.full((1, len(rim)), np.deg2rad(BEHIND_DEG)))[0]

    sky = sky * (1 - _rise(around(_rise(sky, SKY)) @ LUMA - luma, DARKER))
    share = _rise(sky, SKY)
    return rim * share[:, None] + around(share) * (1 - share[:, None]), sky


def _rise(x: np.ndarray, between: tuple[float | np.ndarray, float | np.ndarray]) -> np.ndarray:
    low, high = between
    return smoothstep((x - low) / (high - low))


def _line(rim: np.ndarray, outwards: int, own: np.ndarray, height: int) -> np.ndarray:
    """Row of :func:`wall_line` for the photo's rim above (-1) or below (1), near to that [width]."""
    horizon, unit = height / 2 - 0.5, degrees(height)
    line = horizon + outwards * wall_line(outwards * (rim - horizon) + MARGIN_DEG * unit, own)
    return np.clip(line, rim - LINE_DEG * unit, rim + LINE_DEG * unit)
