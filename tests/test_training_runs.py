"""Training runs on disk: params are checked, a run resumes, what it writes can be loaded."""

from __future__ import annotations

import json

import pytest
import torch
import yaml

from onescene.cli import main
from onescene.models.loading import load_scaffold
from onescene.pipeline.training import choose_device, read_params

RECIPES = ("params/small/train_scaffold.yaml", "params/small/train_scaffold_gpu.yaml")


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
        ({"out": "o"}, "data"),
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


def test_a_run_goes_on_where_it_stopped(tmp_path, capsys):
    run = {"data": "rooms", "rooms": 1, "batch": 1, "out": str(tmp_path / "run"), "imagenet": False}
    assert main(["train", "scaffold", "--params", str(write(tmp_path / "p.yaml", steps=1, **run))]) == 0
    assert main(["train", "scaffold", "--params", str(write(tmp_path / "p.yaml", steps=2, **run))]) == 0
    weights = capsys.readouterr().out.splitlines()[-1]
    network, file = load_scaffold(weights)
    assert all(bool(torch.isfinite(value).all()) for value in network.state_dict().values())
    assert [json.loads(line)["step"] for line in open(tmp_path / "run" / "log.jsonl")] == [1, 2]
    assert file.licence == "Apache-2.0"
