"""The panorama stage: the photo is kept, the rest is whole, seamless and reproducible."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.testing import assert_close

from onescene.geometry.perspective import crop_panorama, intrinsics_from_fov, place_photo
from onescene.geometry.rotations import matrix_from_yaw_pitch_roll
from onescene.metrics import psnr
from onescene.stages import outpaint, panorama
from onescene.stages.ground import ground_texture
from onescene.stages.panorama import ASSUMED_FOV_DEG, PanoramaConfig, PanoramaOutput
from onescene.stages.panorama_methods import METHODS, PanoramaMethod, options_from
from onescene.stages.release_placement import place_as_released, release_fov_deg
from onescene.types import Cameras

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def smooth_photo(h: int, w: int, seed: int = 0) -> torch.Tensor:
    """Soft colour waves with a few edges, [3, h, w]."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(0, 1, h), torch.linspace(0, 1, w), indexing="ij")
    waves = []
    for _ in range(3):
        a, b, c = torch.rand(3, generator=generator) * 6
        waves.append(0.5 + 0.3 * torch.sin(a * x + b * y + c) + 0.1 * (x + 0.4 * y > 0.5 + c / 20))
    return torch.stack(waves).clamp(0, 1)


def photo_camera(out: PanoramaOutput, hw: tuple[int, int], pitch_deg: float = 0, roll_deg: float = 0) -> Cameras:
    world_from_cam = torch.eye(4)
    angles = torch.deg2rad(torch.tensor([0.0, pitch_deg, roll_deg]))
    world_from_cam[:3, :3] = matrix_from_yaw_pitch_roll(angles)
    K = intrinsics_from_fov(out.fov_deg, hw, side="long")
    return Cameras(world_from_cam=world_from_cam[None], K=K[None], hw=hw)


def jumps(image: torch.Tensor) -> tuple[float, float]:
    """Mean absolute step across the +-180 degree seam, and between neighbouring columns elsewhere."""
    return float((image[..., 0] - image[..., -1]).abs().mean()), float(image.diff(dim=-1).abs().mean())


@pytest.fixture(scope="module")
def example() -> tuple[torch.Tensor, PanoramaOutput]:
    with Image.open(EXAMPLES / "interior-photo.jpg") as file:
        photo = torch.from_numpy(np.array(file)).permute(2, 0, 1).float() / 255
    return photo, panorama.run(photo, PanoramaConfig(fov_deg=80.0))


# --- the photo -------------------------------------------------------------------------------------------------------


def test_the_example_comes_back(example):
    photo, out = example
    cut = crop_panorama(out.panorama, photo_camera(out, tuple(photo.shape[1:])))[0]
    assert psnr(cut, photo) > 41  # measured: 42.7; the photo is 2.7 times finer than the panorama


@pytest.mark.parametrize(
    ("hw", "fov_deg", "pitch_deg", "roll_deg"),
    [((96, 128), 65.0, 0, 0), ((128, 72), 70.0, 0, 0), ((100, 100), 40.0, 30, 0), ((96, 128), 80.0, -20, 25)],
)
def test_a_smooth_photo_comes_back(hw, fov_deg, pitch_deg, roll_deg):
    y, x = torch.meshgrid(torch.linspace(0, 1, hw[0]), torch.linspace(0, 1, hw[1]), indexing="ij")
    photo = torch.stack((0.2 + 0.6 * x, 0.5 + 0.3 * torch.sin(3 * y), 0.5 + 0.3 * torch.cos(4 * x + 2 * y)))
    config = PanoramaConfig(height_px=256, fov_deg=fov_deg, pitch_deg=pitch_deg, roll_deg=roll_deg)
    out = panorama.run(photo, config)
    cut = crop_panorama(out.panorama, photo_camera(out, hw, pitch_deg, roll_deg))[0]
    assert psnr(cut, photo) > 40


def test_the_mask_is_the_rest_of_the_sphere(example):
    photo, out = example
    placed = place_photo(photo, (512, 1024), 80.0)
    assert torch.equal(out.mask, ~placed.mask)
    # the photo alone is blended at most at its rim, and left alone inside
    inside = place_photo(photo, (512, 1024), 80.0, feather_px=8).weight == 1
    assert_close(out.panorama[:, inside], out.placed.panorama[:, inside])
    assert not out.mask[inside].any() and out.mask.float().mean() > 0.8


