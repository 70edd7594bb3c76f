"""Views by guided diffusion, end to end on tiny random networks: conditions, memory, resuming, bounded memory."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
import torch
from test_views_stage import cameras_at, two_planes
from torch.testing import assert_close
from view_models import MANIFEST, tiny_models

from onescene.geometry.plucker import normalised_intrinsics
from onescene.models.seva.chunks import MadeFrame
from onescene.models.seva.conditioning import assemble
from onescene.splatting import render
from onescene.stages import views
from onescene.stages.diffusion_views import (
    Guide,
    SynthesisConfig,
    cut_square,
    posed_latents,
    square_cameras,
    synthesise,
)
from onescene.stages.views import ViewsConfig
from onescene.types import Cameras

ANCHORS = torch.rand(6, 3, 40, 40, generator=torch.Generator().manual_seed(5))
SCENE = two_planes(whole=False)


def guide(config: SynthesisConfig | None = None, models=None, **others) -> Guide:
    return Guide(models=models or tiny_models(), anchors=ANCHORS, config=config or SynthesisConfig(), **others)


# --- frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hw", [(24, 32), (32, 24), (30, 30), (25, 32)])
def test_a_square_frame_holds_the_view(hw):
    """The scaffold seen by the widened camera at the long side's size, cut, is the scaffold seen by the camera."""
    camera = cameras_at([0.1], hw)
    wide = square_cameras(camera, max(hw))
    assert wide.hw == (max(hw), max(hw))
    assert_close(cut_square(render(SCENE, wide).rgb[0], hw), render(SCENE, camera).rgb[0], atol=2e-3, rtol=0)


def test_frames_of_another_size_are_resized_with_their_cameras():
    camera = cameras_at([0.0], (24, 32))
    wide = square_cameras(camera, 64)
    assert_close(wide.K[0, 0, 0], 2 * camera.K[0, 0, 0])
    assert wide.K[0, :2, 2].tolist() == [32, 32]
    assert cut_square(torch.full((3, 64, 64), 0.4), (24, 32)).shape == (3, 24, 32)


@pytest.mark.parametrize(("method", "channels"), [("anchors-only", 11), ("concat", 15), ("dual-lora", 11)])
def test_every_method_makes_whole_views_behind_one_interface(method, channels):
    models = tiny_models(in_channels=channels)
    config = SynthesisConfig(method=method)
    out = views.run(SCENE, cameras_at([0, 0.1, 0.2, 0.3], (24, 32)), ViewsConfig(method), guide=guide(config, models))
    assert out.rgb.shape == (4, 3, 24, 32) and out.method == method
    assert bool((out.depth_z > 0).all()) and float(out.rgb.min()) >= 0 and float(out.rgb.max()) <= 1
    baseline = views.run(SCENE, cameras_at([0, 0.1, 0.2, 0.3], (24, 32)))
    assert torch.equal(out.alpha, baseline.alpha) and torch.equal(out.depth_z, baseline.depth_z)
    assert not torch.equal(out.rgb, baseline.rgb)


def test_a_chunk_is_conditioned_as_the_paper_says(monkeypatch):
    """First chunk: renders and three anchors (Eq. 3); second: one anchor fewer and the nearest made frame (Eq. 4)."""
    seen = []
    monkeypatch.setattr("onescene.stages.diffusion_views.assemble", lambda *a, **k: seen.append(a) or assemble(*a, **k))
    cameras, own = cameras_at([0, 0.1, 0.2, 0.3], (32, 32)), guide()
    made = list(synthesise(SCENE, cameras, own))
    assert [frame.number for frame in made] == [0, 1, 2, 3]
    (form, first), (_, second) = seen
    assert form == "memory" and first.memory is None and len(first.anchors) == 3
    assert len(second.anchors) == 2 and torch.equal(second.memory.latents[0], made[2].latent)
    wide = square_cameras(cameras, 32)
    renders = posed_latents(own.models, render(SCENE, wide[[0, 1, 2]]).rgb.clamp(0, 1), wide[[0, 1, 2]])
    assert_close(first.renders.latents, renders.latents)
    assert_close(first.renders.K_normalised, normalised_intrinsics(wide.K, (32, 32))[:3])


