"""Scaffold training: losses by hand, batches that follow from seed and step, a resumed run equal to an unbroken one."""

import copy
import math

import numpy as np
import pytest
import torch
from test_one2scene import TINY as TINY_PAPER

from onescene.models.one2scene import One2Scene
from onescene.models.scaffold import CubeScaffold, CubeScaffoldConfig, ScaffoldPrediction
from onescene.training import batches
from onescene.training.augment import SOFTEST, Turn, add_noise, draw_colours, draw_focus
from onescene.training.batches import draw_batch, draw_sample, shrink_targets
from onescene.training.geometry_terms import gradient_loss
from onescene.training.scaffold import TrainConfig, lr_factor, new_state, train_scaffold
from onescene.training.scaffold_loss import LossWeights, median_offset, outlier_share, relative_error, scaffold_loss

TINY = CubeScaffoldConfig(face_px=32, dim=24, heads=2, depth=1, decoder=(16, 16, 8, 8))


class Panoramas:
    """Five noisy panoramas, the same at every reading."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        draw = np.random.default_rng(index)
        rgb = draw.integers(0, 255, (64, 128, 3), dtype=np.uint8)
        return rgb, draw.uniform(1, 5, (64, 128)).astype(np.float32), draw.uniform(size=(64, 128)) < 0.1


class Places:
    """A panorama whose colour, distance and sky all say which column it is."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        column = np.arange(16, dtype=np.float32)[None].repeat(8, 0)
        rgb = (60 + 4 * column)[..., None].repeat(3, -1).astype(np.uint8)
        return rgb, column + 2, column > 7.6


def weights_after(state, config, stop=None):
    for log in train_scaffold(state, Panoramas(), config):
        assert math.isfinite(log.losses["total"])
        if stop is not None and log.step == stop:
            break
    return state.network.state_dict()


def test_a_resumed_run_equals_an_unbroken_one():
    config = TrainConfig(steps=4, batch=2, warmup_steps=1, seed=3)
    torch.manual_seed(0)
    network = CubeScaffold(TINY)
    whole = weights_after(new_state(copy.deepcopy(network), config), config)
    first = new_state(copy.deepcopy(network), config)
    weights_after(first, config, stop=2)
    second = new_state(CubeScaffold(TINY), config)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.step == 2
    resumed = weights_after(second, config)
    for key, value in whole.items():
        torch.testing.assert_close(resumed[key], value)


@pytest.mark.parametrize("kind", ["cube", "paper"])
def test_bfloat16_learns_as_float32_does(kind):
    """Products are coarser, losses and geometry are not: the same terms to a percent, and a step that is as good."""
    torch.manual_seed(0)
    network = CubeScaffold(TINY) if kind == "cube" else One2Scene(TINY_PAPER)
    losses = {}
    for precision in ("float32", "bfloat16"):
        config = TrainConfig(steps=3, batch=2, warmup_steps=1, seed=3, precision=precision)
        steps = list(train_scaffold(new_state(copy.deepcopy(network), config), Panoramas(), config))
        losses[precision] = torch.tensor([[step.losses[name] for name in sorted(step.losses)] for step in steps])
    assert not torch.equal(losses["float32"], losses["bfloat16"])
    torch.testing.assert_close(losses["bfloat16"], losses["float32"], rtol=0.03, atol=0.01)


def test_learning_rate_rises_stays_and_falls_to_zero():
    config = TrainConfig(steps=100, warmup_steps=10, decay_fraction=0.2)
    assert lr_factor(0, config) == pytest.approx(0.1)
    assert lr_factor(50, config) == 1.0
    assert lr_factor(90, config) == pytest.approx(0.5)
    assert lr_factor(100, config) == 0.0


def perfect(log_distance, offset=0.0):
    return ScaffoldPrediction(
        log_distance + offset, torch.full_like(log_distance, -20.0), torch.zeros(1, 6, 8, 8) + offset
    )


def test_loss_of_a_perfect_and_of_a_scaled_prediction():
    log_distance, sky = torch.zeros(1, 16, 32), torch.zeros(1, 16, 32, dtype=torch.bool)
    exact = scaffold_loss(perfect(log_distance), log_distance, sky, 95)
    assert exact["total"] < 1e-3
    scaled = scaffold_loss(perfect(log_distance, 0.7), log_distance, sky, 95)
    torch.testing.assert_close(scaled["absolute"], torch.tensor(0.7))
    assert scaled["aligned"] < 1e-6 and scaled["gradient"] < 1e-6
    torch.testing.assert_close(scaled["silog"], torch.tensor(0.7 * math.sqrt(0.15)), rtol=1e-4, atol=0)


