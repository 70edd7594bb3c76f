"""``onescene train``: networks from params files, resumable."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

NAMES = ("scaffold",)
LICENCE = "Apache-2.0"  # of weights trained with this kit


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(train)


def train(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to train: scaffold.")],
    params: Annotated[Path, typer.Option(help="YAML file, such as params/small/train_scaffold.yaml.")],
) -> int:
    """Train a network; the same command goes on where an interrupted one stopped."""
    if name not in NAMES:
        raise ValueError(f"NAME must be one of {', '.join(NAMES)}, got {name!r}")
    from onescene.data.sets import MapSet, RoomSet
    from onescene.pipeline.training import read_params, run_training

    settings = read_params(params)
    folders = [settings.data] if isinstance(settings.data, str) else settings.data
    data = RoomSet(settings.rooms, seed=settings.seed) if folders == ["rooms"] else MapSet(*folders, split="train")
    typer.echo(f"{len(data)} panoramas, {settings.steps} steps of {settings.batch}", err=True)
    started, first = time.monotonic(), None

    def show(log) -> None:
        nonlocal first
        first = first or log.step
        if log.step % 10 == 0 or log.step == settings.steps:
            left = (time.monotonic() - started) / (log.step - first + 1) * (settings.steps - log.step)
            losses = f"loss {log.losses['total']:.3f}, aligned {log.losses['aligned']:.3f}"
            typer.echo(f"[{log.step}/{settings.steps}] {losses}, about {left / 60:.0f} min left", err=True)

    typer.echo(run_training(settings, data, LICENCE, show))
    return 0
