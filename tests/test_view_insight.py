"""What is shown of a chunk of novel views: attention is what the network uses, and figures say the right numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_novel_views_training import DRAW, SCENES, encoded, generator
from torch.testing import assert_close
from view_models import TINY, random_unet, tiny_models

from onescene.data.panoramas import pictures
from onescene.geometry.trajectories import make_trajectory
from onescene.models.seva import SevaUNet
from onescene.models.seva.insight import joint_attention
from onescene.models.seva.sampling import SamplerConfig, Start, sample
from onescene.models.seva.transformer import Adapters, Attention, Scope
from onescene.models.seva_schedule import sigma_table
from onescene.plots.chunks import (
    conditions_figure,
    curves_figure,
    memory_figure,
    sources_figure,
    strips_figure,
)
from onescene.training.view_batches import draw_chunk
from onescene.training.view_check import noise_error
from onescene.training.view_losses import noised


@pytest.fixture(scope="module")
def chunk():
    """Conditions of two renders, two clean views and two targets, and what the network sees at half-way noise."""
    models = tiny_models()
    told, true = encoded(models, draw_chunk(SCENES[0], replace(DRAW, mirror=False), generator()))
    return models, told, noised(told, true, 500, torch.randn(true.shape, generator=generator()))


@torch.no_grad()
def test_weights_are_those_that_values_are_mixed_with():
    torch.manual_seed(0)
    layer, x, scope = Attention(8, 1, Adapters()), torch.randn(6, 5, 8), Scope("joint", 3)
    weights = layer.weights(x, None, scope)
    assert weights.shape == (2, 15, 15)
    assert_close(layer.to_out[0](scope.split(weights @ scope.join(layer.to_v(x)), 5)), layer(x, None, scope))


def test_attention_of_every_joint_layer_sums_to_one(chunk):
    models, told, scaled = chunk
    found = joint_attention(models.denoiser, told, scaled, 500)
    assert [tuple(a.shape) for a in found] == [(6, 2, 2, 6, 2, 2)] * 3  # the middle, and two on the way up
    for attention in found:
        assert_close(attention.sum((-3, -2, -1)), torch.ones(6, 2, 2))
    other = joint_attention(models.denoiser, told, scaled, 500, "released")
    assert not torch.allclose(found[-1], other[-1], atol=1e-3), "the mask decides what is asked"
    assert not models.denoiser.middle_block[1].transformer_blocks[0].attn1._forward_pre_hooks
    apart = random_unet(replace(TINY, lora_rank=2, unflatten_names=()))
    with pytest.raises(ValueError, match="must have joint attention"):
        joint_attention(apart, told, scaled, 500)


def test_the_error_of_the_noise_depends_on_the_mask():
    """One for a network that says nothing; of networks with adapters another one for another mask."""
    models, draw = tiny_models(), replace(DRAW, memory=0.0)
    errors = {name: noise_error(models, SCENES, draw, 3, mask=m) for name, m in (("", None), ("1", torch.ones_like))}
    assert errors[""] == noise_error(models, SCENES, draw, 3, mask=lambda mask: mask) != errors["1"]
    silent = replace(models, denoiser=SevaUNet(models.denoiser.config))
    assert noise_error(silent, SCENES, draw, 3) == pytest.approx(1, abs=0.2)


def test_sampling_can_begin_at_pictures(chunk):
    """With little noise the pictures come out again; the levels are the table's from there down."""
    models, told, _ = chunk
    pictures_, config = torch.rand(2, *told.latents.shape[1:], generator=generator()), SamplerConfig(3)
    little = Start(latents=pictures_, sigma=1.001 * float(sigma_table()[0]))
    found = sample(models.denoiser, told, config, generator(1), little)
    assert_close(found, pictures_, atol=10 * little.sigma, rtol=0)
    much = Start(latents=pictures_, sigma=2.0)
    levels = much.levels(3)
    assert len(levels) == 4 and 1.9 < float(levels[0]) <= 2 and levels[-1] == 0 and bool((levels.diff() < 0).all())
    changed = sample(models.denoiser, told, config, generator(1), much).detach()
    assert float((changed - pictures_).abs().mean()) > 0.1
    with pytest.raises(ValueError, match="sigma must be at least"):
        Start(latents=pictures_, sigma=0.0).levels(3)


def test_figures_of_a_chunk_carry_the_numbers(chunk):
    _, told, _ = chunk
    names, shown = [f"frame {k}" for k in range(6)], torch.rand(6, 3, 32, 32)
    figure = conditions_figure({"view": shown}, told.known, told.source_view_mask, told.rays, names)
    assert [a.get_title().split()[-1] for a in figure.axes[:6]] == ["2", "2", "1", "1", "1", "1"]
    known = [float(a.images[0].get_array().mean()) for a in figure.axes[6:12]]
    assert known == [1, 1, 1, 1, 0, 0]
    weights = torch.zeros(6, 4, 4)
    weights[2, 1, 1], weights[4, 0, 0] = 0.75, 0.25
    shares = [a.get_title().split()[-1] for a in sources_figure(shown, weights, names, (4, 0, 3)).axes]
    assert shares == ["0%", "0%", "75%", "0%", "25%", "0%"]
    rows = {"a": pictures(SCENES[0].true_rgb), "b": shown[:2]}
    assert [len(a.images) for a in strips_figure(rows).axes] == [1] * 5 + [1, 1, 0, 0, 0]
    assert_close(rows["a"][0, :, 3, 5], torch.from_numpy(SCENES[0].true_rgb[0, 3, 5]) / 255)


def test_the_bars_of_memory_are_the_costs():
    path, turn, away = make_trajectory("orbit", 6), torch.tensor([30.0, 10, 20]), torch.tensor([0.1, 0.2, 0.3])
    plan, bars = memory_figure(path, (3, 4), (1,), turn, away, 100.0).axes
    tops = [bar.get_y() + bar.get_height() for bar in bars.containers[1]]
    assert tops == pytest.approx([40, 30, 50])
    assert len([line for line in plan.lines if line.get_color() == "#d7263d"]) == 4, "a dot and a look per target"
    assert len([line for line in plan.lines if line.get_color() == "#1f9e6e"]) == 2


def test_curves_are_smoothed_and_shown_as_they_are():
    pale = curves_figure({"a": [1.0, 0.5, 0.2]}, "error").axes[0].lines
    assert list(pale[1].get_ydata()) == [1.0, 0.5, 0.2] and pale[0].get_ydata()[1] == pytest.approx(0.95)
