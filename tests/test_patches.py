"""Filling from patches: search and vote against slow twins, textures that go on, what is not to be used."""

import cv2
import numpy as np
import pytest

from onescene.stages import patches
from onescene.stages.patches import HALF, fill_from_patches, touching_patches, whole_patches


def scene(side: int = 32, seed: int = 0):
    """A picture of soft noise with a square hole."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.random((side, side, 3), dtype=np.float32), (0, 0), 2)
    hole = np.zeros((side, side), dtype=bool)
    hole[side // 2 - 4 : side // 2 + 4, side // 2 - 4 : side // 2 + 4] = True
    return noise, hole, rng


def patch(image, y, x):
    return image[y - HALF : y + HALF + 1, x - HALF : x + HALF + 1].astype(np.float64)


def test_centres_of_whole_and_of_touching_patches():
    _, hole, _ = scene()
    for y in range(32):
        for x in range(32):
            rows, columns = slice(max(y - HALF, 0), y + HALF + 1), slice(max(x - HALF, 0), x + HALF + 1)
            whole = HALF <= y < 32 - HALF and HALF <= x < 32 - HALF
            assert whole_patches(~hole)[y, x] == (whole and not hole[rows, columns].any())
            assert touching_patches(hole)[y, x] == (whole and hole[rows, columns].any())


def test_the_search_finds_what_looking_everywhere_finds():
    image, hole, rng = scene()
    counted = np.ones_like(hole)
    counted[16:] = False  # only the patches' upper pixels are looked at
    usable, wanted = whole_patches(~hole), touching_patches(hole)
    places = np.argwhere(usable)
    match = np.ascontiguousarray(places[rng.integers(len(places), size=hole.shape)])
    error, state = np.zeros(hole.shape), np.array([7])
    patches._measure.bind(image, counted, wanted, match, error)()
    first = error.copy()
    patches._search.bind(image, counted, wanted, usable, match, error, state)(30)
    least = np.full(hole.shape, np.inf)
    for y, x in np.argwhere(wanted):
        every = [((patch(image, y, x) - patch(image, v, u)) ** 2)[patch(counted, y, x) > 0].sum() for v, u in places]
        least[y, x] = min(every)
        own = ((patch(image, y, x) - patch(image, *match[y, x])) ** 2)[patch(counted, y, x) > 0].sum()
        assert error[y, x] == pytest.approx(own, rel=1e-4) and usable[tuple(match[y, x])]
    assert (error[wanted] <= first[wanted]).all()
    assert np.mean(error[wanted] <= 1.1 * least[wanted] + 1e-6) > 0.9


def test_the_vote_is_a_weighted_mean():
    image, hole, rng = scene(seed=1)
    wanted, places = touching_patches(hole), np.argwhere(whole_patches(~hole))
    match = np.ascontiguousarray(places[rng.integers(len(places), size=hole.shape)])
    error, softness, out = rng.random(hole.shape), np.array([0.3]), np.zeros_like(image)
    patches._vote.bind(image, hole, wanted, match, error, softness, out)()
    assert np.array_equal(out[~hole], image[~hole])
    for y, x in np.argwhere(hole)[::7]:
        total, weights = np.zeros(3), 0.0
        for ty, tx in np.argwhere(wanted):
            if abs(ty - y) <= HALF and abs(tx - x) <= HALF:
                v, u = match[ty, tx] + (y - ty, x - tx)
                weight = np.exp(-error[ty, tx] / 0.3) + 1e-9
                total, weights = total + weight * image[v, u], weights + weight
        np.testing.assert_allclose(out[y, x], total / weights, rtol=1e-4)


def stripes(side: int = 96):
    """Stripes of eight pixels, a quarter of the picture unknown and grey."""
    y, x = np.mgrid[:side, :side]
    true = np.repeat((0.5 + 0.4 * np.sign(np.sin(2 * np.pi * (y + x + 0.5) / 16)))[..., None], 3, axis=-1)
    hole = (np.abs(y - side / 2) < side / 4) & (np.abs(x - side / 2) < side / 4)
    return true.astype(np.float32), np.where(hole[..., None], 0.5, true).astype(np.float32), hole


def test_stripes_go_on_through_a_hole():
    true, start, hole = stripes()
    made = fill_from_patches(start, hole, ~hole, np.random.default_rng(0))
    assert np.array_equal(made[~hole], start[~hole])
    assert np.abs(made - true)[hole].mean() < 0.3 * np.abs(start - true)[hole].mean()
    assert np.array_equal(made, fill_from_patches(start, hole, ~hole, np.random.default_rng(0)))


def test_what_is_no_source_is_not_used():
    _, start, hole = stripes()
    blob = np.zeros_like(hole)
    blob[20:76, 10:24] = True  # beside the hole
    start[blob] = (1.0, 0.0, 0.0)
    made = fill_from_patches(start, hole, ~hole & ~blob, np.random.default_rng(0))
    assert np.ptp(made[hole], axis=-1).max() < 1e-3  # grey
    assert np.array_equal(made[blob], start[blob])


def test_too_little_to_take_patches_from():
    _, start, hole = stripes()
    source = np.zeros_like(hole)
    source[:9, :9] = True  # nine patches
    assert fill_from_patches(start, hole, source, np.random.default_rng(0)) is None
