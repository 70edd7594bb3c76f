"""Denoiser, sampler and guidance against SEVA's stored numbers and hand calculations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_seva import TINY, filled, waves
from torch.testing import assert_close

from onescene.models.seva.conditioning import Conditions
from onescene.models.seva.denoiser import denoise, euler_states, scalings
from onescene.models.seva.guidance import guide, multiview_scales, temporal_scales
from onescene.models.seva.sampling import SamplerConfig, noise_predictor, sample, sample_states
from onescene.models.seva_schedule import sigma_schedule, sigma_table

EYE = torch.eye(4)


@pytest.fixture(scope="module")
def stored(golden_file):
    with np.load(golden_file("seva_geometry"), allow_pickle=False) as file:
        return {k: torch.from_numpy(file[k]) for k in file.files if file[k].dtype.kind in "fib"}


def moved(*xs: float) -> torch.Tensor:
    """Cameras that look forward from places on the x axis."""
    cameras = EYE.repeat(len(xs), 1, 1)
    cameras[:, 0, 3] = torch.tensor(xs)
    return cameras


# --- denoiser --------------------------------------------------------------------------------------------------------


def test_scalings_as_stored(stored):
    found = scalings(stored["scaling_sigma"])
    assert found.index.tolist() == stored["scaling_index"].tolist()
    for name, key in (("sigma", "sigma_quantised"), ("c_skip", "c_skip"), ("c_out", "c_out"), ("c_in", "c_in")):
        assert_close(getattr(found, name), stored[f"scaling_{key}"], atol=0, rtol=2e-7)


def test_denoiser_as_stored(stored):
    seen = {}

    def network(x, t):
        seen.update(x=x, t=t)
        return stored["denoiser_network_output"]

    latents, known = stored["denoiser_replace"][:, :4], stored["denoiser_replace"][:, 4:]
    found = denoise(network, stored["denoiser_x"], stored["denoiser_sigma"], latents, known)
    assert_close(seen["x"], stored["denoiser_network_input"], atol=1e-6, rtol=1e-6)
    assert seen["t"].tolist() == stored["denoiser_network_t"].tolist()
    assert_close(found, stored["denoiser_out"], atol=1e-5, rtol=1e-6)


def test_denoiser_by_hand():
    """At the table's first level, a network that answers 2: a target loses 2 sigma, a known latent 2 sigma too."""
    sigma = sigma_table()[0]
    x, latents = torch.full((2, 1, 1, 1), 5.0), torch.full((2, 1, 1, 1), 3.0)
    known = torch.tensor([1.0, 0.0])[:, None, None, None]
    found = denoise(lambda x, t: torch.full_like(x, 2), x, sigma.expand(2) * 1.01, latents, known)
    assert_close(found.flatten(), torch.stack((3 - 2 * sigma, 5 - 2 * sigma)))


# --- sampler and guidance --------------------------------------------------------------------------------------------


def test_a_perfect_denoiser_is_followed_to_its_answer():
    answer = waves(2, 4, 3, 3)
    states = list(euler_states(lambda x, s: answer, waves(2, 4, 3, 3, phase=1), sigma_schedule(5), torch.zeros_like))
    assert len(states) == 5
    assert_close(states[-1], answer, atol=1e-4, rtol=0)


def test_one_step_by_hand():
    """From sigma 2 to 1 without fresh noise: 5 -> x + (1 - 2)(x - 1)/2 with x = 5 sqrt(5)."""
    start, sigmas = torch.full((1, 1, 1, 1), 5.0), torch.tensor([2.0, 1.0])
    (state,) = euler_states(lambda x, s: torch.ones_like(x), start, sigmas, torch.zeros_like)
    x = 5 * 5**0.5
    assert state.item() == pytest.approx(x - (x - 1) / 2, rel=1e-5)


@pytest.mark.parametrize(("rule", "scale"), [("multiview", 2.0), ("temporal", 3.0)])
def test_guided_sampling_as_stored(stored, rule, scale):
    cameras, inputs = (stored["sampler_c2w"], stored["sampler_K"]), stored["sampler_input_mask"]
    scales = {"multiview": multiview_scales, "temporal": temporal_scales}[rule](scale, *cameras, inputs)
    assert_close(scales, stored[f"sampler_{rule}_scale"], atol=1e-6, rtol=0)

    def denoiser(x, sigma):
        h = x / (1 + sigma[:, None, None, None] ** 2)
        return guide(0.5 * h, h + stored["sampler_bias"], scales)

    eps = iter(stored["sampler_eps"])
    states = euler_states(denoiser, stored["sampler_x0"], sigma_schedule(6), lambda x: next(eps))
    found, wanted = torch.stack(list(states)), stored[f"sampler_{rule}_states"]
    assert float((found - wanted).norm() / wanted.norm()) <= 1e-6


