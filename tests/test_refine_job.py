"""Step 05 of the job: settings reach the fit, a stopped fit goes on, a kept fit that is no use is left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from refine_scenes import cameras, spoiled, wall

from onescene.cli import main
from onescene.geometry.cubemap import face_cameras
from onescene.io.cameras import save_cameras
from onescene.io.gaussians import load_gaussians, save_gaussians
from onescene.io.images import load_image, save_image
from onescene.pipeline import layout
from onescene.pipeline.settings import RunSettings, settings_from
from onescene.pipeline.step import run_step
from onescene.pipeline.steps.scene import refine_config, scene_step
from onescene.pipeline.workspace import STATE
from onescene.splatting import render
from onescene.stages import refine

SETTINGS = RunSettings(refine_steps=8, refine_views=2)


@pytest.fixture
def out(tmp_path):
    """A run's folder with steps 02 to 04: a wall in front, seen from three places."""
    true, seen = wall(0.12), cameras(3)
    for name in (layout.ANCHORS, layout.SCAFFOLD, layout.VIEWS, STATE):
        (tmp_path / name).mkdir()
    save_gaussians(spoiled(true), layout.scaffold_file(tmp_path))
    np.save(layout.distance_file(tmp_path), np.full((32, 64), 2.0, np.float32))
    faces = render(true, face_cameras(24, SETTINGS.anchor_fov_deg)).rgb.clamp(0, 1)
    for path, face in zip(layout.anchor_files(tmp_path).values(), faces, strict=True):
        save_image(face, path)
    shown = render(true, seen)
    names = [layout.view_name(v) for v in range(3)]
    for name, rgb in zip(names, shown.rgb.clamp(0, 1), strict=True):
        save_image(rgb, tmp_path / layout.VIEWS / name)
    save_cameras(seen, layout.cameras_file(tmp_path), file_paths=names)
    with open(layout.cameras_file(tmp_path).with_name(layout.HOLES_FILE), "wb") as file:
        alpha = (shown.alpha * 255).round().byte().numpy()
        np.savez(file, alpha=alpha, depth_z=torch.full_like(shown.depth_z, 2.0).half().numpy())
    return tmp_path


def fitted(out) -> torch.Tensor:
    return load_gaussians(layout.scene_file(out)).means


def kept(out) -> list:
    return sorted((out / STATE).glob("fit-*.pt"))


def stop_at(share: float):
    def progress(done: float) -> None:
        if done >= share:
            raise KeyboardInterrupt

    return lambda: progress


def test_an_interrupted_fit_goes_on_where_it_stopped(out):
    run_step(scene_step(out, 3, SETTINGS), out)
    whole = fitted(out)
    assert kept(out) == []
    layout.scene_file(out).unlink()
    with pytest.raises(KeyboardInterrupt):
        run_step(scene_step(out, 3, SETTINGS), out, stop_at(0.6))
    assert len(kept(out)) == 1 and not layout.scene_file(out).exists()
    assert not list((out / STATE).glob("partial-*")) and not list((out / STATE).glob(".*partial*"))
    shares = []
    run_step(scene_step(out, 3, SETTINGS), out, lambda: shares.append)
    assert shares == [0.75, 0.875, 1.0]
    assert torch.equal(fitted(out), whole) and kept(out) == []


def test_a_kept_fit_of_other_settings_is_dropped(out):
    with pytest.raises(KeyboardInterrupt):
        run_step(scene_step(out, 3, SETTINGS), out, stop_at(0.6))
    old = kept(out)
    shares = []
    run_step(scene_step(out, 3, RunSettings(refine_steps=6, refine_views=2)), out, lambda: shares.append)
    assert len(shares) == 6 and not old[0].exists()


@pytest.mark.parametrize("damage", ["noise", "another fit"])
def test_a_kept_fit_that_is_no_use_is_left_alone(out, damage, caplog):
    with pytest.raises(KeyboardInterrupt):
        run_step(scene_step(out, 3, SETTINGS), out, stop_at(0.6))
    path = kept(out)[0]
    if damage == "noise":
        path.write_bytes(b"nothing that was ever saved")
    else:
        torch.save(torch.load(path, weights_only=True) | {"fingerprint": "0"}, path)
    shares = []
    run_step(scene_step(out, 3, SETTINGS), out, lambda: shares.append)
    assert len(shares) == 8 and "the fit begins again" in caplog.text and kept(out) == []


def test_settings_reach_the_fit():
    assert refine_config(RunSettings()) == refine.RefineConfig(steps=60, check_every=60)
    config = refine_config(settings_from(refine_recipe="matrix-3d", refine_steps=7, seed=3))
    assert (config.ssim_weight, config.strategy, config.steps, config.seed) == (0.0, "default", 7, 3)
    assert refine_config(settings_from(refine_strategy="mcmc")).strategy == "mcmc"
    assert refine_config(settings_from(refine_recipe="matrix-3d", refine_strategy="none")).strategy == "none"
    assert refine_config(settings_from(refine_steps=0)).check_every == 1
    config = refine_config(settings_from(refine_hold_out=0.25, refine_patience=3, refine_steps=200))
    assert (config.hold_out, config.patience, config.check_every) == (0.25, 3, 20)


def test_a_recipe_changes_the_scene(out):
    facts = run_step(scene_step(out, 3, SETTINGS), out).facts
    first = fitted(out)
    assert facts["gaussians"] == len(first)
    run_step(scene_step(out, 3, RunSettings(refine_steps=8, refine_views=2, refine_recipe="true-views")), out)
    assert not torch.equal(fitted(out), first)


def test_a_fit_without_progress_ends_early(out):
    """The view that judges is a negative: what brings out the pattern in the others makes it worse."""
    judge = out / layout.VIEWS / layout.view_name(1)
    save_image(1 - load_image(judge), judge)
    settings = RunSettings(refine_steps=40, refine_views=3, refine_hold_out=0.34, refine_patience=2)
    facts = run_step(scene_step(out, 3, settings), out).facts
    assert facts["steps"] == 4 * (len(facts["psnr_db"]) - 1) < 40
    through = run_step(scene_step(out, 3, replace(settings, refine_patience=0)), out).facts
    assert through["steps"] == 40 and len(through["psnr_db"]) == 2


def test_flags_of_the_command(capsys, tmp_path):
    for flags, words in (
        (["--strategy", "best"], "refine_strategy must be one of none, default, mcmc, got 'best'"),
        (["--recipe", "soup"], "refine_recipe must be one of small, true-views, matrix-3d, world-recipe, got 'soup'"),
        (["--steps", "-1"], "refine_steps must be >= 0, got -1"),
        (["--strategy", "mcmc", "--recipe", "small", "--steps", "3"], "no novel views"),
    ):
        assert main(["refine", str(tmp_path), *flags]) == 2
        assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
