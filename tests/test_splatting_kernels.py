"""What the Numba kernels take for granted: the rows that an ellipse is said to touch are those with pixels in it."""

from __future__ import annotations

import gc

import numba
import numpy as np
import pytest

from onescene.splatting import numba_blend, numba_project, numba_vectors
from onescene.splatting import numba_layout as at
from onescene.splatting.numba_compile import kernel
from onescene.splatting.projection import ALPHA_MIN, BLUR_PX2

# what only kernels call has no way in from Python: these are kernels that call it


@numba.njit(error_model="numpy")
def rows_of(rec, r, x, y):
    return numba_blend.rows_of(rec, r, x, y)


@numba.njit(error_model="numpy")
def falloff(t):
    return numba_blend.falloff(t)


@numba.njit(error_model="numpy")
def write_ellipse(record, centre, covariance, limit, half_y):
    numba_project.write_ellipse(record, centre, covariance, limit, half_y)


def random_record(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """A record with its covariance [px^2], peak opacity and centre: round, flat or a needle, near a tile."""
    axes = np.exp(rng.uniform(-3, 5, 2))
    angle = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    plain = turn @ np.diag(axes**2) @ turn.T
    covariance = plain + BLUR_PX2 * np.eye(2)
    det = axes[0] ** 2 * axes[1] ** 2 + BLUR_PX2 * np.trace(plain) + BLUR_PX2**2
    opacity = rng.uniform(0.005, 1.0)
    centre = rng.uniform(-60, 76, 2)
    limit = np.log(opacity / ALPHA_MIN)
    half_y = np.sqrt(2 * limit * covariance[1, 1])
    record = np.zeros((1, at.RECORD), np.float32)
    numbers = tuple(np.float32(v) for v in (covariance[0, 0], covariance[0, 1], covariance[1, 1], det))
    write_ellipse(record[0], tuple(np.float32(c) for c in centre), numbers, np.float32(limit), np.float32(half_y))
    return record, covariance, opacity, centre


def test_the_rows_of_an_ellipse_hold_all_its_pixels_and_hardly_more():
    rng = np.random.default_rng(at.STRIP)
    columns, rows = np.meshgrid(np.arange(at.STRIP) + 0.5, np.arange(at.TILE) + 0.5)
    touched = said = 0
    for _ in range(3000):
        record, covariance, opacity, centre = random_record(rng)
        offset = np.stack((columns, rows), axis=-1) - centre
        sigma = 0.5 * np.einsum("yxi,ij,yxj->yx", offset, np.linalg.inv(covariance), offset)
        inside = np.nonzero((opacity * np.exp(-sigma) >= ALPHA_MIN * (1 + 1e-3)).any(1))[0]
        first, last = rows_of(record, 0, np.float32(centre[0]), np.float32(centre[1]))
        assert 0 <= first <= last <= at.TILE
        if len(inside):
            assert first <= inside[0] and last > inside[-1]
        touched, said = touched + len(inside), said + last - first
    assert touched > 5000
    # an edge may pass between two pixel centres; a box around the ellipse would say twice as many
    assert said < 1.25 * touched


def test_rows_of_senseless_ellipses_stay_in_the_tile():
    """Numbers that overflowed must not lead a kernel out of its arrays."""
    for bad in (np.inf, -np.inf, np.nan, 3e38, -3e38):
        for column in (at.SLOPE, at.CAP, at.BEND, at.TOP):
            record = np.ones((1, at.RECORD), np.float32)
            record[0, column] = bad
            first, last = rows_of(record, 0, np.float32(3), np.float32(3))
            assert 0 <= first <= last <= at.TILE


def test_the_falloff_is_the_exponential():
    t = np.linspace(0, float(at.FAINTEST), 2001).astype(np.float32)
    found = np.array([falloff(v) for v in t])
    assert np.abs(found / np.exp(-8 * t.astype(np.float64)) - 1).max() < 3e-6


@numba.njit(error_model="numpy")
def sums_in_a_row(flat, rows, row):
    numba_vectors.fetch_ahead(rows, row)
    numba_vectors.add_sixteens(flat, rows, row)


def test_sums_in_registers_are_sums():
    """Powers of two add up without rounding: a lane left out, taken twice or put elsewhere would show."""
    rng = np.random.default_rng(0)
    flat = 2.0 ** rng.integers(-8, 8, (at.SUMS, at.BLOCK)).astype(np.float32)
    rows = np.full((3, at.PAIR), np.nan, np.float32)
    sums_in_a_row(flat.ravel(), rows, 1)
    assert np.array_equal(rows[1, : at.SUMS], flat.sum(1)) and not rows[1, at.SUMS :].any()
    assert np.isnan(rows[[0, 2]]).all()


@pytest.mark.parametrize("collecting", [True, False])
def test_a_compilation_leaves_the_garbage_collector_as_it_was(monkeypatch, collecting):
    def half(x: float) -> float:
        return x / 2

    calls = []
    monkeypatch.setattr(gc, "isenabled", lambda: collecting)
    for name in ("disable", "enable"):
        monkeypatch.setattr(gc, name, lambda name=name: calls.append(name))
    monkeypatch.setattr("onescene.splatting.numba_compile.cache_folder", lambda: None)
    assert kernel(half)(3.0) == 1.5
    assert calls == (["disable", "enable"] if collecting else ["disable"])
