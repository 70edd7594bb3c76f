"""The benchmark of shares of a step: none is the filled render, all is what the network makes, one row per share."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from test_novel_views_training import DRAW, one_step_models, scene

from onescene.data.panoramas import pictures
from onescene.data.view_scenes import pack_scenes
from onescene.metrics import image_metrics
from onescene.training.view_check import CheckConfig, remake


@pytest.fixture
def view_shares(monkeypatch):
    """The module ``benchmarks/view_shares.py`` with small networks, of which half a step would be taken."""
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "view_shares.py"
    spec = importlib.util.spec_from_file_location("view_shares", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    models = one_step_models()
    module.models = replace(models, manifest=replace(models.manifest, strength=0.5))
    monkeypatch.setattr(module, "load_bundle", lambda *_: module.models)
    monkeypatch.setattr(module, "stlpips_path", lambda: None)
    return module


def test_shares_run_from_the_filled_render_to_what_the_network_makes(view_shares, monkeypatch, tmp_path, capsys):
    scenes = {"a": scene("a"), "b": scene("b", 3, seed=1)}
    pack_scenes(scenes, scenes.get, tmp_path / "pairs")
    out = tmp_path / "shares.csv"
    command = ["view_shares.py", "bundle", "--data", str(tmp_path / "pairs"), "--shares", "0.5", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    view_shares.main()
    rows = [line.split(",") for line in out.read_text().splitlines()]
    assert ",".join(rows[0]) == view_shares.HEAD and [row[:2] for row in rows[1:]] == [
        ["bundle", s] for s in "0 0.5 1".split()
    ]
    whole = replace(view_shares.models, manifest=replace(view_shares.models.manifest, strength=1.0))
    wanted = {"0": [], "0.5": [], "1": []}
    for one in scenes.values():
        true, filled = pictures(one.true_rgb), pictures(one.renders(whole=True))
        made = remake(whole, one, CheckConfig(DRAW))
        for share in wanted:
            wanted[share].append(image_metrics(filled + float(share) * (made - filled), true)["psnr_db"])
    for _, share, psnr_db, *_, count in rows[1:]:
        assert float(psnr_db) == pytest.approx(sum(wanted[share]) / 2, abs=1e-3) and count == "2"
    assert rows[1][2] != rows[3][2] and out.read_text() in capsys.readouterr().out


def test_networks_that_begin_at_noise_are_refused(view_shares):
    view_shares.models = replace(one_step_models(), manifest=replace(one_step_models().manifest, start_sigma=0.0))
    with pytest.raises(ValueError, match="must begin at the renders"):
        view_shares.rows_of(Path("bundle"), [], [1.0])
