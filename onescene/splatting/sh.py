"""Real spherical harmonics up to degree 3, in the order and with the signs of 3DGS files; colour from a direction."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# Normalisation constants of the real spherical harmonics Y_l^m, written out (Condon-Shortley signs kept).
C0 = 0.28209479177387814  # 1 / (2 sqrt(pi))
C1 = 0.4886025119029199  # sqrt(3 / (4 pi))
C2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)
C3 = (0.5900435899266435, 2.890611442640554, 0.4570457994644658, 0.3731763325901154, 1.445305721320277)


def sh_basis(directions: Float[Tensor, "*batch 3"], degree: int) -> Float[Tensor, "*batch k"]:
    """The ``(degree + 1)**2`` harmonics of unit directions.

    Args:
        directions: Unit vectors from the camera to the Gaussian, world axes.
        degree: 0 to 3.

    Raises:
        ValueError: another degree.
    """
    if degree not in (0, 1, 2, 3):
        raise ValueError(f"degree must be 0, 1, 2 or 3, got {degree}")
    x, y, z = directions.unbind(-1)
    basis = [torch.full_like(x, C0)]
    if degree >= 1:
        basis += [-C1 * y, C1 * z, -C1 * x]
    if degree >= 2:
        basis += [
            C2[0] * x * y,
            -C2[0] * y * z,
            C2[1] * (3 * z * z - 1),
            -C2[0] * x * z,
            C2[2] * (x * x - y * y),
        ]
    if degree >= 3:
        basis += [
            -C3[0] * y * (3 * x * x - y * y),
            C3[1] * x * y * z,
            -C3[2] * y * (5 * z * z - 1),
            C3[3] * z * (5 * z * z - 3),
            -C3[2] * x * (5 * z * z - 1),
            C3[4] * z * (x * x - y * y),
            -C3[0] * x * (x * x - 3 * y * y),
        ]
    return torch.stack(basis, dim=-1)


def sh_colours(sh: Float[Tensor, "*batch k 3"], directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Colour ``max(0, 0.5 + sum_k sh_k Y_k(d))`` seen along each direction.

    Args:
        sh: Coefficients, K = 1, 4, 9 or 16.
        directions: Vectors of any length from the camera to the Gaussian, world axes.
    """
    degree = int(sh.shape[-2] ** 0.5) - 1
    basis = sh_basis(F.normalize(directions, dim=-1), degree)
    return ((basis[..., None] * sh).sum(-2) + 0.5).clamp_min(0.0)
