"""``onescene evaluate``: numbers for depth maps, pictures, panoramas and camera poses, named by their conventions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onescene.cli.data import show_skipped

if TYPE_CHECKING:
    import pandas as pd

group = typer.Typer(help="Compare results with the truth; prints JSON.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(group, name="evaluate")


@group.command()
def depth(
    predicted: Annotated[Path, typer.Argument(help="Predicted depth or distance: .npy, [H, W] or [N, H, W].")],
    true: Annotated[Path, typer.Argument(help="True depth or distance; NaN, inf and <= 0 are left out.")],
    align: Annotated[str, typer.Option(help="median, scale_shift or none.")] = "median",
    weights: Annotated[str | None, typer.Option(help="latitude: weigh panorama pixels by their solid angle.")] = None,
) -> int:
    """Depth errors: AbsRel, RMSE, delta1 and their companions."""
    from onescene.metrics import depth_metrics

    maps = [_read_map(path) for path in (predicted, true)]
    if maps[0].shape != maps[1].shape:
        shapes = " and ".join(str(list(m.shape)) for m in maps)
        raise ValueError(f"predicted and true must have one shape, got {shapes}")
    _show(depth_metrics(*maps, align=align, weights=weights))
    return 0


@group.command()
def scaffold(
    data: Annotated[Path, typer.Option(help="Folder made by `onescene data`, or a public data set's own.")],
    split: Annotated[str | None, typer.Option(help="train, validation or heldout; default: all that is there.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="NAME|FILE", help="one2scene-small, or any scaffold's file; default: scaffold-small."),
    ] = None,
    gaussians: Annotated[str, typer.Option(help="auto, heads (the network's own) or lifted.")] = "auto",
    rules: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[,NAME...]", help="all, unifuse, one2scene-release, da2, metric: how depth is aligned."
        ),
    ] = None,
    latitude: Annotated[bool, typer.Option("--latitude", help="Weigh the rules' pixels by their solid angle.")] = False,
    dataset: Annotated[
        str | None,
        typer.Option(help="Which public data set --data is: structured3d, deep360, matterport3d or stanford2d3d."),
    ] = None,
    height: Annotated[int | None, typer.Option(help="Rows of a public data set's panoramas [default: 512].")] = None,
    every: Annotated[int, typer.Option(help="Take every n-th panorama.")] = 1,
    layout: Annotated[Path | None, typer.Option(help="Folder whose mean layout is a baseline too.")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file, a row per panorama.")] = None,
) -> int:
    """Depth, seams and displaced views of a scaffold network, beside a sphere and the mean layout."""
    from onescene.models.scaffolds import open_scaffold
    from onescene.pipeline.evaluation import EvaluationConfig, evaluate, layout_of
    from onescene.pipeline.table import check_table_file
    from onescene.stages.scaffold import ScaffoldConfig

    check_table_file(out)
    scores = _scores(rules, latitude)
    samples = _samples(data, dataset, split, height, every)
    network, _ = open_scaffold(weights)
    layout_rows = layout_of(layout) if layout else ()
    config = EvaluationConfig(scaffold=ScaffoldConfig(source=gaussians), layout=layout_rows, scores=scores)
    rows = evaluate(samples, network, config, lambda row: typer.echo(f"{row['name']} done", err=True))
    if dataset is not None:
        show_skipped(samples.skipped)
    frame = _table(rows, out, f"no panorama to evaluate in {data}")
    by_rule = {} if scores is None else scores.result()
    mean = frame.drop(columns=list(by_rule), errors="ignore").mean(numeric_only=True).to_dict()
    _show({"panoramas": len(frame), "mean": mean} | ({"rules": by_rule} if by_rule else {}))
    return 0


@group.command()
def views(
    data: Annotated[Path, typer.Option(help="Folder made by `onescene data maps` or `homes` with --views N.")],
    split: Annotated[str | None, typer.Option(help="train, validation or heldout; default: all that is there.")] = None,
    weights: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of networks; default: shipped.")] = None,
    every: Annotated[int, typer.Option(help="Take every n-th panorama.")] = 1,
    out: Annotated[Path | None, typer.Option(help="CSV file, a row per panorama.")] = None,
) -> int:
    """Displaced views against true ones: the bare scaffold, its holes filled, and what a network makes of it."""
    from onescene.models.scaffolds import open_scaffold
    from onescene.models.seva.bundle import load_bundle
    from onescene.pipeline.table import check_table_file
    from onescene.pipeline.view_evaluation import evaluate_views
    from onescene.training.perceptual import perceptual_distance, stlpips_path

    check_table_file(out)
    samples = _samples(data, None, split, None, every)
    models, (network, _) = load_bundle(weights), open_scaffold(None)
    distance = perceptual_distance("st-lpips") if stlpips_path() else None
    method = models.manifest.method or "dual-lora"
    rows = evaluate_views(
        samples, network, models, method, distance, lambda row: typer.echo(f"{row['name']} done", err=True)
    )
    frame = _table(rows, out, f"no panorama with displaced views in {data} (onescene data maps --views 4)")
    _show({"panoramas": len(frame), "method": method, "mean": frame.mean(numeric_only=True).to_dict()})
    return 0


@group.command()
def images(
    predicted: Annotated[Path, typer.Argument(metavar="DIR_A", help="Folder of pictures.")],
    true: Annotated[Path, typer.Argument(metavar="DIR_B", help="Folder of the true ones, of the same names.")],
) -> int:
    """Picture errors: PSNR and SSIM, per picture and on average."""
    from onescene.metrics import image_metrics
    from onescene.pipeline.pictures import read_pairs

    rows = {name: image_metrics(a, b) for name, a, b in read_pairs(predicted, true)}
    keys = next(iter(rows.values()))
    mean = {key: sum(row[key] for row in rows.values()) / len(rows) for key in keys if not key.endswith("_pooled")}
    _show({"mean": mean, "images": rows})
    return 0


@group.command()
def panorama(
    panoramas: Annotated[
        Path,
        typer.Argument(metavar="FILE|DIR", help="A 2:1 panorama, a folder of them, or one that `onescene data` made."),
    ],
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:OPTION=VALUE][,...]", help="Judge these methods, on photos cut out of the panoramas."
        ),
    ] = None,
    fov_deg: Annotated[float, typer.Option(help="Field of view of those photos' long side [degrees].")] = 75.0,
    height: Annotated[int, typer.Option(help="Rows of the panoramas that are made.")] = 512,
    seeds: Annotated[int, typer.Option(help="Panoramas per photo; 1: diversity is not told.")] = 2,
    split: Annotated[str | None, typer.Option(help="Of what `onescene data` made: train, validation, heldout.")] = None,
    every: Annotated[int, typer.Option(help="Take every n-th of those.")] = 1,
    out: Annotated[Path | None, typer.Option(help="CSV file: a row per panorama and method, then the means.")] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="With --methods: what they make, DIR/PANORAMA/METHOD.png, and DIR/sheet.jpg."),
    ] = None,
) -> int:
    """Seams, naturalness, horizon; with --methods also photo, colours, Frechet distance, diversity."""
    import pandas as pd

    from onescene.io.atomic import atomic_write_text
    from onescene.pipeline import panorama_evaluation as judge
    from onescene.pipeline.table import check_table_file

    if pictures is not None and methods is None:
        raise ValueError("--pictures shows what methods make: name some with --methods")
    check_table_file(out)
    album = judge.Album(pictures)
    truths = judge.read_truths(panoramas, height, split, every)
    if methods is None:
        rows = [{"panorama": name} | judge.measure_panorama(rgb) for name, rgb in truths]
        numbers = {row["panorama"]: {k: v for k, v in row.items() if k != "panorama"} for row in rows}
        if not rows:
            raise ValueError(f"no panorama to evaluate in {panoramas}")
    else:
        variants = {words: _variant(words, height, fov_deg) for words in methods.split(",")}
        config = judge.PanoramaEvaluation(fov_deg=fov_deg, height_px=height, seeds=seeds)
        done: list[dict] = []

        def keep(row: dict) -> None:  # an interrupted run leaves the rows that it has
            done.append(row)
            typer.echo(f"{row['panorama']}, {row['method']}: done", err=True)
            if out:
                atomic_write_text(out, pd.DataFrame(done).to_csv(index=False, float_format="%.5g"))

        rows, frechet = judge.evaluate_methods(truths, variants, config, keep, album.add)
        mean = pd.DataFrame(rows).groupby("method", sort=False).mean(numeric_only=True)
        mean[judge.FRECHET] = pd.Series(frechet)
        rows += [{"panorama": "mean", "method": k, **r.dropna().to_dict()} for k, r in mean.iterrows()]
        means = {k: r.dropna().to_dict() for k, r in mean.iterrows()}
        numbers = {"panoramas": len({row["panorama"] for row in done}), "mean": means}
    if out:
        atomic_write_text(out, pd.DataFrame(rows).to_csv(index=False, float_format="%.5g"))
    album.write_sheet()
    _show(numbers)
    return 0


@group.command()
def poses(
    estimated: Annotated[Path, typer.Argument(help="Camera file: transforms.json, TUM .txt or a COLMAP folder.")],
    true: Annotated[Path, typer.Argument(help="The true cameras, in the same order.")],
    align: Annotated[str, typer.Option(help="none, first, first_scale, furthest_scale or similarity.")] = "first",
) -> int:
    """Camera errors: RotErr, TransErr and CamMC."""
    from onescene.io import load_poses
    from onescene.metrics import pose_errors

    poses = [load_poses(path).double() for path in (estimated, true)]
    if len(poses[0]) != len(poses[1]):
        raise ValueError(f"both files must hold as many cameras, got {len(poses[0])} and {len(poses[1])}")
    _show(pose_errors(*poses, align=align))
    return 0


def _scores(rules: str | None, latitude: bool):
    """What gathers the errors under the rules that are asked for; None = none are."""
    from onescene.metrics import PanoramaDepthScores

    if rules is None:
        if latitude:
            raise ValueError("--latitude weighs the pixels of the rules; name some with --rules")
        return None
    names = [name.strip() for name in rules.split(",")]
    return PanoramaDepthScores("all" if names == ["all"] else names, "latitude" if latitude else None)


def _variant(words: str, height: int, fov_deg: float):
    """``anchored:heuristic=ad-hoc`` as settings of the panorama stage."""
    import yaml

    from onescene.stages.panorama import PanoramaConfig, check_config
    from onescene.stages.panorama_methods import method_named, options_from

    name, *pairs = words.split(":")
    if any("=" not in pair for pair in pairs):
        raise ValueError(f"--methods must be NAME or NAME:OPTION=VALUE, got {words!r}")
    try:
        values = {key: yaml.safe_load(value) for key, value in (pair.split("=", 1) for pair in pairs)}
    except yaml.YAMLError as error:
        raise ValueError(f"--methods: a value of {words!r} is not YAML") from error
    method = method_named(name)
    config = PanoramaConfig(name, height, fov_deg, options=options_from(method, values))
    check_config(config)
    method.files(config.options)  # what is missing is said before the first panorama
    return config


def _samples(data: Path, dataset: str | None, split: str | None, height: int | None, every: int):
    """What to evaluate on: packed panoramas, or a public data set's own files."""
    from onescene.data.public import PublicSet
    from onescene.pipeline.evaluation import MapSamples
    from onescene.pipeline.public_samples import PublicSamples

    if every < 1:
        raise ValueError(f"--every must be >= 1, got {every}")
    if dataset is not None:
        return PublicSamples(PublicSet(dataset, data, split, 512 if height is None else height), every)
    if height is not None:
        raise ValueError("--height is for --dataset: packed panoramas have the height that they were made with")
    return MapSamples(data, split, every)


def _table(rows: list[dict], out: Path | None, none: str) -> pd.DataFrame:
    """The rows, written where ``out`` says; ``none`` is the sentence where there are none."""
    import pandas as pd

    from onescene.io.atomic import atomic_write_text

    if not rows:
        raise ValueError(none)
    frame = pd.DataFrame(rows)
    if out:
        atomic_write_text(out, frame.to_csv(index=False, float_format="%.5g"))
    return frame


def _read_map(path: Path):
    import numpy as np
    import torch

    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, expected a .npy file")
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"not a .npy file of numbers: {path}") from error
    if not isinstance(array, np.ndarray) or array.ndim not in (2, 3) or array.dtype.kind not in "fiu":
        raise ValueError(f"{path} must hold real numbers of shape [H, W] or [N, H, W]")
    return torch.from_numpy(array.astype(np.float64))


def _show(numbers: dict) -> None:
    typer.echo(json.dumps(numbers, indent=2))
