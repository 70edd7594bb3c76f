"""Perceptual distances: equal to the published network's values, zero for equal images, named for what they are."""

from __future__ import annotations

import importlib.util
import sys
import types

import pytest
import torch
import torch.nn.functional as F

from onescene.training import perceptual
from onescene.training.perceptual import choose_perceptual, perceptual_distance, stlpips_path

needs_weights = pytest.mark.skipif(stlpips_path() is None, reason="stlpips-pytorch is not installed")
# What the package's own code (0.0.2, AlexNet, torch 2.13, its torchvision import left out) gives for `picture`.
PUBLISHED = (((0, 1), (64, 64), 0.1639253795, 0.0794722512), ((2, 3), (48, 80), 0.1577770561, 0.1032269076))


def picture(seed, hw):
    noise = torch.rand(1, 3, *hw, generator=torch.Generator().manual_seed(seed))
    return F.avg_pool2d(noise, 5, 1, 2)


@needs_weights
@pytest.mark.parametrize(("seeds", "hw", "apart", "blended"), PUBLISHED)
def test_equal_to_the_published_network(seeds, hw, apart, blended):
    distance = perceptual_distance("st-lpips")
    a, b = (picture(seed, hw) for seed in seeds)
    got = distance(torch.cat((a, a)), torch.cat((b, 0.7 * a + 0.3 * b)))
    torch.testing.assert_close(got, torch.tensor([apart, blended]), rtol=1e-4, atol=0)


@needs_weights
def test_zero_for_equal_images_and_a_finite_gradient_on_flat_ones():
    distance = perceptual_distance("st-lpips")
    flat = torch.full((1, 3, 32, 32), 0.5, requires_grad=True)
    assert distance(flat, flat.detach()) == 0
    distance(flat, picture(0, (32, 32))).sum().backward()
    assert bool(torch.isfinite(flat.grad).all()) and bool((flat.grad != 0).any())
    assert not list(distance.parameters())


def only(monkeypatch, *packages):
    """Makes ``find_spec`` see these packages of the two and no other."""
    true_find = importlib.util.find_spec

    def find(name, *rest):
        if name in ("lpips", "stlpips_pytorch"):
            return true_find("json") if name in packages else None
        return true_find(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find)


def test_auto_takes_lpips_only_with_its_backbone(monkeypatch, tmp_path):
    only(monkeypatch, "lpips")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(perceptual, "stlpips_path", lambda: tmp_path)
    assert choose_perceptual("auto") == "st-lpips"
    trunk = tmp_path / "checkpoints" / "vgg16-397923af.pth"
    trunk.parent.mkdir()
    trunk.touch()
    assert choose_perceptual("auto") == "lpips"
    assert choose_perceptual("st-lpips") == "st-lpips"


def test_what_is_missing_is_said_in_a_sentence(monkeypatch, tmp_path):
    only(monkeypatch)
    for name, words in (("auto", "set its weight to 0"), ("st-lpips", "stlpips-pytorch"), ("lpips", "onescene")):
        with pytest.raises(ValueError, match=words):
            perceptual_distance(name)
    with pytest.raises(ValueError, match="auto, lpips or st-lpips"):
        choose_perceptual("ssim")


def test_the_lpips_package_gets_images_in_its_own_range(monkeypatch):
    class Fake(torch.nn.Module):
        def __init__(self, **options):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, a, b, normalize):
            a, b = (2 * a - 1, 2 * b - 1) if normalize else (a, b)
            return self.scale * (a - b).abs().mean((1, 2, 3), keepdim=True)

    only(monkeypatch, "lpips")
    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=Fake))
    distance = perceptual_distance("lpips")
    torch.testing.assert_close(distance(torch.ones(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)), torch.tensor([2.0, 2.0]))
    assert not any(p.requires_grad for p in distance.parameters())
