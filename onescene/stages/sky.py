"""What is above a photo, a ceiling, things or the sky; and how the sky's colour goes on towards the zenith.

Private to the panorama stage. A photo shows the sky up to its upper rim only, and a clear sky is darker and bluer
above than at the horizon, an overcast one brighter. What the photo tells of that goes on beyond it:

    pixels of the photo that are sky -> logarithm of each channel over the sine of the elevation, column by column
      (the sun is on one side) -> one slope per channel -> everything above the photo, the more the higher

Measured on six photographs that are not held out and nine panoramas of game maps, ST-LPIPS without it, with half of the
slope, with all: 0.271, 0.263, 0.260 and 0.473, 0.476, 0.478 (painted skies follow no air); so half of it is believed.

Of 287 photos cut out of panoramas that are not held out (maps, homes, 13 photographs), 33 show some sky at the rim,
but along less than half of it. The surest tenth of the rim is below ``SURE`` in 22: three are truly under the sky, the
ST-LPIPS of 20 is 0.477 with a sky, 0.471 with a ceiling, 0.442 with things (made of 15 degrees, gone after 50). Of the
other 11 five are under the sky: 0.453, 0.495 and 0.464.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from onescene.stages.outpaint import Strip, degrees
from onescene.stages.scaffold import ScaffoldConfig
from onescene.stages.tour import latitudes

MOST_SKY = 0.25  # mean probability of sky above the photo's rim, below which there is a ceiling
LEAST_AT_RIM = 0.1  # likewise along the rim: a network takes what is smooth for sky, and all above is
SURE, SUREST = 0.8, 0.9  # of the rim the surest tenth is surely sky where there is one: leaves before it are not
BAND_DEG = 3.0  # of the photo below its rim that is looked at for that
IS_SKY = ScaffoldConfig.sky_threshold  # a probability from here on is sky
LOWEST_DEG = 3.0  # haze and tree tops are lower
LEAST_DEG = 5.0  # of sky in a column that is used
FEWEST_PX = 50  # of sky in all, on the map of the probability
BLACK = 0.02  # added to a colour before its logarithm
TRUST = 0.5  # share of the slope that goes on
LEAST, MOST = 0.6, 1.2  # times the rim's colour, at the zenith


def sky_at_rim(sky: np.ndarray, strip: Strip) -> np.ndarray:
    """Mean of a sky probability in a band just below the photo's upper rim, in every column [width].

    Args:
        sky: In [0, 1], of a panorama of any size.
        strip: The photo's rows all around.
    """
    height, width = strip.image.shape[:2]
    large = cv2.resize(sky.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    band = strip.top + np.arange(1, max(2, round(BAND_DEG * degrees(height))))[:, None]
    return large[np.clip(band, 0, height - 1).astype(int), np.arange(width)].mean(axis=0)


def share_of_sky(sky: np.ndarray, rim: np.ndarray) -> float:
    """Mean of a sky probability over the solid angle above the photo's rim.

    Args:
        sky: In [0, 1], of a panorama [height, width].
        rim: The first row of the photo in every column, of a panorama of that size [width].
    """
    weight = np.cos(latitudes(len(sky)))[:, None] * (np.arange(len(sky))[:, None] < rim)
    return float((sky * weight).sum() / max(weight.sum(), 1e-9))


def what_is_above(sky: np.ndarray, strip: Strip, at_rim: np.ndarray) -> Literal["ceiling", "things", "sky"]:
    """What an outpainting shows above a photo.

    A ceiling where hardly any sky is seen at the photo's rim or is made up above it; things that go on upwards (a wood,
    tall walls) where there is some, but none of it is sure; the sky otherwise.

    Args:
        sky: Probability on a panorama of any size.
        strip: The photo's rows all around.
        at_rim: :func:`sky_at_rim` of the photo's own columns.
    """
    every = np.linspace(0, len(strip.top) - 1, sky.shape[1]).round().astype(int)
    above = share_of_sky(sky, strip.top[every] / len(strip.image) * len(sky))
    if above < MOST_SKY or float(at_rim.mean()) < LEAST_AT_RIM:
        return "ceiling"
    return "sky" if float(np.quantile(at_rim, SUREST)) >= SURE else "things"


def continue_sky(panorama: np.ndarray, mask: np.ndarray, sky: np.ndarray) -> np.ndarray:
    """A panorama whose sky goes on above the photo as it changes with the elevation inside it.

    Args:
        panorama: RGB [height, width, 3] in [0, 1], float32.
        mask: True where the photo is [height, width].
        sky: Probability of sky [rows, columns], of any size.

    Returns:
        The same up to the photo's highest row.
    """
    slope = sky_slope(panorama, mask, sky)
    if slope is None:
        return panorama
    sine = np.sin(latitudes(len(panorama)))[:, None]
    rim = sine[np.flatnonzero(mask.any(axis=1))[0]]
    factor = np.exp(TRUST * slope * np.maximum(sine - rim, 0))
    return np.clip(panorama * np.clip(factor, LEAST, MOST)[:, None], 0, 1).astype(np.float32)


def sky_slope(panorama: np.ndarray, mask: np.ndarray, sky: np.ndarray) -> np.ndarray | None:
    """Change of each channel's logarithm per unit of the sine of the elevation, in the photo's sky.

    Returns:
        [3]; None where the photo shows too little sky.
    """
    rows, columns = sky.shape
    small = cv2.resize(panorama, (columns, rows), interpolation=cv2.INTER_AREA)
    known = cv2.resize(mask.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA) > 0.99
    elevation = latitudes(rows)[:, None]
    used = known & (sky > IS_SKY) & (elevation > np.deg2rad(LOWEST_DEG))
    used &= used.sum(axis=0) >= max(2, LEAST_DEG * rows / 180)
    if used.sum() < FEWEST_PX:
        return None
    sine = _about_mean(np.broadcast_to(np.sin(elevation), sky.shape)[..., None], used)
    colour = _about_mean(np.log(np.maximum(small, 0) + BLACK), used)
    return (sine * colour).sum(axis=(0, 1)) / np.square(sine).sum()


def _about_mean(values: np.ndarray, used: np.ndarray) -> np.ndarray:
    """What is used, less the mean of its column; zero elsewhere [rows, columns, n]."""
    weight = used[..., None]
    mean = (values * weight).sum(axis=0) / np.maximum(weight.sum(axis=0), 1)
    return (values - mean) * weight
