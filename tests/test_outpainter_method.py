"""The panorama method ``small``: a classical draft corrected by the outpainter, its detail kept where both agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_outpainter import TINY, tiny

from onescene.geometry.equirect import directions_from_panorama
from onescene.io.images import load_photo
from onescene.models.loading import shipped_scaffold_path
from onescene.models.outpainter import Outpainter
from onescene.models.outpainter.compose import FLAT, detail_gain, enlarged, even_at_poles
from onescene.models.outpainter.network import pad_sphere
from onescene.models.outpainter.weights import SmallOptions, outpainter_bytes, shipped_outpainter_path
from onescene.models.scaffold import CubeScaffold, CubeScaffoldConfig
from onescene.stages.outpaint import Strip
from onescene.stages.outpaint_learned import correct, correction_share, sky_by
from onescene.stages.panorama import PanoramaConfig, run
from onescene.stages.panorama_methods import METHODS
from onescene.stages.sky import sky_at_rim, what_is_above

ROOT = Path(__file__).resolve().parents[1]


def test_detail_is_kept_where_draft_and_correction_agree():
    draft = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    other = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(detail_gain(draft, draft), torch.ones(1, 1, 32, 64))
    torch.testing.assert_close(
        detail_gain(draft, 0.5 * draft + 0.3), torch.full((1, 1, 32, 64), 0.5), atol=0.02, rtol=0
    )
    assert detail_gain(draft, other).mean() < 0.15
    grain = 0.5 + 0.001 * draft
    assert detail_gain(grain, 0.7 + 0 * grain).min() > 0.99


def test_detail_gain_equals_its_slow_twin():
    """The slope by the definition at one pixel: sums over its neighbourhood of 5 x 5 pixels on the sphere."""
    draw = torch.Generator().manual_seed(3)
    draft, corrected = (torch.rand(1, 3, 16, 32, generator=draw) for _ in range(2))

    def about_mean(x):
        means = torch.stack([pad_sphere(x, 2)[0, :, r : r + 5, c : c + 5].mean((1, 2)) for r, c in PLACES])
        return (x[0].flatten(1).T - means).T.reshape(1, 3, 16, 32)

    PLACES = [(r, c) for r in range(16) for c in range(32)]
    d, c = (pad_sphere(about_mean(x), 2)[0] for x in (draft, corrected))
    window = (slice(None), slice(7, 12), slice(20, 25))
    covariance, variance = (d[window] * c[window]).sum() / 25, (d[window] ** 2).sum() / 25
    expected = ((covariance + FLAT) / (variance + FLAT)).clamp(0, 1.5)
    torch.testing.assert_close(detail_gain(draft, corrected)[0, 0, 7, 20], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("height", [32, 48, 85])
def test_enlarging_moves_nothing(height):
    """A smooth function on the sphere is the same function at another size, at the poles and at the ends too.

    A bicubic kernel bends it by up to 0.005 where 32 rows show half a turn; a third of a pixel would be 0.03.
    """
    small, large = (directions_from_panorama((h, 2 * h)).permute(2, 0, 1)[None] for h in (32, height))
    torch.testing.assert_close(enlarged(small, large), large, atol=6e-3, rtol=0)


def test_without_a_correction_the_draft_stays():
    draft = torch.rand(3, 64, 128, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(64, 128, dtype=torch.bool)
    mask[24:40, 50:78] = True
    got = correct(Outpainter(TINY).eval(), draft * mask, mask, draft, torch.Generator().manual_seed(0))
    torch.testing.assert_close(got, draft, atol=1e-4, rtol=0)


def test_below_above_and_beside_the_photo_the_draft_changes_as_far_as_asked():
    """A network that darkens, beside a photo of eight rows."""
    network = Outpainter(TINY).eval()
    with torch.no_grad():
        network.write.bias.fill_(-0.2)
    draft, mask = torch.full((3, 64, 128), 0.5), torch.zeros(64, 128, dtype=torch.bool)
    mask[28:36, 60:68] = True
    for shares in ((1.0, 0.0, 0.0), (0.5, 0.25, 1.0), (0.0, 1.0, 0.5)):
        made = correct(network, draft * mask, mask, draft, torch.Generator().manual_seed(0), shares)
        for rows, share in zip((slice(46, 64), slice(0, 18), slice(31, 33)), shares, strict=True):
            expected = torch.full_like(made[:, rows, :40], 0.5 - 0.2 * share)
            torch.testing.assert_close(made[:, rows, :40], expected, atol=5e-3, rtol=0)
        torch.testing.assert_close(made[:, 31:33, 62:66], draft[:, 31:33, 62:66], atol=0.02, rtol=0)  # the photo
    assert bool((correction_share(torch.zeros(8, 16, dtype=torch.bool), 0.5, 0.0, 0.0) == 1).all())
    for name in ("lower", "upper", "beside"):
        with pytest.raises(ValueError, match=f"{name} must be in"):
            SmallOptions(**{name: 1.5})


def test_noise_evened_at_the_poles_has_one_scale_on_the_sphere():
    """Neighbours in the row next to a pole agree, as neighbouring rows never would; at the horizon nothing changes."""
    noise = torch.randn(3, 64, 128, generator=torch.Generator().manual_seed(0))
    even = even_at_poles(noise)
    steps = even.diff(dim=-1).square().mean((0, 2)).sqrt()
    assert steps[[0, 63]].max() < 0.1 * steps[32]
    torch.testing.assert_close(even[:, 30:34], noise[:, 30:34], atol=0.05, rtol=0)
    torch.testing.assert_close(even.mean(-1), noise.mean(-1), atol=1e-5, rtol=0)


def test_what_ships_gives_the_ground_a_grain_and_leaves_the_rest():
    photo = load_photo(ROOT / "examples" / "interior-photo.jpg").rgb
    config = PanoramaConfig(height_px=256, fov_deg=80)
    alone = replace(config, method="small", options=SmallOptions(lower=1.0, upper=0.0, planes=False))
    small, draft = (run(photo, c).panorama for c in (alone, config))
    grain = [(x - F.avg_pool2d(x, 9, 1, 4))[:, 200:240].std() for x in (small, draft)]
    assert grain[0] > 1.2 * grain[1], grain
    assert (small[:, :150] - draft[:, :150]).abs().mean() < 1e-3


def test_what_ships_shows_a_room_from_the_photo_of_a_room():
    """Above the photo the ceiling has no streak of the window, below it the floor none of the chairs."""
    photo = load_photo(ROOT / "examples" / "interior-photo.jpg").rgb
    config = PanoramaConfig(height_px=256, fov_deg=80)
    small, draft = (run(photo, replace(config, method=m)).panorama for m in ("small", "baseline"))
    above, below = slice(60, 80), slice(190, 210)  # 34 to 48 degrees above the horizon, 44 to 58 below
    uneven = [[x[:, rows].mean(1).std(-1).mean() for rows in (above, below)] for x in (small, draft)]
    assert uneven[0][0] < 0.8 * uneven[1][0], uneven
    assert (small[:, 100:140] - draft[:, 100:140]).abs().mean() < 1e-3  # beside the photo nothing changes


@pytest.mark.parametrize("height", [256, 1024])
def test_what_ships_lets_trees_rise_from_the_photo_of_a_garden(height):
    """Above the photo are trees before a bright sky, as in it, where the baseline has little more than its colours."""
    photo = load_photo(ROOT / "examples" / "forest-photo.jpg").rgb
    config = PanoramaConfig(height_px=height, fov_deg=80)
    small, draft = (run(photo, replace(config, method=m)).panorama for m in ("small", "baseline"))
    small, draft = (F.interpolate(x[None], (256, 512), mode="area")[0] for x in (small, draft))
    crowns, photo_rows, zenith = slice(62, 76), slice(95, 110), slice(0, 8)  # 37 to 46 degrees, 13 to 23, 84 and more
    leaves = [x[1] - x[2] for x in (small, draft)]  # green before white
    assert leaves[0][crowns].std() > 2 * leaves[1][crowns].std()
    assert leaves[0][crowns].std() > 0.3 * leaves[0][photo_rows].std()
    assert small[:, crowns].quantile(0.9) > 0.9 and small[:, zenith].std(dim=-1).max() < 0.03


@pytest.mark.parametrize(("logit", "above"), [(-9.0, "ceiling"), (9.0, "sky")])
def test_the_scaffold_tells_a_ceiling_from_the_sky(logit, above):
    network = CubeScaffold(CubeScaffoldConfig(face_px=32)).eval()
    with torch.no_grad():
        network.head.bias[1] = logit
    draft = torch.rand(64, 128, 3, generator=torch.Generator().manual_seed(0)).numpy()
    flat, none = np.zeros(128), np.zeros((64, 128))
    strip = Strip(draft, flat + 20, flat + 44, none, none)
    sky = sky_by(network)(draft)
    assert what_is_above(sky, strip, sky_at_rim(sky, strip)) == above


def test_the_method_runs_in_the_stage(tmp_path):
    """The photo survives, a seed repeats, another seed differs, the ends meet."""
    path = tmp_path / "w.safetensors"
    path.write_bytes(outpainter_bytes(tiny(), {"licence": "CC0"}))
    photo = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)).cumsum(-1) / 64
    config = PanoramaConfig(method="small", height_px=64, fov_deg=70, options=SmallOptions(weights=str(path)))
    out = run(photo, config)
    torch.testing.assert_close(run(photo, config).panorama, out.panorama)
    assert (run(photo, replace(config, seed=1)).panorama - out.panorama).abs().mean() > 1e-3
    inside = out.placed.weight == 1
    torch.testing.assert_close(out.panorama[:, inside], out.placed.panorama[:, inside])
    across = (out.panorama[..., 0] - out.panorama[..., -1]).abs().mean()
    beside = (out.panorama[..., 1:20] - out.panorama[..., :19]).abs().mean()
    assert across < 3 * beside


def test_missing_weights_are_one_sentence_before_anything_starts(tmp_path):
    assert METHODS["small"].files(SmallOptions()) == (shipped_outpainter_path(), shipped_scaffold_path())
    assert METHODS["small"].files(SmallOptions(planes=False)) == (shipped_outpainter_path(),)
    with pytest.raises(FileNotFoundError, match="outpainter weights not found"):
        METHODS["small"].files(SmallOptions(weights=str(tmp_path / "none.safetensors")))