def test_guidance_scales_by_hand():
    cameras, K, inputs = moved(0, 1, 0, 2, 3), torch.eye(3).repeat(5, 1, 1), torch.tensor([True, *[False] * 4])
    assert_close(multiview_scales(3.0, cameras, K, inputs), torch.tensor([1.2, 3, 1.2, 3, 3]))
    assert_close(temporal_scales(5.2, cameras, K, inputs), torch.tensor([1.2, 2.2, 1.2, 4.2, 5.2]))
    K[2, 0, 0] = 2  # another lens sees something new
    assert_close(multiview_scales(3.0, cameras, K, inputs), torch.tensor([1.2, 3, 3, 3, 3]))
    with pytest.raises(ValueError, match="at least one frame"):
        temporal_scales(3.0, cameras, K, torch.zeros(5, dtype=torch.bool))


# --- a chunk ---------------------------------------------------------------------------------------------------------


def chunk(frames: int = 4, **changes) -> Conditions:
    known = torch.tensor([1.0, 1.0, *[0.0] * (frames - 2)])
    parts = {
        "latents": waves(frames, 4, 4, 4) * known[:, None, None, None],
        "known": known,
        "rays": waves(frames, 6, 4, 4, phase=1),
        "context": waves(1, 1, 8).expand(frames, 1, 8),
        "source_view_mask": torch.tensor([1.0, *[0.0] * (frames - 1)]),
        "beside": None,
        "world_from_cam": moved(*range(frames)),
        "K_normalised": torch.eye(3).repeat(frames, 1, 1),
    }
    return Conditions(**parts | changes)


@torch.no_grad()
def test_sampling_modes_differ_as_their_masks_do():
    network, c = filled(replace(TINY, lora_rank=2, transformer_depth=(1, 1))), chunk()
    x, index = waves(4, 4, 4, 4, phase=2), torch.full((4,), 500)
    trained, released = (noise_predictor(network, c, mode)(x, index) for mode in ("trained", "released"))
    x, t = c.network_input(x), index.float()
    for found, mask in ((trained, c.source_view_mask), (released, torch.ones(4))):
        assert_close(found, network(x, t, c.context, c.rays, mask, num_frames=4), atol=0, rtol=0)
    assert (trained - released).abs().max() > 1e-3


def test_a_sample_follows_its_seed_and_gives_the_targets():
    network, config = filled(TINY), SamplerConfig(steps=2)
    draw = lambda seed: sample(network, chunk(), config, torch.Generator().manual_seed(seed))  # noqa: E731
    assert draw(0).shape == (2, 4, 4, 4)
    assert torch.equal(draw(0), draw(0)) and not torch.equal(draw(0), draw(1))
    *_, last = sample_states(network, chunk(), config, torch.Generator().manual_seed(0))
    assert torch.equal(last[2:], draw(0))


def test_the_unconditional_half_runs_only_where_it_is_needed():
    calls = []
    network = filled(TINY)
    network.register_forward_hook(lambda *_: calls.append(1))
    for guidance, wanted in (("none", 2), ("multiview", 4)):
        calls.clear()
        sample(network, chunk(), SamplerConfig(steps=2, guidance=guidance), torch.Generator().manual_seed(0))
        assert len(calls) == wanted


def test_guidance_of_scale_one_is_none():
    network, seed = filled(TINY), lambda: torch.Generator().manual_seed(0)
    guided = sample(network, chunk(), SamplerConfig(2, "multiview", scale=1.0, minimal=1.0), seed())
    assert_close(guided, sample(network, chunk(), SamplerConfig(2), seed()), atol=1e-4, rtol=1e-4)


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="guidance must be none, multiview or temporal, got 'cfg'"):
        SamplerConfig(guidance="cfg")
    with pytest.raises(ValueError, match="routing must be trained or released, got 'both'"):
        SamplerConfig(routing="both")
