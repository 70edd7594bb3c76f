"""What a training has written of its steps, while it runs or after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LOG = "log.jsonl"


def read_log(out: str | Path) -> list[dict[str, Any]]:
    """The steps of a training's folder, in order: ``step``, ``lr``, ``seconds`` and every loss term.

    A step that was done twice, before and after an interruption, counts once, and half a line at the end, which a
    running training may leave, not at all.

    Args:
        out: Folder of the run.

    Raises:
        FileNotFoundError: there is no log.
    """
    path = Path(out) / LOG
    if not path.is_file():
        raise FileNotFoundError(f"no log of a training: {path}")
    steps: dict[int, dict[str, Any]] = {}
    for line in path.read_text("utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        steps[entry["step"]] = entry
    return [steps[step] for step in sorted(steps)]


def losses_of(log: list[dict[str, Any]]) -> tuple[list[dict[str, float]], list[float]]:
    """Loss terms and learning rates of a log, as :func:`onescene.plots.training.loss_figure` draws them."""
    other = ("step", "lr", "seconds")
    return [{k: v for k, v in entry.items() if k not in other} for entry in log], [entry["lr"] for entry in log]
