"""Panoramas of stretched worlds, against worlds that were built that way."""

import math

import pytest
import torch

from onescene.geometry.equirect import directions_from_panorama
from onescene.geometry.stretch import Stretch
from onescene.training import augment
from onescene.training.batches import draw_sample

HW = (96, 192)
FACTORS = (1.5, 1.0, 0.7)


def box(low, high, hw=HW):
    """Distance to the sides of a box with the camera at 0, and the colour of a smooth pattern in its material."""
    low, high = torch.tensor(low), torch.tensor(high)
    rays = directions_from_panorama(hw)
    distance = (torch.where(rays > 0, high, low) / rays).amin(-1)
    place = (rays * distance[..., None] - low) / (high - low)  # the same for a stretched box
    return distance, (0.5 + 0.5 * torch.sin(5 * place)).movedim(-1, 0)


LOW, HIGH = (-2.0, -1.2, -3.0), (1.0, 1.3, 4.0)


def stretched(corner, factors=FACTORS):
    return tuple(c * f for c, f in zip(corner, factors, strict=True))


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_a_stretched_box_is_the_box_of_those_sizes(mode):
    stretch = Stretch(FACTORS)
    distance, rgb = box(LOW, HIGH)
    wanted, colours = box(stretched(LOW), stretched(HIGH))
    made = stretch.log_distance(distance.log(), mode)
    assert (made - wanted.log()).abs().max() < (0.03 if mode == "bilinear" else 0.12)
    assert (made - wanted.log()).abs().mean() < (0.001 if mode == "bilinear" else 0.02)
    assert (stretch.panorama(rgb, mode) - colours).abs().mean() < (0.003 if mode == "bilinear" else 0.03)
    assert (distance.log() - wanted.log()).abs().mean() > 0.1  # it is another box


def test_there_and_back_again_and_nothing_at_all():
    distance, rgb = box(LOW, HIGH)
    stretch = Stretch(FACTORS)
    back = Stretch(tuple(1 / f for f in FACTORS)).log_distance(stretch.log_distance(distance.log()))
    assert (back - distance.log()).abs().mean() < 0.003
    same = Stretch((1.0, 1.0, 1.0))
    torch.testing.assert_close(same.panorama(rgb), rgb, atol=1e-4, rtol=0)
    torch.testing.assert_close(same.log_distance(distance.log()), distance.log(), atol=1e-4, rtol=0)
    torch.testing.assert_close(Stretch((2.0, 2.0, 2.0)).log_distance(distance.log()), (2 * distance).log())


@pytest.mark.parametrize("factors", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, math.nan), (1.0, 2.0)])
def test_factors_that_are_none(factors):
    with pytest.raises(ValueError, match="three positive"):
        Stretch(factors)


class Box:
    """One box as training data; a part of its wall is unknown, another one open."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        distance, rgb = box(LOW, HIGH)
        distance[50:52, 60:70] = math.nan
        sky = torch.zeros(HW, dtype=torch.bool)
        sky[30:40, 20:40] = True
        return (255 * rgb).byte().permute(1, 2, 0).numpy(), distance.numpy(), sky.numpy()


def test_training_sees_stretched_worlds_with_their_distance(monkeypatch):
    def sample(seed):
        return draw_sample(Box(), 0, torch.Generator().manual_seed(seed))

    plain = box(LOW, HIGH)[0].log()
    means = torch.stack([sample(seed).log_distance.nanmean() for seed in range(24)])
    assert means.std() > 0.02  # boxes of different sizes
    for s in map(sample, range(12)):
        floor = s.log_distance[-1].nanmean()  # straight down no stretch of a plan changes anything
        assert float(floor) == pytest.approx(float(plain[-1].mean()), abs=0.01)
        assert 0 < s.log_distance.isnan().sum() < 200 and 0 < s.sky.sum() < 2000
    monkeypatch.setattr(augment, "WIDEST", 1.0)
    means = torch.stack([sample(seed).log_distance.nanmean() for seed in range(12)])
    assert means.std() < 0.005


def test_half_of_the_worlds_stay_as_they_are():
    drawn = [augment.draw_stretch(torch.Generator().manual_seed(seed)) for seed in range(200)]
    kept = [s for s in drawn if s is not None]
    assert 70 < len(kept) < 130
    factors = torch.tensor([s.factors for s in kept]).log() / math.log(augment.WIDEST)
    assert (factors[:, 1] == 0).all() and factors.abs().max() <= 1 and (factors.std(0)[[0, 2]] > 0.4).all()
