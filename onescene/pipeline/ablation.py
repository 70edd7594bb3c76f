"""The ablation of Table A2, repeatable anywhere: each face apart, six faces without fusion, with fusion.

Every run is a training of its own (``pipeline/training.py``) in a folder of its own, so a stopped ablation goes on
where it stood; same data, seeds, budget and sizes for all.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from onescene.data.sets import MapSet, RoomSet
from onescene.io.atomic import atomic_write_text
from onescene.models.loading import load_into
from onescene.pipeline.parameters import read_params as read_yaml
from onescene.pipeline.seeds import check_seeds
from onescene.pipeline.training import build_network, open_data, run_training
from onescene.pipeline.training_log import read_log
from onescene.pipeline.training_params import ScaffoldParams, check_params
from onescene.training.batches import PanoramaSet
from onescene.training.scaffold_check import scores_by_rule
from onescene.training.step_log import StepLog

VARIANTS: dict[str, dict[str, bool]] = {
    "per-face": {"joint": False, "fusion": False},
    "joint": {"joint": True, "fusion": False},
    "fused": {"joint": True, "fusion": True},
}
VALIDATION_ROOMS_SEED = 9  # rooms of validation come from another seed than any training's


def read_ablation(path: str | Path) -> tuple[list[ScaffoldParams], str]:
    """Reads an ablation's params file: keys of a training, and ``seeds`` and ``validation``.

    Returns:
        The parameters of every run, seed by seed, and where the validation panoramas are (a folder, or "rooms").

    Raises:
        FileNotFoundError: no such file.
        ValueError: a key is missing, misspelt or of the wrong type, or is what the ablation varies itself.
    """
    values, where = read_yaml(path), Path(path).name
    seeds = check_seeds(values.pop("seeds", None), where, VALIDATION_ROOMS_SEED - 1)
    validation = values.pop("validation", None)
    if not isinstance(validation, str):
        raise ValueError(f'{where}: validation must be a folder of packed panoramas or "rooms", got {validation!r}')
    if varied := [key for key in ("seed", "joint", "fusion") if key in values]:
        raise ValueError(f"{where}: {varied[0]} is what the ablation varies itself; remove it")
    base = check_params(values, where)
    runs = [
        base.model_copy(update=switches | {"seed": seed, "out": str(Path(base.out) / f"{name}-{seed}")})
        for seed in seeds
        for name, switches in VARIANTS.items()
    ]
    return runs, validation


def open_validation(validation: str) -> PanoramaSet:
    """Panoramas of the validation split, or four rooms.

    Raises:
        FileNotFoundError: the folder holds none.
    """
    return RoomSet(4, seed=VALIDATION_ROOMS_SEED) if validation == "rooms" else MapSet(validation, split="validation")


def run_ablation(
    path: str | Path, licence: str, on_step: Callable[[str, StepLog], None] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trains what is not trained yet, measures everything, and writes ``runs.csv`` and ``table.csv`` after each run.

    Args:
        path: See :func:`read_ablation`.
        licence: Of the weights.
        on_step: Called with a run's name after each of its steps.

    Returns:
        A row per run (see :func:`onescene.training.scaffold_check.scores_by_rule`; ``train_seconds`` as logged), and
        the mean over the seeds with the spread (``_spread``: largest minus smallest) per variant.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_ablation`, those of a training, or a launcher of several
            processes started this one.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("an ablation runs in one process, not by torchrun; its trainings are short")
    runs, validation = read_ablation(path)
    data, panoramas, rows = open_data(runs[0]), open_validation(validation), []
    for params in runs:
        out = Path(params.out)
        variant = out.name.rsplit("-", 1)[0]

        def show(log: StepLog, name: str = out.name) -> None:
            if on_step:
                on_step(name, log)

        weights = run_training(params, data, licence, show)
        seconds = sum(entry["seconds"] for entry in read_log(out))
        row = {"variant": variant, "seed": params.seed, "steps": params.steps, "train_seconds": seconds}
        network = build_network(params, pretrained=False)
        load_into(network, weights)
        rows.append(row | scores_by_rule(network, panoramas))
        table = pd.DataFrame(rows)
        summary = summarise(table)
        atomic_write_text(out.parent / "runs.csv", table.to_csv(index=False, lineterminator="\n"))
        atomic_write_text(out.parent / "table.csv", summary.to_csv(lineterminator="\n"))
    return table, summary


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean over the seeds of every number, and beside it the spread, one row per variant in the order of the paper."""
    groups = runs.drop(columns=["seed"]).groupby("variant", sort=False)
    mean, spread = groups.mean(), groups.max() - groups.min()
    spread = spread.drop(columns=["steps", "panoramas"]).add_suffix("_spread")
    columns = [c for name in mean for c in (name, f"{name}_spread") if c in mean or c in spread]
    return mean.join(spread)[columns]
