"""Views by diffusion from the command line: a run with tiny networks, an interruption, and what is missing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_cli import TINY, make_photo
from view_models import TINY as TINY_UNET
from view_models import official_folder, random_unet, write_adapters

from onescene.cli import main
from onescene.io.images import load_image
from onescene.models.seva import SevaConfig
from onescene.models.seva.network import SevaUNet
from onescene.pipeline.steps import views as step

pytest.importorskip("transformers", reason="pip install 'onescene[paper]'")
FRAMES = 7


def swap(folder: Path, config: SevaConfig) -> None:
    """Makes the second adapter one of another network."""
    write_adapters(random_unet(config), folder / "x")
    shutil.rmtree(folder / "rendered")
    shutil.copytree(folder / "x" / "rendered", folder / "rendered")


@pytest.fixture(scope="module")
def scaffold(tmp_path_factory) -> Path:
    """A run's folder as far as its scaffold, a folder of weights beside it."""
    folder = tmp_path_factory.mktemp("views")
    (folder / "tiny.yaml").write_text(json.dumps(TINY))
    make_photo(folder / "panorama.png", (64, 128))
    words = [str(folder / "panorama.png"), "--out", str(folder / "run"), "--params", str(folder / "tiny.yaml")]
    assert main(["scaffold", *words]) == 0
    official_folder(folder / "weights", rank=2)
    return folder


def call(folder: Path, run: Path, *more: str) -> int:
    """``onescene views`` along a trajectory of seven frames."""
    words = ["--params", str(folder / "tiny.yaml"), "--trajectory", "walk", "--frames", str(FRAMES)]
    return main(["views", str(run), *words, *more])


@pytest.fixture
def run(scaffold, tmp_path) -> Path:
    return Path(shutil.copytree(scaffold / "run", tmp_path / "run"))


def pictures(run: Path) -> list[torch.Tensor]:
    return [load_image(run / "04_views" / f"{v:03d}.png") for v in range(FRAMES)]


def test_views_by_diffusion_are_written_recorded_and_resumed(scaffold, run, tmp_path, monkeypatch, capsys):
    words = ["--method", "dual-lora", "--weights", str(scaffold / "weights")]
    whole = Path(shutil.copytree(run, tmp_path / "whole"))
    assert call(scaffold, whole, *words) == 0
    record = json.loads((whole / "run.json").read_text())
    names = [w["name"] for w in record["weights"]]
    assert {"views-denoiser", "views-autoencoder", "views-image_encoder"} <= set(names)
    assert record["stages"][-1]["method"] == "dual-lora" and record["stages"][-1]["frames"] == FRAMES
    assert not list((whole / ".onescene").glob("views-*"))
    assert pictures(whole)[0].shape == (3, *TINY["view_hw"])

    written, save = [], step.save_image

    def interrupted(rgb, path):
        if len(written) == 4:  # within the second chunk of three
            raise KeyboardInterrupt
        written.append(path)
        return save(rgb, path)

    monkeypatch.setattr(step, "save_image", interrupted)
    assert call(scaffold, run, *words) == 130
    assert not (run / "04_views").exists()
    kept = sorted(p.name for p in next((run / ".onescene").glob("views-*")).iterdir())
    assert kept == [f"{v:05d}.npz" for v in range(5)]
    (run / ".onescene" / "views-other").mkdir()
    monkeypatch.setattr(step, "save_image", save)
    passes, forward = [], SevaUNet.forward
    monkeypatch.setattr(SevaUNet, "forward", lambda *a, **k: passes.append(1) or forward(*a, **k))
    assert call(scaffold, run, *words) == 0
    assert len(passes) == 2, "one pass for each of the two chunks that were not through"
    assert all(torch.equal(a, b) for a, b in zip(pictures(run), pictures(whole), strict=True))
    assert not list((run / ".onescene").glob("views-*"))
    capsys.readouterr()
    assert call(scaffold, run, *words) == 0
    assert "up to date" in capsys.readouterr().err
    assert call(scaffold, run, *words, "--memory", "none") == 0
    assert not torch.equal(pictures(run)[5], pictures(whole)[5])


