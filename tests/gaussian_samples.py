"""Gaussians drawn at random, for tests of what reads, writes and moves them."""

from __future__ import annotations

import torch

from onescene.types import Gaussians


def random_gaussians(n: int = 300, degree: int = 3, seed: int = 0, **changes: torch.Tensor) -> Gaussians:
    """Gaussians of a seed, but for the fields that are given."""
    generator = torch.Generator().manual_seed(seed)
    values = {
        "means": torch.randn(n, 3, generator=generator) * 2,
        "quats": torch.nn.functional.normalize(torch.randn(n, 4, generator=generator), dim=1),
        "scales": torch.rand(n, 3, generator=generator) * 0.3 + 0.01,
        "opacities": torch.rand(n, generator=generator),
        "sh": torch.randn(n, (degree + 1) ** 2, 3, generator=generator) * 0.2,
    }
    return Gaussians(**{**values, **changes})
