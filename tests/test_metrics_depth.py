"""Depth metrics against cases done by hand, a slow twin in numpy, and the rules that papers on panoramas use."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from onescene.metrics import (
    PANORAMA_RULES,
    PanoramaDepthScores,
    depth_metrics,
    latitude_weights,
    panorama_depth_metrics,
)


def random_maps(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    true = 0.5 + 4 * torch.rand(*shape, generator=generator)
    return true * (0.7 + 0.6 * torch.rand(*shape, generator=generator)) * 1.9 + 0.1, true


def slow_twin(predicted: np.ndarray, true: np.ndarray, align: str) -> dict[str, float]:
    p, d = predicted.astype(np.float64).ravel(), true.astype(np.float64).ravel()
    keep = np.isfinite(d) & (d > 0)
    p, d = p[keep], d[keep]
    if align == "median":
        p = p * (np.median(d) / np.median(p))
    if align == "scale_shift":
        scale, shift = np.linalg.lstsq(np.stack((p, np.ones_like(p)), 1), d, rcond=None)[0]
        p = p * scale + shift
    p = np.maximum(p, 1e-3)
    g = np.log(p) - np.log(d)
    worst = np.maximum(p / d, d / p)
    return {
        "abs_rel": np.mean(np.abs(p - d) / d),
        "sq_rel": np.mean((p - d) ** 2 / d),
        "mae": np.mean(np.abs(p - d)),
        "rmse": np.sqrt(np.mean((p - d) ** 2)),
        "log_rmse": np.sqrt(np.mean(g**2)),
        "silog": np.std(g),
        "delta1": np.mean(worst < 1.25),
        "delta2": np.mean(worst < 1.25**2),
        "delta3": np.mean(worst < 1.25**3),
    }


def test_by_hand() -> None:
    true = torch.tensor([[1.0, 2.0, 4.0, float("nan")]])
    predicted = torch.tensor([[1.0, 3.0, 4.0, 7.0]])
    got = depth_metrics(predicted, true, "none")
    assert got["abs_rel_none"] == pytest.approx(0.5 / 3)
    assert got["mae_none"] == pytest.approx(1 / 3)
    assert got["rmse_none"] == pytest.approx(math.sqrt(1 / 3))
    assert got["log_rmse_none"] == pytest.approx(math.log(1.5) / math.sqrt(3))
    assert got["delta1_none"] == pytest.approx(2 / 3)
    assert got["delta2_none"] == pytest.approx(1.0)
    assert all(type(value) is float for value in got.values())


@pytest.mark.parametrize("align", ["median", "scale_shift", "none"])
@pytest.mark.parametrize("count", [64, 63])  # numpy's median averages the two middle values of an even count
def test_agrees_with_slow_twin(align: str, count: int) -> None:
    predicted, true = random_maps(1, count)
    true[0, :5] = torch.tensor([0.0, -1.0, float("nan"), float("inf"), 2.0])
    got = depth_metrics(predicted, true, align)
    wanted = slow_twin(predicted.numpy(), true.numpy(), align)
    assert got == pytest.approx({f"{key}_{align}": value for key, value in wanted.items()}, rel=1e-9)


def test_alignments_undo_what_they_are_for() -> None:
    _, true = random_maps(8, 16)
    assert depth_metrics(true * 3.7, true, "median")["abs_rel_median"] < 1e-6
    assert depth_metrics(true * 3.7 + 2, true, "scale_shift")["abs_rel_scale_shift"] < 1e-6
    assert depth_metrics(true * 3.7 + 2, true, "median")["abs_rel_median"] > 0.05
    assert depth_metrics(true * 3.7, true, "none")["abs_rel_none"] == pytest.approx(2.7, rel=1e-5)


def test_silog_and_deltas_do_not_see_the_scale_after_median() -> None:
    predicted, true = random_maps(8, 16)
    once, scaled = depth_metrics(predicted, true), depth_metrics(predicted * 11, true)
    assert once == pytest.approx(scaled, rel=1e-6)


@pytest.mark.parametrize("batch", [(3,), (1, 3)])
def test_batch_is_the_mean_of_its_images_each_aligned_alone(batch: tuple[int, ...]) -> None:
    predicted, true = random_maps(3, 8, 16)
    predicted = predicted * torch.tensor([1.0, 5.0, 0.2])[:, None, None]
    each = [depth_metrics(p, d) for p, d in zip(predicted, true, strict=True)]
    got = depth_metrics(predicted.reshape(*batch, 8, 16), true.reshape(*batch, 8, 16))
    assert got == pytest.approx({key: np.mean([m[key] for m in each]) for key in got})


def test_mask_and_range_leave_pixels_out() -> None:
    predicted, true = random_maps(4, 6)
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[1:3] = True
    inside = depth_metrics(predicted[1:3], true[1:3])
    assert depth_metrics(predicted, true, mask=mask) == pytest.approx(inside)
    assert depth_metrics(predicted, true, mask=mask.float()) == pytest.approx(inside)
    true[0, 0], true[0, 1] = 1000.0, 0.01
    without = true.clone()
    without[0, :2] = float("nan")
    ranged = depth_metrics(predicted, true, min_depth=0.05, max_depth=100.0)
    assert ranged == pytest.approx(depth_metrics(predicted, without, min_depth=0.05))


def test_latitude_weights_are_shares_of_the_sphere() -> None:
    predicted, true = random_maps(16, 32)
    got = depth_metrics(predicted, true, weights="latitude")
    assert set(got) == {f"{key}_latitude" for key in depth_metrics(predicted, true)}
    rows = torch.linspace(math.pi / 2, -math.pi / 2, 17, dtype=torch.float64).sin()
    areas = (rows[:-1] - rows[1:])[:, None].expand(16, 32)  # exact areas of the rows
    weights = latitude_weights((16, 32))
    torch.testing.assert_close(weights / weights.sum(), areas / areas.sum(), rtol=2e-3, atol=0)
    by_area = depth_metrics(predicted, true, weights=areas)
    assert got["abs_rel_median_latitude"] == pytest.approx(by_area["abs_rel_median_weighted"], rel=1e-2)


@pytest.mark.parametrize("align", ["median", "scale_shift", "none"])
def test_weights_count_pixels(align: str) -> None:
    predicted, true = random_maps(4, 8)
    weights = torch.ones(4, 8)
    weights[0], weights[1] = 0, 3
    repeated = [torch.cat((x[1:2], x[1:2], x[1:])) for x in (predicted, true)]
    got = depth_metrics(predicted, true, align, weights=weights)
    wanted = depth_metrics(repeated[0], repeated[1], align)
    assert got == pytest.approx({f"{key}_weighted": value for key, value in wanted.items()})


def test_equal_weights_change_no_median() -> None:
    """Sums of 0.1 round: the middle has to be found all the same."""
    for count in range(2, 60):
        generator = torch.Generator().manual_seed(count)
        predicted, true = (torch.randint(1, 9, (1, count), generator=generator).double() for _ in range(2))
        plain = depth_metrics(predicted, true)["abs_rel_median"]
        for weight in (0.1, 0.3, 0.7):
            weighted = depth_metrics(predicted, true, weights=torch.full((1, count), weight, dtype=torch.float64))
            assert weighted["abs_rel_median_weighted"] == pytest.approx(plain), (count, weight)
    many = torch.arange(1, 2**20 + 1, dtype=torch.float64)[None]
    weights = torch.full_like(many, 0.7)
    assert depth_metrics(many, many.flip(1) ** 2, weights=weights)["abs_rel_median_weighted"] == pytest.approx(
        depth_metrics(many, many.flip(1) ** 2)["abs_rel_median"], rel=1e-12
    )


def test_a_ratio_at_the_threshold_is_outside() -> None:
    for predicted, true in ((25, 16), (50, 32), (75, 48), (16, 25), (192, 300)):
        maps = (torch.tensor([[float(x)]]) for x in (predicted, true))
        assert depth_metrics(*maps, "none")["delta2_none"] == 0, (predicted, true)


def test_panorama_rules_by_hand() -> None:
    true = torch.tensor([[0.05, 2.0, 4.0, 8.0, 20.0, 0.0]])
    predicted = torch.tensor([[0.05, 2.0, 9.0, 4.0, 20.0, 1.0]])
    got = panorama_depth_metrics(predicted, true)
    # unifuse: 0.05 is raised to 0.1, 20 and 0 are left out
    assert got["abs_rel_unifuse"] == pytest.approx((0 + 0 + 1.25 + 0.5) / 4)
    # metric: only 0 is left out
    assert got["abs_rel_metric"] == pytest.approx((0 + 0 + 1.25 + 0.5 + 0) / 5)
    # da2: truth up to 5, median 2 over median 2, the 9 is clipped to 5
    assert got["abs_rel_da2"] == pytest.approx(0.25 / 3)
    assert panorama_depth_metrics(predicted * 10, true, "da2")["abs_rel_da2"] == pytest.approx(0.25 / 3)
    twice = panorama_depth_metrics(predicted, true, ["da2", "metric"])
    assert twice == {key: value for key, value in got.items() if key.endswith(("_da2", "_metric"))}


def test_release_rule_pools_pixels_of_images_with_unequal_masks() -> None:
    predicted, true = random_maps(2, 4, 8)
    true[0, 1:] = 0  # 8 valid pixels against 32
    got = panorama_depth_metrics(predicted, true, "one2scene-release")
    each = [depth_metrics(p, d, "scale_shift") for p, d in zip(predicted, true, strict=True)]
    pooled = (8 * each[0]["abs_rel_scale_shift"] + 32 * each[1]["abs_rel_scale_shift"]) / 40
    assert got["abs_rel_one2scene_release"] == pytest.approx(pooled)


def test_the_four_rules_disagree() -> None:
    predicted, true = random_maps(16, 32)
    got = panorama_depth_metrics(predicted, true * 2)
    values = [got[f"abs_rel_{name.replace('-', '_')}"] for name in PANORAMA_RULES if name != "metric"]
    assert min(abs(a - b) for i, a in enumerate(values) for b in values[:i]) > 1e-3
    affine = panorama_depth_metrics(2 * true + 1, true)  # least squares forgives a shift, the median does not
    assert affine["abs_rel_one2scene_release"] < 1e-6 < 0.01 < affine["abs_rel_da2"]


@pytest.mark.parametrize("weights", [None, "latitude"])
def test_scores_of_a_data_set_are_those_of_its_stack(weights: str | None) -> None:
    """Also where a rule pools pixels, and panoramas have unequal shares of valid ones."""
    predicted, true = random_maps(3, 8, 16)
    true[0, 1:] = 0
    scores = PanoramaDepthScores("all", weights)
    rows = [scores.add(p, d) for p, d in zip(predicted, true, strict=True)]
    stack = panorama_depth_metrics(predicted, true, weights=weights)
    assert set(stack) == set(rows[0])
    got = scores.result()
    assert {key: got[key] for key in stack} == pytest.approx(stack)
    mean = sum(row[k := f"abs_rel_one2scene_release{'_latitude' if weights else ''}"] for row in rows) / 3
    assert got[k] != pytest.approx(mean)
    assert [got[f"panoramas_{name.replace('-', '_')}"] for name in PANORAMA_RULES] == [3, 3, 3, 3]


def test_a_panorama_out_of_a_rules_range_is_counted() -> None:
    _, true = random_maps(4, 8)
    scores = PanoramaDepthScores(["da2", "metric"])
    scores.add(true, true)
    far = scores.add(true + 50, true + 50)
    assert math.isnan(far["abs_rel_da2"]) and far["abs_rel_metric"] == 0
    got = scores.result()
    assert (got["panoramas_da2"], got["panoramas_metric"], got["abs_rel_da2"]) == (1, 2, 0)
    assert PanoramaDepthScores("da2").result() == {"panoramas_da2": 0}


def test_errors_name_the_argument() -> None:
    ones = torch.ones(4, 8)
    predicted, true = random_maps(4, 8)
    with pytest.raises(ValueError, match="align must be one of median"):
        depth_metrics(ones, ones, "affine")
    with pytest.raises(ValueError, match="at least one valid pixel"):
        depth_metrics(ones, ones * float("nan"))
    with pytest.raises(ValueError, match=r"image 1\)"):
        depth_metrics(torch.ones(2, 4, 8), torch.stack((ones, -ones)))
    with pytest.raises(ValueError, match="predicted must be finite"):
        depth_metrics(ones * float("nan"), ones)
    with pytest.raises(ValueError, match="got a constant"):
        depth_metrics(ones, true, "scale_shift")
    with pytest.raises(ValueError, match="median > 0"):
        depth_metrics(-ones, true, "median")
    with pytest.raises(ValueError, match="weights must be 'latitude'"):
        depth_metrics(predicted, true, weights="area")
    with pytest.raises(ValueError, match="weights must be finite"):
        depth_metrics(predicted, true, weights=-ones)
    with pytest.raises(ValueError, match="min_depth must be > 0"):
        depth_metrics(predicted, true, min_depth=2.0, max_depth=1.0)
    with pytest.raises(ValueError, match="rule must be all or one of unifuse"):
        panorama_depth_metrics(predicted, true, "sota")


@pytest.mark.usefixtures("shapes_unchecked")
def test_shape_errors_name_both_shapes() -> None:
    _, true = random_maps(4, 8)
    for bad in (torch.ones(8, 8), torch.ones(2, 4, 8)):
        with pytest.raises(ValueError, match=r"predicted and true must have one shape, got .* and \(4, 8\)"):
            depth_metrics(bad, true)
    with pytest.raises(ValueError, match=r"mask must have shape \(4, 8\)"):
        depth_metrics(true, true, mask=torch.ones(2, 2))
    with pytest.raises(ValueError, match=r"weights must have shape \(4, 8\)"):
        depth_metrics(true, true, weights=torch.ones(2, 2))
    with pytest.raises(ValueError, match=r"true must have shape \[H, W\]"):
        depth_metrics(torch.ones(4), torch.ones(4))


@pytest.mark.usefixtures("shapes_unchecked")
def test_scores_name_a_mask_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"mask must have shape \(8, 16\) or \(8, 16\), got \(4, 16\)"):
        PanoramaDepthScores().add(torch.ones(8, 16), torch.ones(8, 16), torch.ones(4, 16))
