"""SEVA's noise schedule: a table of 1000 levels, and shorter schedules read from it."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

TABLE_SIZE = 1000
_BETA_FIRST, _BETA_LAST = 5e-6, 0.012
_LOG_SNR_SHIFT = 2.4


def sigma_table() -> Float[Tensor, " levels"]:
    """All noise levels, ascending; entry i belongs to noise index i.

    The betas are square-root-linear from 5e-6 to 0.012, and sigma = sqrt((1 - a) / a) e^2.4 with a their cumulative
    product of 1 - beta.
    """
    betas = torch.linspace(_BETA_FIRST**0.5, _BETA_LAST**0.5, TABLE_SIZE, dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - betas, dim=0)
    return (((1 - kept) / kept).sqrt() * math.exp(_LOG_SNR_SHIFT)).float()


def level_below(sigma: float) -> int:
    """Noise index of the highest level that is not above ``sigma``.

    Raises:
        ValueError: ``sigma`` is below the lowest level.
    """
    table = sigma_table()
    index = int((table <= sigma).sum()) - 1
    if index < 0:
        raise ValueError(f"sigma must be at least {float(table[0]):.3g}, got {sigma}")
    return index


def schedule_indices(steps: int) -> Int[Tensor, " steps"]:
    """Noise indices of a schedule, descending: an end-point-exclusive division of 999..0, cut to integers.

    Raises:
        ValueError: ``steps`` is not a whole number from 1 to 1000.
    """
    if not 1 <= steps <= TABLE_SIZE or int(steps) != steps:
        raise ValueError(f"steps must be a whole number from 1 to {TABLE_SIZE}, got {steps}")
    return torch.from_numpy(np.linspace(TABLE_SIZE - 1, 0, int(steps), endpoint=False).astype(np.int64))


def sigma_schedule(steps: int) -> Float[Tensor, " levels"]:
    """Noise levels of a schedule of ``steps`` steps, descending, with a final 0: ``steps + 1`` values."""
    return torch.cat((sigma_table()[schedule_indices(steps)], torch.zeros(1)))