def test_the_sky_is_left_out():
    log_distance = torch.randn(1, 16, 32)
    sky = torch.zeros(1, 16, 32, dtype=torch.bool)
    sky[:, :8] = True
    wrong_sky = log_distance.clone()
    wrong_sky[:, :8] += 100
    face = torch.zeros(1, 6, 8, 8)
    sky_logit = torch.where(sky, 20.0, -20.0)
    one = scaffold_loss(ScaffoldPrediction(log_distance, sky_logit, face), log_distance, sky, 95)
    two = scaffold_loss(ScaffoldPrediction(wrong_sky, sky_logit, face), log_distance, sky, 95)
    for term in ("aligned", "outlier", "absolute", "silog", "gradient", "sky"):
        torch.testing.assert_close(one[term], two[term])


def test_median_and_gradient_by_hand():
    error = torch.tensor([[[1.0, 2.0, 9.0, 2.0]]])
    assert median_offset(error, torch.ones_like(error, dtype=torch.bool)) == 2.0
    assert median_offset(error, torch.zeros_like(error, dtype=torch.bool)) == 0.0
    step = torch.zeros(1, 4, 8)
    step[..., 4:] = 1.0
    assert gradient_loss(step, torch.ones_like(step, dtype=torch.bool), scales=1) == pytest.approx(2 / 8)


def test_outliers_by_hand():
    tolerance = math.log(1.25)
    share = outlier_share(torch.tensor([0.0, tolerance, -3 * tolerance, 1e3]))
    torch.testing.assert_close(share, torch.tensor([0.0, 0.5, 0.9, 1.0]))


def test_relative_errors_by_hand():
    """AbsRel's summand up to e times too far, there as steep as it is, and growing no faster from there on."""
    error = torch.tensor([0.0, math.log(1.5), math.log(0.5), 1.0, 3.0], requires_grad=True)
    relative = relative_error(error)
    torch.testing.assert_close(relative, torch.tensor([0.0, 0.5, 0.5, math.e - 1, 3 * math.e - 1]))
    relative.sum().backward()
    torch.testing.assert_close(error.grad[1:], torch.tensor([1.5, -0.5, math.e, math.e]))


def test_a_weight_asks_for_the_relative_term():
    log_distance, sky = torch.randn(1, 16, 32), torch.zeros(1, 16, 32, dtype=torch.bool)
    seen = perfect(torch.zeros_like(log_distance)), log_distance, sky, 95.0
    without, asked = scaffold_loss(*seen), scaffold_loss(*seen, LossWeights(relative=0.7))
    assert "relative" not in without
    torch.testing.assert_close(asked["total"], without["total"] + 0.7 * asked["relative"])


def test_the_relative_term_moves_no_distance_as_a_whole():
    """Too far counts for more than too near: without a mean of zero its gradient would shrink worlds for ever."""
    log_distance, sky = torch.randn(2, 16, 32), torch.zeros(2, 16, 32, dtype=torch.bool)
    predicted = torch.randn(2, 16, 32, requires_grad=True)
    prediction = ScaffoldPrediction(predicted, torch.zeros(2, 16, 32), torch.zeros(2, 6, 8, 8))
    scaffold_loss(prediction, log_distance, sky, 95.0, LossWeights(relative=1.0))["relative"].backward()
    assert predicted.grad.abs().sum() > 0.5
    assert predicted.grad.sum((1, 2)).abs().max() < 1e-6


def test_turning_moves_all_three_together(monkeypatch):
    monkeypatch.setattr(batches, "draw_stretch", lambda generator: None)
    samples = [draw_sample(Places(), 0, torch.Generator().manual_seed(seed)) for seed in range(4)]
    for sample in samples:
        bright, ground = sample.rgb.mean(0), ~sample.sky
        assert torch.equal(ground, sample.log_distance > 0.1)
        assert bright[ground].max() < bright[~ground].min()
        order = sample.log_distance[ground].argsort(stable=True)
        assert bool((bright[ground][order].diff() >= -1e-6).all())
    assert not torch.equal(samples[0].log_distance, samples[1].log_distance)


def test_a_turn_by_hand():
    row = torch.arange(4.0).expand(2, 4)
    assert Turn(1, 4, mirror=False).panorama(row)[0].tolist() == [3, 0, 1, 2]
    assert Turn(1, 4, mirror=True).panorama(row)[0].tolist() == [2, 1, 0, 3]
    assert Turn(1, 4, mirror=True).images(row)[0].tolist() == [3, 2, 1, 0]


