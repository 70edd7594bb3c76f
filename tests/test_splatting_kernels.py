"""How the Numba kernels are compiled, called and kept, and what they take for granted of ellipses."""

from __future__ import annotations

import gc
import hashlib
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numba
import numpy as np
import pytest

from onescene.splatting import numba_blend, numba_build, numba_cache, numba_compile, numba_project, numba_vectors
from onescene.splatting import numba_layout as at
from onescene.splatting.numba_compile import helper, kernel
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


# --- how kernels are compiled, called and kept ------------------------------------------------------------------------

new_table = numba_vectors.on_stack((3, 5), np.int64)


@helper
def product(a, b):
    return a * b


def scale(first, last, arrays, factors):
    """arrays[1][i] = arrays[0][i] times both factors, through a table of this kernel's own."""
    source, target = arrays
    for i in range(first, last):
        table = new_table()
        for k in range(15):
            table[k // 5, k % 5] = k * i
        if table[2, 4] != 14 * i:
            raise ValueError
        target[i] = product(source[i], product(factors[0], factors[1]))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(numba_cache, "cache_folder", lambda: tmp_path)
    return tmp_path


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_kernel_works_on_the_entries_it_is_told(folder, dtype):
    source, target, factors = np.arange(6, dtype=dtype), np.zeros(6, dtype), np.array([3, 0.5], dtype)
    scaled = kernel(scale).bind((source, target), factors)
    scaled(1, 3)
    scaled(4, 5)
    np.testing.assert_array_equal(target, [0, 1.5, 3, 0, 6, 0])


def test_a_kernel_is_compiled_once_per_kind_of_arrays(folder, monkeypatch):
    compiled = []
    make = numba_build.machine_code
    monkeypatch.setattr(numba_build, "machine_code", lambda *a: compiled.append(a) or make(*a))

    def run(dtype: type) -> None:
        """In a kernel that is declared anew, as in another process."""
        target = np.zeros(3, dtype)
        kernel(scale).bind((np.ones(3, dtype), target), np.full(2, 2, dtype))(0, 3)
        assert (target == 4).all()

    for dtype in (np.float32, np.float64, np.float32, np.float64):
        run(dtype)
    assert len(compiled) == len(list(folder.iterdir())) == 2
    for damage in (lambda kept: kept[:-1], lambda kept: b"", lambda kept: kept[:500] + b"!" + kept[501:]):
        for file in folder.iterdir():
            file.write_bytes(damage(file.read_bytes()))
        before = len(compiled)
        run(np.float32)
        run(np.float64)
        assert len(compiled) == before + 2
    file = next(folder.iterdir())
    content = b"somewhere\nno object file"  # its checksum fits
    file.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    run(np.float32)
    run(np.float64)
    assert len(compiled) == before + 3
    assert {path.name[:6] for path in folder.iterdir()} == {"scale-"}  # nothing is left beside the two


def test_threads_that_need_a_kernel_at_once_wait_for_one_compilation(folder, monkeypatch):
    compiled = []
    make = numba_build.machine_code
    monkeypatch.setattr(numba_build, "machine_code", lambda *a: compiled.append(a) or make(*a))
    scaled, target, start = kernel(scale), np.zeros(4), Barrier(4)

    def run(i: int) -> None:
        start.wait(10)
        scaled.bind((np.ones(4), target), np.full(2, 3.0))(i, i + 1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    assert (target == 9).all() and len(compiled) == 1


def test_a_kernel_runs_where_nothing_can_be_kept(monkeypatch):
    monkeypatch.setattr(numba_cache, "cache_folder", lambda: None)
    target = np.zeros(2)
    kernel(scale).bind((np.ones(2), target), np.ones(2))(0, 2)
    assert (target == 1).all()


def test_a_kernel_refuses_what_it_cannot_take(folder):
    with pytest.raises(ValueError, match=r"must be in C order, got strides \(16,\) of shape \(3,\)"):
        kernel(scale).bind((np.ones(6)[::2], np.ones(3)), np.ones(2))

    def allocate(values):
        room = np.zeros(3)
        values[0] = room[0]

    with pytest.raises(numba.core.errors.NumbaError, match="zeros"):
        kernel(allocate).bind(np.ones(3))

    def fail(number, values):
        if values[number] == 1:
            raise ValueError

    failing = kernel(fail).bind(np.arange(2))
    failing(0)
    for numbers in ((), (0, 0)):
        with pytest.raises(TypeError, match=f"fail takes 1 whole numbers here, got {len(numbers)}"):
            failing(*numbers)
    with pytest.raises(RuntimeError, match="fail stopped with status"):
        failing(1)


def test_the_first_kernel_of_the_renderer_says_that_it_is_compiled(folder, monkeypatch, caplog):
    monkeypatch.setattr(numba_build, "machine_code", lambda *a: pytest.fail("is compiled"))
    numba_compile._announce_renderer.cache_clear()
    for _ in range(2):
        with pytest.raises(pytest.fail.Exception, match="is compiled"):
            kernel(numba_blend.blend.__wrapped__).bind(np.ones(1))
    assert caplog.text.count("compiling the CPU renderer: some seconds") == 1


@pytest.mark.parametrize("collecting", [True, False])
def test_a_compilation_leaves_the_garbage_collector_as_it_was(monkeypatch, collecting):
    def half(values):
        values[0] /= 2

    calls = []
    monkeypatch.setattr(gc, "isenabled", lambda: collecting)
    for name in ("disable", "enable"):
        monkeypatch.setattr(gc, name, lambda name=name: calls.append(name))
    symbol, code = numba_build.machine_code(half, (np.ones(1),))
    assert "half" in symbol and symbol.encode() in code
    assert calls == (["disable", "enable"] if collecting else ["disable"])
