"""Training runs on disk: params are checked, a run resumes, what it writes can be loaded."""

from __future__ import annotations

import copy
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from onescene.cli import main
from onescene.models.loading import load_scaffold, shipped_scaffold_path
from onescene.models.one2scene.weights import load_one2scene
from onescene.models.scaffold import CubeScaffold
from onescene.pipeline.ablation import read_ablation, run_ablation
from onescene.pipeline.training import open_data, run_training, start_or_resume
from onescene.pipeline.training_params import read_params, stored_config, train_config
from onescene.pipeline.training_run import choose_device, follow, save_checkpoint
from onescene.pipeline.workspace import open_workspace
from onescene.training.posed import PosedRooms
from onescene.training.scaffold import PAPER, SMALL
from onescene.training.step_log import StepLog

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.glob("params/*/train_*.yaml")
    if path.stem.startswith(("train_scaffold", "train_one2scene"))  # others have keys of their own
)
RUN = {"data": "rooms", "rooms": 1, "batch": 1, "face_px": 32, "imagenet": False, "device": "cpu"}


def write(path, **values):
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("path", RECIPES)
def test_the_recipes_are_understood(path, pytestconfig):
    assert read_params(pytestconfig.rootpath / path).steps > 1000


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"data": "d", "out": "o", "stepz": 3}, "stepz"),
        ({"data": "d", "out": "o", "steps": "many"}, "steps"),
        ({"data": "d", "out": "o", "device": "tpu"}, "device"),
        ({"data": "d", "out": "o", "preset": "large"}, "preset"),
        ({"data": "d", "out": "o", "loss": {"lpipps": 1}}, "no loss term 'lpipps'"),
        ({"data": "d", "out": "o", "loss": {"sky": -0.3}}, "weight of sky must be >= 0 and finite, got -0.3"),
        ({"data": "d", "out": "o", "loss": {"sky": float("nan")}}, "weight of sky must be >= 0 and finite, got nan"),
        ({"out": "o"}, "data"),
        ({"data": "d", "out": ""}, "out: .* at least 1 character"),
        ({"data": "d", "out": "o", "lr": float("nan")}, "lr: .* finite number, got nan"),
        ({"data": "d", "out": "o", "lr": -0.001}, "lr: .* greater than 0"),
        ({"data": "d", "out": "o", "ema": 1.5}, "ema: .* less than 1"),
        ({"data": "d", "out": "o", "decay_fraction": 2}, "decay_fraction: .* less than or equal to 1"),
        ({"data": "d", "out": "o", "warmup_steps": -1}, "warmup_steps: .* greater than or equal to 0"),
        ({"data": "d", "out": "o", "batch": 0}, "batch: .* greater than or equal to 1"),
        ({"data": "d", "out": "o", "checkpoint_every": 0}, "checkpoint_every: .* greater than or equal to 1"),
        ({"data": "d", "out": "o", "seed": 2**32}, "seed: .* less than or equal to 4294967295"),
    ],
)
def test_a_wrong_key_is_named(tmp_path, values, words):
    with pytest.raises(ValueError, match=words):
        read_params(write(tmp_path / "p.yaml", **values))


def test_cuda_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="torch sees no CUDA device"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda")
    assert choose_device("cpu") == torch.device("cpu")


def test_one_line_makes_the_paper_of_the_small_one(tmp_path):
    lines = [(ROOT / f"params/{preset}/train_one2scene.yaml").read_text().splitlines() for preset in ("small", "paper")]
    differing = [(a, b) for a, b in zip(*lines, strict=True) if a != b]
    assert len(differing) == 1
    assert [line.split("#")[0].strip() for line in differing[0]] == ["preset: small", "preset: paper"]


def test_presets_fill_what_a_file_leaves_out(tmp_path):
    short = {"data": "d", "out": "o"}
    small = read_params(write(tmp_path / "s.yaml", **short))
    assert train_config(small) == SMALL
    paper = read_params(write(tmp_path / "p.yaml", preset="paper", steps=7, loss={"normal": 2.0}, **short))
    config = train_config(paper)
    assert (config.lr, config.lr_encoder, PAPER.steps) == (2e-4, 2e-5, 80_000)  # Sec. 4.1 of One2Scene
    assert (config.steps, config.loss.normal, config.loss.silog, config.loss.aligned) == (7, 2.0, 10.0, 0.0)
    assert (config.betas, config.weight_decay, config.warmup_steps) == ((0.9, 0.95), 0.05, 2000)


