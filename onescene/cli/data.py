"""``onescene data``: panoramas with distance of game maps, homes, rooms and public data sets; photographs without."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from onescene.cli.options import Out
from onescene.pipeline.seeds import MOST_SEED

group = typer.Typer(help="Make data with depth.", no_args_is_help=True)
BLOCK_PX = 32  # a small network of novel views has a pixel of its deepest level for such a block


def _whole_blocks(px: int) -> int:
    if px < BLOCK_PX or px % BLOCK_PX:
        raise typer.BadParameter(f"it must be a multiple of {BLOCK_PX} pixels, got {px}: no network takes other sizes")
    return px


Height = Annotated[int, typer.Option(help="Height of the panoramas [pixels].")]
_SHOWN_SKIPPED = 10
Views = Annotated[int, typer.Option(help="Displaced perspective views per panorama.")]
ViewPx = Annotated[int, typer.Option(help="Side of such a view [pixels].")]
Workers = Annotated[int, typer.Option(help="Processes.")]
PairPx = Annotated[
    int, typer.Option(callback=_whole_blocks, help=f"Side of the pictures [pixels], a multiple of {BLOCK_PX}.")
]
Seed = Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of everything drawn at random.")]


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
    views: Views = 0,
    view_px: ViewPx = 192,
    other_images: Annotated[
        bool, typer.Option("--other-images", help="Exchange the walls' images for others of the game.")
    ] = False,
    seed: Seed = 0,
    workers: Workers = 2,
) -> int:
    """Ray-trace Quake-format maps to panoramas with distance."""
    from onescene.data.maps.generate import MapsConfig, generate_dataset
    from onescene.data.splits import check_split

    check_split(split)
    config = dataclasses.replace(
        MapsConfig(split=split),
        **{
            "hw": (height, 2 * height),
            "points_per_map": points,
            "views_per_point": views,
            "view_px": view_px,
            "other_images": other_images,
            "seed": seed,
        },
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


@group.command()
def homes(
    furniture: Annotated[Path, typer.Option(help="Folder with Sweet Home 3D libraries (.sh3f) anywhere below it.")],
    out: Out,
    count: Annotated[int, typer.Option(help="Number of homes.")],
    textures: Annotated[
        Path | None,
        typer.Option(help="Folder with photographs of walls and floors, found by their names; default: paint."),
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation or heldout; whose furniture.")] = "train",
    height: Height = 192,
    points: Annotated[int, typer.Option(help="Panoramas per home at most.")] = 8,
    views: Views = 0,
    view_px: ViewPx = 192,
    seed: Seed = 0,
    workers: Workers = 2,
) -> int:
    """Furnish homes with models of real furniture, light them and ray-trace them, in the same files as the maps."""
    from onescene.data.homes.generate import HomesConfig, generate_homes

    config = HomesConfig(
        furniture=str(furniture),
        textures=str(textures) if textures else None,
        split=split,
        count=count,
        hw=(height, 2 * height),
        points=points,
        views_per_point=views,
        view_px=view_px,
        seed=seed,
        workers=workers,
    )
    index = generate_homes(out, config, _show)
    typer.echo(f"{out}: {len(index['maps'])} homes")
    return 0


@group.command()
def photos(
    packages: Annotated[
        Path, typer.Option(help="Folder below which the unpacked packages lie (onescene.data.photos).")
    ],
    out: Out,
    split: Annotated[str, typer.Option(help="train, validation or heldout.")] = "train",
    height: Annotated[int, typer.Option(help="Rows of the pictures at most [pixels].")] = 512,
) -> int:
    """Photographed panoramas out of public packages as 2:1 pictures: to train or judge an outpainter with."""
    from onescene.data.photos import write_photos

    files = write_photos(packages, out, split, height, lambda path: typer.echo(path, err=True))
    typer.echo(f"{out}: {len(files)} photographs")
    return 0


@group.command()
def sheet(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of packed panoramas, of whatever source.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Picture to write (.png or .jpg).")],
    count: Annotated[int, typer.Option(help="Panoramas at most.")] = 8,
    split: Annotated[str | None, typer.Option(help="train, validation or heldout; default: all that is there.")] = None,
) -> int:
    """Draw a few panoramas of a folder, each beside its distance: look at data before you train on it."""
    import torch

    from onescene.data.panoramas import pictures, spread_panoramas
    from onescene.io.atomic import atomic_path
    from onescene.plots.distance import colour_distance
    from onescene.plots.pictures import image_row

    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ValueError(f"--out must end in .png or .jpg, got {out}")
    found = spread_panoramas(folder, count, split)
    shown = []
    for p in found:
        shown += [pictures(p.rgb[None])[0], colour_distance(torch.from_numpy(p.distance_m))]
    titles = [title for p in found for title in (p.map_name, "distance")]
    with atomic_path(out) as path:
        image_row(shown, titles, width_in=14, columns=4).savefig(path, dpi=110)
    typer.echo(f"{out}: {len(found)} panoramas")
    return 0


@group.command()
def public(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The data set's folder, laid out as it is handed out.")],
    dataset: Annotated[str, typer.Option(help="structured3d, deep360, matterport3d or stanford2d3d.")],
    out: Out,
    split: Annotated[
        str | None, typer.Option(help="train, validation or heldout, as its makers divide it; default: all.")
    ] = None,
    height: Height = 192,
) -> int:
    """Pack a public data set's panoramas into the same files as the maps; damaged ones are named and left out."""
    from onescene.data.public import PublicSet, pack_public

    index = pack_public(PublicSet(dataset, folder, split, height), out, _show)
    skipped = {name: reason for entry in index["maps"].values() for name, reason in entry["skipped"].items()}
    show_skipped(skipped | dict.fromkeys(index["without_depth"], "its depth is missing"))
    entries = index["maps"].values()
    typer.echo(f"{out}: {sum(e['panoramas'] for e in entries)} panoramas of {len(entries)} scenes")
    return 0


