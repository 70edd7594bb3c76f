"""Metrics of panoramas on cases whose answer is known: Gaussians, tilted horizons, smears, photos put in by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import linalg, stats

from onescene.geometry.equirect import directions_from_panorama
from onescene.geometry.perspective import crop_panorama, intrinsics_from_fov, place_photo
from onescene.geometry.rotations import matrix_from_yaw_pitch_roll
from onescene.io import load_panorama, load_photo
from onescene.metrics import (
    Pristine,
    colour_statistics,
    crop_cameras,
    frechet_distance,
    horizon_statistics,
    niqe,
    photo_fidelity,
    seed_diversity,
)
from onescene.metrics.niqe import niqe_features
from onescene.models.niqe import pristine_statistics
from onescene.types import Cameras

HW = (128, 256)
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def landscape(hw: tuple[int, int], horizon_deg: float = 0.0, tilt_deg: float = 0.0) -> torch.Tensor:
    """Bright sky over dark ground; the plane between them is tilted."""
    d = directions_from_panorama(hw, dtype=torch.float64)
    tilt = math.radians(tilt_deg)
    up = -d[..., 1] * math.cos(tilt) + d[..., 0] * math.sin(tilt)
    return torch.where(up > math.sin(math.radians(horizon_deg)), 0.8, 0.2).expand(3, *hw).clone()


# --- Frechet distance ----------------------------------------------------------------------------------------------


def test_frechet_of_lines_by_hand() -> None:
    """In one dimension it is (difference of means)^2 + (difference of deviations)^2."""
    a, b = torch.tensor([[0.0], [2.0]]), torch.tensor([[10.0], [16.0]])
    deviations = (math.sqrt(2), math.sqrt(18))
    assert frechet_distance(a, b) == pytest.approx(12**2 + (deviations[1] - deviations[0]) ** 2)


@pytest.mark.parametrize("counts", [(200, 150), (4, 5)], ids=["many", "fewer than channels"])
def test_frechet_is_that_of_the_roots_of_matrices(counts: tuple[int, int]) -> None:
    mix = noise(8, 8, seed=3)
    a, b = noise(counts[0], 8) @ mix, noise(counts[1], 8, seed=1) + 0.3
    ca, cb = (np.cov(x.numpy(), rowvar=False) for x in (a, b))
    root = linalg.sqrtm(ca @ cb + 1e-12 * np.eye(8)).real
    true = float(((a.mean(0) - b.mean(0)) ** 2).sum()) + np.trace(ca + cb - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(true, abs=2e-3, rel=1e-4)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(a + 2, b + 2) == pytest.approx(frechet_distance(a, b))


def test_frechet_refuses() -> None:
    with pytest.raises(ValueError, match="n >= 2"):
        frechet_distance(torch.zeros(1, 3), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="as many channels"):
        frechet_distance(torch.zeros(4, 2), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="finite"):
        frechet_distance(torch.full((4, 2), math.nan), torch.zeros(4, 2))


# --- NIQE ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pristine() -> Pristine:
    return Pristine(*pristine_statistics())


def test_niqe_finds_the_shape_of_a_generalised_gaussian() -> None:
    from onescene.metrics.niqe import _fit

    for shape in (0.8, 2.0, 4.0):
        x = stats.gennorm.rvs(shape, scale=0.7, size=200_000, random_state=0)
        x = torch.from_numpy(np.where(x < 0, 1.5 * x, x))[None]  # left side 1.5 times as wide, as likely as the right
        even = _fit(x / torch.where(x < 0, 1.5, 1.0))
        assert even[0].item() == pytest.approx(shape, rel=0.05)
        assert [even[1].item(), even[2].item()] == pytest.approx([0.7, 0.7], rel=0.05)
        assert (_fit(x)[1] / _fit(x)[2]).item() == pytest.approx(1.5, rel=0.02)


def test_niqe_is_the_release_s_on_a_photo(pristine: Pristine) -> None:
    photo = load_photo(EXAMPLES / "interior-photo.jpg").rgb
    assert niqe(photo, pristine) == pytest.approx(9.000, abs=0.02)  # basicsr 1.4.2, a port of the release's Matlab


def test_niqe_grows_with_blur_and_with_noise(pristine: Pristine) -> None:
    photo = load_panorama(EXAMPLES / "forest.png")[:, 96:384, 200:680]
    clean = niqe(photo, pristine)
    blurred = F.interpolate(F.avg_pool2d(photo[None], 4), scale_factor=4.0, mode="bicubic")[0].clamp(0, 1)
    noisy = (photo + 0.15 * (noise(*photo.shape).float() - 0.5) * 2).clamp(0, 1)
    assert niqe(blurred, pristine) > clean + 3
    assert niqe(noisy, pristine) > clean + 1


def test_niqe_leaves_out_flat_patches_and_refuses_nothing_but_them(pristine: Pristine) -> None:
    picture = noise(3, 192, 192)
    assert niqe_features(picture).shape == (4, 36)
    picture[:, :120, :120] = 1.0
    picture[:, :96, :96] = 1.0
    assert len(niqe_features(picture)) == 3
    with pytest.raises(ValueError, match="texture"):
        niqe(torch.ones(3, 192, 192), pristine)
    with pytest.raises(ValueError, match=">= 96"):
        niqe(torch.ones(3, 95, 192), pristine)


# --- the photo, colours, horizon, seeds ------------------------------------------------------------------------------


def camera(hw: tuple[int, int], fov_deg: float, pitch_deg: float = 0.0) -> Cameras:
    world_from_cam = torch.eye(4)
    world_from_cam[:3, :3] = matrix_from_yaw_pitch_roll(torch.deg2rad(torch.tensor([0.0, pitch_deg, 0.0])))
    return Cameras(world_from_cam=world_from_cam[None], K=intrinsics_from_fov(fov_deg, hw)[None], hw=hw)


def test_photo_fidelity_sees_another_photo_and_another_place() -> None:
    y, x = torch.meshgrid(torch.linspace(0, 6, 48), torch.linspace(0, 9, 64), indexing="ij")
    photo = torch.stack((x.sin(), y.cos(), (x + y).sin())) * 0.4 + 0.5
    placed = place_photo(photo, (256, 512), 70.0, pitch_deg=12.0).panorama
    right = photo_fidelity(placed, photo, camera((48, 64), 70.0, 12.0))
    assert right["photo_psnr_db"] > 38
    assert right["photo_psnr_db_with_rim"] < right["photo_psnr_db"]
    assert photo_fidelity(placed, photo, camera((48, 64), 70.0))["photo_psnr_db"] < 20
    shifted = photo_fidelity(placed, photo - 0.1, camera((48, 64), 70.0, 12.0))
    assert shifted["photo_psnr_db"] == pytest.approx(20.0, abs=0.2)
    with pytest.raises(ValueError, match="rim_px"):
        photo_fidelity(placed, photo, camera((48, 64), 70.0), rim_px=24)


def test_colour_statistics_by_hand() -> None:
    panorama = noise(3, *HW)
    generated = torch.ones(HW, dtype=torch.bool)
    generated[:, 64:192] = False
    panorama[:, :, :64], panorama[:, :, 192:] = panorama[:, :, 64:128], panorama[:, :, 128:192]
    same = colour_statistics(panorama, generated)
    assert same["colour_mean_shift"] == pytest.approx(0.0, abs=1e-12)
    assert [same[f"colour_{k}_ratio"] for k in ("contrast", "saturation", "detail")] == pytest.approx([1, 1, 1])
    half = torch.where(generated, 0.5 * panorama + 0.2, panorama)
    got = colour_statistics(half, generated)
    assert [got[f"colour_{k}_ratio"] for k in ("contrast", "saturation", "detail")] == pytest.approx([0.5] * 3)
    flat = colour_statistics(torch.where(generated, torch.tensor(0.5, dtype=torch.float64), panorama), generated)
    assert flat["colour_detail_ratio"] == 0.0
    with pytest.raises(ValueError, match="True at some"):
        colour_statistics(panorama, torch.zeros(HW, dtype=torch.bool))


def test_without_a_change_within_reach_the_horizon_is_the_equator() -> None:
    zenith = landscape((64, 128), 70.0)  # all that changes is outside of the 45 degrees
    stripes = torch.linspace(0.1, 0.9, 2048, dtype=torch.float64).expand(3, 1024, 2048)
    for panorama in (torch.ones(3, 64, 128), torch.full((3, 512, 1024), 0.3, dtype=torch.float64), stripes, zenith):
        assert horizon_statistics(panorama) == {"horizon_latitude_deg": 0.0, "horizon_spread_deg": 0.0}


@pytest.mark.parametrize("horizon_deg", [-20.0, 0.0, 8.0])
def test_a_level_horizon_is_found(horizon_deg: float) -> None:
    got = horizon_statistics(landscape((256, 512), horizon_deg))
    assert got["horizon_latitude_deg"] == pytest.approx(horizon_deg, abs=0.8)
    assert got["horizon_spread_deg"] == pytest.approx(0.0, abs=0.1)


def test_a_tilted_horizon_is_a_wave() -> None:
    got = horizon_statistics(landscape((256, 512), 0.0, 15.0))
    assert got["horizon_latitude_deg"] == pytest.approx(0.0, abs=1.5)
    assert got["horizon_spread_deg"] == pytest.approx(15 * 2 / math.pi, abs=1.0)


def test_diversity_by_hand_and_grain_is_not_another_thing() -> None:
    generated = torch.ones(HW, dtype=torch.bool)
    generated[40:90, 100:150] = False
    levels = torch.tensor([0.2, 0.6], dtype=torch.float64)[:, None, None, None].expand(2, 3, *HW).clone()
    levels[:, :, ~generated] = 0.5  # the photo is the same
    for value in seed_diversity(levels, generated).values():
        assert value == pytest.approx(0.4 / math.sqrt(2))
    grain = seed_diversity(torch.stack([noise(3, *HW, seed=s) for s in (1, 2)]), generated)
    assert grain["diversity_std"] == pytest.approx(1 / math.sqrt(12), rel=0.02)
    assert grain["diversity_std_coarse"] < 0.2 * grain["diversity_std"]
    with pytest.raises(ValueError, match="at least 2 seeds"):
        seed_diversity(levels[:1], generated)


def test_crops_cover_the_sphere() -> None:
    cameras = crop_cameras(32)
    seen = torch.zeros(48, 96)
    for k in range(len(cameras)):
        K, rotation = cameras.K[k], cameras.world_from_cam[k, :3, :3]
        d = directions_from_panorama((48, 96)) @ rotation
        xy = d[..., :2] / d[..., 2:] * K[0, 0] + 16
        seen += (d[..., 2] > 0) & (xy > 0).all(-1) & (xy < 32).all(-1)
    assert float(seen.min()) >= 1
    assert crop_panorama(landscape(HW), cameras).shape == (20, 3, 32, 32)
