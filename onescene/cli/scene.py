"""``onescene run`` and its parts: ``panorama``, ``scaffold``, ``views``, ``refine``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from onescene.cli.options import Accept, Method, NegativePrompt, Out, PitchDeg, Prompt, RollDeg, RunFolder

Photo = Annotated[
    Path | None,
    typer.Argument(metavar="PHOTO", help="A photo: JPEG, PNG, TIFF, WebP, ...; not needed by a method from words."),
]
FovDeg = Annotated[float | None, typer.Option(help="Field of view of the photo's long side [degrees].")]
Trajectory = Annotated[str | None, typer.Option(metavar="NAME[,NAME...]", help="Ways of the camera.")]
Frames = Annotated[int | None, typer.Option(help="Views along each way.")]
Preset = Annotated[str, typer.Option(help="small: a CPU and the shipped weights; paper: the official ones.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything drawn at random.")]
Params = Annotated[Path | None, typer.Option(help="YAML file with any setting of the preset.")]
ScaffoldWeights = Annotated[
    Path | None,
    typer.Option(metavar="NAME|FILE", help="Another scaffold network: one2scene-small (the paper's), or a file."),
]
Gaussians = Annotated[
    str | None, typer.Option(help="Where the scaffold's Gaussians come from: auto, heads (the network's own), lifted.")
]
ViewMethod = Annotated[str | None, typer.Option(help="Of novel views: baseline, anchors-only, concat or dual-lora.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Make again what is up to date.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (run, panorama, scaffold, views, refine):
        app.command()(command)


def run(
    ctx: typer.Context,
    out: Out,
    photo: Annotated[Path | None, typer.Argument(metavar="PHOTO", help="A photo; not needed with --panorama.")] = None,
    fov_deg: FovDeg = None,
    panorama: Annotated[Path | None, typer.Option(help="Begin with this 2:1 panorama instead.")] = None,
    trajectory: Trajectory = None,
    frames: Frames = None,
    preset: Preset = "small",
    seed: Seed = None,
    params: Params = None,
    fresh: Fresh = False,
    method: Method = None,
    prompt: Prompt = None,
    accept_license: Accept = None,
    scaffold_weights: ScaffoldWeights = None,
    gaussians: Gaussians = None,
    views: ViewMethod = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the official networks, for --preset paper.")
    ] = None,
) -> int:
    """Turn a photo into a scene: scene.html, flythrough.mp4, gaussians, overview.png.

    A second run makes only what is missing or made from something else.
    """
    if photo is None and panorama is None and not prompt:
        raise ValueError("run needs a PHOTO, or a panorama given with --panorama FILE")
    from onescene.pipeline.job import STEPS

    _accept(accept_license)
    flags = {"panorama_method": method, "panorama_prompt": prompt, "fov_deg": fov_deg, "seed": seed, "method": views}
    flags |= _scaffold_flags(scaffold_weights, gaussians)
    settings = _settings(preset, params, weights=weights, trajectory=trajectory, frames=frames, **flags)
    _run(ctx, out, settings, STEPS, photo=photo, panorama=panorama, fresh=fresh)
    for name in ("scene.html", "flythrough.mp4", "05_scene/gaussians.ply", "overview.png"):
        typer.echo(out / name)
    return 0


def panorama(
    ctx: typer.Context,
    out: Out,
    photo: Photo = None,
    fov_deg: FovDeg = None,
    pitch_deg: PitchDeg = None,
    roll_deg: RollDeg = None,
    method: Method = None,
    prompt: Prompt = None,
    negative_prompt: NegativePrompt = None,
    weights: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the method's weights.")] = None,
    accept_license: Accept = None,
    seed: Seed = None,
    params: Params = None,
) -> int:
    """Turn a photo into a panorama: DIR/01_panorama/panorama.png and mask.png (white = generated).

    With --method file the PHOTO is a 2:1 panorama, taken as it is; some methods make one from --prompt alone.
    """
    _accept(accept_license)
    if photo is None and not prompt:
        raise ValueError("panorama needs a PHOTO, or words given with --prompt for a method that reads them")
    flags = {"panorama_method": method, "panorama_prompt": prompt, "panorama_negative_prompt": negative_prompt}
    flags |= {"fov_deg": fov_deg, "pitch_deg": pitch_deg, "roll_deg": roll_deg, "seed": seed}
    settings = _settings("small", params, panorama_options={"weights": str(weights)} if weights else None, **flags)
    _run(ctx, out, settings, ("01_panorama",), photo=photo)
    typer.echo(out / "01_panorama" / "panorama.png")
    return 0


def scaffold(
    ctx: typer.Context,
    panorama: Annotated[Path, typer.Argument(metavar="PANORAMA", help="A 2:1 panorama.")],
    out: Out,
    params: Params = None,
    weights: ScaffoldWeights = None,
    gaussians: Gaussians = None,
) -> int:
    """Turn a panorama into anchors (DIR/02_anchors) and a geometric scaffold (DIR/03_scaffold)."""
    settings = _settings("small", params, **_scaffold_flags(weights, gaussians))
    _run(ctx, out, settings, ("02_anchors", "03_scaffold"), panorama=panorama)
    typer.echo(out / "03_scaffold" / "gaussians.ply")
    return 0


def views(
    ctx: typer.Context,
    folder: RunFolder,
    cameras: Annotated[Path | None, typer.Option(help="Camera file (transforms.json).")] = None,
    trajectory: Trajectory = None,
    frames: Frames = None,
    method: ViewMethod = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of networks other than those that ship.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Frames made earlier: nearest, '3 anchors + 2 generated' or none.")
    ] = None,
    sampling: Annotated[str | None, typer.Option(help="The adapters' mask: trained or released.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of sampling; else as the weights ask for.")] = None,
    seed: Seed = None,
    params: Params = None,
) -> int:
    """See the scaffold of DIR from new cameras: DIR/04_views.

    Frames by diffusion are kept one by one: the same command goes on where an interrupted one stopped.
    """
    if cameras is not None and (trajectory is not None or frames is not None):
        raise ValueError("--cameras and --trajectory exclude each other; give one of them")
    _must_be_a_run(folder)
    flags = {"view_memory": memory, "view_sampling": sampling, "view_steps": steps, "seed": seed, "method": method}
    flags["view_weights"] = None if weights is None else str(weights)
    settings = _settings("small", params, trajectory=trajectory, frames=frames, **flags)
    _run(ctx, folder, settings, ("04_views",), cameras=cameras)
    typer.echo(folder / "04_views")
    return 0


def refine(
    ctx: typer.Context,
    folder: RunFolder,
    steps: Annotated[
        int | None, typer.Option(help="Steps of the fit, one view each; else the recipe's: 60, 500, 30000, 200.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Steps, rates and losses by name: small, true-views, matrix-3d, world-recipe.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Which Gaussians come and go: none, default (3DGS) or mcmc; else the recipe's.")
    ] = None,
    exposure: Annotated[
        str | None, typer.Option(help="Colours matched per view: none or affine; else the recipe's.")
    ] = None,
    distortion: Annotated[
        bool | None, typer.Option(help="Let each view bend a little (WorldRecipe); else the recipe's.")
    ] = None,
    depth_weight: Annotated[
        float | None, typer.Option(help="Of the scaffold's depth in the loss, on disparities; else the recipe's (0).")
    ] = None,
    hold_out: Annotated[float | None, typer.Option(help="Share of the novel views that only judge, in [0, 1).")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Looks (ten in all) without progress after which the fit ends; 0: never.")
    ] = None,
    params: Params = None,
    seed: Seed = None,
) -> int:
    """Fit the Gaussians of DIR to its anchors and novel views: DIR/05_scene/gaussians.ply.

    A fit that is interrupted goes on where it stopped when the same command is given again.
    """
    _must_be_a_run(folder)
    flags = {"refine_steps": steps, "refine_recipe": recipe, "refine_strategy": strategy}
    flags |= {"refine_exposure": exposure, "refine_distortion": distortion, "refine_depth_weight": depth_weight}
    flags |= {"refine_hold_out": hold_out, "refine_patience": patience}
    _run(ctx, folder, _settings("small", params, seed=seed, **flags), ("05_scene",))
    typer.echo(folder / "05_scene" / "gaussians.ply")
    return 0


def _settings(preset: str, params: Path | None, *, trajectory: str | None = None, **flags):
    from onescene.pipeline.settings import settings_from

    names = None if trajectory is None else tuple(t.strip() for t in trajectory.split(",") if t.strip())
    return settings_from(preset, params, trajectory=names, **flags)


def _accept(licences: list[str] | None) -> None:
    if licences:
        from onescene.pipeline.licences import accept

        accept(licences)


def _scaffold_flags(weights: Path | None, gaussians: str | None) -> dict[str, str | None]:
    return {"scaffold_weights": None if weights is None else str(weights), "scaffold_source": gaussians}


def _must_be_a_run(folder: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")


def _run(ctx: typer.Context, out: Path, settings, steps, **what) -> None:
    from onescene.cli.show import ProgressLine
    from onescene.pipeline.job import Job, run_job

    line = ProgressLine()
    command = shlex.join(["onescene", *ctx.obj])
    try:
        run_job(Job(out=out, settings=settings, steps=tuple(steps), command=command, **what), line)
    finally:
        line.close()