def trained_once(tmp_path, **changes):
    """A run of one step in a folder of its own; its params file and checkpoint."""
    path = write(tmp_path / "p.yaml", steps=1, out=str(tmp_path / "run"), **RUN | changes)
    run_training(read_params(path), open_data(read_params(path)), "Apache-2.0")
    return path, tmp_path / "run" / "checkpoint.pt"


def test_a_run_with_another_config_is_not_continued(tmp_path, capsys):
    _, checkpoint = trained_once(tmp_path)
    before = checkpoint.read_bytes()
    for change, words in (
        ({"lr": 0.5}, "lr = 0.001, the parameters say 0.5"),
        ({"fusion": False}, "fusion = True, the parameters say False"),
        ({"loss": {"silog": 2.0}}, "loss = "),
        ({"rooms": 2}, "rooms = 1"),
    ):
        path = write(tmp_path / "other.yaml", steps=2, out=str(tmp_path / "run"), **RUN | change)
        assert main(["train", "scaffold", "--params", str(path)]) == 2
        message = capsys.readouterr().err
        assert words in message and "set it back" in message and "Traceback" not in message
    assert checkpoint.read_bytes() == before
    checkpoint.write_bytes(before[: len(before) // 2])
    path = write(tmp_path / "p.yaml", steps=2, out=str(tmp_path / "run"), **RUN)
    assert main(["train", "scaffold", "--params", str(path)]) == 2
    assert "not a readable checkpoint" in capsys.readouterr().err


def test_a_checkpoint_of_before_there_was_a_config_goes_on_with_a_warning(tmp_path, caplog):
    params = read_params(write(tmp_path / "p.yaml", out=str(tmp_path), **RUN))
    state = start_or_resume(params, tmp_path, torch.device("cpu"))
    state.step = 7
    torch.save(state.state_dict(), tmp_path / "checkpoint.pt")
    assert start_or_resume(params, tmp_path, torch.device("cpu")).step == 7
    assert "does not say what it was trained by" in caplog.text
    caplog.clear()
    save_checkpoint(state, stored_config(params), tmp_path)
    assert start_or_resume(params, tmp_path, torch.device("cpu")).step == 7 and not caplog.text


def test_a_run_may_start_from_another_ones_weights(tmp_path):
    trained_once(tmp_path)
    weights = tmp_path / "run" / "scaffold.safetensors"
    params = read_params(write(tmp_path / "q.yaml", out=str(tmp_path / "next"), init=str(weights), steps=0, **RUN))
    again, _ = load_scaffold(run_training(params, open_data(params), "Apache-2.0"))
    first, _ = load_scaffold(weights)
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    bad = params.model_copy(update={"init": str(tmp_path / "none.safetensors"), "out": str(tmp_path / "bad")})
    with pytest.raises(FileNotFoundError, match="none"):
        run_training(bad, open_data(bad), "Apache-2.0")
    assert not (tmp_path / "bad").exists()


def test_the_papers_network_is_a_word_in_the_params(tmp_path):
    """Two steps of the small one on 64-pixel faces, then the same weights as another run's start."""
    vggt = RUN | {"network": "vggt", "face_px": 64, "loss": {"render": 10.0}, "views": 1}
    path = write(tmp_path / "p.yaml", steps=2, out=str(tmp_path / "run"), **vggt)
    assert main(["train", "scaffold", "--params", str(path)]) == 0
    log = [json.loads(line) for line in open(tmp_path / "run" / "log.jsonl")]
    assert [line["step"] for line in log] == [1, 2] and log[0]["render"] > 0
    network, file = load_one2scene(tmp_path / "run" / "scaffold.safetensors")
    assert network.config.face_px == 64 and network.config.fusion and file.licence == "Apache-2.0"
    plain = vggt | {"fusion": False, "joint": False, "init": str(file.path), "steps": 0}
    params = read_params(write(tmp_path / "q.yaml", out=str(tmp_path / "next"), **plain))
    with pytest.raises(ValueError, match="unexpected"):
        run_training(params, open_data(params), "Apache-2.0")
    params = params.model_copy(update={"fusion": True})
    again, _ = load_one2scene(run_training(params, open_data(params), "Apache-2.0"))
    assert not again.config.joint
    for key, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    # or from the encoder of the other small network
    params = params.model_copy(update={"init": str(shipped_scaffold_path()), "out": str(tmp_path / "third")})
    other, _ = load_one2scene(run_training(params, open_data(params), "Apache-2.0"))
    assert other.config.gaussians  # as the loss has a rendering term
    encoder = load_scaffold()[0].encoder.state_dict()
    for key, value in other.aggregator.patch_embed.encoder.state_dict().items():
        assert torch.equal(value, encoder[key]), key


def test_what_can_not_be_trained_leaves_nothing_behind(tmp_path):
    params = read_params(write(tmp_path / "p.yaml", out=str(tmp_path / "run"), loss={"render": 1.0}, **RUN))
    assert isinstance(open_data(params), PosedRooms)
    with pytest.raises(ValueError, match="set views to 0"):
        run_training(params, open_data(params.model_copy(update={"loss": {}})), "Apache-2.0")
    assert not (tmp_path / "run").exists()


def test_a_training_that_runs_away_ends_in_a_sentence(tmp_path, capsys):
    """What was there before is kept, and no weights are written."""
    path = write(tmp_path / "p.yaml", steps=1, out=str(tmp_path / "run"), **RUN)
    assert main(["train", "scaffold", "--params", str(path)]) == 0
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    params = read_params(write(path, steps=3, out=str(tmp_path / "run"), **RUN))
    state = start_or_resume(params, tmp_path / "run", torch.device("cpu"))
    logs = (StepLog(step, {"total": math.nan}, 1.0, 0.1) for step in (2, 3))
    with pytest.raises(
        ValueError, match="the loss is not finite at step 2: begin again in another `out` with a smaller lr"
    ):
        follow(logs, state, stored_config(params), tmp_path / "run", 1, None)
    assert before == {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    path = write(tmp_path / "p.yaml", steps=1, out=str(tmp_path / "fast"), **RUN, lr=1e18)  # after the only loss
    assert main(["train", "scaffold", "--params", str(path)]) == 2
    assert "weights must be finite in half precision" in capsys.readouterr().err
    assert not (tmp_path / "fast" / "scaffold.safetensors").exists()
    next(iter(state.network.parameters())).data.fill_(math.nan)
    with pytest.raises(ValueError, match="the weights are not finite at step 1: begin again in another `out`"):
        save_checkpoint(state, stored_config(params), tmp_path / "nan")
    assert not (tmp_path / "nan").exists()


def test_a_size_that_can_not_be_leaves_nothing_behind(tmp_path, capsys):
    path = write(tmp_path / "p.yaml", steps=1, out=str(tmp_path / "run"), **(RUN | {"face_px": 33}))
    assert main(["train", "scaffold", "--params", str(path)]) == 2
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").write_text("mine")
    path = write(tmp_path / "p.yaml", steps=1, out=str(tmp_path / "file"), **RUN)
    assert main(["train", "scaffold", "--params", str(path)]) == 2
    assert "out must be a folder" in capsys.readouterr().err and (tmp_path / "file").read_text() == "mine"


def test_two_processes_train_as_one_does(tmp_path):
    """Each takes half of every batch, by terms whose mean over both halves is that of the whole; one of them writes."""
    terms = dict.fromkeys(("aligned", "absolute", "outlier", "gradient"), 0.0) | {"silog": 1.0, "overlap": 1.0}
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    lines = {}
    for name, command in (("one", [sys.executable]), ("two", launch)):
        run = RUN | {"rooms": 2, "batch": 2, "steps": 2, "warmup_steps": 1, "threads": 1, "loss": terms}
        path = write(tmp_path / f"{name}.yaml", **run | {"out": str(tmp_path / name)})
        words = [*command, "-m", "onescene", "train", "scaffold", "--params", str(path)]
        done = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=540)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [str(tmp_path / name / "scaffold.safetensors")]
        assert done.stderr.count("2 panoramas") == 1
        lines[name] = [json.loads(line) for line in open(tmp_path / name / "log.jsonl")]
    assert [line["step"] for line in lines["two"]] == [1, 2]
    for one, two in zip(lines["one"], lines["two"], strict=True):
        for term in ("silog", "overlap", "sky", "total"):
            assert two[term] == pytest.approx(one[term], rel=1e-3), (one["step"], term)
    one, two = (torch.load(tmp_path / n / "checkpoint.pt", weights_only=True) for n in ("one", "two"))
    fresh = copy.deepcopy(one["network"])
    torch.manual_seed(0)
    fresh |= CubeScaffold().state_dict()
    moved = sum(float((one["network"][k] - v).square().sum()) for k, v in fresh.items()) ** 0.5
    apart = sum(float((one["network"][k] - two["network"][k]).square().sum()) for k in fresh) ** 0.5
    assert apart < 0.1 * moved, (apart, moved)


def test_an_ablation_trains_measures_and_goes_on(tmp_path, capsys):
    run = {key: value for key, value in RUN.items()} | {"out": str(tmp_path / "ablation"), "validation": "rooms"}
    path = write(tmp_path / "a.yaml", steps=1, seeds=[3, 4], **run)
    seen = []
    runs, table = run_ablation(path, "Apache-2.0", lambda name, log: seen.append((name, log.step)))
    assert len(seen) == 6 and len(set(seen)) == 6
    assert list(table.index) == ["per-face", "joint", "fused"] and len(runs) == 6
    rules = ("unifuse", "one2scene_release", "da2", "metric", "median")
    wanted = {f"{metric}_{rule}" for metric in ("abs_rel", "delta1", "delta2", "delta3") for rule in rules}
    assert wanted | {"seam_jump_ratio", "train_seconds"} <= set(table.columns)
    assert ((0 <= table[sorted(wanted)]) & (table["abs_rel_da2"].to_frame().to_numpy() < 3)).all().all()
    means = runs.groupby("variant")["abs_rel_median"].agg(["mean", "max", "min"]).loc[table.index]
    assert table["abs_rel_median"].to_numpy() == pytest.approx(means["mean"].to_numpy())
    assert table["abs_rel_median_spread"].to_numpy() == pytest.approx((means["max"] - means["min"]).to_numpy())
    networks = {
        name: load_scaffold(tmp_path / "ablation" / f"{name}-3" / "scaffold.safetensors")[0] for name in table.index
    }
    switches = {name: (network.config.joint, network.config.fusion) for name, network in networks.items()}
    assert switches == {"per-face": (False, False), "joint": (True, False), "fused": (True, True)}
    seen.clear()
    again, _ = run_ablation(path, "Apache-2.0", lambda name, log: seen.append(name))
    assert not seen and again.equals(runs)
    capsys.readouterr()
    assert main(["train", "ablation", "--params", str(path)]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in table.index) and "abs_rel_median_spread" in said
    assert said.splitlines()[-1] == str(tmp_path / "ablation" / "table.csv")
    assert (tmp_path / "ablation" / "table.csv").read_text().startswith("variant,")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "seeds must be"),
        ({"seeds": [0, 0]}, "each once"),
        ({"seeds": [0, 99]}, "from 0 to 8"),
        ({"seeds": [True]}, "from 0 to 8"),
        ({"seeds": [0]}, "validation must be"),
        ({"seeds": [0], "validation": "rooms", "fusion": True}, "fusion is what the ablation varies"),
        ({"seeds": [0], "validation": "rooms", "stepz": 1}, "stepz"),
    ],
)
def test_an_ablation_that_makes_no_sense_is_refused(tmp_path, values, words):
    with pytest.raises(ValueError, match=words):
        read_ablation(write(tmp_path / "a.yaml", data="rooms", out="o", **values))


