"""The ablation of Table A1, repeatable anywhere: concatenation, Dual-LoRA, memory; also without renders or anchors.

Every network is a training of its own (``views_training.py``) in a folder of its own, so a stopped ablation goes on
where it stood; same data, seeds, budget and sizes for all. Memory changes sampling alone, so two rows share a network.

Measured are pictures against the truth (in holes, outside them), TSED between neighbours, RotErr, TransErr and CamMC of
poses estimated from the pictures (``metrics/view_poses.py``). The first row is the truth itself: what these lose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from onescene.data.panoramas import pictures
from onescene.data.view_scenes import SceneSet
from onescene.io.atomic import atomic_path, atomic_write_text
from onescene.models.seva.bundle import load_bundle
from onescene.models.seva.memory import Policy
from onescene.pipeline.parameters import read_params
from onescene.pipeline.seeds import check_seeds
from onescene.pipeline.training_run import choose_device
from onescene.pipeline.views_training import (
    BUNDLE,
    ViewParams,
    check_view_params,
    open_scenes,
    run_view_training,
    train_config,
)
from onescene.plots.chunks import strips_figure
from onescene.training.perceptual import perceptual_distance, stlpips_path
from onescene.training.step_log import StepLog
from onescene.training.view_check import BARE, CheckConfig, remake, view_scores

NETWORKS: dict[str, dict[str, str | bool | float]] = {
    "concat": {"method": "concat", "anchors": True},
    "dual-lora": {"method": "dual-lora", "anchors": True},
    "without-renders": {"method": "anchors-only", "anchors": True, "start_sigma": 0.0},  # there is none to begin at
    "without-anchors": {"method": "dual-lora", "anchors": False},
}
DPI = 110  # of views.jpg
ROWS: dict[str, tuple[str, Policy]] = {
    "concat": ("concat", "none"),
    "dual-lora": ("dual-lora", "none"),
    "dual-lora + memory": ("dual-lora", "nearest"),
    "without renders": ("without-renders", "none"),
    "without anchors": ("without-anchors", "none"),
}


@dataclass(frozen=True)
class HeldOut:
    """The scenes that everything is measured on."""

    folders: tuple[str, ...]
    every: int = 1  # every n-th of them
    shown: str | None = None  # folder whose first scene is drawn as every variant makes it

    def open(self) -> SceneSet:
        """Raises FileNotFoundError where a folder holds none."""
        return SceneSet(*self.folders, every=self.every)


def read_view_ablation(path: str | Path) -> tuple[dict[tuple[int, str], ViewParams], HeldOut]:
    """Reads an ablation's params file: keys of a training, ``seeds``, ``validation`` and what may be left out.

    ``networks`` = some of ``NETWORKS``, ``every`` and ``shown`` as in :class:`HeldOut`; ``start`` = ``out`` of an
    earlier ablation, whose networks go on, each from its own weights of the same seed.

    Returns:
        The parameters of every training, by seed and network, and what they are measured on.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a key is missing, misspelt or of the wrong type, or is what the ablation varies itself.
    """
    values, where = read_params(path), Path(path).name
    seeds, validation = check_seeds(values.pop("seeds", None), where), values.pop("validation", None)
    every, shown, start = values.pop("every", 1), values.pop("shown", None), values.pop("start", None)
    names = values.pop("networks", list(NETWORKS))
    if (
        not isinstance(names, list)
        or not names
        or not all(isinstance(name, str) and name in NETWORKS for name in names)
    ):
        raise ValueError(f"{where}: networks must be a list of some of {', '.join(NETWORKS)}, got {names!r}")
    validation = [validation] if isinstance(validation, str) else validation
    if not isinstance(validation, list) or not all(isinstance(folder, str) for folder in validation):
        raise ValueError(f"{where}: validation must name folders of packed scenes, got {validation!r}")
    if type(every) is not int or every < 1:
        raise ValueError(f"{where}: every must be a whole number >= 1, got {every!r}")
    if shown is not None and not isinstance(shown, str):
        raise ValueError(f"{where}: shown must name a folder of packed scenes, got {shown!r}")
    if start is not None and (not isinstance(start, str) or not start or "weights" in values):
        raise ValueError(f"{where}: start must name the out of an earlier ablation, without weights, got {start!r}")
    if varied := [key for key in ("seed", "method", "anchors") if key in values]:
        raise ValueError(f"{where}: {varied[0]} is what the ablation varies itself; remove it")
    out = values.get("out", "")
    if not isinstance(out, str) or not out:
        raise ValueError(f"{where}: out must name a folder")
    runs = {}
    for seed in seeds:
        for name, change in NETWORKS.items():
            own = {"seed": seed, "out": f"{out}/{name}-{seed}"}
            own |= {"weights": f"{start}/{name}-{seed}/{BUNDLE}"} if start else {}
            if name in names:
                runs[seed, name] = check_view_params(values | change | own, where)
    return runs, HeldOut(tuple(validation), every, shown)


def run_view_ablation(
    path: str | Path, licence: str, on_step: Callable[[str, StepLog], None] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trains what is not trained yet, measures everything, and writes ``runs.csv`` and ``table.csv`` after each row.

    At the end ``views.jpg`` shows the first scene of ``shown``, if any.

    ST-LPIPS is measured where its weights are installed.

    Args:
        path: See :func:`read_view_ablation`.
        licence: Of the weights.
        on_step: Called with a training's name after each of its steps.

    Returns:
        A row per seed and variant (see :func:`onescene.training.view_check.scene_scores`), the first ones the truth
        itself and the bare renders; and per variant the mean over the seeds with the spread (``_spread``: largest
        minus smallest).

    Raises:
        FileNotFoundError, ValueError: as :func:`read_view_ablation`, and those of a training.
    """
    runs, measured_on = read_view_ablation(path)
    data, held_out = open_scenes(next(iter(runs.values()))), measured_on.open()
    if measured_on.shown is not None:
        SceneSet(measured_on.shown)  # it is there
    distance = perceptual_distance("st-lpips") if stlpips_path() else None
    bare = {name: view_scores(None, held_out, None, distance, name) for name in BARE}
    seeds = dict.fromkeys(seed for seed, _ in runs)
    rows = [{"variant": name, "seed": seed} | scores for name, scores in bare.items() for seed in seeds]
    out = Path(next(iter(runs.values())).out).parent
    for (seed, name), params in runs.items():

        def show(log: StepLog, run: str = f"{name}-{seed}") -> None:
            if on_step:
                on_step(run, log)

        models = load_bundle(
            run_view_training(params, data, licence, show), choose_device(params.device), torch.float32
        )
        for variant, (network, memory) in ROWS.items():
            if network == name:
                scores = view_scores(models, held_out, _sampled(params, memory), distance)
                rows.append({"variant": variant, "seed": seed, "steps": params.steps} | scores)
        runs_table = pd.DataFrame(rows)
        table = summarise(runs_table)
        atomic_write_text(out / "runs.csv", runs_table.to_csv(index=False, lineterminator="\n"))
        atomic_write_text(out / "table.csv", table.to_csv(lineterminator="\n"))
    if measured_on.shown is not None:
        with atomic_path(out / "views.jpg") as picture:
            strips_figure(views_shown(path), cell_in=1.3).savefig(picture, dpi=DPI)
    return runs_table, table


