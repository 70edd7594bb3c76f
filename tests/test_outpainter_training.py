"""Training of the outpainter: what a step sees, what it lowers, and runs on disk that resume."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from onescene.cli import main
from onescene.data.colours import load_colours, photos_to_train, shrink_colours
from onescene.data.packed_rooms import generate_rooms
from onescene.data.panoramas import SKY_CODE, write_arrays
from onescene.geometry.perspective import place_photo
from onescene.models.loading import imagenet_weights_path
from onescene.models.outpainter import Outpainter, OutpainterConfig
from onescene.models.outpainter.weights import load_outpainter
from onescene.pipeline import outpainter_training as runs
from onescene.pipeline.workspace import open_workspace
from onescene.training import outpainter
from onescene.training.outpainter import (
    OutpaintTrainConfig,
    draw_views,
    lr_share,
    new_outpaint_state,
    train_outpainter,
)
from onescene.training.outpainter_batches import CutSource, draw_outpaint_batch, photo_mask, tilt
from onescene.training.outpainter_critic import TAPS, Critic, critic_loss, deceit_loss
from onescene.training.outpainter_losses import area_weight, cycle_distance, layout_distance, oriented_distance

ROOT = Path(__file__).resolve().parents[1]
TINY = OutpainterConfig(height_px=32, channels=(8, 8, 16, 16), blocks=(1, 1, 1, 1), heads=2)
RECIPES = sorted((ROOT / "params").glob("*/train_outpainter*.yaml"))


def grey_draft(placed: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
    """A draft that is quick: the photo's mean colour all around."""
    return np.broadcast_to(placed.sum((0, 1)) / mask.sum(), placed.shape)


def dark_above(count: int = 2) -> np.ndarray:
    """Panoramas whose upper half is dark, whatever the photo shows."""
    draw = np.random.default_rng(0)
    rows = np.where(np.arange(32) < 16, 40, 200)[None, :, None, None]
    return (rows + draw.integers(-20, 20, (count, 32, 64, 3))).astype(np.uint8)


def source(seed: int = 0) -> CutSource:
    return CutSource(dark_above(), grey_draft, seed)


def state_for(config: OutpaintTrainConfig):
    torch.manual_seed(0)
    return new_outpaint_state(Outpainter(TINY), config)


# --- what a step sees ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("aspect", "pitch", "roll"), [(1.5, 0.0, 0.0), (0.75, 10.0, 3.0), (1.0, -20.0, -4.0)])
def test_a_mask_is_what_a_placed_photo_covers(aspect, pitch, roll):
    size = (400, 600) if aspect == 1.5 else (600, round(600 * aspect))
    placed = place_photo(torch.zeros(3, *size), (64, 128), 80.0, pitch_deg=pitch, roll_deg=roll)
    assert torch.equal(photo_mask((64, 128), 80.0, aspect, pitch, roll), placed.mask)


def test_a_tilt_moves_what_is_ahead_and_nothing_else():
    smooth = torch.linspace(0, 1, 32)[:, None].expand(3, 32, 64)
    torch.testing.assert_close(tilt(smooth, 0.0, 0.0), smooth, atol=1e-5, rtol=0)
    point = torch.zeros(1, 32, 64)
    point[0, 15:17, 31:33] = 1.0  # straight ahead
    row = tilt(point, 22.5, 0.0)[0].flatten().argmax() // 64
    assert int(row) in (11, 12, 19, 20)  # four rows, 22.5 degrees, up or down from rows 15 and 16


def test_a_step_follows_from_its_number():
    first, again = (draw_outpaint_batch(source(), 3, 0, 2) for _ in range(2))
    warm = source()
    for step in range(3):
        other = draw_outpaint_batch(warm, step, 0, 2)
    later = draw_outpaint_batch(warm, 3, 0, 2)  # a resumed run has no kept cuts, an unbroken one has
    for name in ("true", "mask", "draft"):
        torch.testing.assert_close(getattr(first, name), getattr(again, name))
        torch.testing.assert_close(getattr(first, name), getattr(later, name))
    assert (other.true - later.true).abs().max() > 0.01


