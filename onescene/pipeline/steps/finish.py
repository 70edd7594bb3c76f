"""The last steps: what people open, at the top of the run's folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from onescene.io.atomic import atomic_path, atomic_write_text
from onescene.io.cameras import load_cameras
from onescene.io.gaussians import load_gaussians
from onescene.io.images import load_distance, load_image, load_panorama, load_photo
from onescene.io.video import save_video
from onescene.pipeline.layout import (
    anchor_files,
    cameras_file,
    distance_file,
    panorama_file,
    scaffold_file,
    scene_file,
    view_name,
)
from onescene.pipeline.settings import RunSettings
from onescene.pipeline.step import Step, StepContext
from onescene.plots import colour_distance, overview_figure
from onescene.splatting import render
from onescene.viewer import RunFiles, run_page

OVERVIEW_VIEWS = 6
OVERVIEW_DPI = 130  # 1560 pixels across


def page_step(out: Path) -> Step:
    """``scene.html``: scene, scaffold and panorama to walk through, the cameras with their pictures; one file."""
    pictures = {
        view_name(v): cameras_file(out).with_name(view_name(v)) for v in range(len(load_cameras(cameras_file(out))))
    }
    parts = {"scene": scene_file(out), "scaffold": scaffold_file(out), "panorama": panorama_file(out)}

    def make(context: StepContext) -> None:
        read = context.inputs
        files = RunFiles(
            **{name: read[name] for name in parts},
            cameras=read["cameras"],
            images=tuple(read[name] for name in pictures),
        )
        # The title is no parameter: a folder with another name is no reason to write its page again.
        atomic_write_text(context.folder / "scene.html", run_page(files, title=out.resolve().name))

    return Step(
        name="scene.html",
        folder=".",
        make=make,
        inputs={**parts, "cameras": cameras_file(out), **pictures},
        code=(__name__,),
    )


def film_step(out: Path, settings: RunSettings) -> Step:
    """``flythrough.mp4``: the fitted scene along the cameras of step 04."""

    def make(context: StepContext) -> None:
        gaussians, cameras = load_gaussians(context.inputs["scene"]), load_cameras(context.inputs["cameras"])

        def frames() -> Iterator[torch.Tensor]:
            for v in range(len(cameras)):
                with torch.no_grad():
                    yield render(gaussians, cameras[v]).rgb[0].clamp(0, 1)
                context.progress((v + 1) / len(cameras))

        save_video(frames(), context.folder / "flythrough.mp4", settings.fps)

    return Step(
        name="flythrough.mp4",
        folder=".",
        make=make,
        inputs={"scene": scene_file(out), "cameras": cameras_file(out)},
        parameters={"fps": settings.fps},
        code=(__name__,),
    )


def overview_step(out: Path, photo: Path | None, count: int) -> Step:
    """``overview.png``: photo, panorama, anchors, distance and novel views on one sheet."""
    chosen = sorted({round(i) for i in np.linspace(0, count - 1, min(OVERVIEW_VIEWS, count))})
    pictures = {view_name(v): cameras_file(out).with_name(view_name(v)) for v in chosen}
    inputs = {"panorama": panorama_file(out), "distance": distance_file(out), **anchor_files(out), **pictures}

    def make(context: StepContext) -> None:
        read = context.inputs
        figure = overview_figure(
            load_photo(read["photo"]).rgb if photo else None,
            load_panorama(read["panorama"]),
            torch.stack([load_image(read[face]) for face in anchor_files(out)]),
            colour_distance(load_distance(read["distance"])),
            [load_image(read[name]) for name in pictures],
        )
        with atomic_path(context.folder / "overview.png") as path:
            figure.savefig(path, dpi=OVERVIEW_DPI)

    return Step(
        name="overview.png",
        folder=".",
        make=make,
        inputs=inputs | ({"photo": photo} if photo else {}),
        code=(__name__,),
    )