def views_shown(path: str | Path) -> dict[str, Tensor]:
    """The first scene of ``shown``: what needs no network, and what every trained variant of the first seed makes.

    Returns:
        Name to pictures [t, 3, s, s] in [0, 1], the truth last.

    Raises:
        FileNotFoundError, ValueError: as :func:`run_view_ablation`, or nothing is trained yet.
    """
    runs, measured_on = read_view_ablation(path)
    if measured_on.shown is None:
        raise ValueError(f"{Path(path).name}: shown must name a folder of packed scenes")
    scene, seed = SceneSet(measured_on.shown)[0], min(seed for seed, _ in runs)
    rows = {name: pictures(read(scene)) for name, read in BARE.items()}
    for variant, (network, memory) in ROWS.items():
        if params := runs.get((seed, network)):
            models = load_bundle(Path(params.out) / BUNDLE, choose_device(params.device), torch.float32)
            rows[variant] = remake(models, scene, _sampled(params, memory))
    return rows | {"truth": rows.pop("truth")}


def _sampled(params: ViewParams, memory: Policy) -> CheckConfig:
    """How the views of a trained network are made."""
    return CheckConfig(train_config(params).draw, memory, params.sampling_steps, params.seed)


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean over the seeds of every number, and beside it the spread, one row per variant."""
    groups = runs.drop(columns=["seed"]).groupby("variant", sort=False)
    mean, spread = groups.mean(), groups.max() - groups.min()
    spread = spread.drop(columns=["steps", "scenes"], errors="ignore").add_suffix("_spread")
    columns = [c for name in mean for c in (name, f"{name}_spread") if c in mean or c in spread]
    table = mean.join(spread)[columns]
    return table.reindex([name for name in (*BARE, *ROWS) if name in table.index])
