"""The panorama method ``small``: a classical draft corrected by the outpainter, its detail kept where both agree."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_outpainter import TINY, tiny

from onescene.geometry.equirect import directions_from_panorama
from onescene.models.outpainter import Outpainter
from onescene.models.outpainter.network import pad_sphere
from onescene.models.outpainter.weights import SmallOptions, outpainter_bytes
from onescene.stages.outpaint_learned import FLAT, _enlarged, correct, detail_gain
from onescene.stages.panorama import PanoramaConfig, run
from onescene.stages.panorama_methods import METHODS


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
    torch.testing.assert_close(_enlarged(small, large), large, atol=6e-3, rtol=0)


def test_without_a_correction_the_draft_stays():
    draft = torch.rand(3, 64, 128, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(64, 128, dtype=torch.bool)
    mask[24:40, 50:78] = True
    got = correct(Outpainter(TINY).eval(), draft * mask, mask, draft, torch.Generator().manual_seed(0))
    torch.testing.assert_close(got, draft, atol=1e-4, rtol=0)


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
    with pytest.raises(ValueError, match="none are shipped: train them"):
        METHODS["small"].files(SmallOptions())
    with pytest.raises(FileNotFoundError, match="outpainter weights not found"):
        METHODS["small"].files(SmallOptions(weights=str(tmp_path / "none.safetensors")))
