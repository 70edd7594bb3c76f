"""Refine: the loss against a slow twin, fits that must improve, holes that must close."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from jaxtyping import TypeCheckError
from refine_scenes import cameras, psnr, spoiled, wall
from torch.testing import assert_close

from onescene.metrics import ssim_map
from onescene.splatting import render
from onescene.stages import refine
from onescene.stages.holes import HolesConfig, add_hole_gaussians, hole_mask, lift_pixels
from onescene.types import Gaussians

# --- loss -------------------------------------------------------------------------------------------------------------


def test_the_loss_and_its_gradient():
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 1, 3, 9, 8, generator=g, dtype=torch.float64)
    assert float(refine.photometric_loss(x, x, 0.2)) == pytest.approx(0, abs=1e-12)
    assert float(refine.photometric_loss(x, y, 0.0)) == pytest.approx(float((x - y).abs().mean()))
    expected = 0.8 * float((x - y).abs().mean()) + 0.2 * (1 - float(ssim_map(x, y).mean()))
    assert float(refine.photometric_loss(x, y, 0.2)) == pytest.approx(expected)
    free = x.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: refine.photometric_loss(t, y, 0.2), free, fast_mode=True)


# --- fitting ----------------------------------------------------------------------------------------------------------


def test_a_fit_improves_its_views_and_one_it_has_not_seen():
    true, start = wall(), spoiled(wall())
    seen, unseen = cameras(4), cameras(1)
    views = render(true, seen).rgb.clamp(0, 1)
    progress = []
    out = refine.run(start, views, seen, refine.RefineConfig(steps=60, check_every=30), progress.append)
    before, after = render(start, seen).rgb, render(out.gaussians, seen).rgb
    assert psnr(after, views) > psnr(before, views) + 4
    hidden = render(true, unseen).rgb.clamp(0, 1)
    assert psnr(render(out.gaussians, unseen).rgb, hidden) > psnr(render(start, unseen).rgb, hidden) + 3
    assert [c.step for c in out.history] == [0, 30, 60] and len(out.losses) == 60
    assert out.history[-1].psnr_db > out.history[0].psnr_db + 4
    assert out.history[0].psnr_db == pytest.approx(sum(psnr(before[i], views[i]) for i in range(4)) / 4, abs=0.01)
    assert progress[0] == pytest.approx(1 / 60) and progress[-1] == 1
    assert not out.gaussians.quats.requires_grad and len(out.gaussians) == len(start)


def test_adam_is_torchs():
    g = torch.Generator().manual_seed(0)
    ours = torch.randn(20, generator=g).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    adam, reference = refine.adam.Adam(ours, 0.01, eps=1e-8), torch.optim.Adam([theirs], lr=0.01)
    for _ in range(5):
        for parameter in (ours, theirs):
            parameter.grad = None
            (parameter**4).sum().backward()
        adam.step()
        reference.step()
    assert_close(ours, theirs)


def test_the_same_seed_gives_the_same_fit():
    views, seen, start = render(wall(), cameras()).rgb, cameras(), spoiled(wall())
    fits = [refine.run(start, views, seen, refine.RefineConfig(steps=6, seed=s)) for s in (3, 3, 4)]
    assert torch.equal(fits[0].gaussians.means, fits[1].gaussians.means)
    assert torch.equal(fits[0].losses, fits[1].losses) and not torch.equal(fits[0].losses, fits[2].losses)


def test_the_best_state_is_returned():
    """A fit that only gets worse returns its start."""
    start, seen = wall(), cameras()
    views = render(start, seen).rgb
    out = refine.run(start, views, seen, refine.RefineConfig(steps=5, lr_sh=3.0, check_every=2))
    assert out.history[-1].loss > out.history[0].loss
    assert torch.equal(out.gaussians.means, start.means) and torch.equal(out.gaussians.sh, start.sh)


def test_views_of_two_sizes_and_higher_degrees():
    true = wall()
    sh = torch.cat((true.sh, torch.zeros(len(true), 3, 3)), dim=1)
    start = spoiled(replace(true, sh=sh))
    groups = [cameras(2), cameras(2, (30, 40), 31.0)]
    views = [render(true, c).rgb for c in groups]
    out = refine.run(start, views, groups, refine.RefineConfig(steps=30))
    assert out.history[-1].loss < 0.7 * out.history[0].loss
    assert out.gaussians.sh.shape == sh.shape and (out.gaussians.sh[:, 1:] != start.sh[:, 1:]).any()


def test_faint_gaussians_are_pruned():
    true = wall()
    faint = replace(
        true, means=true.means - torch.tensor([0, 0, 0.1]), opacities=torch.full_like(true.opacities, 0.006)
    )
    start, seen = Gaussians.cat([spoiled(true), faint]), cameras()
    views = render(true, seen).rgb
    out = refine.run(start, views, seen, refine.RefineConfig(steps=12, prune_opacity=0.005, check_every=4))
    assert len(true) <= len(out.gaussians) < len(start)
    assert out.gaussians.opacities.min() >= 0.005


def test_what_no_view_sees_stays():
    true = wall()
    behind = replace(true, means=true.means * torch.tensor([1, 1, -1.0]))
    seen = cameras()
    start = Gaussians.cat([spoiled(true), behind])
    out = refine.run(start, render(true, seen).rgb, seen, refine.RefineConfig(steps=10))
    assert_close(out.gaussians.means[len(true) :], behind.means)
    assert_close(out.gaussians.scales[len(true) :], behind.scales)


def test_bad_input_to_a_fit():
    start, seen = wall(0.5), cameras()
    views = render(start, seen).rgb
    run = refine.run
    with pytest.raises(ValueError, match="steps must be >= 0"):
        run(start, views, seen, refine.RefineConfig(steps=-1))
    with pytest.raises(ValueError, match="views_rgb must have shape"):
        run(start, views[:3], seen)
    with pytest.raises(ValueError, match="as many groups"):
        run(start, [views, views], [seen])
    with pytest.raises(ValueError, match="at least one view"):
        run(start, views[:0], seen[torch.arange(0)])
    with pytest.raises(ValueError, match="views_rgb must be finite"):
        run(start, views * math.nan, seen)
    untouched = run(start, views, seen, refine.RefineConfig(steps=0))
    assert torch.equal(untouched.gaussians.means, start.means) and len(untouched.losses) == 0


# --- holes ------------------------------------------------------------------------------------------------------------


def test_lifted_pixels_show_their_picture():
    camera = cameras(1)
    g = torch.Generator().manual_seed(0)
    rgb = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 8, generator=g), (48, 64), mode="bicubic")[0].clamp(0, 1)
    depth = torch.full((48, 64), 2.0) + torch.arange(64) / 64
    lifted = lift_pixels(rgb, depth, torch.ones(48, 64, dtype=torch.bool), camera)
    assert len(lifted) == 48 * 64
    out = render(lifted, camera)
    assert out.alpha.min() > 0.9 and psnr(out.rgb[0], rgb) > 29
    assert_close(out.depth_z / out.alpha, depth[None], atol=0.03, rtol=0)
    y, x = 10, 50  # by hand
    expected = torch.tensor([(x + 0.5 - 32) / 50, (y + 0.5 - 24) / 50, 1.0]) * depth[y, x]
    assert_close(lifted.means[y * 64 + x], expected)


def test_holes_close_and_each_place_is_filled_once():
    whole, views = wall(0.03), cameras(3)
    inside = (whole.means[:, 0].abs() < 0.3) & (whole.means[:, 1].abs() < 0.3)
    torn = whole.select(~inside)
    true, rendered = render(whole, views), render(torn, views)
    assert (rendered.alpha < 0.5).float().mean() > 0.05
    depth = torch.full_like(true.depth_z, 2.0)
    filled = add_hole_gaussians(torn, true.rgb, rendered.alpha, depth, views)
    after = render(filled, views)
    assert (after.alpha < 0.5).float().mean() < 1e-3
    assert psnr(after.rgb, true.rgb) > psnr(rendered.rgb, true.rgb) + 10
    assert torch.equal(filled.means[: len(torn)], torn.means)
    first = add_hole_gaussians(torn, true.rgb[:1], rendered.alpha[:1], depth[:1], views[0])
    each = sum(int(hole_mask(a).sum()) for a in rendered.alpha)
    added, added_by_first = len(filled) - len(torn), len(first) - len(torn)
    assert added_by_first == int(hole_mask(rendered.alpha[0]).sum())
    assert added < 0.6 * each  # the second and third view find most of it filled


def test_hole_masks_grow_into_half_covered_pixels_only():
    alpha = torch.ones(7, 7)
    alpha[3, 3], alpha[3, 4], alpha[3, 2], alpha[0, 0] = 0.1, 0.7, 0.97, 0.7
    mask = hole_mask(alpha)
    assert mask.nonzero().tolist() == [[3, 3], [3, 4]]
    assert hole_mask(alpha, HolesConfig(grow_px=0)).nonzero().tolist() == [[3, 3]]


def test_filling_keeps_the_degree_and_accepts_no_holes():
    scene, views = wall(0.03), cameras(2)
    scene = replace(scene, sh=torch.cat((scene.sh, torch.zeros(len(scene), 8, 3)), dim=1))
    out = render(scene, views)
    depth = torch.full_like(out.depth_z, 2.0)
    assert len(add_hole_gaussians(scene, out.rgb, torch.ones_like(out.alpha), depth, views)) == len(scene)
    more = add_hole_gaussians(scene, out.rgb, torch.zeros_like(out.alpha), depth, views)
    assert more.sh.shape[1] == 9 and len(more) > len(scene)


def test_bad_input_to_filling():
    scene, views = wall(0.2), cameras(2)
    out = render(scene, views)
    with pytest.raises((ValueError, TypeCheckError), match="depth_z_filled"):
        add_hole_gaussians(scene, out.rgb, out.alpha, out.depth_z[:1], views)
    with pytest.raises(ValueError, match="depth_z_filled must be finite and > 0"):
        add_hole_gaussians(scene, out.rgb, torch.zeros_like(out.alpha), torch.zeros_like(out.depth_z), views)
