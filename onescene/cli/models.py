"""``onescene models``: what there is, and what a weights file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

group = typer.Typer(help="List the models; check a weights file.", no_args_is_help=True)
_SHOWN_KEYS = 20


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(group, name="models")


@group.command("list")
def list_models() -> int:
    """Name, stage, weights, licence and needs of every model."""
    from onescene.models.registry import MODELS

    for model in MODELS:
        state = "runs here" if model.preset == "small" else "not in this version"
        typer.echo(f"{model.name} [{model.preset}: {state}]\n  {model.stage}; weights: {model.weights}")
        typer.echo(f"  licence: {model.licence}; needs {model.needs}")
    return 0


@group.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="safetensors, pt, pth or ckpt.")]) -> int:
    """Say which model a weights file fits, and name every key that does not; nothing in the file is run."""
    from onescene.models.registry import check_file

    found = check_file(file)
    typer.echo(f"{file}: {found.tensors} tensors, {found.values:,} values, sha256 {found.sha256}")
    typer.echo(f"nearest model: {found.model}{' (the shipped file)' if found.shipped else ''}")
    if found.report.fits:
        typer.echo("every key and shape fits")
        return 0
    for name in ("missing", "unexpected", "wrong_shape"):
        keys = getattr(found.report, name)
        if keys:
            more = f", and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
            typer.echo(f"{name.replace('_', ' ')} ({len(keys)}): {', '.join(keys[:_SHOWN_KEYS])}{more}")
    raise ValueError(f"the keys of {file} fit no model of this version")
