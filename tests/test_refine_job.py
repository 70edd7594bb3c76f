"""Step 05 of the job: settings reach the fit, a stopped fit goes on, a kept fit that is no use is left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from refine_scenes import cameras, spoiled, wall

from onescene.cli import main
from onescene.geometry.cubemap import depth_z_from_distance, face_cameras, face_directions
from onescene.geometry.equirect import directions_from_panorama
from onescene.io.cameras import save_cameras
from onescene.io.gaussians import load_gaussians, save_gaussians
from onescene.io.images import load_image, save_image
from onescene.pipeline import layout
from onescene.pipeline.refine_settings import refine_config
from onescene.pipeline.settings import RunSettings, settings_from
from onescene.pipeline.step import run_step
from onescene.pipeline.steps.fit_views import depth_at_centre, views_to_fit
from onescene.pipeline.steps.scene import scene_step
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


def test_a_scaffold_with_view_dependent_colours_keeps_them(out):
    """What is added to it, in holes and behind cracks, has plain colours."""
    start = load_gaussians(layout.scaffold_file(out))
    colours = 0.05 * torch.randn(len(start), 8, 3, generator=torch.Generator().manual_seed(2))
    save_gaussians(replace(start, sh=torch.cat([start.sh, colours], dim=1)), layout.scaffold_file(out))
    facts = run_step(scene_step(out, 3, replace(SETTINGS, refine_steps=0)), out).facts
    scene = load_gaussians(layout.scene_file(out))
    assert scene.sh_degree == 2 and facts["gaussians_added"] == len(scene) - len(start) > 0
    torch.testing.assert_close(scene.sh[: len(start), 1:], colours)
    assert not scene.sh[len(start) :, 1:].any()


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
    config = refine_config(settings_from(refine_recipe="matrix-3d", refine_steps=300, seed=3))
    assert (config.ssim_weight, config.strategy, config.steps, config.seed) == (0.0, "default", 300, 3)
    for recipe, steps, looks in (("matrix-3d", 30_000, 1000), ("true-views", 500, 100), ("world-recipe", 200, 100)):
        config = refine_config(settings_from(refine_recipe=recipe))
        assert (config.steps, config.check_every) == (steps, looks), recipe
    assert refine_config(settings_from(refine_strategy="mcmc", refine_steps=121)).strategy == "mcmc"
    config = refine_config(settings_from(refine_exposure="affine", refine_distortion=True, refine_depth_weight=0.1))
    assert (config.exposure, config.distortion, config.depth_weight) == ("affine", refine.DistortionConfig(), 0.1)
    assert refine_config(settings_from(refine_recipe="world-recipe", refine_distortion=False)).distortion is None
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
        (["--exposure", "auto"], "refine_exposure must be one of none, affine, got 'auto'"),
        (["--depth-weight", "nan"], "refine_depth_weight must be a finite number or null, got nan"),
        (["--hold-out", "1"], "refine_hold_out must lie in [0, 1), got 1"),
        (["--patience", "-1"], "refine_patience must be >= 0, got -1"),
        (["--strategy", "mcmc"], "strategy mcmc acts every 100 steps of the first 83%: steps must be >= 121, got 60"),
        (["--recipe", "matrix-3d", "--steps", "200"], "of the first 50%: steps must be >= 201, got 200"),
        (["--strategy", "mcmc", "--recipe", "small", "--steps", "121", "--distortion"], "no novel views"),
    ):
        assert main(["refine", str(tmp_path), *flags]) == 2
        assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_params_file_with_values_of_another_kind(tmp_path, capsys):
    for line, words in (
        ("refine_steps: many", "p.yaml: refine_steps must be a whole number or null, got 'many'"),
        ("refine_distortion: 1.5", "refine_distortion must be true or false or null, got 1.5"),
        ("refine_depth_weight: true", "refine_depth_weight must be a finite number or null, got True"),
    ):
        (tmp_path / "p.yaml").write_text(line)
        assert main(["refine", str(tmp_path), "--params", str(tmp_path / "p.yaml")]) == 2
        assert words in capsys.readouterr().err


def test_depth_at_the_centre_of_a_box():
    """Exact on walls, unknown where a near pillar's edge is mixed with what stands behind it."""

    def box(ways: torch.Tensor) -> torch.Tensor:
        return (torch.tensor([1.0, 0.5, 2.0]) / ways.abs().clamp_min(1e-9)).amin(-1)

    distance, cameras_ = box(directions_from_panorama((128, 256))), face_cameras(96, 95.0)
    exact = depth_z_from_distance(box(face_directions(96, 95.0)), 95.0)
    found = depth_at_centre(distance, cameras_)
    assert not found.isnan().any()
    torch.testing.assert_close(found, exact, rtol=0.02, atol=0)
    distance[:, 120:136] = 0.4  # straight ahead, as wide as 22.5 degrees
    pillar = depth_at_centre(distance, cameras_)
    unknown = pillar.isnan()
    assert unknown[0, :, :48].any(1).all() and unknown[0, :, 48:].any(1).all()  # both edges, in every row
    assert unknown[0].float().mean() < 0.05 and not unknown[0, :, 42:54].any() and not unknown[2].any()


