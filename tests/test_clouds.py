"""Clouds above a photo: what its sky shows beside even colours goes on overhead, and an even sky stays even."""

import numpy as np
import pytest

from onescene.stages import planes as stage
from onescene.stages.outpaint import Strip
from onescene.stages.planes import clouds
from onescene.stages.tour import latitudes
from onescene.stages.walls import below_sky

HW = (192, 384)
RIM = 56  # 37.5 degrees above the horizon
ROWS = np.arange(HW[0])[:, None]
LONGITUDE = (((np.arange(HW[1]) + 0.5) / HW[1] - 0.5) * 2 * np.pi)[None]
LATITUDE = latitudes(HW[0])[:, None]
WAVES = 0.12  # of the clouds' brightness
BLUE = np.array([0.4, 0.5, 0.7])


def overhead() -> np.ndarray:
    """Clouds on a plane: waves of 0.6 of its height, across and along [height, width]."""
    away = 1 / np.tan(np.maximum(LATITUDE, np.deg2rad(2)))
    right, ahead = away * np.sin(LONGITUDE), away * np.cos(LONGITUDE)
    return WAVES * np.sin(right * 2 * np.pi / 0.6) * np.sin(ahead * 2 * np.pi / 0.6 + 1)


def strip_of(sky: np.ndarray) -> Strip:
    """A photo's rows with that sky [height, width, 3]; above the rim they are mirrored, as in an outpainting."""
    image = np.where((ROWS < HW[0] // 2)[..., None], sky, 0.3).astype(np.float32)
    mirrored = np.where(ROWS < RIM, 2 * RIM - 1 - ROWS, ROWS)[:, 0]
    top, bottom = np.full(HW[1], float(RIM)), np.full(HW[1], 135.0)
    above, below = (np.broadcast_to(np.maximum(x, 0), HW) for x in (RIM - ROWS, ROWS - 135))
    return Strip(image[mirrored], top, bottom, above, below)


CLEAR = np.broadcast_to(ROWS < HW[0] // 2, HW)
HIGH = (LATITUDE > np.deg2rad(42))[:, 0]


def test_clouds_go_on_overhead_in_perspective():
    strip = strip_of(BLUE + overhead()[..., None])
    added = clouds(strip, CLEAR, np.random.default_rng(0))
    assert added.shape == (*HW, 3) and not added[RIM + 1 :].any()
    ring = strip.image[RIM : RIM + 12].std(axis=(0, 1)).mean()
    weight = np.cos(LATITUDE[HIGH]).repeat(HW[1], 1)[..., None]
    high = np.sqrt((weight * np.square(added[HIGH])).sum() / weight.sum() / 3)
    assert 0.5 * ring < high < 1.2 * ring
    assert np.abs(added.mean(axis=(0, 1))).max() < 0.02  # colours stay those of the sky
    at_pole = added[:3].std()
    assert at_pole < 0.25 * high, "at the zenith every longitude is one place"
    assert np.ptp(added, axis=-1).max() < 0.05  # grey waves stay grey


@pytest.mark.parametrize("seed", [0, 1])
def test_an_even_sky_stays_even(seed):
    """Darker overhead, brighter towards the sun: neither is a cloud."""
    sky = BLUE * np.exp(-0.6 * np.sin(LATITUDE) + 0.2 * np.cos(LONGITUDE))[..., None]
    added = clouds(strip_of(sky), CLEAR, np.random.default_rng(seed))
    assert np.abs(added).max() < 0.02


def test_what_is_no_sky_does_not_fly():
    tower = np.broadcast_to(np.abs(LONGITUDE) < 0.4, HW)
    sky = np.where(tower[..., None], (1.0, 0.1, 0.1), BLUE + overhead()[..., None])
    added = clouds(strip_of(sky), CLEAR & ~tower, np.random.default_rng(0))
    assert np.ptp(added, axis=-1).max() < 0.05 and np.abs(added).max() < 2.5 * WAVES
    assert np.abs(added[HIGH]).max() > 0.4 * WAVES


def test_evening_a_large_panorama_is_done_on_a_small_copy(monkeypatch):
    strip = strip_of(BLUE + overhead()[..., None])
    whole = clouds(strip, CLEAR, np.random.default_rng(0))
    monkeypatch.setattr(stage, "EVEN_PX", HW[0] // 2)
    halved = clouds(strip, CLEAR, np.random.default_rng(0))
    ring = np.s_[RIM - 4 : RIM]  # next to what is known the patches are the same
    assert np.abs(whole[ring] - halved[ring]).mean() < 0.1 * WAVES


def test_without_a_sky_there_is_nothing_to_add():
    strip = strip_of(BLUE + overhead()[..., None])
    assert clouds(strip, np.zeros(HW, bool), np.random.default_rng(0)) == 0.0


def test_clouds_stand_behind_houses():
    house = np.broadcast_to(np.abs(LONGITUDE) < 0.5, HW)
    sky = np.where(house[..., None], (0.5, 0.2, 0.1), np.broadcast_to(BLUE, (*HW, 3)))
    strip = strip_of(sky)
    own, at_rim = (np.abs(LONGITUDE) < 0.7)[0], np.where(house[0], 0.0, 1.0)
    given = strip.image.copy()
    plain = below_sky(given, strip, own, at_rim)
    with_clouds = below_sky(given, strip, own, at_rim, np.where(CLEAR & (ROWS < RIM), 0.1, 0)[..., None])
    changed = np.abs(with_clouds - plain).max(axis=-1)
    assert changed[RIM:].max() == 0
    assert changed[: RIM // 3].min() > 0.09
    assert changed[RIM - 4 : RIM - 1][:, np.abs(LONGITUDE[0]) < 0.3].max() < 0.02