def test_draft_truth_and_mask_belong_together():
    """A draft that is the photo itself stays so through mirrors and colours."""
    batch = draw_outpaint_batch(CutSource(dark_above(), lambda placed, mask, seed: placed, 0), 0, 0, 4)
    inside = (batch.mask > 0).expand(-1, 3, -1, -1)
    torch.testing.assert_close(batch.draft[inside], batch.true[inside])
    assert 0.02 < float(batch.mask.mean()) < 0.5


def test_skies_are_painted_before_the_photo_is_cut():
    """Of panoramas under a sky about half are under another one, the ground stays; without a mask nothing changes."""
    skies = np.zeros((12, 32, 64), dtype=bool)
    skies[:, :14] = True
    flat = np.full((12, 32, 64, 3), 90, dtype=np.uint8)
    painted, plain = (CutSource(flat, grey_draft, 0, s) for s in (skies, None))
    cuts = [painted(i, 0) for i in range(12)]
    other = [np.abs(cut.true[:8].astype(int) - 90).max() > 5 for cut in cuts]  # tilted by a few degrees at most
    assert 2 <= sum(other) <= 10, other
    assert all((cut.true[22:] == 90).all() for cut in cuts)
    seen = [(cut.true[cut.mask].mean(0), cut.draft[0, 0]) for cut in cuts]
    assert all(np.abs(a - b).max() < 1 for a, b in seen)  # the draft is that of the painted photo
    assert all((plain(i, 0).true == 90).all() for i in range(12))


# --- what it lowers --------------------------------------------------------------------------------------------------


def test_layout_distance_by_hand():
    """A quarter of the generated area is wrong by 0.4; inside the photo nothing counts."""
    true = torch.full((1, 3, 32, 64), 0.5)
    mask = torch.zeros(1, 1, 32, 64)
    wrong = true.clone()
    wrong[..., :16] += 0.4
    assert math.isclose(float(layout_distance(wrong, true, mask, (4, 16))), 0.1, rel_tol=1e-5)
    assert math.isclose(float(area_weight(mask).mean()), 1.0, rel_tol=1e-5)
    hidden = mask.clone()
    hidden[..., :16] = 1
    assert float(layout_distance(wrong, true, hidden, (1, 4))) == 0
    checks = true + 0.3 * (torch.arange(64) % 2 * 2 - 1)  # grain is no matter of layout
    assert float(layout_distance(checks, true, mask, (4, 16))) < 1e-6
    assert math.isclose(float(layout_distance(checks, true, mask, (1,))), 0.3, rel_tol=1e-5)


def test_cycle_distance_by_hand():
    """It asks for the true step across the border, whatever the level on both sides; none inside the photo."""
    true = torch.full((1, 3, 32, 64), 0.5)
    mask = torch.zeros(1, 1, 32, 64)
    torn = true.clone()
    torn[..., :32] += 0.2
    assert float(cycle_distance(torn, true, mask)) == pytest.approx(3 * 0.2 / 3, rel=1e-4)
    assert float(cycle_distance(true + 0.3, true, mask)) < 1e-6
    mask[..., 0] = 1
    assert float(cycle_distance(torn, true, mask)) == 0


def test_oriented_distance_by_hand():
    """A ramp of 0.02 per pixel to the right: that across, less along the diagonals, none down; brighter is no edge."""
    ramp = (0.02 * torch.arange(40.0)).expand(1, 3, 40, 40)
    flat = torch.full_like(ramp, 0.4)
    steps = [
        math.hypot(x, 1e-3) - 1e-3 for x in (0.02, 0.0, 0.02 * 0.5**0.5, 0.02 * 0.5**0.5)
    ]  # rounded off at 0, for its gradient
    assert float(oriented_distance(ramp, flat)) == pytest.approx(10 * sum(steps) / 4, rel=1e-3)
    assert float(oriented_distance(ramp + 0.1, ramp)) < 1e-5


def test_oriented_distance_would_rather_see_grain_than_hatching():
    """Where the true picture is grainy, grain of other places is nearer to it than stripes of the same strength."""
    generator = torch.Generator().manual_seed(0)
    true, other = (0.5 + 0.1 * torch.randn(1, 3, 96, 96, generator=generator) for _ in range(2))
    down, right = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    stripes = (0.5 + 0.1 * 2**0.5 * torch.sin((right + down) * math.pi / 2)).expand(1, 3, 96, 96)
    assert float(oriented_distance(other, true)) < 0.5 * float(oriented_distance(stripes, true))
    assert float((other - true).abs().mean()) > 0.7 * float((stripes - true).abs().mean())  # no distance of pixels does


