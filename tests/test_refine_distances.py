"""The smooth field of distances: cells by hand, rows that come and go, a scene lifted to wrong distances."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
from refine_scenes import cameras, psnr, spoiled, wall
from torch.testing import assert_close

from onescene.geometry.equirect import directions_from_lonlat
from onescene.splatting import render
from onescene.stages import refine
from onescene.stages.refine.distance_field import LEVELS, DistanceField
from onescene.stages.refine.free import FreeGaussians
from onescene.types import Gaussians

DEPTH, HEIGHT, WIDTH = LEVELS[-1]
SPAN = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, math.e**2]])  # log distances 0 to 2, but for the outer 2 %


def point(column: float, row: float, layer: float, field: DistanceField) -> torch.Tensor:
    """Where a cell of the finest level has its centre (whole numbers), or between."""
    longitude, latitude = 2 * math.pi * ((column + 0.5) / WIDTH - 0.5), math.pi * (0.5 - (row + 0.5) / HEIGHT)
    distance = math.exp(field.near + (field.far - field.near) * layer / (DEPTH - 1))
    return distance * directions_from_lonlat(torch.tensor([[longitude, latitude]]))


def log_factor(field: DistanceField, *place: float) -> float:
    return float(field.factors(field.places(point(*place, field))).detach().log())


def noisy(field: DistanceField) -> DistanceField:
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for adam in field.adam:
            adam.parameter += 0.2 * torch.randn(adam.parameter.shape, generator=g)
    return field


def test_a_cell_by_hand():
    field = DistanceField(SPAN, 0.1)
    assert (field.near, field.far) == (pytest.approx(0.04), pytest.approx(1.96))
    with torch.no_grad():
        field.adam[-1].parameter[2, 5, 0] = 1.0
    assert log_factor(field, 0, 5, 2) == pytest.approx(1, abs=1e-4)
    assert log_factor(field, 0.25, 5, 2) == pytest.approx(0.75, abs=1e-4)
    assert log_factor(field, -0.25, 5, 2) == pytest.approx(0.75, abs=1e-4)  # across the meridian
    assert log_factor(field, WIDTH - 0.5, 5, 2) == pytest.approx(0.5, abs=1e-4)
    assert log_factor(field, 0, 5.5, 2.5) == pytest.approx(0.25, abs=1e-4)
    assert log_factor(field, 1, 5, 2) == pytest.approx(0, abs=1e-4)
    assert log_factor(field, 0, 5, 3) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("level", [0, 1])
def test_a_coarse_level_bends_smoothly(level):
    """A wave along the longitude comes back; a twin interpolates the ring of cells by hand."""
    field = DistanceField(SPAN, 0.1)
    count = LEVELS[level][2]
    ring = torch.sin(torch.arange(count) * 2 * math.pi / count) + 0.3
    with torch.no_grad():
        field.adam[level].parameter += ring
    for column in (0, 3, 9, 31):
        at = (column + 0.5) * count / WIDTH - 0.5
        low, share = math.floor(at), at - math.floor(at)
        expected = float(ring[low % count] * (1 - share) + ring[(low + 1) % count] * share)
        assert log_factor(field, column, 7, 1) == pytest.approx(expected, abs=1e-4)
        assert log_factor(field, column, 2, 4.7) == pytest.approx(expected, abs=1e-4)


def test_beyond_the_grid_the_border_goes_on():
    field = noisy(DistanceField(SPAN, 0.1))
    for layer in (0, DEPTH - 1):
        beyond = layer * 3 - 1
        assert log_factor(field, 4, 3, layer) == pytest.approx(log_factor(field, 4, 3, beyond), abs=1e-4)
    places = field.places(torch.zeros(1, 3))
    assert torch.isfinite(field.factors(places)).all()


def test_a_new_field_changes_nothing():
    start = spoiled(wall(0.2))
    free = FreeGaussians(start, refine.RefineConfig(lr_distance=0.01))
    for name in ("means", "scales"):
        assert_close(getattr(free.snapshot(), name), getattr(start, name))


def test_rows_come_and_go_where_they_are():
    start = spoiled(wall(0.2))
    free = FreeGaussians(start, refine.RefineConfig(lr_distance=0.01))
    noisy(free.field)
    now, n = free.snapshot(), len(start)
    assert (now.means - start.means).norm(dim=-1).median() > 0.05
    added = start.select(torch.arange(5))
    free.append(added)
    free.overwrite(torch.tensor([7, 9]), start.select(torch.tensor([20, 21])))
    free.keep(torch.arange(3, n + 5))
    rows = [start.select(torch.tensor([20, 21])), added]
    expected = {7 - 3: rows[0].select(torch.tensor([0])), 9 - 3: rows[0].select(torch.tensor([1]))}
    after = free.snapshot()
    for name in (f.name for f in fields(Gaussians)):
        assert_close(getattr(after, name)[-5:], getattr(added, name))
        assert_close(getattr(after, name)[10 : n - 3], getattr(now, name)[13:n])
        for row, one in expected.items():
            assert_close(getattr(after, name)[row : row + 1], getattr(one, name))


def test_gradients_of_the_means_see_the_field():
    free = FreeGaussians(spoiled(wall(0.2)), refine.RefineConfig(lr_distance=0.01))
    noisy(free.field)
    weights = torch.randn(len(free), 3, generator=torch.Generator().manual_seed(1))
    (free.gaussians().means * weights).sum().backward()
    assert_close(free.grad_means(), weights)


def test_a_scene_at_wrong_distances_is_brought_to_the_right_ones():
    """What looks right from the origin: a wall whose halves stand a fifth too far and too near."""
    seen, unseen = cameras(6), cameras(4)[1]
    fine = wall(0.05)
    pattern = 0.6 * torch.sin(11 * fine.means[:, :1]) * torch.sin(13 * fine.means[:, 1:2])
    true = replace(fine, sh=fine.sh + pattern[:, None])
    wrong = torch.where(true.means[:, :1] > 0, 1.2, 1 / 1.2)
    start = replace(true, means=true.means * wrong, scales=true.scales * wrong)
    views, hidden = render(true, seen).rgb.clamp(0, 1), render(true, unseen).rgb.clamp(0, 1)
    inside = (true.means[:, 0].abs() > 0.15) & (true.means[:, 0].abs() < 0.9) & (true.means[:, 1].abs() < 0.6)
    errors, scores = {}, {}
    for lr in (0.0, 0.005):
        config = replace(refine.TRUE_VIEWS, steps=120, check_every=120, lr_distance=lr)
        found = refine.run(start, views, seen, config).gaussians
        ratio = found.means[inside].norm(dim=-1) / true.means[inside].norm(dim=-1)
        errors[lr] = float(ratio.log().abs().median())
        scores[lr] = psnr(render(found, unseen).rgb, hidden)
    assert errors[0.005] < 0.25 * errors[0.0]  # measured 0.010 and 0.107
    assert scores[0.005] > scores[0.0] + 1.5  # measured 37.0 and 33.9 dB
