"""``onescene export``, ``render`` and ``view``: scenes as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FORMATS = ("ply", "spz", "splat", "sog", "glb", "html")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (export, render, view):
        app.command()(command)


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")],
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")],
    out: Annotated[Path | None, typer.Option(help="File to write [default: DIR/scene.FORMAT].")] = None,
) -> int:
    """Write the scene of DIR as a file that other programs open."""
    if format not in FORMATS:
        raise ValueError(f"--format must be one of {', '.join(FORMATS)}, got {format!r}")
    source = _scene_of(folder)
    target = out or folder / f"scene.{format}"
    if format == "html":
        from onescene.io import atomic_write_text
        from onescene.pipeline.steps.finish import files_of_run
        from onescene.viewer import run_page

        atomic_write_text(target, run_page(files_of_run(folder), title=folder.resolve().name))
    else:
        if target.suffix != f".{format}":
            raise ValueError(f"--out must end in .{format}, got {target.name}")
        from onescene.io import load_gaussians, save_gaussians

        save_gaussians(load_gaussians(source), target)
    typer.echo(target)
    return 0


def _scene_of(folder: Path) -> Path:
    """The fitted scene of a run, or its scaffold where nothing was fitted."""
    from onescene.pipeline.layout import scaffold_file, scene_file

    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    for path in (scene_file(folder), scaffold_file(folder)):
        if path.is_file():
            return path
    raise FileNotFoundError(f"no scene in {folder}: run `onescene run PHOTO --out {folder}` first")


def render(
    gaussians: Annotated[Path, typer.Argument(help="A Gaussian file: .ply, .splat, .spz, .sog, .glb.")],
    cameras: Annotated[Path, typer.Option(help="Camera file (transforms.json).")],
    out: Annotated[Path, typer.Option(help="Folder for NNN.png; made if need be.")],
    backend: Annotated[str, typer.Option(help="auto, numba, gsplat or torch.")] = "auto",
) -> int:
    """Render a Gaussian file from given cameras, over black."""
    from onescene.io import load_cameras, load_gaussians
    from onescene.pipeline.layout import view_name
    from onescene.pipeline.pictures import write_pictures
    from onescene.splatting import BACKENDS
    from onescene.splatting import render as splat

    if backend not in BACKENDS:
        raise ValueError(f"--backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    scene, seen = load_gaussians(gaussians), load_cameras(cameras)
    frames = (splat(scene, seen[v], backend).rgb[0].clamp(0, 1) for v in range(len(seen)))
    write_pictures(((view_name(v), frame) for v, frame in enumerate(frames)), out)
    typer.echo(out)
    return 0


def view(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")]) -> int:
    """Open DIR in the browser: scene, scaffold and panorama, cameras with their pictures, keyframes; offline."""
    import webbrowser

    from onescene.io import atomic_write_text
    from onescene.pipeline.steps.finish import files_of_run
    from onescene.viewer import run_page

    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    page = folder / "scene.html"
    if not page.is_file():  # a run that is not through yet: what there is
        files = files_of_run(folder)
        if not (files.scene or files.scaffold or files.panorama):
            raise FileNotFoundError(
                f"no scene.html in {folder} and nothing to make it from: run `onescene run PHOTO --out {folder}`"
            )
        page = folder / "view.html"
        atomic_write_text(page, run_page(files, title=folder.resolve().name))
    opened = webbrowser.open(page.resolve().as_uri())
    typer.echo(page if opened else f"{page} (no browser was found: open this file in one)")
    return 0
