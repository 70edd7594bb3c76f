"""``onescene export``, ``render`` and ``view``: scenes as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onescene.cli.options import Out, RunFolder


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (export, render, view):
        app.command()(command)


def export(
    folder: RunFolder,
    format: Annotated[
        str,
        typer.Option(
            help="Gaussians: ply, compressed.ply, spz, splat, sog, glb; a page: html; the surface of the distance map: "
            "mesh (GLB with the panorama as its texture), points (PLY); for training elsewhere: colmap (a folder)."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Where [default: DIR/scene.FORMAT, DIR/mesh.glb, DIR/points.ply, DIR/colmap]."),
    ] = None,
    axes: Annotated[
        str,
        typer.Option(
            help="Axes of the program that takes the numbers as they are: opencv (x right, y down, z forward), blender "
            "(y forward, z up), unity (y up, left-handed), unreal (x forward, z up, left-handed, centimetres)."
        ),
    ] = "opencv",
    max_triangles: Annotated[int | None, typer.Option(help="Of a mesh [default: 500000].")] = None,
    max_points: Annotated[
        int | None, typer.Option(help="Of points [default: 500000] or of a COLMAP folder [default: 100000].")
    ] = None,
) -> int:
    """Write the scene of DIR as a file that other programs open."""
    from onescene.pipeline.export import ExportConfig, default_target, export_scene

    target = out or default_target(folder, format)
    config = ExportConfig(axes=axes, max_triangles=max_triangles, max_points=max_points)
    export_scene(folder, format, target, config)
    typer.echo(target)
    return 0


def render(
    gaussians: Annotated[Path, typer.Argument(help="Gaussians: .ply, .compressed.ply, .splat, .spz, .sog or .glb.")],
    cameras: Annotated[Path, typer.Option(help="Camera file (transforms.json).")],
    out: Out,
    backend: Annotated[str, typer.Option(help="auto, numba, gsplat or torch.")] = "auto",
) -> int:
    """Render a Gaussian file from given cameras, over black: NNN.png."""
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


def view(folder: RunFolder) -> int:
    """Open DIR in the browser: scene, scaffold and panorama, cameras with their pictures, keyframes; offline.

    Where scene.html does not show what DIR holds now (a run not through yet, a fit made again), view.html is written.
    """
    import webbrowser

    from onescene.pipeline.export import current_page

    page = current_page(folder)
    opened = webbrowser.open(page.resolve().as_uri())
    typer.echo(page if opened else f"{page} (no browser was found: open this file in one)")
    return 0
