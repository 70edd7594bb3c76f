"""What novel views are measured by, and the ablation of the conditions from start to end at a tiny size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from test_novel_views_training import DRAW, PX, SCENES, scene, write
from torch.testing import assert_close
from view_models import TINY, tiny_models

from onescene.cli import main
from onescene.data.rooms import render_views, sample_room
from onescene.data.view_scenes import pack_scenes
from onescene.geometry.perspective import intrinsics_from_fov, project
from onescene.metrics.consistency import fundamental_matrix, match_points, symmetric_epipolar_distance, tsed
from onescene.pipeline import view_ablation, views_training
from onescene.pipeline.parameters import read_params
from onescene.pipeline.view_ablation import HeldOut, read_view_ablation
from onescene.training import view_check
from onescene.training.view_check import CheckConfig, remake, scene_scores, view_scores
from onescene.types import Cameras


def two_cameras(shift: float = 0.3) -> Cameras:
    """The second one to the right, turned a little."""
    poses = torch.eye(4).repeat(2, 1, 1)
    c, s = np.cos(0.1), np.sin(0.1)
    poses[1, :3, :3] = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    poses[1, :3, 3] = torch.tensor([shift, 0.05, 0.02])
    return Cameras(world_from_cam=poses, K=intrinsics_from_fov(70.0, (192, 192)).repeat(2, 1, 1), hw=(192, 192))


# --- consistency -----------------------------------------------------------------------------------------------------


def test_points_of_one_scene_lie_on_each_others_epipolar_lines():
    cameras = two_cameras()
    points = torch.rand(30, 3, generator=torch.Generator().manual_seed(0)) * 2 + torch.tensor([-1.0, -1, 2])
    xy, _ = project(points, cameras)
    F = fundamental_matrix(cameras.world_from_cam, cameras.K)
    assert float(symmetric_epipolar_distance(xy[0], xy[1], F).max()) < 1e-2
    other = fundamental_matrix(two_cameras(-0.3).world_from_cam, cameras.K)
    assert float(symmetric_epipolar_distance(xy[0], xy[1], other).median()) > 1


def test_epipolar_distance_by_hand():
    """Side by side and looking ahead, lines are rows: the distance is the difference of rows."""
    cameras = two_cameras()
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[1, 0, 3] = 1
    F = fundamental_matrix(poses, cameras.K)
    a, b = torch.tensor([[10.0, 20], [50, 60]]), torch.tensor([[5.0, 20], [40, 63]])
    assert_close(symmetric_epipolar_distance(a, b, F), torch.tensor([0.0, 3.0]).double(), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="two places"):
        fundamental_matrix(torch.eye(4).repeat(2, 1, 1), cameras.K)


def test_true_views_of_a_room_are_consistent_and_those_of_two_rooms_are_not():
    cameras = two_cameras(0.2)
    true = render_views(sample_room(5), cameras).rgb
    xy_a, xy_b = match_points(true[0], true[1])
    assert len(xy_a) >= 10 and xy_a.shape == xy_b.shape
    found = tsed(true, cameras.world_from_cam, cameras.K)
    assert found["tsed_2px_at_256"] == 1 and found["tsed_pairs"] == 1
    mixed = torch.stack((true[0], render_views(sample_room(8), cameras).rgb[1]))
    assert tsed(mixed, cameras.world_from_cam, cameras.K)["tsed_2px_at_256"] == 0
    wrong = cameras.world_from_cam.clone()
    wrong[1, :3, 3] = torch.tensor([0.0, -1, 0])
    assert tsed(true, wrong, cameras.K)["tsed_2px_at_256"] == 0
    still = tsed(true, cameras.world_from_cam[[0, 0]], cameras.K)
    assert np.isnan(still["tsed_2px_at_256"]) and still["tsed_pairs"] == 0
    blank = tsed(torch.zeros_like(true), cameras.world_from_cam, cameras.K)
    assert blank["tsed_2px_at_256"] == 0 and blank["tsed_matches"] == 0


# --- scores ----------------------------------------------------------------------------------------------------------


def test_scores_tell_holes_from_the_rest():
    """Renders are true but for a black quarter: no error outside it, and the truth has none at all."""
    one = SCENES[0]
    true, rendered = (torch.from_numpy(x).permute(0, 3, 1, 2) / 255 for x in (one.true_rgb, one.rendered_rgb))
    found = scene_scores(rendered, one, lambda a, b: (a - b).abs().mean((1, 2, 3)))
    assert found["psnr_db_covered"] == 100 and found["psnr_db_holes"] < 20
    assert found["perceptual"] == pytest.approx(float((true - rendered).abs().mean()), rel=1e-5)
    best = scene_scores(true, one)
    assert best["psnr_db"] == best["psnr_db_holes"] == 100 and best["ssim_gauss11"] == pytest.approx(1)
    bare = view_scores(None, SCENES)
    assert view_scores(None, SCENES, without="truth")["psnr_db"] == 100
    assert bare["scenes"] == 3 and found["psnr_db_holes"] != bare["psnr_db_holes"]
    with pytest.raises(ValueError, match="at least one scene"):
        view_scores(None, [])


def test_views_are_remade_with_the_memory_and_the_anchors_that_are_asked_for(monkeypatch):
    seen, own = [], view_check.assemble
    monkeypatch.setattr(view_check, "assemble", lambda *a, **k: seen.append(a) or own(*a, **k))
    models, config = tiny_models(), CheckConfig(DRAW, steps=1)
    rgb = remake(models, SCENES[0], config)
    assert rgb.shape == (5, 3, 32, 32)
    assert [0 if views.memory is None else len(views.memory) for _, views in seen] == [0, 1, 1]
    assert [len(views.anchors) for _, views in seen] == [2, 1, 1]
    seen.clear()
    remake(models, SCENES[0], replace(config, memory="none", draw=replace(DRAW, anchors=False)))
    assert [(views.memory, len(views.anchors)) for _, views in seen] == [(None, 0)] * 3
    assert not torch.equal(rgb, remake(models, SCENES[0], replace(config, seed=1)))


# --- the ablation ----------------------------------------------------------------------------------------------------


@pytest.fixture
def params(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(views_training, "SMALL_NETWORK", replace(TINY, in_channels=199, out_channels=192))
    monkeypatch.setattr(view_ablation, "stlpips_path", lambda: None)
    named = {s.name: replace(s, whole_rgb=s.true_rgb // 2) for s in [*SCENES[:1], scene("d", 3, seed=9)]}
    pack_scenes("a", named.get, tmp_path / "pairs")
    pack_scenes("d", named.get, tmp_path / "held")
    values = {"data": str(tmp_path / "pairs"), "validation": str(tmp_path / "held"), "seeds": [3], "steps": 2}
    values |= {"targets": 2, "clean": 2, "batch": 1, "at_a_time": 1, "rank": 2, "sampling_steps": 2}
    values |= {"lr": 1e-2, "warmup_steps": 0, "perceptual_weight": 0, "shown": str(tmp_path / "held")}
    return write(tmp_path / "ablation.yaml", out=str(tmp_path / "out"), **values)


def test_every_variant_is_trained_measured_and_taken_up(params, tmp_path, capsys):
    assert main(["train", "views-ablation", "--params", str(params)]) == 0
    assert "4 runs of 2 steps" in capsys.readouterr().err
    runs, table = (pd.read_csv(tmp_path / "out" / name) for name in ("runs.csv", "table.csv"))
    variants = [*view_ablation.BARE, *view_ablation.ROWS]
    assert table.variant.tolist() == variants and sorted(runs.variant) == sorted(variants)
    assert {"psnr_db", "psnr_db_holes", "ssim_gauss11", "tsed_2px_at_256", "psnr_db_spread", "poses_found"} <= set(
        table.columns
    )
    by_name = table.set_index("variant").psnr_db
    assert len(set(by_name.round(6))) == len(variants), "every variant is another network or another sampling"
    strips = view_ablation.views_shown(params)
    assert list(strips) == ["scaffold render", "holes filled", *view_ablation.ROWS, "truth"]
    assert {rgb.shape for rgb in strips.values()} == {(3, 3, PX, PX)}
    assert_close(strips["holes filled"], strips["truth"] / 2, atol=0.01, rtol=0)
    assert Image.open(tmp_path / "out/views.jpg").height > 300
    trained = []
    again, _ = view_ablation.run_view_ablation(params, "x", lambda *a: trained.append("a step"))
    assert "a step" not in trained, "what is trained is not trained again"
    assert_close(again.psnr_db.to_numpy(), runs.psnr_db.to_numpy(), atol=1e-9, rtol=0)


def test_an_ablation_goes_on_from_another_one(params, tmp_path):
    """With steps that move nothing every network makes what it made: each began at its own weights."""
    runs, _ = view_ablation.run_view_ablation(params, "x")
    further = read_params(params) | {"start": str(tmp_path / "out"), "out": str(tmp_path / "on"), "lr": 1e-12}
    trained = []
    on, _ = view_ablation.run_view_ablation(
        write(tmp_path / "on.yaml", **further), "x", lambda name, log: trained.append(name)
    )
    assert len(trained) == 2 * len(view_ablation.NETWORKS)
    assert on.variant.tolist() == runs.variant.tolist()
    assert_close(on.psnr_db.to_numpy(), runs.psnr_db.to_numpy(), atol=0.02, rtol=0)
    with pytest.raises(FileNotFoundError):
        view_ablation.run_view_ablation(write(tmp_path / "no.yaml", **further | {"start": "nowhere", "out": "o"}), "x")


def test_seeds_are_averaged_with_their_spread_in_the_order_of_the_paper():
    rows = [
        ("dual-lora", 0, 20.0, 9.0),
        ("concat", 0, 18.0, 8.0),
        ("dual-lora", 1, 21.0, 9.0),
        ("concat", 1, 18.5, 8.5),
    ]
    runs = pd.DataFrame(rows, columns=["variant", "seed", "psnr_db", "scenes"])
    table = view_ablation.summarise(runs)
    assert table.index.tolist() == ["concat", "dual-lora"]
    assert table.psnr_db.tolist() == [18.25, 20.5] and table.psnr_db_spread.tolist() == [0.5, 1.0]
    assert "scenes_spread" not in table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 2}, "seeds must be a list of whole numbers"),
        ({"seeds": [1, 1]}, "each once, such as"),
        ({"seeds": [True]}, "seeds must be a list of whole numbers"),
        ({"validation": None}, "validation must name folders"),
        ({"method": "concat"}, "method is what the ablation varies itself"),
        ({"every": 0}, "every must be a whole number >= 1, got 0"),
        ({"every": True}, "every must be a whole number >= 1, got True"),
        ({"shown": 3}, "shown must name a folder"),
        ({"networks": ["sum"]}, "networks must be a list of some of concat, dual-lora, .*, got"),
        ({"networks": []}, "networks must be a list of some of"),
        ({"networks": [["concat"]]}, "networks must be a list of some of"),
        ({"out": ""}, "out must name a folder"),
        ({"start": 3}, "start must name the out of an earlier ablation"),
        ({"start": "a", "weights": "b"}, "start must name the out of an earlier ablation, without weights"),
        ({"batchs": 3}, "batchs: Extra inputs"),
    ],
)
def test_wrong_ablations_are_named(tmp_path, change, message):
    values = {"data": "x", "validation": "y", "seeds": [0], "out": "z"} | change
    with pytest.raises(ValueError, match=message):
        read_view_ablation(write(tmp_path / "a.yaml", **values))


def test_what_is_to_be_shown_is_looked_for_before_anything_is_trained(params, tmp_path):
    values = yaml.safe_load(params.read_text()) | {"shown": str(tmp_path / "none")}
    with pytest.raises(FileNotFoundError, match="none"):
        view_ablation.run_view_ablation(write(params, **values), "x")
    assert not (tmp_path / "out").exists()


def test_some_of_the_networks_alone(params, tmp_path):
    values = yaml.safe_load(params.read_text()) | {"networks": ["concat"]}
    runs, table = view_ablation.run_view_ablation(write(params, **values), "x")
    assert table.index.tolist() == [*view_ablation.BARE, "concat"] and set(runs.variant) == set(table.index)
    assert list(view_ablation.views_shown(params)) == ["scaffold render", "holes filled", "concat", "truth"]


@pytest.mark.parametrize(("name", "loss"), [("long", ("absolute", 0.0)), ("all_three", ("squared", 0.5))])
def test_the_longer_ablations_parse(name, loss):
    path = Path(__file__).resolve().parents[1] / f"params/small/ablation_views_{name}.yaml"
    runs, validation = read_view_ablation(path)
    assert list(runs) == [(0, "concat"), (0, "dual-lora"), (1, "concat"), (1, "dual-lora")]
    assert validation == HeldOut(("data/pairs-heldout",))
    assert {(run.colour_error, run.ssim_weight) for run in runs.values()} == {loss}


@pytest.mark.parametrize("size", ["", "_gpu"])
def test_the_shipped_ablations_parse(size):
    path = Path(__file__).resolve().parents[1] / f"params/small/ablation_views{size}.yaml"
    runs, validation = read_view_ablation(path)
    assert len(runs) == 8 and validation == HeldOut(("data/pairs-heldout",), 3, "data/pairs-rooms")
    assert {p.trains for p in runs.values()} == {"all"}
