"""What cameras found in a file have to be: rigid motions, and pinholes that see forward."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

RIGID_TOLERANCE = 1e-3  # of R R^T against 1: files keep as few as four digits


def check_poses(matrices: Float[Tensor, "n 4 4"], told: Callable[[int], str], *, longest: float = math.inf) -> None:
    """Refuses what is no rotation and shift.

    Args:
        matrices: Poses of cameras in either direction.
        told: What the sentence calls a camera.
        longest: No number may be as large as this.

    Raises:
        ValueError: a NaN or an infinity, another last row than 0 0 0 1, a scale, a shear or a mirror image.
    """
    for i in _first(~(matrices.abs() < longest).flatten(1).all(dim=1)):  # a NaN is not smaller
        raise ValueError(f"{told(i)} must have a finite matrix, got {matrices[i].tolist()}")
    last = torch.tensor([0, 0, 0, 1]).to(matrices)
    for i in _first((matrices[:, 3] - last).abs().amax(dim=1) > 1e-6):
        raise ValueError(f"{told(i)} must have the last row 0 0 0 1, got {matrices[i, 3].tolist()}")
    rotation = matrices[:, :3, :3]
    error = (rotation @ rotation.transpose(1, 2) - torch.eye(3).to(rotation)).abs().amax(dim=(1, 2))
    for i in _first(~(error <= RIGID_TOLERANCE)):
        raise ValueError(f"{told(i)} must be a rotation and a shift, but R R^T differs from 1 by {error[i]:.3g}")
    for i in _first(torch.linalg.det(rotation) < 0):
        raise ValueError(f"{told(i)} must be a rotation and a shift, but it is a mirror image")


def check_pinholes(pinholes: Float[Tensor, "n 4"], told: Callable[[int], str], *, longest: float = math.inf) -> None:
    """Refuses intrinsics of which no camera can be.

    Args:
        pinholes: fx, fy, cx, cy.
        told, longest: As in :func:`check_poses`.

    Raises:
        ValueError: a NaN or an infinity, or a focal length that is not positive.
    """
    for i in _first(~(pinholes.abs() < longest).all(dim=1)):
        raise ValueError(f"{told(i)} must have finite intrinsics, got {pinholes[i].tolist()}")
    for i in _first((pinholes[:, :2] <= 0).any(dim=1)):
        raise ValueError(f"{told(i)} must have positive focal lengths, got {pinholes[i, :2].tolist()}")


def _first(bad: Tensor) -> list[int]:
    """The first number at which something is wrong, if any."""
    return bad.nonzero().flatten()[:1].tolist()