@pytest.mark.parametrize(("name", "yaw_deg"), [("interior", -25.0), ("forest", 0.0)])
def test_cutting_the_example_anew_gives_the_example(name, yaw_deg):
    """The shipped photos are what ``cut_photo.py`` says: the same pixels up to JPEG."""
    with Image.open(EXAMPLES / f"{name}.png") as file:
        truth = torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1).float() / 255
    with Image.open(EXAMPLES / f"{name}-photo.jpg") as file:
        photo = torch.from_numpy(np.array(file)).permute(2, 0, 1).float() / 255
    camera = Cameras(world_from_cam=torch.eye(4)[None], K=intrinsics_from_fov(80.0, (768, 1024))[None], hw=(768, 1024))
    camera.world_from_cam[0, :3, :3] = matrix_from_yaw_pitch_roll(torch.deg2rad(torch.tensor([yaw_deg, 0, 0])))
    assert psnr(crop_panorama(truth, camera)[0], photo) > 40


# --- as the release places it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hw", "fov"), [((96, 128), (60.0, 80.0)), ((128, 96), (80.0, 60.0))])
def test_the_release_gives_the_short_side_a_field_of_view_in_proportion(hw, fov):
    assert release_fov_deg(hw, 80.0) == fov
    placed = place_as_released(smooth_photo(*hw), (360, 720), 80.0)
    rows, columns = torch.nonzero(placed.mask[:, 360])[:, 0], torch.nonzero(placed.mask[180])[:, 0]
    assert abs(len(rows) / 2 - fov[0]) < 1 and abs(len(columns) / 2 - fov[1]) < 1  # half a degree per pixel
    exact = place_photo(smooth_photo(*hw), (360, 720), 80.0).mask
    short = exact[:, 360] if hw[0] < hw[1] else exact[180]
    lens_deg = 2 * math.degrees(math.atan(math.tan(math.radians(40)) * 0.75))
    assert abs(int(short.sum()) / 2 - lens_deg) < 1 and lens_deg > 64  # what a lens sees: 64.4 degrees, not 60


def test_the_release_samples_the_photo_where_its_own_grid_says():
    """By hand on ramps: at longitude l the photo's column is that of tan(l) / tan(half field of view)."""
    x = (torch.arange(240) + 0.5) / 240
    photo = torch.stack(
        (x.expand(180, 240), x.expand(180, 240), ((torch.arange(180) + 0.5) / 180)[:, None].expand(180, 240))
    )
    placed = place_as_released(photo, (360, 720), 80.0)
    columns = torch.arange(300, 420)
    lon = torch.deg2rad(columns / 719 * 360 - 180)
    row = 180
    lat = math.radians(90 - row / 359 * 180)
    u = (torch.tan(lon) / math.tan(math.radians(40)) + 1) / 2 + 0.5 / 160  # of the photo of 160 columns, half one off
    v = (-math.tan(lat) / torch.cos(lon) / math.tan(math.radians(30)) + 1) / 2 + 0.5 / 120
    assert_close(placed.panorama[0, row, 300:420], u, atol=2e-3, rtol=0)
    assert_close(placed.panorama[2, row, 300:420], v, atol=2e-3, rtol=0)
    assert not placed.panorama[:, ~placed.mask].any()


def test_the_release_is_a_choice_of_the_stage():
    photo = smooth_photo(96, 128)
    out = panorama.run(photo, PanoramaConfig(height_px=128, fov_deg=80.0, placement="release"))
    exact = panorama.run(photo, PanoramaConfig(height_px=128, fov_deg=80.0))
    inside = out.placed.weight == 1
    assert_close(out.panorama[:, inside], out.placed.panorama[:, inside])
    assert (~out.mask).sum() < 0.97 * (~exact.mask).sum()


# --- the rest --------------------------------------------------------------------------------------------------------


