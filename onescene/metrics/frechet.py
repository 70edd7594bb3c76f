"""Frechet distance between two sets of feature vectors; whose features they are belongs in the caller's key.

It is not the FID: that name is for Inception's features of 50,000 pictures. A distance of few vectors is too large, by
an amount that grows with the dimension: compare only sets of equal counts, and tell the count.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def frechet_distance(first: Float[Tensor, "n channels"], second: Float[Tensor, "m same"]) -> float:
    """Squared Frechet distance of the Gaussians fitted to two sets (Eq. 6 of Heusel et al. 2017), >= 0.

    Computed as |mu_1 - mu_2|^2 + tr C_1 + tr C_2 - 2 |A_1 A_2^T|_*, where A_i are the centred vectors over sqrt(n - 1):
    the nuclear norm is the trace of (C_1 C_2)^(1/2) without a root of a matrix, exact with few vectors too.

    Args:
        first: Feature vectors, at least two.
        second: Those to compare with.

    Raises:
        ValueError: fewer than two vectors, another number of channels, or values that are not finite.
    """
    for name, features in (("first", first), ("second", second)):
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"{name} must be [n, channels] with n >= 2, got {list(features.shape)}")
        if not torch.isfinite(features).all():
            raise ValueError(f"{name} must be finite, got nan or inf")
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"both sets must have as many channels, got {first.shape[1]} and {second.shape[1]}")
    means, roots = [], []
    for features in (first, second):
        x = features.detach().double()
        means.append(x.mean(dim=0))
        roots.append((x - means[-1]) / (len(x) - 1) ** 0.5)
    overlap = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    spread = sum((root**2).sum() for root in roots)
    return max(0.0, float(((means[0] - means[1]) ** 2).sum() + spread - 2 * overlap))