def test_the_cycle_closes_what_a_plain_network_leaves_open():
    """Without circular convolutions the panorama's ends differ; the term makes them differ less."""
    left = {}
    for weight in (0.0, 3.0):
        config = OutpaintTrainConfig(steps=40, batch=2, lr=3e-3, warmup_steps=1, decay_fraction=0.01, cycle=weight)
        torch.manual_seed(0)
        state = new_outpaint_state(Outpainter(replace(TINY, circular=False)), config)
        for _ in train_outpainter(state, source(), config):
            pass
        batch = draw_outpaint_batch(source(seed=5), 0, 0, 8)
        with torch.no_grad():
            noise = torch.randn(8, TINY.noise, 32, 64, generator=torch.Generator().manual_seed(0))
            made = state.network.eval()(batch.true * batch.mask, batch.mask, batch.draft, noise)
        left[weight] = float((made[..., 0] - made[..., -1]).abs().mean())
    assert left[3.0] < 0.8 * left[0.0], left


def test_views_look_everywhere_alike():
    forward = draw_views(4000, torch.Generator().manual_seed(0)).world_from_cam[:, :3, 2]
    assert forward.mean(0).abs().max() < 0.05
    torch.testing.assert_close(forward.square().mean(0), torch.full((3,), 1 / 3), atol=0.02, rtol=0)


def test_rates_rise_hold_and_fall():
    config = OutpaintTrainConfig(steps=100, warmup_steps=10, decay_fraction=0.5)
    assert [round(lr_share(s, config), 2) for s in (0, 9, 50, 75, 100)] == [0.1, 1.0, 1.0, 0.5, 0.0]


def test_training_learns_what_the_draft_does_not_know():
    config = OutpaintTrainConfig(steps=24, batch=2, lr=6e-3, warmup_steps=5, decay_fraction=0.2)
    logs = list(train_outpainter(state_for(config), source(), config))
    assert logs[0].losses["layout"] == pytest.approx(logs[0].losses["draft"], rel=0.05)
    last = logs[-6:]
    assert sum(x.losses["layout"] for x in last) < 0.6 * sum(x.losses["draft"] for x in last)


def test_a_critic_tells_apart_and_is_deceived():
    torch.manual_seed(0)
    critic = Critic()
    shapes = [(24, 8), (40, 4), (112, 2), (320, 1)]
    assert len(TAPS) == len(shapes)
    known = [torch.randn(4, c, n, 2 * n) for c, n in shapes]
    seen = [torch.randn(4, c, n, 2 * n).abs() for c, n in shapes]
    start = float(critic_loss(critic(seen), critic(known)).detach())
    optimiser = torch.optim.Adam(critic.parameters(), lr=3e-3)
    for _ in range(40):
        optimiser.zero_grad()
        critic_loss(critic(seen), critic(known)).backward()
        optimiser.step()
    assert float(critic_loss(critic(seen), critic(known)).detach()) < 0.7 * start
    assert bool(deceit_loss(critic(known)) < deceit_loss(critic(seen)))
    twos = [torch.full((1, 1, 2, 4), 2.0)]
    assert float(critic_loss([-twos[0]], twos)) == 0 and float(critic_loss(twos, [-twos[0]])) == 6


def test_a_perceptual_distance_of_views_alone_teaches(monkeypatch):
    """Without L1 and without ImageNet's weights; the photo, which is true, stands in the views."""
    monkeypatch.setattr(outpainter, "perceptual_distance", lambda name: FarApart())
    config = OutpaintTrainConfig(steps=40, batch=2, lr=6e-3, warmup_steps=5, decay_fraction=0.2, layout=0, perceptual=1)
    logs = list(train_outpainter(state_for(config), source(), config))
    assert "features" not in logs[0].losses and logs[0].losses["perceptual"] == logs[0].losses["total"] > 0.1
    assert sum(x.losses["perceptual"] for x in logs[-6:]) < 0.7 * sum(x.losses["perceptual"] for x in logs[:6])


