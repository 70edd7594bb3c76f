"""Evaluation of novel views: bare scaffold, classical filling and a network, from the same cameras."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from test_novel_views_training import one_step_models

from onescene.cli import main
from onescene.data.panoramas import encode_distance
from onescene.models.loading import load_scaffold
from onescene.pipeline.evaluation import RoomSamples
from onescene.pipeline.view_evaluation import evaluate_views
from onescene.training.posed import PosedRooms

METRICS = ("psnr_db", "ssim_gauss11", "st_lpips")


def off(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).abs().mean((1, 2, 3))


def test_a_network_that_changes_nothing_is_the_baseline():
    """One step begins at the filled render: with an answer of zero that is what comes out, to the last shade."""
    models, network = one_step_models(), load_scaffold()[0]
    for parameter in (models.denoiser.out[2].weight, models.denoiser.out[2].bias):
        torch.nn.init.zeros_(parameter)
    samples = list(RoomSamples(2, height_px=64, view_px=32, shift=0.9))
    unposed = [s.__class__(**(vars(s) | {"views_rgb": None, "cameras": None})) for s in samples[:1]]
    seen = []
    rows = evaluate_views([*samples, *unposed], network, models, distance=off, on_row=seen.append)
    assert len(rows) == 2 and seen == rows, "a panorama without views is left out"
    for row in rows:
        assert row["holes"] > 0
        assert row["baseline_psnr_db"] > row["scaffold_psnr_db"], "black holes are worse than filled ones"
        for metric, slack in zip(METRICS, (0.1, 2e-3, 1e-3), strict=True):
            assert row[f"made_{metric}"] == pytest.approx(row[f"baseline_{metric}"], abs=slack), metric
    assert "made_st_lpips" not in evaluate_views(samples[:1], network, models)[0]


def test_it_is_a_command(tmp_path, capsys):
    rooms = PosedRooms(1, (64, 128), seed=4, views=2)
    (rgb, distance, sky), views = rooms[0], rooms.views(0)
    arrays = {"rgb": rgb[None], "log_distance": encode_distance(np.where(sky, np.inf, distance))[None]}
    arrays |= {f"view_{k}": getattr(views, k)[None] for k in ("rgb", "depth_z", "world_from_cam", "K")}
    np.savez(tmp_path / "rooms__0.npz", **arrays)
    command = ["evaluate", "views", "--data", str(tmp_path)]
    assert main([*command, "--out", str(tmp_path / "rows.csv")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["panoramas"] == 1 and said["method"] == "dual-lora"
    assert {f"{name}_psnr_db" for name in ("scaffold", "baseline", "made")} <= set(said["mean"])
    assert (tmp_path / "rows.csv").read_text().splitlines()[0].startswith("name,holes,scaffold_psnr_db,")
    assert main([*command, "--every", "0"]) == 2
    assert "--every must be >= 1" in capsys.readouterr().err
    assert main([*command, "--weights", "nowhere"]) == 2
    assert "no such folder: nowhere" in capsys.readouterr().err
