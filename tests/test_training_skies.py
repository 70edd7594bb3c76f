"""Skies painted onto training panoramas."""

import torch

from onescene.training import skies
from onescene.training.skies import paint_sky

HW = (96, 192)
ROWS = torch.arange(HW[0])[:, None].expand(HW)
GREEN = torch.tensor((0.1, 0.6, 0.1))[:, None, None].expand(3, *HW)


def painted(seed: int, sky: torch.Tensor) -> torch.Tensor:
    out = paint_sky(GREEN, sky, torch.Generator().manual_seed(seed))
    assert out.shape == GREEN.shape and 0 <= float(out.min()) and float(out.max()) <= 1
    return out


def test_half_of_the_skies_change_and_nothing_else_does():
    sky = ROWS < 40
    made = torch.stack([painted(seed, sky) for seed in range(60)])
    changed = (made != GREEN).any(dim=1)
    assert 0.35 < changed.flatten(1).any(1).float().mean() < 0.65
    assert not changed[:, 41:].any()  # row 40 is the soft edge
    assert changed[changed.flatten(1).any(1)][:, :40].float().mean() > 0.99


def test_skies_are_of_all_kinds_and_often_blown_out(monkeypatch):
    monkeypatch.setattr(skies, "COLOURED", 0.0)
    sky = ROWS < 40
    made = [x for seed in range(120) if not torch.equal(x := painted(seed, sky), GREEN)]
    whole = torch.stack(made)[:, :, :40].flatten(2)
    white = (whole > 0.99).all(dim=1).float().mean(dim=1)
    assert 0.1 < (white > 0.8).float().mean() < 0.7
    bluer = (whole[:, 2] - whole[:, 0]).mean(dim=1)
    assert bluer.min() > -0.01 and bluer.max() > 0.2 and (bluer < 0.03).any()


def test_some_skies_have_a_colour_of_their_own():
    sky = ROWS < 40
    made = [x[:, :40].flatten(1).mean(1) for seed in range(120) if not torch.equal(x := painted(seed, sky), GREEN)]
    red, green, blue = torch.stack(made).T
    own = (green > blue + 0.05) | (red > green + 0.05)  # what air never makes of white
    assert 0.1 < own.float().mean() < 0.5


def test_a_painted_sky_goes_on_all_around():
    sky = ROWS < 40
    for x in (painted(seed, sky)[:, :38] for seed in range(30)):
        across = (x[..., 0] - x[..., -1]).abs().mean()
        inside = (x[..., 1:] - x[..., :-1]).abs().mean(dim=(0, 1))
        assert across <= inside.max() + 1e-6


def test_no_sky_and_a_sky_below_stay():
    for sky in (ROWS < 0, ROWS < 1, ROWS >= 0, ROWS > 60):
        assert all(torch.equal(painted(seed, sky), GREEN) for seed in range(12))


def test_the_generator_decides():
    sky = ROWS < 40
    assert torch.equal(painted(3, sky), painted(3, sky))
    assert len({painted(seed, sky).mean().item() for seed in range(12)}) > 3