def test_views_show_the_detail_of_drafts_that_are_larger_than_the_network(monkeypatch):
    """A draft that is right down to its last pixel is right in the views of a network of half its size."""
    monkeypatch.setattr(outpainter, "perceptual_distance", lambda name: FarApart())
    config = OutpaintTrainConfig(steps=1, batch=2, lr=0.0, perceptual=1, views=8)
    fine = np.repeat(np.random.default_rng(0).integers(60, 200, (2, 64, 128, 1)), 3, axis=-1).astype(np.uint8)
    right, smooth = (
        next(train_outpainter(state_for(config), Known(fine, grey_draft, 0, blur), config)).losses for blur in (1, 9)
    )
    assert right["perceptual"] < 0.01 < 0.04 < smooth["perceptual"]
    assert right["layout"] == pytest.approx(right["draft"], abs=1e-6) and right["draft"] < 0.01  # both 32 rows high


class Known(CutSource):
    """Drafts that are the truth, blurred over squares of so many pixels."""

    def __init__(self, panoramas, draft, seed, blur):
        super().__init__(panoramas, draft, seed)
        self.blur = blur

    def _make(self, index, turn):
        cut = super()._make(index, turn)
        return replace(cut, draft=cv2.blur(cut.true, (self.blur, self.blur)))


class FarApart(torch.nn.Module):
    """Mean absolute difference of pictures, in place of a perceptual distance."""

    def forward(self, a, b):
        return (a - b).abs().mean((1, 2, 3))


@pytest.mark.parametrize("extra", [{}, {"features": 0.05, "adversarial": 0.05, "critic_from": 2}], ids=["plain", "all"])
def test_a_resumed_run_is_an_unbroken_one(extra):
    if extra:
        try:
            imagenet_weights_path()
        except FileNotFoundError as error:
            pytest.skip(str(error))
    config = OutpaintTrainConfig(steps=4, batch=1, warmup_steps=1, **extra)
    whole = state_for(config)
    logs = list(train_outpainter(whole, source(), config))
    half = state_for(config)
    steps = train_outpainter(half, source(), config)
    next(steps), next(steps)
    resumed = state_for(config)
    resumed.load_state_dict(half.state_dict())
    rest = list(train_outpainter(resumed, source(), config))
    assert [x.step for x in rest] == [3, 4]
    assert rest[-1].losses == pytest.approx(logs[-1].losses, rel=1e-4)
    assert ("deceit" in logs[-1].losses) == bool(extra) and "deceit" not in logs[1].losses
    for a, b in zip(whole.average.parameters(), resumed.average.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_nothing_to_learn_from_is_refused():
    config = OutpaintTrainConfig()
    with pytest.raises(ValueError, match="at least one panorama"):
        train_outpainter(state_for(config), CutSource(dark_above(0), grey_draft, 0), config)


# --- runs on disk ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rooms")
    generate_rooms(folder, 2, (32, 64))
    return folder


def write(path: Path, **values) -> Path:
    path.write_text(yaml.safe_dump(values))
    return path


def test_colours_are_averaged_and_counted(rooms):
    assert load_colours([rooms, rooms], 16, "train").rgb.shape == (4, 16, 32, 3)
    checks = np.zeros((1, 32, 64, 3), dtype=np.uint8)
    checks[:, ::2] = 100
    assert (shrink_colours(checks, 16, "x") == 50).all()
    with pytest.raises(ValueError, match="at least 64 rows, got 32"):
        load_colours([rooms], 64, "train")
    with pytest.raises(FileNotFoundError, match="found none"):
        load_colours([rooms], 32, "heldout")


def test_skies_come_with_the_colours(tmp_path):
    """A sky of four rows, averaged to half as many; analytic rooms and photographs have none that is known."""
    code = np.full((1, 32, 64), 500, dtype=np.uint16)
    code[:, :4] = SKY_CODE
    write_arrays(tmp_path / "nexuiz__open.npz", {"rgb": np.zeros((1, 32, 64, 3), dtype=np.uint8), "log_distance": code})
    sky = load_colours([tmp_path], 16, "train").sky
    assert sky.shape == (1, 16, 32) and sky[:, :2].all() and not sky[:, 2:].any()


def test_held_out_and_shown_photographs_are_left_out(tmp_path):
    for name in ("lobby", "blender_courtyard", "Muir_Wood", "interior", "pier"):
        Image.new("RGB", (64, 32)).save(tmp_path / f"{name}.png")
    assert [p.stem for p in photos_to_train(tmp_path)] == ["lobby", "pier"]
    (tmp_path / "lobby.png").unlink(), (tmp_path / "pier.png").unlink()
    with pytest.raises(FileNotFoundError, match="may be trained on"):
        photos_to_train(tmp_path)


def test_the_command_trains_resumes_and_ships(tmp_path, rooms, monkeypatch, capsys):
    monkeypatch.setitem(runs.SIZES, "small", TINY)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (128, 64), (90, 120, 150)).save(tmp_path / "photos" / "lobby.png")
    values = {"data": str(rooms), "out": str(tmp_path / "run"), "batch": 1, "device": "cpu", "warmup_steps": 1}
    values |= {"photos": str(tmp_path / "photos"), "photo_repeats": 3}
    params = write(tmp_path / "p.yaml", steps=2, **values)
    assert main(["train", "outpainter", "--params", str(params)]) == 0
    assert "5 panoramas, 2 steps of 1" in capsys.readouterr().err
    write(params, steps=3, **values)
    assert main(["train", "outpainter", "--params", str(params)]) == 0
    lines = [json.loads(x) for x in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines] == [1, 2, 3] and {"layout", "draft", "lr", "seconds"} <= lines[0].keys()
    network, file = load_outpainter(tmp_path / "run" / runs.WEIGHTS)
    assert network.config == TINY and file.licence == "Apache-2.0"
    write(params, steps=4, **values | {"batch": 2})
    assert main(["train", "outpainter", "--params", str(params)]) == 2
    assert "was trained with batch = 1, the parameters say 2" in capsys.readouterr().err
    write(params, steps=4, **values)
    with open_workspace(tmp_path / "run"):
        assert main(["train", "outpainter", "--params", str(params)]) == 2
    assert "another run is writing into" in capsys.readouterr().err


