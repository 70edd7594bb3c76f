"""Figures to watch a training by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from matplotlib.figure import Figure


def running_mean(values: Sequence[float]) -> list[float]:
    """Each value with what came before: nine tenths of the last mean, one of the value; as many as values."""
    return list(accumulate(values, lambda mean, value: 0.9 * mean + 0.1 * value))


def loss_figure(losses: Sequence[Mapping[str, float]], learning_rates: Sequence[float]) -> Figure:
    """Every loss term over the steps, and the learning rate below.

    Args:
        losses: One mapping per step, term to value; ``total`` is drawn bold.
        learning_rates: One per step.

    Raises:
        ValueError: there are no steps.
    """
    if not losses:
        raise ValueError("losses must hold at least one step, got none")
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    steps = range(1, len(losses) + 1)
    for term in losses[0]:
        smooth = running_mean([entry[term] for entry in losses])
        top.plot(steps, smooth, label=term, linewidth=2.5 if term == "total" else 1.2)
    top.set_ylabel("loss (running mean)")
    top.legend(ncol=4, fontsize=8)
    top.set_ylim(bottom=0)
    bottom.plot(steps, learning_rates, color="black", linewidth=1)
    bottom.set_ylabel("rate")
    bottom.set_xlabel("step")
    return figure