def test_colours_stay_in_range_and_are_those_of_the_whole_scene():
    generator = torch.Generator().manual_seed(1)
    panorama = torch.rand(3, 8, 16)
    for _ in range(4):
        colours = draw_colours(panorama, generator)
        jittered = colours(panorama)
        noisy = add_noise(jittered, generator)
        assert 0 <= noisy.min() and noisy.max() <= 1
        assert not torch.equal(noisy, jittered) and not torch.equal(jittered, panorama)
        torch.testing.assert_close(colours(panorama[None, :, 2:4, 3:9])[0], jittered[:, 2:4, 3:9])


def test_focus_changes_the_detail_and_nothing_else():
    """Soft, unchanged and sharp pictures all occur; large shapes and mean colour stay, and columns go round."""
    generator, across = torch.Generator().manual_seed(3), torch.linspace(0, 2 * torch.pi, 65)[:-1]
    broad, fine = 0.5 + 0.2 * across.cos(), 0.1 * (16 * across).cos()
    detail = []
    for _ in range(40):
        row = draw_focus((broad + fine).expand(3, 32, 64), generator)[0, 16]
        detail.append(float(torch.fft.rfft(row)[16].abs() / torch.fft.rfft(fine)[16].abs()))
        assert torch.fft.rfft(row - broad)[:2].abs().max() / 64 < 0.02
    assert min(detail) < SOFTEST and max(detail) > 1.3 and 8 < sum(abs(d - 1) < 1e-3 for d in detail) < 32
    for seed in range(10):
        one, turned = (
            draw_focus(x.expand(3, 32, 64), torch.Generator().manual_seed(seed)) for x in (broad, broad.roll(9))
        )
        torch.testing.assert_close(one.roll(9, -1), turned, atol=0.02, rtol=0)


def test_parts_of_a_batch_are_the_batch(monkeypatch):
    whole = draw_batch(Panoramas(), step=3, seed=1, batch=4)
    parts = [s for rank in (0, 1) for s in draw_batch(Panoramas(), 3, 1, 4, part=(rank, 2))]
    assert len(parts) == 4
    for one, two in zip(whole, parts, strict=True):
        assert torch.equal(one.seen, two.seen) and torch.equal(one.log_distance, two.log_distance)
    monkeypatch.setattr(batches, "draw_stretch", lambda generator: None)  # the sum of the sky tells which one it is
    epoch = [draw_batch(Panoramas(), step, seed=1, batch=1)[0].sky.float().sum().item() for step in range(5)]
    assert sorted(epoch) == sorted(float(Panoramas()[i][2].sum()) for i in range(5))


def test_targets_average_the_ground_alone():
    log_distance = torch.tensor([[[1.0, 3.0], [5.0, 0.0]]]).repeat(1, 1, 2)
    sky = torch.tensor([[[False, False], [True, True]]]).repeat(1, 1, 2)
    mean, target_sky = shrink_targets(log_distance, sky, 1)
    torch.testing.assert_close(mean, torch.full((1, 1, 2), 2.0))
    assert not target_sky.any()


def test_what_is_not_known_is_left_out():
    nan = math.nan
    log_distance = torch.tensor([[[1.0, nan, nan, nan], [3.0, nan, nan, nan]]])
    sky = torch.tensor([[[False, False, True, False], [False, False, True, True]]])
    mean, target_sky = shrink_targets(log_distance, sky, 1)
    torch.testing.assert_close(mean, torch.tensor([[[2.0, nan]]]), equal_nan=True)
    assert target_sky.tolist() == [[[False, True]]]
    draw = torch.Generator().manual_seed(0)
    true, sky = torch.randn(1, 16, 32, generator=draw), torch.zeros(1, 16, 32, dtype=torch.bool)
    holes = true.clone()
    holes[:, 4:9, 5:20] = nan
    found = torch.randn(1, 16, 32, generator=draw)
    other = torch.where(torch.isnan(holes), found + 5, found).requires_grad_()
    weights = LossWeights(crop=1.0, normal=1.0)
    losses = []
    for prediction in (found, other):
        sky_logit = torch.where(torch.isnan(holes), prediction.detach(), 0.3)  # nor is the sky asked for in the holes
        seen = ScaffoldPrediction(prediction, sky_logit, torch.zeros(1, 6, 8, 8))
        losses.append(scaffold_loss(seen, holes, sky, 95, weights))
    for term in ("aligned", "outlier", "absolute", "silog", "gradient", "sky", "crop", "normal"):
        torch.testing.assert_close(losses[0][term], losses[1][term])
    losses[1]["total"].backward()
    assert bool(torch.isfinite(other.grad).all()) and bool((other.grad[~torch.isnan(holes)] != 0).any())


def test_an_empty_data_set_is_refused():
    config = TrainConfig(steps=1)
    with pytest.raises(ValueError, match="at least one panorama"):
        next(train_scaffold(new_state(CubeScaffold(TINY), config), [], config))