@group.command()
def pairs(
    data: Annotated[
        list[str], typer.Option(help="Folder of panoramas with displaced views (data maps --views 4), or rooms.")
    ],
    out: Out,
    split: Annotated[str | None, typer.Option(help="train, validation or heldout; default: all that is there.")] = None,
    count: Annotated[int, typer.Option(help="Number of rooms, where the data is rooms.")] = 64,
    px: PairPx = 256,
    seed: Seed = 0,
) -> int:
    """Pair true views with what the small scaffold shows there: what `train views` learns from."""
    from onescene.data.view_scenes import pack_scenes
    from onescene.models.loading import load_scaffold
    from onescene.pipeline.view_scenes import PairConfig, open_posed, scene_of_panorama

    posed = open_posed(data, split, count, seed)
    network, config = load_scaffold()[0], PairConfig(px=px)
    names = {f"{i:06d}": i for i in range(len(posed))}
    asked = {"data": data, "split": split, "px": px, "seed": seed}
    asked |= {"count": count} if data == ["rooms"] else {}

    def make(name: str):
        return scene_of_panorama(posed, names[name], name, network, config)

    made = pack_scenes(names, make, out, _kept(len(posed)), asked)
    typer.echo(f"{out}: {made} scenes")
    return 0


@group.command()
def clips(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The data set's folder, laid out as it is handed out.")],
    dataset: Annotated[str, typer.Option(help="dl3dv or realestate10k.")],
    renders: Annotated[
        Path, typer.Option(help="Folder of <clip>/<frame>.png: a sparse reconstruction seen from the frames' cameras.")
    ],
    out: Out,
    split: Annotated[str | None, typer.Option(help="train or heldout; default: all that is there.")] = None,
    px: PairPx = 256,
) -> int:
    """Pair frames of a public data set with your reconstruction's renders: what `train views` learns from."""
    from onescene.data.public.clips import ClipConfig, read_clips, scene_of_clip
    from onescene.data.view_scenes import pack_scenes

    if not renders.is_dir():
        raise FileNotFoundError(f"no such folder: {renders}")
    found, config = {clip.name: clip for clip in read_clips(dataset, folder, split)}, ClipConfig(px=px)
    asked = {"data": str(folder), "dataset": dataset, "renders": str(renders), "px": px}
    made = pack_scenes(found, lambda n: scene_of_clip(found[n], renders, config), out, _kept(len(found)), asked)
    if not made:
        raise FileNotFoundError(f"no frame of {folder} has a render in {renders}: <clip>/<frame>.png are looked for")
    typer.echo(f"{out}: {made} scenes of {len(found)} clips")
    return 0


def _kept(total: int) -> Callable[[str, bool], None]:
    """Says how far a packing is."""
    done = itertools.count(1)
    return lambda name, kept: _show(name if kept else f"{name}: left out, it shows nothing", next(done), total)


def show_skipped(skipped: dict[str, str]) -> None:
    """Says on stderr how many panoramas were left out, and why the first of them."""
    for name, reason in list(skipped.items())[:_SHOWN_SKIPPED]:
        typer.echo(f"skipped {name}: {reason}", err=True)
    if len(skipped) > _SHOWN_SKIPPED:
        typer.echo(f"skipped {len(skipped)} panoramas in all", err=True)


def _show(name: str, done: int, total: int) -> None:
    typer.echo(f"[{done}/{total}] {name}", err=True)