def test_views_to_fit_are_anchors_or_crops(out):
    read = {"panorama": layout.panorama_file(out)}
    anchors = torch.stack([load_image(path) for path in layout.anchor_files(out).values()])
    distance = torch.full((32, 64), 2.0)
    alpha = torch.ones(3, 48, 64)
    alpha[0, :10] = 0.2
    novel = (torch.zeros(3, 3, 48, 64), alpha, torch.full((3, 48, 64), 2.0), cameras(3))
    views = views_to_fit(SETTINGS, read, anchors, distance, novel)
    assert views["views_rgb"][0] is anchors and [len(group) for group in views["cameras"]] == [6, 3]
    assert views["extras"].depth_z[1].isnan().sum() == 640  # holes: their depth is a guess
    assert views["extras"].may_judge == [False] * 6 + [True] * 3
    (out / layout.PANORAMA).mkdir()
    save_image(torch.linspace(0, 1, 128).expand(3, 64, 128), read["panorama"])  # grey tells longitude
    views = views_to_fit(replace(SETTINGS, refine_recipe="matrix-3d"), read, anchors, distance, novel)
    crops, at_centre = views["views_rgb"][0], views["cameras"][0]
    assert crops.shape == (12, 3, 24, 24) and len(at_centre) == 12
    middle = at_centre.world_from_cam[:, :3, 2]
    wanted = torch.atan2(middle[:, 0], middle[:, 2]) / (2 * torch.pi) + 0.5
    level = (middle[:, 1].abs() < 0.9) & ((wanted - 0.5).abs() < 0.3)  # away from the poles and the back
    assert level.sum() >= 4
    torch.testing.assert_close(crops[level, 0, 11:13, 11:13].mean((1, 2)), wanted[level], atol=0.02, rtol=0)
    assert len(refine.list_views(**views)) == 15


def test_every_option_changes_the_scene(out):
    """Each reaches the fit through the step: what comes out differs from what comes out without it."""
    (out / layout.PANORAMA).mkdir()
    save_image(torch.rand(3, 64, 128, generator=torch.Generator().manual_seed(0)), layout.panorama_file(out))
    distance = np.load(layout.distance_file(out))
    np.save(layout.distance_file(out), distance * 1.3)  # the depth that is asked for is another than the start's
    plain = replace(SETTINGS, refine_steps=8)
    run_step(scene_step(out, 3, plain), out)
    before = fitted(out)
    for option in ({"refine_exposure": "affine"}, {"refine_distortion": True}, {"refine_depth_weight": 1.0}):
        run_step(scene_step(out, 3, replace(plain, **option)), out)
        assert not torch.equal(fitted(out), before), option
    crops = {"refine_recipe": "matrix-3d", "refine_strategy": "none"}
    run_step(scene_step(out, 3, replace(plain, **crops)), out)
    cropped = fitted(out)
    save_image(torch.zeros(3, 64, 128), layout.panorama_file(out))
    facts = run_step(scene_step(out, 3, replace(plain, **crops)), out).facts
    assert not torch.equal(fitted(out), cropped) and facts["steps"] == 8
