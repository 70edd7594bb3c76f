"""``onescene data``: panoramas with exact distance, from the maps of free games or from analytic rooms."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

group = typer.Typer(help="Make data with exact depth.", no_args_is_help=True)
Out = Annotated[Path, typer.Option(help="Folder to write into; what is there is kept.")]
Height = Annotated[int, typer.Option(help="Height of the panoramas [pixels].")]
Seed = Annotated[int, typer.Option(help="Seed of everything drawn at random.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(group, name="data")


@group.command()
def maps(
    packs: Annotated[Path, typer.Option(help="Folder with the games' pk3 files anywhere below it.")],
    out: Out,
    split: Annotated[str, typer.Option(help="train, validation or heldout; split by map family.")] = "train",
    height: Height = 192,
    points: Annotated[int, typer.Option(help="Panoramas per map at most.")] = 26,
    views: Annotated[int, typer.Option(help="Displaced perspective views per panorama.")] = 0,
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> int:
    """Ray-trace Quake-format maps to panoramas with distance."""
    from onescene.data.maps.generate import MapsConfig, generate_dataset
    from onescene.data.splits import check_split

    check_split(split)
    config = dataclasses.replace(
        MapsConfig(split=split),
        **{"hw": (height, 2 * height), "points_per_map": points, "views_per_point": views, "seed": seed},
        workers=workers,
    )
    index = generate_dataset(packs, out, config, _show)
    entries = index["maps"].values()
    typer.echo(f"{out}: {sum(e.get('panoramas', 0) for e in entries)} panoramas of {len(entries)} maps")
    return 0


@group.command()
def rooms(
    out: Out,
    count: Annotated[int, typer.Option(help="Number of rooms.")],
    height: Height = 192,
    seed: Seed = 0,
) -> int:
    """Render analytic rooms to panoramas with distance, in the same files as the maps."""
    from onescene.data.packed_rooms import generate_rooms

    generate_rooms(out, count, (height, 2 * height), seed, _show)
    typer.echo(f"{out}: {count} rooms")
    return 0


def _show(name: str, done: int, total: int) -> None:
    typer.echo(f"[{done}/{total}] {name}", err=True)