def test_the_example_has_no_seam_no_pole_star_no_border(example):
    _, out = example
    across, inside = jumps(out.panorama)
    assert across <= 1.5 * inside
    for row in (0, -1):
        assert out.panorama[:, row].std(dim=-1).max() < 0.005
    step = out.panorama.diff(dim=1).abs().mean(dim=0)
    border = out.mask[1:] != out.mask[:-1]
    photo_step = step[~out.mask[1:] & ~out.mask[:-1]].mean()
    assert step[border].mean() < 2 * photo_step  # measured: 1.35; black outside: 49


@settings(max_examples=12, deadline=None)
@given(
    hw=st.sampled_from([(64, 64), (64, 96), (96, 64), (64, 200), (200, 64)]),
    fov_deg=st.sampled_from([10.5, 25.0, 60.0, 100.0, 140.0, 169.5]),
    pitch_deg=st.sampled_from([0.0, 0.0, 15.0, -60.0, 90.0]),
    roll_deg=st.sampled_from([0.0, 0.0, -20.0, 90.0]),
    seed=st.integers(0, 3),
)
def test_any_photo_gives_a_whole_panorama(hw, fov_deg, pitch_deg, roll_deg, seed):
    config = PanoramaConfig(height_px=96, fov_deg=fov_deg, pitch_deg=pitch_deg, roll_deg=roll_deg, seed=seed)
    out = panorama.run(smooth_photo(*hw, seed), config)
    image = out.panorama
    assert image.shape == (3, 96, 192) and torch.isfinite(image).all()
    assert image.min() >= 0 and image.max() <= 1
    assert image[:, out.mask].amax(dim=0).min() > 0.02  # nothing is left black


@pytest.mark.parametrize("hw", [(96, 128), (128, 72), (100, 100)])
@pytest.mark.parametrize("fov_deg", [20.0, 65.0, 150.0])
def test_level_photos_close_the_circle_and_the_poles(hw, fov_deg):
    image = panorama.run(smooth_photo(*hw), PanoramaConfig(height_px=128, fov_deg=fov_deg)).panorama
    across, inside = jumps(image)
    assert across <= 1.5 * inside
    assert image[:, [0, -1]].std(dim=-1).max() < 0.004  # measured: below 0.0004


def test_the_seed_decides_and_nothing_else():
    photo = smooth_photo(80, 100)
    photo += 0.1 * torch.rand(photo.shape, generator=torch.Generator().manual_seed(0))
    config = PanoramaConfig(height_px=96, fov_deg=90.0, seed=3)
    first = panorama.run(photo.clamp(0, 1), config).panorama
    torch.manual_seed(5)
    np.random.default_rng(5).random()
    assert torch.equal(first, panorama.run(photo.clamp(0, 1), config).panorama)
    other = panorama.run(photo.clamp(0, 1), PanoramaConfig(height_px=96, fov_deg=90.0, seed=4)).panorama
    assert not torch.equal(first, other)


def test_where_the_field_of_view_comes_from():
    photo = smooth_photo(64, 80)
    guess = panorama.run(photo, PanoramaConfig(height_px=64))
    assert (guess.fov_deg, guess.fov_source, guess.method) == (ASSUMED_FOV_DEG, "assumed", "baseline")
    noted = panorama.run(photo, PanoramaConfig(height_px=64, fov_deg=50.0, fov_source="exif"))
    assert (noted.fov_deg, noted.fov_source) == (50.0, "exif")
    assert (~guess.mask).sum() > (~noted.mask).sum()


