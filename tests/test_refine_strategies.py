"""Strategies of refine: screen gradients against autograd, growth, relocation against its integral, both fits."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from refine_scenes import cameras, psnr, spoiled, wall
from torch.testing import assert_close

from onescene.splatting import reference, render
from onescene.splatting.projection import project_gaussians
from onescene.stages import refine
from onescene.stages.refine.free import FreeGaussians
from onescene.stages.refine.strategies import DefaultStrategy, McmcStrategy, draw, relocated, screen_gradients
from onescene.stages.refine.views import list_views, scene_extent
from onescene.types import Cameras, Gaussians


def turned_camera() -> Cameras:
    camera = cameras(1).to(torch.float64)
    angle = torch.tensor(0.2, dtype=torch.float64)
    world_from_cam = camera.world_from_cam.clone()
    world_from_cam[0, 0, 0], world_from_cam[0, 0, 2] = angle.cos(), angle.sin()
    world_from_cam[0, 2, 0], world_from_cam[0, 2, 2] = -angle.sin(), angle.cos()
    return replace(camera, world_from_cam=world_from_cam)


def test_screen_gradients_are_those_of_the_places_on_the_screen(monkeypatch):
    """Against autograd, which stops at the places themselves; what is left is how a mean also turns the shape."""
    found = {}

    def watched(*arguments):
        found["ellipses"] = project_gaussians(*arguments)
        found["ellipses"].xy_px.retain_grad()
        return found["ellipses"]

    camera, start = turned_camera(), spoiled(wall()).to(torch.float64)
    means = start.means.clone().requires_grad_()
    true = render(wall().to(torch.float64), camera).rgb
    monkeypatch.setattr(reference, "project_gaussians", watched)
    refine.photometric_loss(render(replace(start, means=means), camera).rgb, true, 0.2).backward()
    ellipses = found["ellipses"]
    exact = torch.zeros(len(start), 2, dtype=torch.float64)
    exact[ellipses.index] = ellipses.xy_px.grad * torch.tensor([32.0, 24.0])
    ours = screen_gradients(means.grad, start.means, camera)
    assert (exact.norm(dim=-1) > 1e-5).sum() > 500
    assert float((ours - exact).norm() / exact.norm()) < 0.05
    assert float((ours.norm(dim=-1).mean() / exact.norm(dim=-1).mean()).log().abs()) < 0.02


def free_of(gaussians: Gaussians, **settings) -> FreeGaussians:
    return FreeGaussians(gaussians, refine.RefineConfig(**settings))


def pulled(free: FreeGaussians, strategy: DefaultStrategy, rows: list[int], pull: float) -> None:
    strategy.pull, strategy.seen = torch.zeros(len(free)), torch.ones(len(free))
    strategy.pull[rows] = pull


def test_pulled_gaussians_are_cloned_or_split():
    start = wall(0.4)
    scales = start.scales.clone()
    scales[5] = 1.0  # large: split
    start = replace(start, scales=scales)
    strategy = DefaultStrategy(refine.DefaultConfig(grow_scale3d=0.3), steps=1000, extent=1.0)
    free = free_of(start)
    pulled(free, strategy, [2, 5], 3e-4)
    strategy.after_step(free, 100, 1.0, torch.Generator().manual_seed(0))
    now, n = free.snapshot(), len(start)
    assert len(now) == n + 2  # one clone; two halves for one whole
    assert_close(now.means[n - 1], start.means[2])  # the clone stands behind what stayed
    assert_close(now.scales[n:], (start.scales[5] / 1.6).expand(2, 3))
    kept = [i for i in range(n) if i != 5]
    assert_close(now.means[: n - 1], start.means[kept])
    spread = (now.means[n:] - start.means[5]).norm(dim=-1)
    assert (spread > 0).all() and (spread < 4).all() and not torch.equal(now.means[n], now.means[n + 1])
    assert len(strategy.pull) == 0
    assert all(len(adam.mean) == len(free) for adam in free.adam.values())


def test_nothing_grows_where_nothing_pulls_or_it_is_not_time():
    start = wall(0.4)
    strategy = DefaultStrategy(refine.DefaultConfig(), steps=1000, extent=1.0)
    for step, pull in ((100, 1.9e-4), (150, 1.0), (600, 1.0), (10, 1.0)):
        free = free_of(start)
        pulled(free, strategy, [1], pull)
        strategy.after_step(free, step, 1.0, torch.Generator().manual_seed(0))
        assert len(free) == len(start), step


def test_faint_and_huge_gaussians_are_dropped():
    start = wall(0.4)
    opacities, scales = start.opacities.clone(), start.scales.clone()
    opacities[3], scales[7] = 0.004, 0.5
    start = replace(start, opacities=opacities, scales=scales)
    config = refine.DefaultConfig(reset_every=3000)
    for step, dropped in ((200, [3]), (3100, [3, 7])):  # size counts once opacities have been reset
        free = free_of(start)
        assert free.snapshot().opacities[3] < 0.005
        strategy = DefaultStrategy(config, steps=10_000, extent=4.0)
        pulled(free, strategy, [], 0.0)
        strategy.after_step(free, step, 1.0, torch.Generator().manual_seed(0))
        assert_close(free.snapshot().means, start.means[[i for i in range(len(start)) if i not in dropped]])


def test_opacities_are_reset():
    free = free_of(wall(0.4))
    free.adam["opacities"].mean += 1
    strategy = DefaultStrategy(refine.DefaultConfig(), steps=10_000, extent=4.0)
    pulled(free, strategy, [], 0.0)
    strategy.after_step(free, 3000, 1.0, torch.Generator().manual_seed(0))
    assert_close(free.snapshot().opacities, torch.full((len(free),), 0.01))
    assert not free.adam["opacities"].mean.any()


def test_the_pull_is_the_mean_over_the_views_that_see_a_gaussian():
    start, seen = spoiled(wall()), cameras(3)
    views = list_views(render(wall(), seen).rgb, seen)
    config = refine.RefineConfig(steps=300, strategy="default")
    fit = refine.Fit(start, views, config)
    expected, count = torch.zeros(len(start)), torch.zeros(len(start))
    for _ in range(3):
        view = fit.fitted[fit.order[fit.step]]
        now = fit.free.snapshot()
        means = now.means.clone().requires_grad_()
        fit.loss(replace(now, means=means), view, fit.models[0]).backward()
        pull = screen_gradients(means.grad, now.means, view.camera).norm(dim=-1)
        expected, count = expected + pull, count + (pull > 0)
        fit.advance()
    assert_close(fit.strategy.pull, expected, rtol=1e-4, atol=1e-9)
    assert torch.equal(fit.strategy.seen, count)
    assert count.max() == 3 and expected.max() > 1e-5


@pytest.mark.parametrize("opacity", [0.3, 0.95])
@pytest.mark.parametrize("copies", [1, 2, 5])
def test_relocated_gaussians_look_as_the_one_did(opacity, copies):
    """Eq. 9: the same peak, and the same integral of alpha over a line, by numbers."""
    sigma = 0.7
    new, scales = relocated(
        torch.tensor([opacity]), torch.tensor([[sigma, 2 * sigma, sigma]]), torch.tensor([float(copies)])
    )
    x = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    before = opacity * torch.exp(-(x**2) / (2 * sigma**2))
    after = 1 - (1 - float(new) * torch.exp(-(x**2) / (2 * float(scales[0, 0]) ** 2))) ** copies
    assert float(after.max()) == pytest.approx(opacity, rel=1e-5)
    assert float(after.sum()) == pytest.approx(float(before.sum()), rel=1e-5)
    assert_close(scales[0, 1], 2 * scales[0, 0])


def test_many_copies_stay_finite():
    new, scales = relocated(torch.tensor([0.9999, 0.01]), torch.ones(2, 3), torch.tensor([51.0, 51.0]))
    assert torch.isfinite(scales).all() and (scales > 0).all() and (new > 0).all() and (new < 0.5).all()


def test_draws_follow_their_chances():
    drawn = draw(torch.tensor([0.0, 1.0, 3.0, 0.0]), 4000, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn, minlength=4)
    assert counts[0] == counts[3] == 0
    assert float(counts[2] / counts[1]) == pytest.approx(3, rel=0.15)


def test_dead_gaussians_move_to_live_ones_and_the_picture_stays():
    start, seen = wall(), cameras(2)
    opacities = start.opacities.clone()
    opacities[:100] = 0.003
    start = replace(start, opacities=opacities)
    free = free_of(start)
    strategy = McmcStrategy(refine.McmcConfig(cap_max=len(start), noise=0.0), steps=1000, extent=1.0)
    before = render(free.snapshot(), seen).rgb
    for adam in free.adam.values():
        adam.mean += 1
    strategy.after_step(free, 100, 1.0, torch.Generator().manual_seed(0))
    now = free.snapshot()
    assert len(now) == len(start) and now.opacities.min() > 0.05
    distance = (now.means[:100, None] - start.means[None, 100:]).norm(dim=-1).amin(-1)
    assert distance.max() < 1e-6
    assert psnr(render(now, seen).rgb, before) > 40
    assert not free.adam["quats"].mean[:100].any() and free.adam["quats"].mean[100:].any()


def test_gaussians_are_added_up_to_the_cap_and_the_picture_stays():
    start, seen = wall(), cameras(2)
    for cap, wanted in ((10**6, int(1.05 * len(start))), (len(start) + 7, len(start) + 7), (5, len(start))):
        free = free_of(start)
        strategy = McmcStrategy(refine.McmcConfig(cap_max=cap, noise=0.0), steps=1000, extent=1.0)
        strategy.after_step(free, 100, 1.0, torch.Generator().manual_seed(0))
        assert len(free) == wanted
        assert psnr(render(free.snapshot(), seen).rgb, render(start, seen).rgb) > 40


def test_only_faint_gaussians_are_stirred_within_their_shape():
    start = wall(0.1)
    scales = torch.full_like(start.scales, 0.1)
    scales[:, 2] = 1e-4
    opacities = torch.full_like(start.opacities, 0.9)
    opacities[:200] = 0.004
    free = free_of(replace(start, scales=scales, opacities=opacities))
    strategy = McmcStrategy(refine.McmcConfig(), steps=1000, extent=2.0)
    strategy.after_step(free, 7, 0.5, torch.Generator().manual_seed(0))
    shift = free.snapshot().means - start.means
    assert not shift[200:].any()
    # covariance times noise times gate times 80, at half the rate, over the extent
    gate = 1 / (1 + math.exp(-100 * 0.001))
    expected = 0.1**2 * gate * 80 * 0.5 / 2
    assert float(shift[:200, :2].std()) == pytest.approx(expected, rel=0.15)
    assert shift[:200, 2].abs().max() < 1e-4


def test_mcmc_weighs_opacity_and_scale():
    gaussians = replace(wall(0.4), opacities=torch.full((len(wall(0.4)),), 0.25))
    strategy = McmcStrategy(refine.McmcConfig(), steps=10, extent=2.0)
    assert float(strategy.regulariser(gaussians)) == pytest.approx(0.01 * 0.25 + 0.01 * 0.24 / 2)


@pytest.mark.parametrize("strategy", ["default", "mcmc"])
def test_a_strategy_fits_better_than_none_where_gaussians_are_missing(strategy):
    """A start of a quarter of the Gaussians a fine wall needs.

    The mean over two orders of the views: by one alone, mcmc's gain moves by a decibel with the renderer's last bits.
    """
    seen, unseen = cameras(3), cameras(1)
    fine = wall(0.05)
    pattern = torch.sin(20 * fine.means[:, :1]) * torch.sin(20 * fine.means[:, 1:2])
    true = replace(fine, sh=fine.sh + pattern[:, None])
    start = wall(0.2)
    views = render(true, seen).rgb.clamp(0, 1)
    hidden = render(true, unseen).rgb.clamp(0, 1)
    scores, counts = {"none": 0.0, strategy: 0.0}, {}
    for name, seed in itertools.product(scores, (0, 1)):
        config = refine.RefineConfig(
            **{"steps": 120, "check_every": 120, "strategy": name, "seed": seed},
            default=refine.DefaultConfig(refine_every=20, refine_stop=0.5),
            mcmc=refine.McmcConfig(refine_every=20, growth=1.3, refine_stop=0.7, cap_max=4 * len(start)),
        )
        out = refine.run(start, views, seen, config)
        scores[name] += psnr(render(out.gaussians, unseen).rgb, hidden) / 2
        counts[name] = len(out.gaussians)
    assert counts["none"] == len(start) < counts[strategy] <= 40 * len(start)
    assert scores[strategy] > scores["none"] + 1


def test_the_extent_is_of_cameras_around_or_of_the_scene_around_cameras():
    seen = cameras(3)
    views = list_views(torch.zeros(3, 3, 48, 64), seen)
    near, far = torch.tensor([[0.0, 0.0, 0.1]]), torch.tensor([[0.0, 0.0, 5.0], [0.0, 4.0, 0.0], [6.0, 0.0, 0.0]])
    assert scene_extent(views, near) == pytest.approx(1.1 * 0.3)
    assert scene_extent(views, far) == pytest.approx(5)
