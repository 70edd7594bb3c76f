"""A fit that is stopped and taken up again equals one that was not, bit for bit."""

from __future__ import annotations

import io
from dataclasses import fields, replace

import pytest
import torch
from refine_scenes import cameras, spoiled, wall

from onescene.splatting import render
from onescene.stages import refine

EVERYTHING = refine.RefineConfig(
    **{"steps": 24, "check_every": 5, "hold_out": 0.25, "exposure": "affine", "depth_weight": 0.1},
    lr_distance=0.01,
    distortion=refine.DistortionConfig(),
    default=refine.DefaultConfig(refine_every=4, refine_stop=0.9, reset_every=10),
    mcmc=refine.McmcConfig(refine_every=4, refine_stop=0.9),
)


@pytest.fixture(scope="module")
def case():
    true, seen = wall(0.12), cameras(4)
    out = render(true, seen)
    return spoiled(true), out.rgb.clamp(0, 1), seen, refine.Supervision(depth_z=out.depth_z / out.alpha)


def through_a_file(state: dict) -> dict:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def same(a: refine.RefineOutput, b: refine.RefineOutput) -> bool:
    names = [f.name for f in fields(a.gaussians)]
    equal = all(torch.equal(getattr(a.gaussians, n), getattr(b.gaussians, n)) for n in names)
    return equal and a.history == b.history and torch.equal(a.losses, b.losses)


@pytest.mark.parametrize("strategy", ["none", "default", "mcmc"])
def test_a_resumed_fit_equals_an_unbroken_one(case, strategy):
    start, views, seen, extras = case
    config = replace(EVERYTHING, strategy=strategy)
    states = []
    keep = refine.Checkpoint(save=lambda state: states.append(through_a_file(state)), every_s=0.0)
    whole = refine.run(start, views, seen, config, extras=extras, checkpoint=keep)
    assert len(states) == 23  # after every step but the last
    counts = {len(state["free"]["base"]["means"]) for state in states}
    assert (counts == {len(start)}) == (strategy == "none")
    for steps in (1, 11, 23):
        state = states[steps - 1]
        assert len(state["losses"]) == steps
        shares = []
        resumed = refine.Checkpoint(save=lambda state: None, resume=state)
        again = refine.run(start, views, seen, config, shares.append, extras, resumed)
        assert same(again, whole), steps
        assert len(shares) == 24 - steps and shares[-1] == 1


def test_ctrl_c_saves_the_last_whole_step(case):
    start, views, seen, extras = case
    states = []

    def stop(share: float) -> None:
        if share > 0.4:
            raise KeyboardInterrupt

    keep = refine.Checkpoint(save=states.append)
    with pytest.raises(KeyboardInterrupt):
        refine.run(start, views, seen, EVERYTHING, stop, extras, keep)
    assert [len(s["losses"]) for s in states] == [10]
    again = refine.run(start, views, seen, EVERYTHING, None, extras, refine.Checkpoint(print, states[0]))
    assert same(again, refine.run(start, views, seen, EVERYTHING, extras=extras))


def test_a_step_cut_in_two_is_not_saved(case, monkeypatch):
    start, views, seen, extras = case
    states = []

    def cut(self, rate):
        raise KeyboardInterrupt

    fit_step = refine.free.FreeGaussians.step
    calls = []

    def third_is_cut(self, rate):
        calls.append(1)
        (cut if len(calls) == 3 else fit_step)(self, rate)

    monkeypatch.setattr(refine.free.FreeGaussians, "step", third_is_cut)
    with pytest.raises(KeyboardInterrupt):
        refine.run(start, views, seen, EVERYTHING, None, extras, refine.Checkpoint(save=states.append))
    assert states == []


def test_a_state_of_another_fit_is_refused(case):
    start, views, seen, extras = case
    fit = refine.Fit(start, refine.list_views(views, seen, extras), EVERYTHING)
    fit.advance()
    state = fit.state_dict()
    others = (
        refine.Fit(start, refine.list_views(views, seen, extras), replace(EVERYTHING, steps=25)),
        refine.Fit(start, refine.list_views(views, seen), EVERYTHING),
        refine.Fit(wall(0.12), refine.list_views(views, seen, extras), EVERYTHING),
        refine.Fit(start, refine.list_views(1 - views, seen, extras), EVERYTHING),
    )
    for other in others:
        with pytest.raises(ValueError, match="the saved state is of another fit"):
            other.load_state_dict(state)


def test_a_saved_state_is_left_alone_by_later_steps(case):
    start, views, seen, extras = case
    fit = refine.Fit(start, refine.list_views(views, seen, extras), EVERYTHING)
    fit.advance()
    state = fit.state_dict()
    before = through_a_file(state)
    for _ in range(6):
        fit.advance()
    assert torch.equal(state["free"]["adam"]["scales"]["parameter"], before["free"]["adam"]["scales"]["parameter"])
    assert torch.equal(state["free"]["adam"]["scales"]["mean"], before["free"]["adam"]["scales"]["mean"])
    assert torch.equal(state["models"][0]["bias2"]["parameter"], before["models"][0]["bias2"]["parameter"])


def test_a_fit_can_be_watched_step_by_step(case):
    start, views, seen, _ = case
    config = refine.RefineConfig(steps=4, check_every=2)
    fit = refine.Fit(start, refine.list_views(views, seen), config)
    seen_steps = [(fit.step, loss) for loss in fit]
    assert [s for s, _ in seen_steps] == [1, 2, 3, 4] and fit.done
    assert same(fit.output(), refine.run(start, views, seen, config))
