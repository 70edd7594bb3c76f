"""The benchmark of the large networks at test sizes: variants agree, operations are counted, the report is kept."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_one2scene import PUBLIC
from test_one2scene import TINY as ONE2SCENE_TINY
from test_seva import TINY as SEVA_TINY

from onescene.models.one2scene import One2Scene
from onescene.models.vggt import VGGT


@pytest.fixture
def networks(monkeypatch, tmp_path):
    """The module ``benchmarks/networks.py`` with small networks, writing elsewhere."""
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "networks.py"
    spec = importlib.util.spec_from_file_location("networks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "OUT", tmp_path)
    scaffolds = {
        "vggt": lambda: VGGT(replace(PUBLIC, camera_head=False)),
        "one2scene": lambda: One2Scene(ONE2SCENE_TINY),
    }
    monkeypatch.setattr(module, "SCAFFOLDS", {name: {"small": make} for name, make in scaffolds.items()})
    monkeypatch.setattr(module, "DENOISERS", {"small": replace(SEVA_TINY, num_frames=5, lora_rank=2)})
    monkeypatch.setattr(module, "LATENT_PX", {"small": 8})
    monkeypatch.setattr(module, "CLEAN", {"small": 1})
    monkeypatch.setattr(module, "best_rate", lambda device: (1e10, "float32"))
    return module


def test_operations_by_hand(networks):
    a, b = torch.rand(7, 5), torch.rand(5, 3)
    assert networks.operations(lambda: a @ b) == 2 * 7 * 5 * 3
    image, weight = torch.rand(1, 2, 6, 6), torch.rand(4, 2, 3, 3)
    assert networks.operations(lambda: torch.conv2d(image, weight, padding=1)) == 2 * 36 * 4 * 2 * 9


def test_every_network_has_a_row_and_others_stay(networks, monkeypatch, tmp_path, capsys):
    command = ["networks.py", "--size", "small", "--rounds", "1", "--steps", "2", "--device", "cpu"]
    file = tmp_path / "networks-small-cpu.json"
    for some in (["vggt"], ["one2scene", "seva"]):
        monkeypatch.setattr(sys, "argv", [*command, *some])
        networks.main()
    rows = json.loads(file.read_text())["networks"]
    assert set(rows) == {"vggt", "one2scene", "seva"}
    for row in rows.values():
        assert row["difference"] < 0.02 and row["operations"] > 1e5  # bfloat16 on processors that have it
        assert set(row["seconds"]) == {"ours", "plain"} and row["ratio_to_plain"]["plain"] == 1
        assert row["limit_s"] == round(row["operations"] / 1e10, 4)
    monkeypatch.setattr(sys, "argv", [*command, "fluxx"])
    with pytest.raises(SystemExit):
        networks.main()
    assert "networks are vggt, one2scene, seva, got 'fluxx'" in capsys.readouterr().err