def test_dtype_and_progress_follow():
    shares = []
    out = panorama.run(smooth_photo(64, 80).double(), PanoramaConfig(height_px=64), shares.append)
    assert out.panorama.dtype == torch.float64
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_a_huge_photo_is_reduced_first(monkeypatch):
    seen = []
    real = panorama.place_photo
    monkeypatch.setattr(panorama, "place_photo", lambda p, *a, **k: (seen.append(p.shape), real(p, *a, **k))[1])
    panorama.run(smooth_photo(900, 1200), PanoramaConfig(height_px=64, fov_deg=80.0))
    assert max(seen[0]) < 150 and abs(seen[0][2] / seen[0][1] - 4 / 3) < 0.02


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"fov_deg": 10.0}, r"fov_deg must be inside \(10, 170\)"),
        ({"fov_deg": 170.0}, r"fov_deg must be inside \(10, 170\)"),
        ({"fov_deg": math.nan}, "fov_deg"),
        ({"method": "magic"}, "method must be one of baseline, .*got 'magic'"),
        ({"height_px": 62}, "height_px must be even and >= 64, got 62"),
        ({"height_px": 65}, "height_px must be even"),
        ({"pitch_deg": 91.0}, "pitch_deg"),
        ({"roll_deg": math.nan}, "roll_deg"),
        ({"feather_px": -1.0}, "feather_px"),
        ({"seed": -1}, "seed"),
        ({"fov_source": "assumed"}, "fov_source"),
        ({"placement": "near"}, "placement must be one of exact, release, got 'near'"),
        ({"placement": "release", "pitch_deg": 5.0}, "placement release knows level photos only"),
        ({"prompt": "a garden"}, "method baseline reads no prompt"),
        ({"options": 3}, "options of baseline must be None, got int"),
    ],
)
def test_bad_settings_are_named(settings_, message):
    with pytest.raises(ValueError, match=message):
        panorama.run(smooth_photo(64, 64), PanoramaConfig(**settings_))


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (torch.zeros(3, 63, 100), "at least|>= 64"),
        (torch.full((3, 64, 64), 1.5), r"in \[0, 1\]"),
        (torch.full((3, 64, 64), math.nan), "NaN"),
        (torch.zeros(3, 64, 257), "at most 4 times as long as wide, got 257 x 64: .*stitched"),
        (None, "method baseline needs a photo"),
    ],
)
def test_bad_photos_are_named(photo, message):
    with pytest.raises(ValueError, match=message):
        panorama.run(photo, PanoramaConfig(height_px=64))


# --- the methods -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NoiseConfig:
    """Options of the method that the tests bring."""

    contrast: float = 1.0


def load_noise(options: NoiseConfig):
    def synthesise(request):
        placed = request.placed.panorama
        request.progress(0.5)
        return options.contrast * torch.rand(placed.shape, generator=request.generator) - request.placed.mask * 9.0

    return synthesise


@pytest.fixture
def noise(monkeypatch) -> PanoramaMethod:
    """A method whose result is noise, and nonsense (-9 and below) where the photo is."""
    words = {n: "none" for n in ("summary", "weights", "licence", "memory", "time")}
    row = PanoramaMethod(name="noise", **words, load=load_noise, options=NoiseConfig, from_text=True, prompted=True)
    monkeypatch.setitem(METHODS, "noise", row)
    return row


def test_a_method_is_free_inside_the_photo_and_the_stage_puts_the_photo_back(noise):
    photo = smooth_photo(96, 128)
    out = panorama.run(photo, PanoramaConfig(method="noise", height_px=128, fov_deg=70.0, feather_px=1.0))
    inside = out.placed.weight == 1
    assert_close(out.panorama[:, inside], out.placed.panorama[:, inside])
    assert out.panorama.min() >= 0 and out.method == "noise"
    expected = torch.rand((3, 128, 256), generator=torch.Generator().manual_seed(0))
    assert_close(out.panorama[:, out.mask], expected[:, out.mask])


def test_a_method_gets_its_options_by_name_and_refuses_others(noise):
    assert options_from(noise, {"contrast": 0.5}) == NoiseConfig(contrast=0.5)
    assert options_from(METHODS["baseline"], {}) is None
    with pytest.raises(ValueError, match="noise has no option 'contrats'; did you mean contrast"):
        options_from(noise, {"contrats": 1.0})
    with pytest.raises(ValueError, match="baseline has no option 'x'; it knows none"):
        options_from(METHODS["baseline"], {"x": 1})
    config = PanoramaConfig(method="noise", height_px=64, options=NoiseConfig(contrast=0.1), prompt="a garden")
    out = panorama.run(None, config)
    assert out.panorama.max() < 0.11 and out.mask.all() and (out.fov_deg, out.fov_source) == (0.0, "none")


