"""What every training loop tells of a step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StepLog:
    """What one step did.

    Attributes:
        step: Number of steps done.
        losses: Every loss term of the batch; some loops add numbers to compare with.
        lr: Learning rate of the new layers.
        seconds: Time of the step [s].
    """

    step: int
    losses: dict[str, float]
    lr: float
    seconds: float
