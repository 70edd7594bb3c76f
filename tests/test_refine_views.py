"""What views bring to a fit: bending, exposure, depth, weights, hold-out; and views cut from panoramas."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from jaxtyping import TypeCheckError
from refine_scenes import cameras, psnr, spoiled, wall
from torch.testing import assert_close

from onescene.geometry.equirect import directions_from_panorama
from onescene.splatting import render
from onescene.stages import refine
from onescene.stages.refine.panoramas import crop_directions
from onescene.stages.refine.view_models import DistortionField, ViewModel, centre_exposures, resampled
from onescene.stages.refine.views import split_views
from onescene.types import Gaussians


def image(seed: int = 0, hw=(20, 28)) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.nn.functional.interpolate(torch.rand(1, 3, 5, 7, generator=g), hw, mode="bicubic").clamp(0, 1)


# --- distortion -------------------------------------------------------------------------------------------------------


def test_resampling_by_whole_pixels_is_a_shift():
    rgb = image()
    offsets = torch.tensor([3.0, -2.0]).expand(20, 28, 2)
    moved = resampled(rgb, offsets)
    assert_close(moved[..., 2:, :25], rgb[..., :-2, 3:], atol=1e-5, rtol=0)
    assert_close(moved[..., 10, 25:], rgb[..., 8, -1:].expand(1, 3, 3), atol=1e-5, rtol=0)  # the border goes on


def test_a_new_field_bends_nothing_and_can_learn_a_bend():
    rgb = image()
    g = torch.Generator().manual_seed(0)
    config = refine.DistortionConfig(weight=1e-4, cell_px=4, lr=1e-2)
    field = DistortionField((20, 28), config, rgb, g)
    same, penalty = field(rgb)
    assert_close(same, rgb, atol=1e-5, rtol=0)
    assert float(penalty.detach()) == 0
    y, x = torch.meshgrid(torch.linspace(-1, 1, 20), torch.linspace(-1, 1, 28), indexing="ij")
    bend = torch.stack((1.5 * y, 1.0 + x), dim=-1)
    wanted = resampled(rgb, bend)
    for _ in range(150):
        bent, penalty = field(rgb)
        ((bent - wanted).abs().mean() + penalty).backward()
        for adam in field.adam.values():
            adam.step()
    found = field.offsets_px().detach()
    assert float((found - bend).norm(dim=-1).median()) < 0.3 < float(bend.norm(dim=-1).median())


def test_a_larger_weight_bends_less():
    rgb, wanted = image(), resampled(image(), torch.tensor([2.0, 0.0]).expand(20, 28, 2))
    reach = []
    for weight in (1e-4, 1.0):
        field = DistortionField((20, 28), refine.DistortionConfig(weight=weight), rgb, torch.Generator().manual_seed(0))
        for _ in range(60):
            bent, penalty = field(rgb)
            ((bent - wanted).abs().mean() + penalty).backward()
            for adam in field.adam.values():
                adam.step()
        reach.append(float(field.offsets_px().detach().norm(dim=-1).mean()))
    assert reach[1] < 0.3 * reach[0]


def bent_views(true: Gaussians, seen) -> torch.Tensor:
    """True views, each bent in its own way by up to two pixels."""
    g = torch.Generator().manual_seed(3)
    rgb = render(true, seen).rgb.clamp(0, 1)
    bends = torch.nn.functional.interpolate(
        1.5 * torch.randn(len(seen), 2, 2, 2, generator=g), seen.hw, mode="bilinear", align_corners=True
    )
    return torch.cat([resampled(rgb[i : i + 1], bends[i].permute(1, 2, 0)) for i in range(len(seen))])


def test_views_that_disagree_blur_the_scene_less_with_a_distortion_field():
    seen, unseen, fine = cameras(6), cameras(1), wall(0.05)
    pattern = 0.8 * torch.sin(18 * fine.means[:, :1]) * torch.sin(18 * fine.means[:, 1:2])
    true = replace(fine, sh=fine.sh + pattern[:, None])
    views, hidden = bent_views(true, seen), render(true, unseen).rgb.clamp(0, 1)
    start = spoiled(true)
    scores = []
    for distortion in (None, refine.DistortionConfig()):
        config = refine.RefineConfig(steps=180, check_every=180, distortion=distortion)
        scores.append(psnr(render(refine.run(start, views, seen, config).gaussians, unseen).rgb, hidden))
    assert scores[1] > scores[0] + 0.5


# --- exposure ---------------------------------------------------------------------------------------------------------


def test_exposures_are_found_and_the_scene_keeps_its_own():
    seen, unseen, true = cameras(4), cameras(1), wall()
    gains = torch.tensor([0.7, 1.3, 0.85, 1.15])[:, None, None, None]
    views = render(true, seen).rgb * gains
    hidden = render(true, unseen).rgb.clamp(0, 1)
    start = spoiled(true)
    scores = {}
    for exposure in ("none", "affine"):
        config = refine.RefineConfig(steps=120, check_every=120, exposure=exposure, lr_exposure=0.03)
        fit = refine.Fit(start, refine.list_views(views, seen), config)
        list(fit)
        scores[exposure] = psnr(render(fit.output().gaussians, unseen).rgb, hidden)
    assert scores["affine"] > scores["none"] + 2
    matrices = torch.stack([model.exposure.parameter.detach() for model in fit.models])
    assert_close(matrices.mean(0), torch.eye(3, 4), atol=1e-5, rtol=0)
    level = matrices[:, :, :3].sum((1, 2)) / 3 + matrices[:, :, 3].mean(1) * 2  # of a grey of one half
    assert torch.equal(level.argsort(), gains.flatten().argsort())


def test_exposure_by_hand_and_its_mean():
    views = refine.list_views(torch.zeros(2, 3, 20, 28), cameras(2, (20, 28)))
    config = refine.RefineConfig(exposure="affine")
    models = [ViewModel(view, config, torch.Generator()) for view in views]
    rgb = image()
    assert torch.equal(models[0](rgb)[0], rgb)
    with torch.no_grad():
        models[0].exposure.parameter[1] = torch.tensor([0.5, 0.25, 0.0, 0.1])
    expected = rgb.clone()
    expected[:, 1] = 0.5 * rgb[:, 0] + 0.25 * rgb[:, 1] + 0.1
    assert_close(models[0](rgb)[0].detach(), expected)
    centre_exposures(models)
    assert_close((models[0].exposure.parameter + models[1].exposure.parameter).detach() / 2, torch.eye(3, 4))
    assert_close(models[1].exposure.parameter[1].detach(), torch.tensor([-0.25, 1.375, 0.0, -0.05]))


# --- depth and weights ------------------------------------------------------------------------------------------------


def test_disparity_loss_by_hand():
    alpha = torch.tensor([[[1.0, 0.8, 0.4, 1.0, 1.0]]])
    summed = torch.tensor([[[2.0, 3.2, 9.0, 9.0, 9.0]]], requires_grad=True)  # depths 2, 4
    true = torch.tensor([[[4.0, 5.0, 1.0, 0.0, float("nan")]]])  # the third is not covered, the others unknown
    loss = refine.disparity_loss(summed, alpha, true)
    assert float(loss.detach()) == pytest.approx((0.25 + 0.05) / 2)
    loss.backward()
    assert torch.isfinite(summed.grad).all() and summed.grad[0, 0, 2:].abs().max() == 0
    assert float(refine.disparity_loss(summed, alpha, torch.zeros_like(true)).detach()) == 0


def test_known_depth_moves_a_wall_that_colours_leave_alone():
    seen, true = cameras(3), wall(depth=2.0)
    plain = replace(true, sh=torch.zeros_like(true.sh))
    start = replace(plain, means=plain.means * torch.tensor([1, 1, 1.1]))
    out = render(plain, seen)
    depth_z = out.depth_z / out.alpha
    depth_z[:, :, :10] = torch.nan
    moved = {}
    for weight in (0.0, 0.5):
        config = refine.RefineConfig(steps=60, check_every=60, depth_weight=weight, lr_means=0.3)
        fit = refine.Fit(start, refine.list_views(out.rgb, seen, refine.Supervision(depth_z=depth_z)), config)
        list(fit)
        inside = (start.means[:, 0].abs() < 0.4) & (start.means[:, 1].abs() < 0.4)
        moved[weight] = float((fit.free.snapshot().means[inside, 2] - 2).abs().median())
    assert moved[0.5] < 0.5 * moved[0.0]


def test_a_view_of_no_weight_teaches_nothing():
    true, seen = wall(), cameras(2)
    views = render(true, seen).rgb
    views[1] = 1 - views[1]
    config = refine.RefineConfig(steps=20, check_every=20)
    alone = refine.run(spoiled(true), views, seen, config, extras=refine.Supervision(weights=torch.tensor([1.0, 0.0])))
    both = refine.run(spoiled(true), views, seen, config)
    assert psnr(render(alone.gaussians, seen[0]).rgb, views[:1]) > psnr(render(both.gaussians, seen[0]).rgb, views[:1])
    shown = psnr(render(spoiled(true), seen[0]).rgb, views[:1])
    assert alone.history[0].psnr_db == pytest.approx(shown, abs=0.01)  # and does not judge


def test_views_held_out_judge_and_are_not_fitted_to():
    views = refine.list_views(torch.rand(10, 3, 48, 64), cameras(10))
    fitted, judges = split_views(views, 0.2)
    assert [next(i for i, v in enumerate(views) if v is j) for j in judges] == [2, 7]
    assert len(fitted) == 8 and not {id(v) for v in fitted} & {id(v) for v in judges}
    assert split_views(views, 0.0) == (views, views)
    with pytest.raises(ValueError, match="hold_out must leave a view"):
        split_views(views[:1], 0.5)


def test_views_that_may_not_judge_are_all_fitted_to():
    extras = refine.Supervision(may_judge=[False] * 6 + [True] * 4)
    views = refine.list_views(torch.rand(10, 3, 48, 64), cameras(10), extras)
    fitted, judges = split_views(views, 0.5)
    assert [next(i for i, v in enumerate(views) if v is j) for j in judges] == [7, 9]
    assert len(fitted) == 8
    with pytest.raises(ValueError, match="hold_out needs a view that may judge"):
        split_views(views[:6], 0.5)


def test_a_fit_without_progress_ends_early():
    """The view held out shows another scene: fitting makes it worse."""
    true, seen = wall(), cameras(3)
    views = render(true, seen).rgb.clamp(0, 1)
    views[1] = render(spoiled(true), seen).rgb[1].clamp(0, 1)
    config = refine.RefineConfig(steps=200, check_every=4, hold_out=0.34, patience=3)
    out = refine.run(spoiled(true), views, seen, config)
    assert len(out.losses) < 60
    best = min(range(len(out.history)), key=lambda i: out.history[i].loss)
    assert len(out.history) - 1 - best == 3
    through = refine.run(spoiled(true), views, seen, replace(config, patience=0, steps=24))
    assert len(through.losses) == 24


def test_bad_supervision():
    views, seen = torch.zeros(2, 3, 48, 64), cameras(2)
    for extras, words in (
        (refine.Supervision(weights=torch.ones(3)), "weights must hold one number per view, 2"),
        (refine.Supervision(weights=torch.tensor([1.0, -1.0])), "weights must be finite, >= 0"),
        (refine.Supervision(weights=torch.zeros(2)), "not all 0"),
        (refine.Supervision(may_judge=[True]), "may_judge must hold one value per view, 2"),
        (refine.Supervision(depth_z=torch.zeros(2, 4, 4)), "depth_z must have the shapes"),
    ):
        with pytest.raises(ValueError, match=words):
            refine.list_views(views, seen, extras)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"strategy": "best"}, "strategy must be one of none, default, mcmc, got 'best'"),
        ({"exposure": "auto"}, "exposure must be one of none, affine"),
        ({"hold_out": 1.0}, r"hold_out must lie in \[0, 1\)"),
        ({"depth_weight": -1.0}, "depth_weight must be >= 0"),
        ({"patience": -1}, "patience must be >= 0"),
        ({"lr_distance": -1.0}, "lr_distance must be >= 0"),
        ({"depth_weight": float("nan")}, "depth_weight must be >= 0, got nan"),
        ({"strategy": "default", "steps": 200}, "strategy default acts every 100 steps .* must be >= 201, got 200"),
        ({"strategy": "mcmc", "steps": 120}, "strategy mcmc acts every 100 steps .* must be >= 121, got 120"),
        ({"strategy": "mcmc", "mcmc": refine.McmcConfig(refine_every=0)}, "refine_every must be >= 1, got 0"),
    ],
)
def test_bad_settings(setting, words):
    with pytest.raises(ValueError, match=words):
        refine.run(wall(0.5), torch.zeros(1, 3, 48, 64), cameras(1), refine.RefineConfig(**setting))


# --- Matrix-3D --------------------------------------------------------------------------------------------------------


def test_keyframes():
    assert refine.keyframes(11) == [0, 5, 10]
    assert refine.keyframes(3) == [0]
    assert refine.keyframes(4, every=2) == [0, 2]
    with pytest.raises(ValueError, match="count and every"):
        refine.keyframes(0)


def test_twelve_directions_are_an_icosahedrons():
    directions = crop_directions()
    assert_close(directions.norm(dim=-1), torch.ones(12))
    cosines = (directions @ directions.T).flatten().sort().values
    level = 1 / 5**0.5
    assert_close(cosines, torch.tensor([-1.0] * 12 + [-level] * 60 + [level] * 60 + [1.0] * 12), atol=1e-5, rtol=0)


def test_crops_of_a_panorama_cover_the_sphere_and_show_its_directions():
    hw = (64, 128)
    directions = directions_from_panorama(hw)
    panorama = (0.5 + 0.5 * directions).permute(2, 0, 1)[None]
    world = torch.eye(4)[None].clone()
    world[0, :3, :3] = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    world[0, :3, 3] = torch.tensor([1.0, 2, 3])
    views, seen = refine.panorama_crops(panorama, world, crop_px=32)
    assert tuple(views.shape) == (12, 3, 32, 32) and len(seen) == 12
    assert_close(seen.world_from_cam[:, :3, 3], torch.tensor([1.0, 2, 3]).expand(12, 3))
    x, y = 7, 20  # by hand: the ray of a pixel, turned into the panorama
    ray = torch.tensor([(x + 0.5 - 16) / 16, (y + 0.5 - 16) / 16, 1.0])
    local = seen.world_from_cam[:, :3, :3].transpose(1, 2).mT @ ray @ world[0, :3, :3]
    shown = 2 * views[:, :, y, x] - 1
    assert_close(shown, torch.nn.functional.normalize(local, dim=-1), atol=0.03, rtol=0)
    in_world = directions.reshape(-1, 3) @ world[0, :3, :3].T
    for fov_deg, whole in ((75.0, True), (60.0, False)):
        _, cropping = refine.panorama_crops(panorama, world, crop_px=32, fov_deg=fov_deg)
        in_camera = torch.einsum("vji,nj->vni", cropping.world_from_cam[:, :3, :3], in_world)
        tangent = in_camera[..., :2] / in_camera[..., 2:].clamp_min(1e-6)
        inside = (in_camera[..., 2] > 0) & (
            tangent.abs().amax(-1) <= torch.tan(torch.deg2rad(torch.tensor(fov_deg / 2)))
        )
        assert bool(inside.any(0).all()) == whole
    with pytest.raises((ValueError, TypeCheckError), match="world_from_panorama"):
        refine.panorama_crops(panorama, world[0][None].repeat(2, 1, 1))


def test_recipes():
    matrix = refine.RECIPES["matrix-3d"]
    assert (matrix.ssim_weight, matrix.strategy, matrix.steps) == (0.0, "default", 30_000)
    assert refine.RECIPES["world-recipe"].distortion is not None
    assert refine.RECIPES["small"] == refine.RefineConfig()


def test_matrix_3ds_recipe_fits_crops_of_panoramas():
    """A few of its steps on the wall, seen as panoramas from two places."""
    from onescene.splatting.panorama import render_panorama

    true = wall(0.12)
    world = torch.eye(4).repeat(2, 1, 1)
    world[1, 0, 3] = 0.3
    panoramas = torch.cat([panorama_of(render_panorama, true, pose) for pose in world])
    views, seen = refine.panorama_crops(panoramas, world, crop_px=40)
    growth = replace(refine.MATRIX_3D.default, refine_every=10, refine_stop=0.2)
    config = replace(refine.MATRIX_3D, steps=100, check_every=100, lr_sh=0.02, default=growth)
    out = refine.run(spoiled(true), views, seen, config)
    assert len(out.gaussians) > len(true)
    assert out.history[-1].loss < 0.8 * out.history[0].loss


def panorama_of(render_panorama, gaussians: Gaussians, pose: torch.Tensor) -> torch.Tensor:
    """[1, 3, 64, 128] as seen from a place."""
    moved = replace(gaussians, means=gaussians.means - pose[:3, 3])
    return render_panorama(moved, (64, 128)).rgb.clamp(0, 1).reshape(1, 3, 64, 128)