def test_a_chunk_that_was_stopped_half_way_is_made_as_if_it_had_not_been(scaffold, run, tmp_path, monkeypatch):
    words = ["--method", "dual-lora", "--weights", str(scaffold / "weights"), "--steps", "2"]
    whole = Path(shutil.copytree(run, tmp_path / "whole"))
    assert call(scaffold, whole, *words) == 0
    passes, forward = [], SevaUNet.forward

    def stopped(*a, **k):
        passes.append(1)
        if len(passes) == 4:  # the second step of the second chunk
            raise KeyboardInterrupt
        return forward(*a, **k)

    monkeypatch.setattr(SevaUNet, "forward", stopped)
    assert call(scaffold, run, *words) == 130
    kept = sorted(p.name for p in next((run / ".onescene").glob("views-*")).iterdir())
    assert kept == [f"{v:05d}.npz" for v in range(3)] and not (run / "04_views").exists()
    passes.clear()
    passes.extend([1] * 10)
    assert call(scaffold, run, *words) == 0
    assert len(passes) == 14, "two steps for each of the two chunks that were not through"
    assert all(torch.equal(a, b) for a, b in zip(pictures(run), pictures(whole), strict=True))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda f: swap(f, replace(TINY_UNET, lora_rank=3)), "adapter must have rank 2 as the network has, got 3"),
        (lambda f: swap(f, replace(TINY_UNET, lora_rank=2, num_res_blocks=2)), "adapter is of another base: "),
        (
            lambda f: (f / "rendered" / "adapter_config.json").write_text("{"),
            "must be a JSON object with r and",
        ),
        (lambda f: (f / "clean" / "adapter_config.json").write_text('{"lora_alpha": 4}'), "with r and lora_alpha"),
        (lambda f: (f / "clean" / "adapter_config.json").write_text('{"r": 0, "lora_alpha": 4}'), "r must be a whole"),
        (lambda f: (f / "clean" / "adapter_model.safetensors").write_bytes(b"no tensors"), "adapter_model.safetensors"),
    ],
    ids=["rank", "base", "no JSON", "no rank", "rank 0", "no tensors"],
)
def test_adapters_that_do_not_fit_are_named(scaffold, run, tmp_path, capsys, spoil, sentence):
    folder = official_folder(tmp_path / "weights", adapters=["clean", "rendered"])
    write_adapters(random_unet(replace(TINY_UNET, lora_rank=2)), folder)
    spoil(folder)
    assert call(scaffold, run, "--method", "dual-lora", "--weights", str(folder)) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("onescene:")]
    assert len(said) == 1 and sentence in said[0]
    assert not (run / "04_views").exists()


def test_a_frame_that_was_damaged_is_made_again(scaffold, run, monkeypatch):
    words = ["--method", "anchors-only", "--weights", str(scaffold / "weights")]

    def stop(*a, **k):
        raise KeyboardInterrupt

    monkeypatch.setattr(step, "save_video", lambda frames, *a: [next(frames) for _ in range(2)] and stop())
    assert call(scaffold, run, *words) == 130
    monkeypatch.undo()
    kept = sorted(next((run / ".onescene").glob("views-*")).iterdir())
    kept[0].write_bytes(kept[0].read_bytes()[:100])
    assert call(scaffold, run, *words) == 0
    assert len(pictures(run)) == FRAMES


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--method", "concat"],
            "what comes with the package was trained for --method dual-lora, got concat; ",
        ),
        (["--steps", "3"], "these weights make a view in one step and without guidance, got 3 steps"),
        (["--method", "dual-lora", "--weights", "nowhere"], "no such folder: nowhere"),
        (["--method", "magic"], "--method must be one of baseline, anchors-only, concat, dual-lora, got 'magic'"),
        (["--method", "baseline", "--weights", "somewhere"], "--weights is for --method"),
        (["--method", "concat", "--weights", "OWN"], "method concat needs a U-Net of 15 channels"),
        (["--method", "dual-lora", "--weights", "OWN", "--memory", "all"], "memory must be one of nearest"),
        (
            ["--method", "dual-lora", "--weights", "OWN", "--sampling", "x"],
            "--sampling must be one of trained, released",
        ),
        (["--method", "dual-lora", "--weights", "OWN", "--steps", "0"], "steps must be >= 1, got 0"),
    ],
)
def test_one_sentence_for_every_mistake(scaffold, run, capsys, words, sentence):
    before = sorted(p for p in run.rglob("*"))
    words = [str(scaffold / "weights") if w == "OWN" else w for w in words]
    assert call(scaffold, run, *words) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("onescene:")]
    assert len(said) == 1 and sentence in said[0]
    assert sorted(p for p in run.rglob("*")) == before


def test_missing_weights_stop_a_whole_run_before_its_first_step(scaffold, tmp_path, capsys):
    (tmp_path / "params.yaml").write_text(json.dumps(TINY | {"view_weights": "nowhere"}))
    words = ["run", "--panorama", str(scaffold / "panorama.png"), "--out", str(tmp_path / "out")]
    assert main([*words, "--params", str(tmp_path / "params.yaml")]) == 2
    said = capsys.readouterr().err
    assert "non-commercial" in said and "[1/" not in said and not (tmp_path / "out").exists()