WRONG_KINDS = [
    ("small", {"upper": "some"}, "upper of small must be a finite number, got 'some'"),
    ("small", {"lower": float("nan")}, "lower of small must be a finite number, got nan"),
    ("small", {"lower": True}, "lower of small must be a finite number, got True"),
    ("small", {"planes": "maybe"}, "planes of small must be true or false, got 'maybe'"),
    ("small", {"planes": 1}, "planes of small must be true or false, got 1"),
    ("small", {"weights": None}, "weights of small must be text, got null"),
    ("anchored", {"side_views": "many"}, "side_views of anchored must be a whole number, got 'many'"),
    ("anchored", {"side_views": 8.5}, "side_views of anchored must be a whole number, got 8.5"),
    ("anchored", {"heuristic": 3}, "heuristic of anchored must be text, got 3"),
    ("hunyuan", {"weights": 5}, "weights of hunyuan must be text or null, got 5"),
]


@pytest.mark.parametrize(("name", "values", "sentence"), WRONG_KINDS)
def test_an_option_of_another_type_is_refused_in_a_sentence(name, values, sentence):
    with pytest.raises(ValueError, match=f"panorama_options: {sentence}"):
        options_from(METHODS[name], values)


@dataclass(frozen=True)
class Several:
    hues: tuple[float, ...] = ()
    rest: Any = None
    size: int | float | None = None


def test_a_method_of_ones_own_may_have_lists_and_anything(noise):
    row = replace(noise, options=Several)
    assert options_from(row, {"hues": [0.1, 0.2], "rest": {"a": 1}, "size": 2.5}) == Several((0.1, 0.2), {"a": 1}, 2.5)
    assert options_from(row, {"rest": True}).rest is True
    with pytest.raises(ValueError, match="hues of noise must be a list, each a finite number, got 3"):
        options_from(row, {"hues": 3})
    with pytest.raises(ValueError, match=r"hues of noise must be a list, each a finite number, got \('red',\)"):
        options_from(row, {"hues": ["red"]})
    with pytest.raises(ValueError, match="size of noise must be a whole number or a finite number or null, got 'x'"):
        options_from(row, {"size": "x"})


def test_a_whole_number_is_a_number_and_null_is_what_may_be_none():
    assert options_from(METHODS["small"], {"upper": 1, "planes": False}).upper == 1
    assert options_from(METHODS["hunyuan"], {"weights": None}).weights is None


def test_a_method_that_makes_another_size_is_our_failure_in_a_sentence(noise, monkeypatch):
    monkeypatch.setitem(METHODS, "noise", replace(noise, load=lambda options: lambda request: torch.zeros(3, 8, 16)))
    with pytest.raises(ValueError, match=r"method noise made \[3, 8, 16\], not \[3, 64, 128\]"):
        panorama.run(smooth_photo(64, 64), PanoramaConfig(method="noise", height_px=64))


def test_a_panorama_that_is_given_stays_as_it_is():
    image = smooth_photo(64, 128)
    out = panorama.run(image, PanoramaConfig(method="file"))
    assert torch.equal(out.panorama, image) and not out.mask.any()
    assert (out.method, out.fov_deg, out.fov_source) == ("file", 360.0, "given")
    with pytest.raises(ValueError, match="panorama's size must be"):
        panorama.run(smooth_photo(64, 100), PanoramaConfig(method="file"))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_what_it_needs_before_it_starts(name):
    row = METHODS[name]
    assert row.name == name
    for word in ("weights: ", "licence: ", "memory: ", "time: "):
        assert len(row.announcement.partition(word)[2]) >= 3


# --- its parts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [12, 60, 120])
def test_a_tour_starts_right_ends_left_and_never_leaps(count):
    columns = outpaint.Columns(0, count, np.ones(count), np.ones(count), np.zeros(count), np.zeros(count))
    tour = outpaint.choose_tour(columns, 180 - count, np.random.default_rng(0))
    assert len(tour) == 180 - count
    assert tour[0] > count - 3 and tour[-1] < 2
    assert tour.min() >= 0 and tour.max() <= count - 1
    assert np.abs(np.diff(tour)).max() < 2.1


