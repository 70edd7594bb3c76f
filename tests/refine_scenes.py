"""Small scenes for the tests of refine: a patterned wall, and cameras side by side in front of it."""

from __future__ import annotations

from dataclasses import replace

import torch

from onescene.types import SH_C0, Cameras, Gaussians


def cameras(count: int = 4, hw=(48, 64), f_px: float = 50.0) -> Cameras:
    """Cameras side by side, all looking along +z."""
    world_from_cam = torch.eye(4).repeat(count, 1, 1)
    world_from_cam[:, 0, 3] = torch.linspace(-0.3, 0.3, count) if count > 1 else 0.0
    K = torch.tensor([[f_px, 0, hw[1] / 2], [0, f_px, hw[0] / 2], [0, 0, 1]]).repeat(count, 1, 1)
    return Cameras(world_from_cam=world_from_cam, K=K, hw=hw)


def wall(step: float = 0.06, depth: float = 2.0, opacity: float = 0.95) -> Gaussians:
    """A patterned wall across the cameras' view."""
    y, x = torch.meshgrid(torch.arange(-1.3, 1.3, step), torch.arange(-2.0, 2.0, step), indexing="ij")
    means = torch.stack((x.flatten(), y.flatten(), torch.full((x.numel(),), depth)), dim=-1)
    rgb = 0.5 + 0.4 * torch.stack([torch.sin(5 * means[:, 0] + k) * torch.cos(4 * means[:, 1]) for k in range(3)], -1)
    n = len(means)
    return Gaussians(
        means=means,
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        scales=torch.full((n, 3), 0.6 * step),
        opacities=torch.full((n,), opacity),
        sh=((rgb - 0.5) / SH_C0)[:, None],
    )


def spoiled(gaussians: Gaussians) -> Gaussians:
    """The same with noise on means, scales and colours."""
    g = torch.Generator().manual_seed(1)
    noise = {n: torch.randn(getattr(gaussians, n).shape, generator=g) for n in ("means", "scales", "sh")}
    return replace(
        gaussians,
        means=gaussians.means + 0.02 * noise["means"],
        scales=gaussians.scales * torch.exp(0.3 * noise["scales"]),
        sh=gaussians.sh + 0.4 * noise["sh"],
    )


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    """Over all values [dB]."""
    return float(-10 * (a.clamp(0, 1) - b).square().mean().log10())