def test_an_ablation_is_one_process(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train", "ablation", "--params", str(ROOT / "params/small/ablation.yaml")]) == 2
    assert "runs in one process" in capsys.readouterr().err


def test_the_ablation_recipe_is_understood():
    runs, validation = read_ablation(ROOT / "params/small/ablation.yaml")
    assert len(runs) == 6 and validation == "data/validation"
    assert len({run.out for run in runs}) == 6 and len({(run.joint, run.fusion, run.seed) for run in runs}) == 6


def test_a_run_goes_on_where_it_stopped(tmp_path, capsys):
    run = {"data": "rooms", "rooms": 1, "batch": 1, "out": str(tmp_path / "run"), "imagenet": False}
    assert main(["train", "scaffold", "--params", str(write(tmp_path / "p.yaml", steps=1, **run))]) == 0
    assert main(["train", "scaffold", "--params", str(write(tmp_path / "p.yaml", steps=2, **run))]) == 0
    weights = capsys.readouterr().out.splitlines()[-1]
    network, file = load_scaffold(weights)
    assert all(bool(torch.isfinite(value).all()) for value in network.state_dict().values())
    assert [json.loads(line)["step"] for line in open(tmp_path / "run" / "log.jsonl")] == [1, 2]
    assert file.licence == "Apache-2.0"


def test_two_trainings_into_one_folder(tmp_path, capsys):
    """The second is refused before it has written anything, and may go on there when the first has ended."""
    path, out = write(tmp_path / "p.yaml", steps=1, out=str(tmp_path / "run"), **RUN), tmp_path / "run"
    with open_workspace(out):
        assert main(["train", "scaffold", "--params", str(path)]) == 2
        assert f"another run is writing into {out} (process {os.getpid()})" in capsys.readouterr().err
        assert [file.name for file in out.iterdir()] == [".onescene"]
    assert main(["train", "scaffold", "--params", str(path)]) == 0
    assert {file.name for file in out.iterdir()} == {"checkpoint.pt", "log.jsonl", "scaffold.safetensors"}
