"""The sky of an outpainting: how much of it there is, and how its colour goes on towards the zenith.

Private to the panorama stage. A photo shows the sky up to its upper rim only, and a clear sky is darker and bluer
above than at the horizon, an overcast one brighter. What the photo tells of that goes on beyond it:

    pixels of the photo that are sky -> logarithm of each channel over the sine of the elevation, column by column
      (the sun is on one side) -> one slope per channel -> everything above the photo, the more the higher

Measured on six photographs that are not held out and nine panoramas of game maps, ST-LPIPS without it, with half of the
slope, with all: 0.271, 0.263, 0.260 and 0.473, 0.476, 0.478 (painted skies follow no air); so half of it is believed.
"""

from __future__ import annotations

import cv2
import numpy as np

from onescene.stages.outpaint import Strip, degrees
from onescene.stages.scaffold import ScaffoldConfig
from onescene.stages.tour import latitudes

MOST_SKY = 0.25  # mean probability of sky above the photo's rim, below which there is a ceiling
LEAST_AT_RIM = 0.1  # likewise along the rim: a network takes what is smooth for sky, and all above is
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


def is_ceiling(sky: np.ndarray, strip: Strip, at_rim: np.ndarray) -> bool:
    """Whether there is a ceiling above a photo and no sky: none is seen at its rim, or hardly any is made up of it.

    Args:
        sky: Probability on a panorama of any size.
        strip: The photo's rows all around.
        at_rim: :func:`sky_at_rim` of the photo's own columns.
    """
    every = np.linspace(0, len(strip.top) - 1, sky.shape[1]).round().astype(int)
    above = share_of_sky(sky, strip.top[every] / len(strip.image) * len(sky))
    return above < MOST_SKY or float(at_rim.mean()) < LEAST_AT_RIM


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
