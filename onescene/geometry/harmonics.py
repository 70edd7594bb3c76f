"""Spherical harmonics under rotation: how coefficients change when the scene that they colour is turned or mirrored.

Owns the matrices (Wigner's D, real form) in the order and with the signs of 3DGS files; the harmonics themselves, as
functions of a direction, live in ``splatting/sh``. Recursion of Ivanic and Ruedenberg (J. Phys. Chem. 1996, 100, 6342;
corrected 1998, 102, 9099), which builds each degree out of the one below and of the rotation itself.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

MAX_DEGREE = 3
_YZX = [1, 2, 0]  # the harmonics of degree 1, m = -1, 0, 1, are y, z and x


def sh_rotation_blocks(matrix: Float[Tensor, "3 3"], degree: int) -> list[Float[Tensor, "_ _"]]:
    """Matrices by which coefficients of degree 0, 1, ... change when the scene is turned by ``matrix``.

    With ``c`` the 2l + 1 coefficients of degree l, ``block[l] @ c`` colours the turned scene: what it shows along
    ``matrix @ d`` is what the old one shows along ``d``.

    Args:
        matrix: A rotation, or a mirror image of one (orthogonal).
        degree: The highest degree, 0 to 3.

    Returns:
        ``degree + 1`` matrices of float64.

    Raises:
        ValueError: another degree, or a matrix that is not orthogonal.
    """
    if not 0 <= degree <= MAX_DEGREE:
        raise ValueError(f"degree must be 0 to {MAX_DEGREE}, got {degree}")
    matrix = check_orthogonal(matrix)
    mirrored = torch.linalg.det(matrix) < 0
    rotation = -matrix if mirrored else matrix  # a mirror image is a rotation and the point reflection
    first = rotation[_YZX][:, _YZX]
    blocks = [torch.ones(1, 1, dtype=torch.float64), first]
    while len(blocks) <= degree:
        blocks.append(_next_block(first, blocks[-1]))
    # the point reflection turns the sign of odd degrees; 3DGS keeps Condon and Shortley's sign of odd orders
    return [_signed(block) * (-1 if mirrored and i % 2 else 1) for i, block in enumerate(blocks[: degree + 1])]


def rotate_sh(sh: Float[Tensor, "*n k 3"], matrix: Float[Tensor, "3 3"]) -> Float[Tensor, "*n k 3"]:
    """Coefficients of the scene turned by ``matrix``, exact up to rounding.

    Args:
        sh: K = 1, 4, 9 or 16 coefficients for each channel.
        matrix: A rotation, or a mirror image of one (orthogonal).

    Raises:
        ValueError: another number of coefficients, or a matrix that is not orthogonal.
    """
    count = sh.shape[-2]
    if count not in (1, 4, 9, 16):
        raise ValueError(f"sh must hold 1, 4, 9 or 16 coefficients, got {count}")
    blocks = sh_rotation_blocks(matrix, math.isqrt(count) - 1)
    return torch.cat(
        [torch.einsum("ij,...jc->...ic", b.to(sh), sh[..., i * i : (i + 1) ** 2, :]) for i, b in enumerate(blocks)],
        dim=-2,
    )


def check_orthogonal(matrix: Float[Tensor, "3 3"], name: str = "matrix") -> Float[Tensor, "3 3"]:
    """The matrix in float64 on the CPU, if it is a rotation or a mirror image of one.

    Raises:
        ValueError: it is not, within 1e-4.
    """
    matrix = matrix.detach().to("cpu", torch.float64)
    error = float((matrix @ matrix.T - torch.eye(3, dtype=torch.float64)).abs().max())
    if not error < 1e-4:  # a NaN is not smaller
        raise ValueError(f"{name} must be a rotation or a mirror image of one, but M M^T differs from 1 by {error:.3g}")
    return matrix


def _signed(block: Tensor) -> Tensor:
    """The block with (-1)^m on rows and columns of order m."""
    degree = len(block) // 2
    sign = torch.tensor([(-1.0) ** m for m in range(-degree, degree + 1)], dtype=block.dtype)
    return sign[:, None] * block * sign


def _next_block(first: Tensor, below: Tensor) -> Tensor:
    """The block of a degree out of those of degree 1 and of one degree less (Eq. 8.1 of the paper)."""
    degree = len(below) // 2 + 1
    orders = range(-degree, degree + 1)
    return torch.tensor([[_entry(first, below, m, n) for n in orders] for m in orders], dtype=below.dtype)


def _entry(first: Tensor, below: Tensor, m: int, n: int) -> float:
    """Row m, column n of the next block: u U + v V + w W of the paper (tables 1 and 2)."""
    degree = len(below) // 2 + 1

    def product(i: int, row: int) -> float:
        """P of the paper: entries of degree 1 times entries of one degree less, whose orders add up to n."""
        left, right = first[i + 1], below[row + degree - 1]
        if n == degree:
            return float(left[2] * right[-1] - left[0] * right[0])
        if n == -degree:
            return float(left[2] * right[0] + left[0] * right[-1])
        return float(left[1] * right[n + degree - 1])

    size, sign = abs(m), 1 if m > 0 else -1
    scale = (degree + n) * (degree - n) if abs(n) < degree else 2 * degree * (2 * degree - 1)
    u = math.sqrt((degree + m) * (degree - m) / scale)
    v = math.sqrt((degree + size - 1) * (degree + size) / scale) / 2
    w = -math.sqrt(max(0, degree - size - 1) * (degree - size) / scale) / 2
    total = u * product(0, m) if u else 0.0
    if m == 0:
        return total - math.sqrt(2) * v * (product(1, 1) + product(-1, -1))
    if size == 1:
        total += math.sqrt(2) * v * product(sign, 0)
    else:
        total += v * (product(sign, size - 1) - sign * product(-sign, 1 - size))
    if w:
        total += w * (product(1, sign * (size + 1)) + sign * product(-1, -sign * (size + 1)))
    return total
