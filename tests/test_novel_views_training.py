"""Training of the multi-view denoiser: what a step sees, what is an error, what learns, and runs on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from test_diffusion_views import ANCHORS, SCENE
from test_views_stage import cameras_at
from torch.testing import assert_close
from view_models import MANIFEST, TINY, official_folder, tiny_models

from onescene.cli import main
from onescene.data.panoramas import pictures
from onescene.data.view_scenes import ViewScene, pack_scenes
from onescene.geometry.plucker import plucker_maps
from onescene.metrics import image_metrics
from onescene.models import arithmetic
from onescene.models.seva.bundle import load_bundle, read_manifest
from onescene.models.seva.denoiser import denoise
from onescene.models.seva.sampling import SamplerConfig, Start, sample
from onescene.models.seva_schedule import sigma_table
from onescene.pipeline import views_training
from onescene.pipeline.views_training import check_view_params, read_view_params, train_config
from onescene.pipeline.workspace import open_workspace
from onescene.stages.diffusion_views import Guide, SynthesisConfig, synthesise
from onescene.training import novel_views
from onescene.training.novel_views import (
    PAPER,
    ViewTrainConfig,
    averaged,
    new_view_state,
    train_views,
)
from onescene.training.view_batches import ChunkDraw, draw_chunk, draw_chunks, encode_chunk
from onescene.training.view_check import CheckConfig, remake
from onescene.training.view_losses import EVEN, PartDistance, chunk_errors, noised, one_step_errors

PX = 32
DRAW = ChunkDraw(targets=2, clean=2)
CONFIG = ViewTrainConfig(steps=3, batch=2, at_a_time=2, lr=1e-3, trains="all", draw=DRAW)


def scene(name: str = "a", views: int = 5, seed: int = 0) -> ViewScene:
    """Pictures of soft colours; renders are the true views with a black corner. Cameras stand along x."""
    draw = np.random.default_rng(seed)
    coarse = torch.from_numpy(draw.random((views + 3, 3, 4, 4), dtype=np.float32))
    soft = torch.nn.functional.interpolate(coarse, (PX, PX), mode="bilinear")
    rgb = (soft * 255).round().byte().permute(0, 2, 3, 1).numpy()
    rendered = rgb[:views].copy()
    rendered[:, : PX // 2, : PX // 2] = 0
    poses = np.tile(np.eye(4, dtype=np.float32), (views + 3, 1, 1))
    poses[:views, 0, 3] = np.arange(views) + 1
    K = np.tile(np.array([[0.8, 0, 0.45], [0, 0.8, 0.5], [0, 0, 1]], np.float32), (views + 3, 1, 1))
    clean = {"clean_rgb": rgb[views:], "clean_world_from_cam": poses[views:], "clean_K": K[views:]}
    true = {"true_rgb": rgb[:views], "world_from_cam": poses[:views], "K": K[:views]}
    return ViewScene(name=name, **clean, **true, rendered_rgb=rendered)


SCENES = [scene("a"), scene("b", 3, seed=1), scene("c", 6, seed=2)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def encoded(models, sample, draw=DRAW):
    return encode_chunk(sample, draw, (models.autoencoder, models.image_encoder), torch.device("cpu"))


# --- chunks ----------------------------------------------------------------------------------------------------------


def test_a_chunk_pairs_each_true_view_with_its_render():
    for seed in range(6):
        sample = draw_chunk(SCENES[0], replace(DRAW, mirror=False), generator(seed))
        places = (sample.world_from_cam[:, 0, 3] - 1).long().tolist()
        assert len(set(places)) == 2
        for name, source in (("true", SCENES[0].true_rgb), ("rendered", SCENES[0].rendered_rgb)):
            wanted = torch.from_numpy(source[places]).permute(0, 3, 1, 2) / 255
            assert_close(getattr(sample, name), wanted)
        if sample.memory:
            place = int(sample.clean_world_from_cam[-1, 0, 3]) - 1
            assert place not in places, "a target must not be given away"
            assert_close(sample.clean[-1], torch.from_numpy(SCENES[0].true_rgb[place]).permute(2, 0, 1) / 255)
            nearest = min((p for p in range(5) if p not in places), key=lambda p: sum(abs(p - q) for q in places))
            assert sum(abs(place - q) for q in places) == sum(abs(nearest - q) for q in places)


def test_renders_are_whole_where_views_begin_at_them(monkeypatch):
    shaded = replace(SCENES[0], whole_rgb=np.full_like(SCENES[0].true_rgb, 51))
    assert_close(draw_chunk(shaded, DRAW, generator(), whole=True).rendered, torch.full((2, 3, PX, PX), 0.2))
    assert float(draw_chunk(shaded, DRAW, generator()).rendered.min()) == 0
    assert float(draw_chunk(SCENES[0], DRAW, generator(), whole=True).rendered.min()) == 0, "none are known"
    asked = []
    real = novel_views.draw_chunks
    monkeypatch.setattr(novel_views, "draw_chunks", lambda *args: asked.append(args[-1]) or real(*args))
    for sigma in (0.0, 1.0):
        config = replace(CONFIG, steps=1, start_sigma=sigma, perceptual_weight=0.0)
        list(train_views(new_view_state(one_step_models(), config), SCENES, config))
    assert asked == [False, True]


def test_half_of_the_chunks_have_memory_and_half_are_mirrored():
    drawn = [draw_chunk(SCENES[0], DRAW, generator(seed)) for seed in range(200)]
    assert 70 < sum(s.memory for s in drawn) < 130
    assert 70 < sum(float(s.K[0, 0, 2]) > 0.5 for s in drawn) < 130
    never = [draw_chunk(SCENES[0], replace(DRAW, memory=0.0, mirror=False), generator(seed)) for seed in range(20)]
    assert not any(s.memory or float(s.K[0, 0, 2]) > 0.5 for s in never)
    other = [draw_chunk(SCENES[0], replace(DRAW, method="concat", memory=1.0), generator(s)) for s in range(20)]
    assert not any(s.memory for s in other), "only dual-lora has a memory"


def test_the_mirrored_world_has_mirrored_rays():
    """The ray through a mirrored pixel is the mirrored ray: directions flip x, moments (a cross product) the others."""
    sample = draw_chunk(SCENES[0], replace(DRAW, mirror=False), generator())
    other = sample.mirrored()
    rays, seen = (plucker_maps(s.world_from_cam, s.K, (4, 4)) for s in (sample, other))
    signs = torch.tensor([-1.0, 1, 1, 1, -1, -1])[:, None, None]
    assert_close(seen, rays.flip(-1) * signs, atol=1e-5, rtol=1e-5)
    assert_close(other.true, sample.true.flip(-1))
    assert_close(other.mirrored().clean_world_from_cam, sample.clean_world_from_cam)


def test_few_views_are_repeated_and_one_clean_view_is_an_option():
    sample = draw_chunk(SCENES[1], ChunkDraw(targets=5, clean=6, mirror=False), generator())
    assert len(sample.true) == 5 and len(sample.clean) == 6
    assert torch.equal(sample.true[3], sample.true[2]) and torch.equal(sample.clean[5], sample.clean[2])
    single = draw_chunk(SCENES[0], replace(DRAW, clean=4, single_clean=True, mirror=False), generator())
    assert single.memory == 0 and all(torch.equal(view, single.clean[0]) for view in single.clean)
    none = {name: getattr(SCENES[0], name)[:0] for name in ("true_rgb", "rendered_rgb", "world_from_cam", "K")}
    with pytest.raises(ValueError, match="scene a must have a true and a clean view, got 0 and 3"):
        draw_chunk(replace(SCENES[0], **none), DRAW, generator())
    with pytest.raises(ValueError, match=r"memory in \[0, 1\]"):
        ChunkDraw(memory=2)


def test_processes_together_see_what_one_would_see():
    whole = draw_chunks(SCENES, 3, 7, 4, DRAW)
    parts = [*draw_chunks(SCENES, 3, 7, 4, DRAW, (0, 2)), *draw_chunks(SCENES, 3, 7, 4, DRAW, (1, 2))]
    for (a, g), (b, h) in zip(whole, parts, strict=True):
        assert torch.equal(a.true, b.true) and torch.equal(a.clean, b.clean)
        assert torch.equal(torch.randn(3, generator=g), torch.randn(3, generator=h))
    assert not torch.equal(whole[0][0].true, draw_chunks(SCENES, 4, 7, 4, DRAW)[0][0].true)
    seen = [s.true[0] for step in range(3) for s, _ in draw_chunks(SCENES, step, 0, 1, replace(DRAW, mirror=False))]
    owners = {
        next(i for i, c in enumerate(SCENES) if any(np.array_equal(_bytes(v), t) for t in c.true_rgb)) for v in seen
    }
    assert owners == {0, 1, 2}, "every scene once per epoch"


def _bytes(rgb: torch.Tensor) -> np.ndarray:
    return (rgb.permute(1, 2, 0) * 255).round().byte().numpy()


# --- the loss --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 400, 999])
def test_training_shows_the_network_what_sampling_shows_it(index):
    """The twin is the sampler's own denoiser: the network's input at that level, and its answer's meaning."""
    models = tiny_models()
    conditions, true = encoded(models, draw_chunk(SCENES[0], DRAW, generator()))
    noise = torch.randn(true.shape, generator=generator(1))
    sigma = sigma_table()[index]
    x = torch.randn(conditions.latents.shape, generator=generator(2))
    x[~conditions.input_frames] = true + sigma * noise
    seen = {}

    def network(scaled, t):
        seen.update(scaled=scaled, t=t)
        answer = torch.zeros_like(scaled)
        answer[~conditions.input_frames] = noise
        return answer

    found = denoise(network, x, sigma.expand(len(x)), conditions.latents, conditions.known_map)
    assert_close(noised(conditions, true, index, noise), seen["scaled"], atol=1e-6, rtol=1e-5)
    assert seen["t"].tolist() == [index] * len(x)
    assert_close(found[~conditions.input_frames], true, atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_the_error_is_of_the_target_frames_alone_and_of_each_chunk_apart():
    models = tiny_models()
    chunks = [encoded(models, draw_chunk(s, DRAW, generator(i))) for i, s in enumerate(SCENES)]
    errors, indices = chunk_errors(models.denoiser, chunks, [generator(i) for i in range(3)], True)
    for i, chunk in enumerate(chunks):
        alone, level = chunk_errors(models.denoiser, [chunk], [generator(i)], True)
        assert_close(alone[0], errors[i], atol=1e-5, rtol=1e-4)
        assert level == [indices[i]]
        draw = generator(i)
        index = int(torch.randint(1000, (), generator=draw))
        noise = torch.randn(chunk[1].shape, generator=draw)
        conditions, true = chunk
        x = conditions.network_input(noised(conditions, true, index, noise))
        t = torch.full((len(x),), float(index))
        mask = conditions.source_view_mask
        answer = models.denoiser(x, t, conditions.context, conditions.rays, mask, num_frames=len(x))
        by_hand = sum(float((a - n).square().mean()) for a, n in zip(answer[-2:], noise, strict=True)) / 2
        assert_close(float(alone[0]), by_hand, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_network_that_says_nothing_is_wrong_by_one():
    models = tiny_models()
    torch.nn.init.zeros_(models.denoiser.out[2].weight)
    torch.nn.init.zeros_(models.denoiser.out[2].bias)
    chunks = [encoded(models, draw_chunk(SCENES[0], DRAW, generator(i))) for i in range(20)]
    errors, indices = chunk_errors(models.denoiser, chunks, [generator(i) for i in range(20)], True)
    assert abs(float(errors.mean()) - 1) < 0.1
    assert min(indices) < 200 and max(indices) > 800


# --- one step from the renders ---------------------------------------------------------------------------------------

ONE_STEP = replace(CONFIG, start_sigma=1.0, perceptual_weight=0.0)


def one_step_models(method: str = "dual-lora"):
    manifest = replace(MANIFEST, start_sigma=1.0, steps=1, method=method, targets=2, clean=2)
    return tiny_models(channels=192, in_channels=199 + 192 * (method == "concat"), manifest=manifest)


@torch.no_grad()
@pytest.mark.parametrize("method", ["dual-lora", "concat"])
def test_one_step_begins_at_the_renders_and_is_what_the_sampler_makes(method):
    models, draw = one_step_models(method), replace(DRAW, method=method)
    drawn = draw_chunk(SCENES[0], draw, generator())
    chunk = encoded(models, drawn, draw)
    assert_close(models.autoencoder.decode(chunk[0].rendered), drawn.rendered, atol=1e-4, rtol=0)

    def error(perceptual=None):
        return one_step_errors(models.denoiser, [chunk], drawn.true[None], models, 1.0, perceptual, [generator()])[0]

    start = Start(latents=chunk[0].rendered, sigma=1.0, noisy=False)
    made = models.autoencoder.decode(sample(models.denoiser, chunk[0], SamplerConfig(1), generator(), start))
    off = (made - drawn.true).abs().mean()
    assert_close(error(), off, atol=1e-3, rtol=0)
    whole = PartDistance(lambda a, b: (a - b).square().mean((1, 2, 3)), 0.5, 1000)
    assert_close(error(whole), off + 0.5 * (made - drawn.true).square().mean())
    squared = one_step_errors(models.denoiser, [chunk], drawn.true[None], models, 1.0, None, [generator()], "squared")
    assert_close(squared[0], (made - drawn.true).square().mean() / EVEN, atol=1e-3, rtol=0)
    alike = one_step_errors(
        models.denoiser, [chunk], drawn.true[None], models, 1.0, None, [generator()], ssim_weight=0.5
    )
    unlike = 1 - image_metrics(made, drawn.true)["ssim_gauss11"]
    assert_close(alike[0], off + 0.5 * unlike, atol=1e-3, rtol=0)
    part = PartDistance(lambda a, b: torch.full((len(a),), a.shape[-1] * (a != b).any()), 1.0, 8)
    assert float(error(part) - off) == pytest.approx(8, abs=1e-3)
    torch.nn.init.zeros_(models.denoiser.out[2].weight)
    torch.nn.init.zeros_(models.denoiser.out[2].bias)
    assert_close(error(), (drawn.rendered - drawn.true).abs().mean(), atol=1e-4, rtol=0)


@torch.no_grad()
def test_strength_is_the_share_of_the_change():
    made = {}
    for strength in (1.0, 0.65):
        models = one_step_models()
        models = replace(models, manifest=replace(models.manifest, strength=strength))
        chunk = encoded(models, draw_chunk(SCENES[0], DRAW, generator()), DRAW)[0]
        made[strength] = models.sample(chunk, SamplerConfig(1), generator())
    assert_close(made[0.65], chunk.rendered + 0.65 * (made[1.0] - chunk.rendered), atol=1e-3, rtol=0)
    assert (made[1.0] - chunk.rendered).abs().max() > 0.01


@pytest.mark.parametrize("content", [{"strength": 0.0}, {"strength": 0.5}, {"strength": 1.5, "start_sigma": 1.0}])
def test_a_strength_that_can_not_be_is_refused(content, tmp_path):
    one_step = {"steps": 1, "method": "dual-lora"} if "start_sigma" in content or content["strength"] == 0 else {}
    (tmp_path / "views.json").write_text(json.dumps(content | one_step))
    with pytest.raises(ValueError, match="strength must lie in"):
        read_manifest(tmp_path)


def test_training_of_one_step_mends_the_renders():
    """Renders lack a corner: after some steps the views made of them are nearer to the truth, on a scene unseen."""
    unseen, models = scene("d", 4, seed=7), one_step_models()
    torch.nn.init.zeros_(models.denoiser.out[2].weight)
    torch.nn.init.zeros_(models.denoiser.out[2].bias)
    check = CheckConfig(DRAW)
    before = float((remake(models, unseen, check) - pictures(unseen.true_rgb)).abs().mean())
    config = replace(ONE_STEP, steps=25, lr=6e-3, ema=0.8, draw=replace(DRAW, mirror=False))
    state, losses = train(config, models, [scene(str(i), 4, seed=20 + i) for i in range(8)])
    after = float((remake(averaged(state), unseen, check) - pictures(unseen.true_rgb)).abs().mean())
    assert after < 0.9 * before, (losses, before, after)


@pytest.mark.parametrize(("flags", "has"), [("fpu avx512_bf16 sse", True), ("fpu avx2", False), (None, False)])
def test_a_processor_says_whether_it_has_bfloat16(monkeypatch, flags, has):
    def read(self, **_):
        if flags is None:
            raise FileNotFoundError
        return f"flags : {flags}\n"

    monkeypatch.setattr(Path, "read_text", read)
    assert arithmetic.processor_has_bfloat16.__wrapped__() is has


def test_what_ships_makes_the_same_picture_in_half_precision(monkeypatch):
    """Only the correction is computed in it: less than the step between two shades of 8 bits."""
    models, made = load_bundle(None), []
    check = CheckConfig(ChunkDraw("dual-lora", models.manifest.targets, models.manifest.clean))
    for has in (False, True):
        monkeypatch.setattr(arithmetic, "processor_has_bfloat16", lambda has=has: has)
        made.append(remake(models, SCENES[0], check))
    assert 0 < float((made[0] - made[1]).abs().max()) < 1 / 255


@pytest.mark.parametrize("method", ["anchors-only", None])
def test_one_step_needs_renders(method, tmp_path):
    if method:
        with pytest.raises(ValueError, match="start_sigma needs renders to begin at"):
            replace(ONE_STEP, draw=replace(DRAW, method=method))
    (tmp_path / "views.json").write_text(json.dumps({"start_sigma": 1.0, "steps": 1, "method": method}))
    with pytest.raises(ValueError, match="start_sigma needs renders to begin at"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("config", [SynthesisConfig(steps=4), SynthesisConfig(guidance="temporal")])
def test_weights_of_one_step_make_no_other_sampling(config):
    guide = Guide(models=one_step_models(), anchors=ANCHORS, config=config)
    with pytest.raises(ValueError, match="one step and without guidance"):
        next(synthesise(SCENE, cameras_at([0], (PX, PX)), guide))


def test_frames_of_one_step_are_as_large_as_the_views():
    models = one_step_models()
    models = replace(models, manifest=replace(models.manifest, frame_px=None))
    made = list(synthesise(SCENE, cameras_at([0, 0.1, 0.2], (40, 52)), Guide(models=models, anchors=ANCHORS)))
    assert [m.rgb.shape for m in made] == [(3, 64, 64)] * 3


# --- what learns -----------------------------------------------------------------------------------------------------


def train(config: ViewTrainConfig, models=None, data=SCENES):
    state = new_view_state(models or tiny_models(), config)
    return state, [log.losses["total"] for log in train_views(state, data, config)]


def test_adapters_learn_alone_by_default_and_everything_as_an_option():
    assert (PAPER.steps, PAPER.batch, PAPER.lr, PAPER.trains) == (40_000, 16, 1.25e-5, "adapters")
    for trains in ("adapters", "all"):
        models = tiny_models()
        before = {k: v.clone() for k, v in models.denoiser.state_dict().items()}
        state, _ = train(replace(CONFIG, steps=2, trains=trains), models)
        changed = {k for k, v in models.denoiser.state_dict().items() if not torch.equal(v, before[k])}
        adapters = {k for k in before if ".lora_" in k}
        # of one key and one value, attention asks no question: those layers have no gradient
        assert len(changed & adapters) > 0.8 * len(adapters)
        assert (
            changed <= adapters
            if trains == "adapters"
            else len(changed - adapters) > 0.8 * len(before.keys() - adapters)
        )
        assert isinstance(state.optimiser, torch.optim.Adam) and not isinstance(state.optimiser, torch.optim.AdamW)
    with pytest.raises(ValueError, match="network must have adapters"):
        train(replace(CONFIG, trains="adapters", draw=replace(DRAW, method="anchors-only")), tiny_models(rank=0))


def test_two_passes_add_up_to_one():
    """``at_a_time`` changes the memory, not the step."""
    models = tiny_models()
    start = {k: v.clone() for k, v in models.denoiser.state_dict().items()}
    _, losses = train(replace(CONFIG, steps=1), models)
    once = {k: v.clone() for k, v in models.denoiser.state_dict().items()}
    models.denoiser.load_state_dict(start)
    _, again = train(replace(CONFIG, steps=1, at_a_time=1), models)
    assert_close(losses, again, atol=1e-5, rtol=1e-5)
    off = [(once[k] - v).abs().max() for k, v in models.denoiser.state_dict().items()]
    assert float(max(off)) < 1e-3 and sum(float(o) > 1e-4 for o in off) < len(off) / 10  # Adam's first step is a sign


def test_a_tiny_problem_is_learnt():
    torch.manual_seed(0)
    models = tiny_models()
    models.denoiser.load_state_dict(type(models.denoiser)(models.denoiser.config).state_dict())  # a fresh one
    _, losses = train(replace(CONFIG, steps=20, lr=3e-3), models, SCENES[:1])
    assert 0.7 < np.mean(losses[:3]) and np.mean(losses[-4:]) < 0.65 * np.mean(losses[:3])


def test_a_resumed_run_is_the_unbroken_run():
    state, losses = train(CONFIG)
    first = new_view_state(tiny_models(), CONFIG)
    steps = train_views(first, SCENES, CONFIG)
    begun = [next(steps).losses["total"] for _ in range(2)]
    second = new_view_state(tiny_models(), CONFIG)
    second.load_state_dict(first.state_dict())
    ended = [log.losses["total"] for log in train_views(second, SCENES, CONFIG)]
    assert begun + ended == losses
    assert all(torch.equal(second.average[k], v) for k, v in state.average.items())
    assert any(not torch.equal(v, state.learning[k]) for k, v in state.average.items())
    with pytest.raises(ValueError, match="other learning parameters"):
        new_view_state(tiny_models(), replace(CONFIG, trains="adapters")).load_state_dict(first.state_dict())


def test_a_batch_that_does_not_divide_is_refused():
    state = new_view_state(tiny_models(), CONFIG)
    with pytest.raises(ValueError, match="batch 3 for 1 processes, 2 at a time"):
        train_views(state, SCENES, replace(CONFIG, batch=3))
    with pytest.raises(ValueError, match="at least one scene"):
        train_views(state, [], CONFIG)


# --- runs on disk ----------------------------------------------------------------------------------------------------


@pytest.fixture
def pairs(tmp_path) -> Path:
    named = {s.name: s for s in SCENES}
    pack_scenes(named, named.get, tmp_path / "pairs")
    return tmp_path / "pairs"


def write(path: Path, **values) -> Path:
    path.write_text(yaml.safe_dump(values))
    return path


def frames(bundle: Path) -> list[torch.Tensor]:
    models = load_bundle(bundle)
    guide = Guide(models=models, anchors=ANCHORS, config=SynthesisConfig(steps=1))
    return [frame.rgb for frame in synthesise(SCENE, cameras_at([0, 0.1, 0.2], (PX, PX)), guide)]


def test_a_small_run_ends_in_a_folder_that_views_reads(pairs, tmp_path, monkeypatch, capsys):
    small = replace(TINY, in_channels=199, out_channels=192)
    monkeypatch.setattr(views_training, "SMALL_NETWORK", small)
    sizes = {"targets": 2, "clean": 2, "batch": 2, "at_a_time": 2, "rank": 2, "perceptual_weight": 0}
    params = write(tmp_path / "p.yaml", data=str(pairs), out=str(tmp_path / "run"), steps=2, **sizes)
    assert main(["train", "views", "--params", str(params)]) == 0
    assert "3 scenes, 2 steps of 2" in capsys.readouterr().err
    bundle, log = tmp_path / "run/bundle", (tmp_path / "run/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2]
    manifest = json.loads((bundle / "views.json").read_text())
    assert manifest["method"] == "dual-lora" and manifest["frame_px"] is None and manifest["targets"] == 2
    assert load_bundle(bundle).files[0].licence == "Apache-2.0"
    before = frames(bundle)
    assert len(before) == 3
    write(params, data=str(pairs), out=str(tmp_path / "run"), steps=3, **sizes)
    assert main(["train", "views", "--params", str(params)]) == 0
    log = (tmp_path / "run/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2, 3]
    assert not torch.equal(frames(bundle)[0], before[0])
    write(params, data=str(pairs), out=str(tmp_path / "run"), steps=6, **(sizes | {"batch": 4}))
    assert main(["train", "views", "--params", str(params)]) == 2
    assert "batch = 2" in capsys.readouterr().err
    write(params, data=str(pairs), out=str(tmp_path / "run"), steps=6, **sizes)
    with open_workspace(tmp_path / "run"):
        assert main(["train", "views", "--params", str(params)]) == 2
    assert "another run is writing into" in capsys.readouterr().err


def test_adapters_on_public_networks_are_shipped_apart(pairs, tmp_path):
    pytest.importorskip("transformers", reason="pip install 'onescene[paper]'")
    base = official_folder(tmp_path / "seva", targets=2, clean=2)
    values = {"preset": "paper", "data": str(pairs), "weights": str(base), "out": str(tmp_path / "run"), "rank": 2}
    values |= {"steps": 2, "batch": 1, "targets": 2, "clean": 2, "lr": 1e-2}
    bundle = views_training.run_view_training(check_view_params(values, "p"), SCENES, "Apache-2.0")
    assert not list(bundle.glob("denoiser*"))
    assert (bundle / "clean/adapter_config.json").is_file() and (
        bundle / "rendered/adapter_model.safetensors"
    ).is_file()
    models = load_bundle(bundle)
    plain = load_bundle(base).denoiser.state_dict()
    own = models.denoiser.state_dict()
    assert all(torch.equal(own[k], v) for k, v in plain.items())
    assert any(bool(v.any()) for k, v in own.items() if k.endswith("lora_B2"))
    licences = {f.name: f.licence for f in models.files}
    assert "non-commercial" in licences["views-denoiser"] and licences["views-adapters"] == "Apache-2.0"
    assert len(frames(bundle)) == 3


def test_a_full_fine_tune_keeps_the_scale_of_its_adapters(pairs, tmp_path):
    pytest.importorskip("transformers", reason="pip install 'onescene[paper]'")
    base = official_folder(tmp_path / "seva", targets=2, clean=2)
    values = {"preset": "paper", "data": str(pairs), "weights": str(base), "out": str(tmp_path / "run"), "rank": 2}
    values |= {"steps": 1, "batch": 1, "targets": 2, "clean": 2, "trains": "all", "alpha": 1.0, "single_clean": True}
    bundle = views_training.run_view_training(check_view_params(values, "p"), SCENES, "mine")
    config = load_bundle(bundle).denoiser.config
    assert (config.lora_rank, config.lora_alpha) == (2, 1.0) and not (bundle / "clean").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stepz": 1}, "p: stepz: Extra inputs are not permitted; known keys: preset, "),
        ({"method": "baseline"}, "method: Input should be"),
        ({"trains": "adapters"}, "set `weights`, or `trains: all`"),
        ({"memory": 3}, "p: memory: Input should be less than or equal to 1, got"),
        ({"rank": 0}, "p: rank: Input should be greater than or equal to 1, got 0"),
    ],
)
def test_wrong_parameters_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        check_view_params({"data": "x", "out": "y"} | change, "p")


def test_shipped_recipes_are_what_they_say():
    root = Path(__file__).resolve().parents[1] / "params"
    paper = train_config(read_view_params(root / "paper/train_views.yaml"))
    assert replace(paper, precision="float32") == PAPER
    for name in ("train_views", "train_views_second", "train_views_gpu"):
        assert read_view_params(root / f"small/{name}.yaml").trains == "all"


def test_missing_weights_stop_a_training_before_it_starts(pairs, tmp_path, capsys):
    values = {"preset": "paper", "data": str(pairs), "out": str(tmp_path / "run"), "weights": str(tmp_path / "none")}
    assert main(["train", "views", "--params", str(write(tmp_path / "p.yaml", **values))]) == 2
    assert "non-commercial" in capsys.readouterr().err and not (tmp_path / "run").exists()