def test_the_command_trains_on_the_drafts_of_the_method(tmp_path, rooms, monkeypatch, capsys):
    """``draft: planes`` on finer rows than the network's; too few rows are refused before anything is written."""
    monkeypatch.setitem(runs.SIZES, "small", replace(TINY, height_px=16))
    values = {"data": str(rooms), "out": str(tmp_path / "run"), "batch": 1, "device": "cpu", "steps": 1}
    values |= {"draft": "planes", "skies": True, "scales": [1, 4]}
    assert main(["train", "outpainter", "--params", str(write(tmp_path / "p.yaml", rows=8, **values))]) == 2
    assert "rows must be 0 or at least the network's 16, got 8" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    params = write(tmp_path / "p.yaml", rows=32, **values)
    assert main(["train", "outpainter", "--params", str(params)]) == 0
    settings = runs.read_outpainter_params(params)
    assert runs.open_colours(settings).rgb.shape == (2, 32, 64, 3)
    cut = CutSource(runs.open_colours(settings).rgb, runs.open_draft(settings), 0)(0, 0)
    usual = settings.model_copy(update={"draft": "baseline"})
    other = CutSource(runs.open_colours(usual).rgb, runs.open_draft(usual), 0)(0, 0)
    assert np.abs(cut.draft.astype(int) - other.draft)[~cut.mask].mean() > 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"data": "d", "out": "o", "stepz": 3}, "stepz"),
        ({"data": "d", "out": "o", "size": "huge"}, "size"),
        ({}, "data"),
    ],
)
def test_a_wrong_key_is_named(tmp_path, values, words):
    with pytest.raises(ValueError, match=words):
        runs.read_outpainter_params(write(tmp_path / "p.yaml", **values))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_the_recipes_are_understood(path):
    params = runs.read_outpainter_params(path)
    every = map(runs.read_outpainter_params, RECIPES)
    parts = [params, *(p for p in every if follows(p, params) or follows(params, p))]
    assert sum(p.steps for p in parts) > 1000  # of all parts of one training
    assert runs.SIZES[params.size].height_px % max(params.scales) == 0


def follows(first, second) -> bool:
    """Whether a training starts where another one ends."""
    return second.init is not None and Path(second.init).parent == Path(first.out)


def test_there_are_recipes():
    assert {"train_outpainter", "train_outpainter_gpu"} <= {p.stem for p in RECIPES}
