"""Where an outpainting's walls end: a room's straight lines, roofs before a sky that the photo shows beside them."""

import numpy as np
import pytest

from onescene.stages.outpaint import Strip
from onescene.stages.walls import (
    BAND_DEG,
    LINE_DEG,
    MARGIN_DEG,
    RIM_PX,
    ROOF_DEG,
    below_sky,
    rising,
    straightened,
    wall_line,
)

HW = (128, 256)


def longitudes() -> np.ndarray:
    return ((np.arange(HW[1]) + 0.5) / HW[1] - 0.5) * 2 * np.pi


def test_a_photos_rim_is_a_rooms_line_and_the_other_walls_have_it_too():
    """tan(elevation) of a line on a wall one unit ahead is its height times the cosine of the angle to the wall."""
    own, per_px = np.abs(longitudes()) < 0.6, 2 * np.pi / HW[1]
    rim = np.arctan(0.5 * np.cos(longitudes() * np.where(own, 1, 0.1))) / per_px  # what is not the photo's is not asked
    line = wall_line(rim, own)
    np.testing.assert_allclose(line[own], rim[own], atol=1e-9)
    for k in (1, 2, 3):
        np.testing.assert_allclose(np.roll(line, k * HW[1] // 4), line, atol=1e-9)
    assert np.tan(line.min() * per_px) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)  # in the corners
    past_the_pole = wall_line(np.full(HW[1], HW[0] / 2 + 1), own)
    assert (past_the_pole > 0.45 * HW[0]).all(), "a photo of the zenith has walls up there too"
    taller = wall_line(rim + 3 * (longitudes() > 0.3), own)
    assert (taller[own] >= rim[own]).all() and taller.max() > line.max()


def test_a_rooms_walls_end_in_straight_lines():
    """Arcs that meet in cusps become the line: walls grow where it is farther, the planes come in where it is not."""
    own, rows = np.abs(longitudes()) < 0.5, np.arange(HW[0])[:, None]
    from_peak = np.abs((np.arange(HW[1]) - 104) % 48 - 24) / 24  # the photo's at 128, copies every 48
    top, bottom = 42 + 5 * from_peak, 86 - 4 * from_peak
    wall = (rows >= top - 1) & (rows <= bottom + 1)  # the plane comes in beyond the rim
    panorama = np.where(wall[..., None], 0.9, 0.2).astype(np.float32) * np.ones(3, np.float32)
    strip = Strip(panorama, top, bottom, np.maximum(top - rows, 0), np.maximum(rows - bottom, 0))
    made = straightened(panorama, strip, own)[..., 0] > 0.55
    horizon, margin = HW[0] / 2 - 0.5, MARGIN_DEG * HW[0] / 180
    line = wall_line(horizon - top + margin, own)
    assert np.abs(made[:64].sum(axis=0) - 0.5 - line).max() < RIM_PX + 1.5 and np.ptp(line) > 5
    assert (line + 1 < horizon - top).any() and (line - 1 > horizon - top).any()  # both happened
    floor_line = wall_line(bottom - horizon + margin, own)
    assert np.abs(made[64:].sum(axis=0) - 0.5 - floor_line).max() < RIM_PX + 1.5
    assert (np.abs(np.diff(made.astype(int), axis=0)).sum(axis=0) == 2).all()  # nothing is left of the arcs
    assert made[(rows >= top + 1) & (rows <= bottom - 1) & own].all()


def test_a_slanting_rim_is_not_followed_far():
    slant = np.linspace(10, 60, HW[1])
    rows, flat = np.arange(HW[0])[:, None], np.full(HW[1], 100.0)
    panorama = np.where((rows >= slant)[..., None], 0.9, 0.2).astype(np.float32) * np.ones(3, np.float32)
    strip = Strip(panorama, slant, flat, np.maximum(slant - rows, 0), np.maximum(rows - flat, 0))
    made = straightened(panorama, strip, np.full(HW[1], True))[..., 0] > 0.55
    most = LINE_DEG * HW[0] / 180
    assert not made[(rows < slant - most - 1) & (rows < 60)].any()
    goes_on = (rows > slant - most + RIM_PX + 1) & (rows < slant - 1)
    assert goes_on[:, -64:].sum() > 64 and made[:, -64:][goes_on[:, -64:]].all()  # where the line is farther still


BLUE, WALL, GROUND = (0.4, 0.6, 0.9), (0.5, 0.25, 0.2), (0.3, 0.3, 0.3)
HOUSE = np.isin(np.arange(HW[1]) // 32, (1, 4, 5))  # columns whose rim shows a house
OWN = np.abs(np.arange(HW[1]) - 127.5) < 20


def street() -> tuple[np.ndarray, Strip]:
    """Houses and the sky beside them, a photo's rim of arcs; what is above it is smoke [height, width, 3]."""
    rows = np.arange(HW[0])[:, None]
    from_peak = np.abs((np.arange(HW[1]) - 104) % 48 - 24) / 24  # the photo's at 128, copies every 48
    top, bottom = 42 + 5 * from_peak, np.full(HW[1], 90.0)
    true = np.where((rows < 64)[..., None], np.where(HOUSE[None, :, None], WALL, BLUE), GROUND).astype(np.float32)
    strip = Strip(true, top, bottom, np.maximum(top - rows, 0), np.maximum(rows - bottom, 0))
    return np.where((rows < top)[..., None], np.float32(0.1), true).astype(np.float32), strip


def test_houses_end_in_straight_lines_before_the_sky_beside_them():
    given, strip = street()
    rows = np.arange(HW[0])[:, None]
    made = below_sky(given, strip, OWN, np.where(HOUSE, 0.02, 0.98))
    inner = np.abs((np.arange(HW[1]) % 32) - 15.5) < 12  # a house's sides are soft
    house = np.abs(made - WALL).sum(axis=-1) < 0.2
    sky = np.abs(made - BLUE).sum(axis=-1) < 0.15
    line = HW[0] / 2 - 0.5 - wall_line(HW[0] / 2 - 0.5 - strip.top + MARGIN_DEG * HW[0] / 180, OWN)
    soft = ROOF_DEG * HW[0] / 180 + 1
    assert np.ptp(line) > 3 and (line - strip.top).max() > 1
    assert house[(rows > line + soft) & (rows < 60) & HOUSE & inner].all()
    assert sky[(rows < line - soft) & HOUSE & inner].all()  # no smoke, no wall colour
    assert sky[(rows < 60) & ~HOUSE & inner].all()
    assert np.array_equal(made[(rows > strip.top) & OWN], given[(rows > strip.top) & OWN])
    assert np.array_equal(made[66:], given[66:])


def test_a_sky_at_the_whole_rim_has_no_line():
    """Clouds that the rim cuts fade; only what is no sky ends in a line."""
    given, strip = street()
    image = np.where((np.arange(HW[0]) < 64)[:, None, None], np.where(HOUSE[:, None], (0.8, 0.8, 0.85), BLUE), GROUND)
    strip = Strip(image.astype(np.float32), strip.top, strip.bottom, strip.above, strip.below)
    made = below_sky(given, strip, OWN, np.full(HW[1], 0.98))
    column = made[:40, 140]  # in a cloud
    assert np.abs(np.diff(column, axis=0)).max() < 0.05 and column[-1].min() > 0.75


def test_a_dark_column_that_is_taken_for_sky_is_none():
    """A crown of leaves before a bright sky does not stain it."""
    given, strip = street()
    rim_says = np.where(np.arange(HW[1]) // 32 == 1, 0.95, np.where(HOUSE, 0.02, 0.98))
    image = np.where(HOUSE[:, None] & (np.arange(HW[0]) < 64)[:, None, None], (0.15, 0.2, 0.1), strip.image)
    strip = Strip(image.astype(np.float32), strip.top, strip.bottom, strip.above, strip.below)
    made = below_sky(given, strip, OWN, rim_says)
    np.testing.assert_allclose(made[20, 40:56], np.broadcast_to(BLUE, (16, 3)), atol=0.08)


def test_what_is_burnt_out_is_sky():
    """Overexposed, the scaffold's network may not know it: its colour is behind the houses all the same."""
    given, strip = street()
    image = np.where(~HOUSE[:, None] & (np.arange(HW[0]) < 64)[:, None, None], 1.0, strip.image)
    strip = Strip(image.astype(np.float32), strip.top, strip.bottom, strip.above, strip.below)
    made = below_sky(given, strip, OWN, np.where(HOUSE, 0.1, 0.3))
    inner = np.abs((np.arange(HW[1]) % 32) - 15.5) < 12
    assert made[20, inner].min() > 0.9


@pytest.mark.parametrize("sky", [0.0, 1.0])
def test_a_rim_that_says_one_thing_all_around_is_finite(sky):
    given, strip = street()
    made = below_sky(given, strip, OWN, np.full(HW[1], sky))
    assert np.isfinite(made).all() and made.min() >= -1e-3 and made.max() <= 1.001


def test_a_trunk_rises_straight_and_fades_on_the_way():
    """Its columns stay its own; a mark on it comes again where the band is mirrored, and again where it turns back."""
    rows, columns = np.indices(HW)
    top, bottom, per_deg = 40.0, 90.0, HW[0] / 180
    band = BAND_DEG * per_deg
    trunk = (columns % 64 >= 24) & (columns % 64 < 40)
    panorama = np.where(trunk, 0.1, 0.9)[..., None].astype(np.float32) * np.ones(3, np.float32)
    panorama[(np.abs(rows - top - 2) < 1) & trunk] = (0.9, 0.1, 0.1)
    above = np.maximum(top - rows, 0.0)
    flat = np.zeros(HW[1])
    strip = Strip(panorama, flat + top, flat + bottom, above, np.maximum(rows - bottom, 0.0))
    made = rising(panorama, strip, flat == 0)
    np.testing.assert_array_equal(made[rows >= top], panorama[rows >= top])
    near = (above > 0) & (above < 10 * per_deg)
    assert made[near & trunk, 1].max() < 0.3 and made[near & ~trunk, 1].min() > 0.7, "no column leans"
    redness = (made[..., 0] - made[..., 1])[: int(top), 32]
    marks = [int(top - 2), round(top - 2 * band + 2)]
    assert [int(redness[m - 2 : m + 3].argmax()) + m - 2 for m in marks] == pytest.approx(marks, abs=1)
    assert redness[marks[0]] > redness[marks[1]] > 0.01
    contrast = made[:, 0, 1] - made[:, 32, 1]
    assert (np.diff(contrast[: int(top) - 6]) > -0.05).all()
    assert contrast[0] < 1e-6 < 0.5 < contrast[int(top - 2 * band)]


@pytest.mark.parametrize("top", [60.0, 2.0, -1.0], ids=["low", "almost the zenith", "past it"])
def test_a_photo_of_one_row_rises_too(top):
    panorama = np.random.default_rng(0).random((*HW, 3), dtype=np.float32)
    flat, rows = np.full(HW[1], top), np.arange(HW[0])[:, None] + np.zeros(HW[1])
    strip = Strip(panorama, flat, flat, np.maximum(top - rows, 0), np.maximum(rows - top, 0))
    made = rising(panorama, strip, np.full(HW[1], True))
    assert np.isfinite(made).all() and (top < 3 or np.ptp(made[0], axis=0).max() < 1e-5)