def test_a_tour_avoids_what_is_unique():
    unique = np.ones(100)
    unique[40:60] = 30.0
    plain = outpaint.Columns(0, 100, np.ones(100), np.ones(100), np.zeros(100), np.zeros(100))
    marked = outpaint.Columns(0, 100, unique, np.ones(100), np.zeros(100), np.zeros(100))
    visits = [
        np.mean([((40 < t) & (t < 60)).mean() for t in tours])
        for tours in (
            [outpaint.choose_tour(c, 350, np.random.default_rng(s)) for s in range(5)] for c in (plain, marked)
        )
    ]
    assert visits[1] < 0.7 * visits[0]


def test_blur_goes_around_the_circle_and_between_levels():
    image = np.zeros((90, 180, 3), dtype=np.float32)
    image[45, 0] = 1
    blurred = outpaint.wrap_blur(image, 2.0)
    np.testing.assert_allclose(blurred[:, 1], blurred[:, -1], atol=1e-7)
    np.testing.assert_allclose(blurred.sum(axis=(0, 1)), 1, atol=1e-4)
    same = outpaint.variable_blur(image, np.full((90, 180), 2.0))  # one of its levels at this height: 4 * 0.5
    np.testing.assert_allclose(same, blurred, atol=1e-6)
    np.testing.assert_array_equal(outpaint.variable_blur(image, np.zeros((90, 180))), image)


def test_colours_spread_from_their_own_place_to_the_mean_of_all():
    rim = np.random.default_rng(0).random((64, 3)).astype(np.float32)
    sigma = np.array([[1e-3], [100.0]]) * np.ones((1, 64))
    near, far = outpaint.spread(rim, np.ones(64), sigma)
    np.testing.assert_allclose(far, np.broadcast_to(rim.mean(axis=0), far.shape), atol=0.02)
    assert np.abs(near - rim).mean() < np.abs(near - np.roll(rim, 20, axis=0)).mean() / 5


def test_ground_is_textured_only_where_the_photo_shows_some():
    rng = np.random.default_rng(0)
    grain = 0.5 + 0.05 * rng.standard_normal((192, 384, 3)).astype(np.float32)
    rows = np.arange(192)
    low, high = np.zeros((192, 384), bool), np.zeros((192, 384), bool)
    low[90:140, 130:250] = True
    high[40:95, 130:250] = True
    texture = ground_texture(grain * low[..., None], low, np.random.default_rng(1))
    ground = texture[rows > 140]
    assert 0.005 < ground.std() < 0.05 and abs(ground.mean()) < 0.004
    assert not texture[rows < 96].any()
    assert not ground_texture(grain * high[..., None], high, np.random.default_rng(1)).any()
    assert not ground_texture(
        np.repeat(0.5 * low[..., None], 3, axis=2).astype(np.float32), low, np.random.default_rng(1)
    ).any()


def test_ground_below_a_level_photo_is_as_strong_and_as_fine_as_its_lowest_rows():
    """A phone's photo ends 24 degrees below the horizon: what lies nearer has to be made up, at the same scale."""

    def made(waves_per_height):
        height, width = 256, 512
        lon = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
        depression = ((np.arange(height)[:, None] + 0.5) / height - 0.5) * np.pi
        reach = 1 / np.tan(np.maximum(depression, 0.03))
        x, z = reach * np.sin(lon), reach * np.cos(lon)
        axes = np.deg2rad(np.arange(0, 180, 15))
        waves = sum(np.sin(2 * np.pi * waves_per_height * (x * np.cos(a) + z * np.sin(a)) + 9 * a) for a in axes)
        mask = (np.abs(lon) < 0.55) & (np.abs(depression) < np.deg2rad(24))
        placed = (0.5 + 0.02 * waves[..., None] / waves[mask].std() * np.ones(3)) * mask[..., None]
        return ground_texture(placed.astype(np.float32), mask, np.random.default_rng(0))[depression[:, 0] > 0.7, :, 0]

    coarse, fine = made(3.0), made(7.0)
    for texture in (coarse, fine):
        assert 0.005 < texture.std() < 0.03
    across = [np.abs(np.diff(t[: len(t) // 2], axis=1)).mean() / t[: len(t) // 2].std() for t in (coarse, fine)]
    assert across[1] > 1.4 * across[0]