def test_memory_policy_routing_and_seed_change_what_is_made():
    cameras, models = cameras_at([0, 0.1, 0.2, 0.3, 0.4], (32, 32)), tiny_models()
    changes = ({}, {"seed": 1}, {"routing": "released"}, {"memory": "none"}, {"memory": "3 anchors + 2 generated"})
    made = [[f.rgb for f in synthesise(SCENE, cameras, guide(SynthesisConfig(**c), models))] for c in changes]
    again = [f.rgb for f in synthesise(SCENE, cameras, guide(models=models))]
    assert all(torch.equal(a, b) for a, b in zip(made[0], again, strict=True))
    for other in made[1:3]:
        assert not torch.equal(other[0], made[0][0])
    assert torch.equal(made[3][0], made[0][0]) and not torch.equal(made[3][3], made[0][3])
    assert not torch.equal(made[4][4], made[0][4])


# --- resuming, memory ------------------------------------------------------------------------------------------------


def test_a_made_frame_is_not_made_again():
    cameras, models, kept = cameras_at([0.05 * i for i in range(8)], (32, 32)), tiny_models(), {}
    whole = list(synthesise(SCENE, cameras, guide(models=models)))
    frames = synthesise(SCENE, cameras, guide(models=models, keep=lambda f: kept.update({f.number: f})))
    for _ in range(4):  # stopped within the second chunk
        next(frames)
    assert sorted(kept) == [0, 1, 2, 3]
    calls, new, before = [], [], dict(kept)
    models.denoiser.register_forward_hook(lambda *a: calls.append(1))
    resumed = guide(models=models, stored=before.get, keep=new.append)
    again = list(synthesise(SCENE, cameras, resumed))
    assert [f.number for f in new] == [4, 5, 6, 7]
    assert len(calls) == 2 * MANIFEST.steps, "only the two chunks that were not through"
    assert all(torch.equal(a.rgb, b.rgb) and torch.equal(a.latent, b.latent) for a, b in zip(again, whole, strict=True))


def test_a_long_trajectory_keeps_no_more_than_a_short_one():
    """Latents alive at any time: a chunk's and the memory's, not the trajectory's."""

    def alive() -> int:
        return sum(type(o) is MadeFrame for o in gc.get_objects())

    config, before = SynthesisConfig(steps=1, capacity=4), alive()
    cameras = cameras_at([0.01 * i for i in range(18)], (32, 32))
    most = max(alive() - before for _ in synthesise(SCENE, cameras, guide(config)))
    assert most <= MANIFEST.targets + 1


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": SynthesisConfig("concat")}, "method concat needs a U-Net of 15 channels in and 4 out, got 11 in"),
        ({"models": tiny_models(rank=0)}, "dual-lora needs a U-Net with adapters"),
        ({"models": tiny_models(manifest=replace(MANIFEST, frame_px=40))}, "frame_px must be a multiple of 16, got 40"),
    ],
)
def test_what_the_networks_can_not_do_is_refused_before_anything_is_made(change, message):
    wrong = guide(**change)
    with pytest.raises(ValueError, match=message):
        views.iterate(SCENE, cameras_at([0.0]), ViewsConfig(wrong.config.method), wrong)


def test_settings_that_are_unknown_are_named():
    with pytest.raises(ValueError, match=r"method must be one of .*, got 'baseline'"):
        SynthesisConfig(method="baseline")
    with pytest.raises(ValueError, match=r"memory must be one of .*, got 'all'"):
        SynthesisConfig(memory="all")
    with pytest.raises(ValueError, match="steps must be >= 1, got 0"):
        SynthesisConfig(steps=0)
    with pytest.raises(ValueError, match=r"method dual-lora needs a guide for it .*, got none"):
        views.iterate(SCENE, cameras_at([0.0]), ViewsConfig("dual-lora"))
    with pytest.raises(ValueError, match="got one for dual-lora"):
        views.iterate(SCENE, cameras_at([0.0]), ViewsConfig("concat"), guide())
    empty = Cameras(world_from_cam=torch.zeros(0, 4, 4), K=torch.zeros(0, 3, 3), hw=(8, 8))
    with pytest.raises(ValueError, match="cameras must hold at least one camera"):
        views.run(SCENE, empty, ViewsConfig("dual-lora"), guide=guide())
