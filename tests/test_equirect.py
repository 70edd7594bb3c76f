"""Equirectangular pixels, angles and directions: by hand, round trip, the poles, the seam."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onescene.geometry.equirect import (
    directions_from_lonlat,
    directions_from_panorama,
    lonlat_from_directions,
    pad_panorama,
    panorama_xy_from_directions,
    sample_panorama,
)


@pytest.mark.parametrize(
    ("direction", "xy"),
    [
        ((0, 0, 1), (32, 16)),
        ((1, 0, 0), (48, 16)),
        ((-1, 0, 0), (16, 16)),
        ((0, -1, 0), (32, 0)),
        ((0, 1, 0), (32, 32)),
    ],
)
def test_axes_land_where_the_convention_says(direction, xy):
    got = panorama_xy_from_directions(torch.tensor(direction, dtype=torch.float64), (32, 64))
    torch.testing.assert_close(got, torch.tensor(xy, dtype=torch.float64))


def test_first_pixel_is_half_a_pixel_from_the_zenith_and_the_back():
    lonlat = lonlat_from_directions(directions_from_panorama((8, 16), dtype=torch.float64)[0, 0])
    expected = torch.tensor([-math.pi + math.pi / 16, math.pi / 2 - math.pi / 16], dtype=torch.float64)
    torch.testing.assert_close(lonlat, expected)


@given(longitude=st.floats(-3.14, 3.14), latitude=st.floats(-1.57, 1.57), length=st.floats(0.01, 100))
def test_angles_survive_a_round_trip(longitude, latitude, length):
    lonlat = torch.tensor([longitude, latitude], dtype=torch.float64)
    back = lonlat_from_directions(directions_from_lonlat(lonlat) * length)
    torch.testing.assert_close(back[1], lonlat[1], atol=1e-9, rtol=0)
    torch.testing.assert_close(back[0], lonlat[0], atol=1e-7, rtol=0)


@pytest.mark.parametrize("direction", [(0.0, -1.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0)])
def test_gradient_is_finite_at_the_poles_and_the_seam(direction):
    x = torch.tensor(direction, dtype=torch.float64, requires_grad=True)
    lonlat_from_directions(x).sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("batch", [(), (2,), (1, 2)])
def test_sampling_at_pixel_centres_returns_the_panorama(batch):
    panorama = torch.rand(*batch, 3, 8, 16, dtype=torch.float64)
    xy = panorama_xy_from_directions(directions_from_panorama((8, 16), dtype=torch.float64), (8, 16))
    torch.testing.assert_close(sample_panorama(panorama, xy), panorama)
    torch.testing.assert_close(sample_panorama(panorama, xy, "nearest"), panorama)


def test_sampling_wraps_around_and_over_the_pole():
    panorama = torch.arange(8 * 16, dtype=torch.float64).reshape(1, 8, 16)
    seam = sample_panorama(panorama, torch.tensor([[0.0, 3.5], [16.0, 3.5]], dtype=torch.float64))
    torch.testing.assert_close(seam, ((panorama[:, 3, 0] + panorama[:, 3, 15]) / 2).expand(1, 2))
    pole = sample_panorama(panorama, torch.tensor([2.5, 0.0], dtype=torch.float64))
    torch.testing.assert_close(pole, (panorama[:, 0, 2] + panorama[:, 0, 10]) / 2)


def test_sampling_is_differentiable_in_image_and_place():
    panorama = torch.rand(2, 4, 8, dtype=torch.float64, requires_grad=True)
    xy = torch.tensor([[0.3, 0.2], [7.9, 3.9], [4.2, 2.2]], dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(sample_panorama, (panorama, xy))


def test_padding_continues_a_function_of_direction():
    hw = (32, 64)
    directions = directions_from_panorama(hw, dtype=torch.float64)
    padded = pad_panorama(directions.permute(2, 0, 1), 2)
    latitude = math.pi / 2 - math.pi * (torch.arange(-2, 34, dtype=torch.float64) + 0.5) / 32
    longitude = ((torch.arange(-2, 66, dtype=torch.float64) + 0.5) / 64 - 0.5) * 2 * math.pi
    true = directions_from_lonlat(torch.stack(torch.meshgrid(longitude, latitude, indexing="xy"), -1)).permute(2, 0, 1)
    torch.testing.assert_close(padded, true)


@pytest.mark.parametrize("hw", [(8, 15), (1, 2), (16, 16)])
def test_a_panorama_that_is_not_two_to_one_is_refused(hw):
    with pytest.raises(ValueError, match="must be"):
        directions_from_panorama(hw)
    with pytest.raises(ValueError, match="panorama's size"):
        sample_panorama(torch.zeros(3, *hw), torch.zeros(1, 2))


def test_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="mode must be"):
        sample_panorama(torch.zeros(3, 4, 8), torch.zeros(1, 2), "cubic")
