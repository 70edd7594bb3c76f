"""Ground and ceiling in perspective: charts and back, a floor of tiles that goes on, symmetry, what gives nothing."""

import numpy as np
import pytest

from onescene.stages.outpaint import outpaint
from onescene.stages.planes import _chart_places, _looked_up, _on_panorama, continue_plane, outpaint_planes

HW = (128, 256)
RIM = np.full(HW[1], 84.0)  # 29 degrees below the horizon
SKY = np.repeat((np.arange(32) < 8)[:, None], 64, axis=1) * 1.0  # above the photos, and their first rows


def floor(tile: float = 0.5) -> np.ndarray:
    """A floor of tiles, grey above the horizon [height, width, 3]; a tile's side in camera heights."""
    longitude = ((np.arange(HW[1]) + 0.5) / HW[1] - 0.5) * 2 * np.pi
    depression = ((np.arange(HW[0]) + 0.5) / HW[0] - 0.5)[:, None] * np.pi
    away = 1 / np.tan(np.maximum(depression, 0.1))
    right, ahead = away * np.sin(longitude), away * np.cos(longitude)
    light = (np.floor(right / tile) + np.floor(ahead / tile)) % 2
    tiles = np.where(light[..., None] > 0, (0.7, 0.6, 0.5), (0.4, 0.35, 0.3))
    return np.where(depression[..., None] > 0.15, tiles, 0.5).astype(np.float32)


def begun(true: np.ndarray) -> np.ndarray:
    start = true.copy()
    start[85:] = (0.55, 0.475, 0.4)
    return start


def test_a_chart_and_back_is_the_panorama():
    y, x = np.mgrid[: HW[0], : HW[1]]
    smooth = np.stack([0.5 + 0.3 * np.cos(2 * np.pi * x / HW[1]) * np.sin(np.pi * y / HW[0])] * 3, -1).astype(
        np.float32
    )
    for upper, rows in ((False, slice(90, 127)), (True, slice(1, 38))):
        chart = _looked_up(smooth, _chart_places(HW, 256, 2.0, upper))
        back = _on_panorama(chart, HW, 2.0, upper)
        np.testing.assert_allclose(back[rows], smooth[rows], atol=0.02)


def test_a_floor_of_tiles_goes_on():
    """As many tiles as the true floor has, and nothing changes above the rim."""
    true = floor()
    made = continue_plane(begun(true), true, RIM, False, np.random.default_rng(0))
    assert np.array_equal(made[:84], true[:84])
    below = slice(90, 118)
    contrast = [x[below].std(axis=(0, 1)).mean() for x in (made, true)]
    assert contrast[0] > 0.5 * contrast[1]
    edges = [np.abs(np.diff(x[below], axis=1)).mean() for x in (made, true)]
    assert 0.4 < edges[0] / edges[1] < 1.6


def test_a_ceiling_is_a_floor_upside_down():
    true = floor()
    ground = continue_plane(begun(true), true, RIM, False, np.random.default_rng(0))
    upside = begun(true)[::-1].copy()
    ceiling = continue_plane(upside, true[::-1].copy(), HW[0] - 1 - RIM, True, np.random.default_rng(0))
    assert np.abs(ceiling[::-1] - ground).mean() < 0.02  # a bit of rounding, and patches are found elsewhere
    assert np.array_equal(ceiling[::-1][:84], ground[:84])


def test_what_stands_on_the_floor_does_not_go_on():
    true = floor()
    true[70:85, 100:156] = (0.9, 0.1, 0.1)  # a red box at the rim
    start = begun(true)
    made = continue_plane(start, true, RIM, False, np.random.default_rng(0))
    assert np.ptp(made[88:], axis=-1).max() < 0.3
    assert np.array_equal(made[70:84, 100:156], true[70:84, 100:156])


def test_what_is_tinted_does_not_go_on_though_it_stands_everywhere():
    """Yellow chairs around most of the rim, no darker than the floor: what is left of it gives the patches."""
    true = floor()
    true[70:85, :180] = (0.6, 0.55, 0.15)
    made = continue_plane(begun(true), true, RIM, False, np.random.default_rng(0))
    assert np.ptp(made[88:], axis=-1).max() < 0.3


def test_where_nothing_goes_on_the_draft_stays():
    """A photo of the sky alone: no ground to go on, and none is made up."""
    placed, mask = np.full((*HW, 3), 0.5, np.float32), np.zeros(HW, dtype=bool)
    mask[20:44, 80:176] = True
    placed[20:44] += 0.1 * (np.arange(HW[1]) // 8 % 2)[:, None].astype(np.float32)
    given = np.where(mask[..., None], placed, 0)
    made, draft = outpaint_planes(given, mask, 0, lambda draft: SKY), outpaint(given, mask, 0)
    assert np.array_equal(made[22:], draft[22:])


@pytest.mark.parametrize("row", [40.0, 64.0, 69.0], ids=["sky", "horizon", "flat"])
def test_a_photo_without_ground_gives_nothing(row):
    true = floor()
    assert continue_plane(begun(true), true, np.full(HW[1], row), False, np.random.default_rng(0)) is None


def test_only_a_ceiling_goes_on_above():
    placed, mask = floor(), np.zeros(HW, dtype=bool)
    mask[40:88, 80:176] = True
    placed[40:64] += 0.1 * (np.arange(HW[1]) // 8 % 2)[:, None]
    given, seen = np.where(mask[..., None], placed, 0), []

    def told(answer):
        return outpaint_planes(given, mask, 0, lambda draft: seen.append(draft) or answer)

    sky, ceiling = told(np.ones((32, 64))), told(np.zeros((32, 64)))
    assert len(seen) == 2 and all(np.array_equal(draft, outpaint(given, mask, 0)) for draft in seen)
    assert np.abs(sky[:36] - ceiling[:36]).max() > 0.02 and np.abs(sky[50:80] - ceiling[50:80]).max() < 1e-6
    assert sky.min() >= 0 and ceiling.max() <= 1
