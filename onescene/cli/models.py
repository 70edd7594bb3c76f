"""``onescene models``: what there is, and what a weights file holds."""

from __future__ import annotations

from dataclasses import fields
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
    from onescene.models.registry import ARCHITECTURES, MODELS
    from onescene.models.scaffolds import SCAFFOLDS
    from onescene.stages.panorama_methods import METHODS

    readable = dict.fromkeys((a.name for a in ARCHITECTURES), "its weights are read, no stage runs it")
    readable |= dict.fromkeys(SCAFFOLDS, "onescene scaffold --weights FILE runs it")
    of_views = ("SEVA", "one2scene-denoiser", "SD-2.1-VAE", "CLIP-ViT-H-14")
    readable |= dict.fromkeys(of_views, "onescene views --weights DIR runs it")
    for model in MODELS:
        state = "runs here" if model.preset == "small" else readable.get(model.name, "not in this version")
        typer.echo(f"{model.name} [{model.preset}: {state}]\n  {model.stage}; weights: {model.weights}")
        typer.echo(f"  licence: {model.licence}; needs {model.needs}")
    typer.echo("\nmethods of `onescene panorama --method NAME`:")
    for method in METHODS.values():
        typer.echo(f"{method.name}\n  {method.summary}; weights: {method.weights}")
        typer.echo(f"  licence: {method.licence}\n  memory: {method.memory}; time: {method.time}")
        if method.options:
            typer.echo(f"  panorama_options: {', '.join(f.name for f in fields(method.options))}")
    return 0


@group.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="safetensors, pt, pth or ckpt.")],
    convert: Annotated[Path | None, typer.Option(metavar="OUT", help="Write it as safetensors, if it fits.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Name every key, not the first 20.")] = False,
) -> int:
    """Say which model a weights file fits, and name every key that does not; nothing in the file is run."""
    from onescene.io.atomic import atomic_path
    from onescene.models import registry

    if convert is not None and convert.suffix != ".safetensors":
        raise ValueError(f"--convert must name a .safetensors file, got {convert}")
    found = registry.check_file(file)
    licence = next((m.licence for m in registry.MODELS if m.name == found.model), "not known")
    typer.echo(f"{file}: {found.tensors} tensors, {found.values:,} values, sha256 {found.sha256}")
    typer.echo(f"nearest model: {found.model}{' (the shipped file)' if found.shipped else ''}; licence: {licence}")
    if found.prefix:
        typer.echo(f"its keys stand behind the prefix {found.prefix}")
    shown = None if every else _SHOWN_KEYS
    if found.unused:
        typer.echo(f"known and never read {_named(found.unused, shown)}")
    if not found.report.fits:
        for name in ("missing", "unexpected", "wrong_shape"):
            if keys := getattr(found.report, name):
                typer.echo(f"{name.replace('_', ' ')} {_named(keys, shown)}")
        raise ValueError(f"the keys of {file} fit no model of this version")
    typer.echo("every key and shape fits")
    if convert is not None:
        with atomic_path(convert) as temporary:
            registry.convert(file, found, temporary)
        typer.echo(f"written: {convert}")
    return 0


@group.command()
def average(
    files: Annotated[list[Path], typer.Argument(metavar="FILE FILE...", help="Of one architecture.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The .safetensors file to write.")],
) -> int:
    """Write the mean of several trainings' weights (a model soup)."""
    from onescene.io.atomic import atomic_write_bytes
    from onescene.models.average import average_weights

    if out.suffix != ".safetensors":
        raise ValueError(f"--out must name a .safetensors file, got {out}")
    atomic_write_bytes(out, average_weights(files))
    typer.echo(f"written: {out}, the mean of {len(files)} files")
    return 0


def _named(keys: tuple[str, ...], shown: int | None) -> str:
    more = f", and {len(keys) - shown} more (--all names them)" if shown and len(keys) > shown else ""
    return f"({len(keys)}): {', '.join(keys[:shown])}{more}"
