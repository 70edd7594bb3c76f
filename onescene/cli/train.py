"""``onescene train``: networks from params files, resumable, and the ablation of the paper's parts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from onescene.training.step_log import StepLog

NAMES = ("scaffold", "outpainter", "views", "ablation", "views-ablation")
LICENCE = "Apache-2.0"  # of weights trained with this kit
_SHOWN = ("abs_rel_median", "delta1_median", "seam_jump_ratio")  # of the ablation's table, where its file has all

_SHOWN_OF_VIEWS = ("psnr_db", "psnr_db_holes", "psnr_db_covered", "ssim_gauss11", "perceptual", "tsed_2px_at_256")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(train)


def train(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="scaffold, outpainter, views, ablation (of the scaffold), views-ablation."),
    ],
    params: Annotated[Path, typer.Option(help="YAML file, such as params/small/train_scaffold.yaml.")],
) -> int:
    """Train a network; the same command goes on where an interrupted one stopped."""
    if name not in NAMES:
        raise ValueError(f"NAME must be one of {', '.join(NAMES)}, got {name!r}")
    {
        "scaffold": _scaffold,
        "outpainter": _outpainter,
        "views": _views,
        "ablation": _ablation,
        "views-ablation": _views_ablation,
    }[name](params)
    return 0


def _scaffold(params: Path) -> None:
    from onescene.pipeline.training import open_data, read_params, run_training
    from onescene.training.processes import is_first_process

    settings = read_params(params)
    data = open_data(settings)
    if is_first_process():
        typer.echo(f"{len(data)} panoramas, {settings.steps} steps of {settings.batch}", err=True)
    weights = run_training(settings, data, LICENCE, _progress(settings.steps))
    if is_first_process():
        typer.echo(weights)


def _outpainter(params: Path) -> None:
    from onescene.pipeline.outpainter_training import open_colours, read_outpainter_params, run_outpainter_training

    settings = read_outpainter_params(params)
    panoramas = open_colours(settings)
    typer.echo(f"{len(panoramas)} panoramas, {settings.steps} steps of {settings.batch}", err=True)
    typer.echo(run_outpainter_training(settings, panoramas, LICENCE, _progress(settings.steps, second="draft")))


def _views(params: Path) -> None:
    from onescene.pipeline.views_training import open_scenes, read_view_params, run_view_training
    from onescene.training.processes import is_first_process

    settings = read_view_params(params)
    scenes = open_scenes(settings)
    if is_first_process():
        typer.echo(f"{len(scenes)} scenes, {settings.steps} steps of {settings.batch}", err=True)
    bundle = run_view_training(settings, scenes, LICENCE, _progress(settings.steps, second=""))
    if is_first_process():
        typer.echo(bundle)


def _ablation(params: Path) -> None:
    from onescene.pipeline.ablation import read_ablation, run_ablation

    runs, _ = read_ablation(params)
    typer.echo(f"{len(runs)} runs of {runs[0].steps} steps of {runs[0].batch}", err=True)
    shows = {Path(run.out).name: _progress(run.steps, f"{Path(run.out).name} ") for run in runs}
    _, table = run_ablation(params, LICENCE, lambda name, log: shows[name](log))
    typer.echo(table[[c for name in _SHOWN for c in (name, f"{name}_spread")]].round(3).to_string())
    typer.echo(Path(runs[0].out).parent / "table.csv")


def _views_ablation(params: Path) -> None:
    from onescene.pipeline.view_ablation import read_view_ablation, run_view_ablation

    runs, _ = read_view_ablation(params)
    steps = next(iter(runs.values())).steps
    typer.echo(f"{len(runs)} runs of {steps} steps", err=True)
    shows = {Path(run.out).name: _progress(steps, f"{Path(run.out).name} ", second="") for run in runs.values()}
    _, table = run_view_ablation(params, LICENCE, lambda name, log: shows[name](log))
    typer.echo(table[[c for c in _SHOWN_OF_VIEWS if c in table]].round(3).to_string())
    typer.echo(Path(next(iter(runs.values())).out).parent / "table.csv")


def _progress(steps: int, name: str = "", second: str = "aligned") -> Callable[[StepLog], None]:
    """Tells every tenth step how it goes: the loss and a ``second`` term, if any; ``name`` stands in front."""
    started: list[tuple[int, float]] = []

    def show(log: StepLog) -> None:
        if not started:
            started.append((log.step - 1, time.monotonic() - log.seconds))
        if log.step % 10 == 0 or log.step == steps:
            (first, since), now = started[0], time.monotonic()
            left = (now - since) / (log.step - first) * (steps - log.step)
            losses = f"loss {log.losses['total']:.3f}" + (f", {second} {log.losses[second]:.3f}" if second else "")
            typer.echo(f"{name}[{log.step}/{steps}] {losses}, about {left / 60:.0f} min left", err=True)

    return show
