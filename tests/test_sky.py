"""What is above a photo; and the colours of a sky, which go on towards the zenith as they change in the photo."""

import numpy as np
import pytest

from onescene.stages import sky as stage
from onescene.stages.outpaint import Strip
from onescene.stages.sky import (
    IS_SKY,
    LEAST,
    MOST,
    TRUST,
    continue_sky,
    share_of_sky,
    sky_at_rim,
    sky_slope,
    what_is_above,
)

HW = (128, 256)
SINE = np.sin((0.5 - (np.arange(HW[0]) + 0.5) / HW[0]) * np.pi)[:, None]
RIM = 40  # the photo's first row, 33 degrees up
MASK = np.zeros(HW, dtype=bool)
MASK[RIM:88, 80:176] = True
SKY = np.where(SINE > 0, 0.95, 0.05) * np.ones(HW)


def sky_of(slope: tuple[float, float, float]) -> np.ndarray:
    """Brighter towards a sun on one side, and changing with the elevation [height, width, 3]."""
    side = 0.3 + 0.1 * np.cos(np.arange(HW[1]) / HW[1] * 2 * np.pi)
    return (side[None, :, None] * np.exp(np.array(slope) * SINE[..., None]) - 0.02).astype(np.float32)


def flat_above(true: np.ndarray) -> np.ndarray:
    """What is above the photo has its rim's colours."""
    return np.where((np.arange(HW[0]) < RIM)[:, None, None], true[RIM], true)


def test_the_share_of_sky_is_one_of_solid_angle():
    sky = np.zeros((64, 128))
    sky[:16] = 1.0  # from 45 degrees up
    above = (1 - np.sin(np.pi / 4)) / (1 - np.sin(np.pi / 8))
    assert share_of_sky(sky, np.full(128, 24.0)) == pytest.approx(above, abs=2e-3)
    assert share_of_sky(sky, np.zeros(128)) == 0


def strip_of(top: float) -> Strip:
    """A photo's rows all around, the first of them at ``top`` of 256 rows."""
    rows, flat = np.arange(256)[:, None], np.zeros(512)
    above, below = np.maximum(top - rows, 0) + flat, np.maximum(rows - 160, 0) + flat
    return Strip(np.zeros((256, 512, 3), np.float32), flat + top, flat + 160, above, below)


def test_the_rim_is_looked_at_below_it():
    sky = np.zeros((64, 128))
    sky[:23, 32:64] = 1.0
    sky[:20, 64:] = 1.0
    at_rim = sky_at_rim(sky, strip_of(80.0))  # 20 rows of the sky's
    assert at_rim.shape == (512,)
    assert (at_rim[136:248] > 0.99).all(), "the sky reaches below the rim"
    assert (at_rim[:120] == 0).all() and (at_rim[264:] < 0.4).all(), "what is above the rim is made up"


@pytest.mark.parametrize(
    ("above", "at_rim", "shown"),
    [
        (1.0, 0.9, "sky"),
        (1.0, 0.05, "ceiling"),
        (0.2, 0.9, "ceiling"),
        (0.0, 0.0, "ceiling"),
        (0.3, 0.2, "things"),
        (1.0, 0.7, "things"),
    ],
)
def test_what_is_above_is_seen_at_the_rim_and_made_up_beyond(above, at_rim, shown):
    sky = np.full((32, 64), above)
    assert what_is_above(sky, strip_of(96.0), np.full(200, at_rim)) == shown


@pytest.mark.parametrize(("clear", "shown"), [(30, "sky"), (12, "things")])
def test_a_gap_of_clear_sky_is_enough(clear, shown):
    """A street between houses has it, a wood has none: three columns of twenty, or one."""
    at_rim = np.full(200, 0.15)
    at_rim[:clear] = 1.0
    assert what_is_above(np.ones((32, 64)), strip_of(96.0), at_rim) == shown


@pytest.mark.parametrize("slope", [(-0.8, -0.6, -0.2), (0.2, 0.2, 0.2)], ids=["clear", "overcast"])
@pytest.mark.parametrize("size", [1, 2], ids=["sky as large", "sky half as large"])
def test_a_sky_goes_on_as_it_changes(slope, size, monkeypatch):
    monkeypatch.setattr(stage, "TRUST", 1.0)
    true, sky = sky_of(slope), SKY[::size, ::size]
    np.testing.assert_allclose(sky_slope(true, MASK, sky), slope, atol=0.02)
    given = flat_above(true)
    given[100:, :60] = -0.1  # grain below zero, not clipped yet
    made = continue_sky(given, MASK, sky)
    assert np.array_equal(made[RIM:100], true[RIM:100])
    before, after = (np.abs(x[:RIM] - true[:RIM]).mean() for x in (flat_above(true), made))
    assert after < 0.15 * before


def test_part_of_the_slope_is_trusted():
    true, slope = sky_of((-0.4, -0.4, -0.4)), -0.4
    made = continue_sky(flat_above(true), MASK, SKY)
    wanted = flat_above(true)[0] * np.exp(TRUST * slope * (SINE[0] - SINE[RIM]))
    np.testing.assert_allclose(made[0], wanted, rtol=5e-3)


def test_it_goes_on_no_further_than_a_limit():
    for slope, limit in (((-9.0,) * 3, LEAST), ((3.0,) * 3, MOST)):
        given = np.full((*HW, 3), 0.3, np.float32)
        given[RIM:] = sky_of(slope)[RIM:].clip(0, 1)
        np.testing.assert_allclose(continue_sky(given, MASK, SKY)[0], 0.3 * limit, rtol=1e-5)


@pytest.mark.parametrize("sky", [0 * SKY, np.minimum(SKY, IS_SKY - 0.01), np.where(SINE > 0.5, SKY, 0)])
def test_a_photo_that_shows_too_little_sky_tells_nothing(sky):
    given = flat_above(sky_of((-0.8, -0.6, -0.2)))
    assert sky_slope(given, MASK, sky) is None
    assert continue_sky(given, MASK, sky) is given
