"""Step 05: the scaffold is fitted to its anchors and to the novel views, ``05_scene/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from onescene.geometry.cubemap import face_cameras
from onescene.io.cameras import load_cameras
from onescene.io.gaussians import load_gaussians, save_gaussians
from onescene.io.images import load_image
from onescene.pipeline.layout import (
    HOLES_FILE,
    SCENE,
    anchor_files,
    cameras_file,
    distance_file,
    scaffold_file,
    view_name,
)
from onescene.pipeline.settings import RunSettings
from onescene.pipeline.step import Step, StepContext
from onescene.stages import refine
from onescene.stages.sheet import backing_sheet
from onescene.types import Gaussians


def chosen_views(count: int, wanted: int) -> list[int]:
    """Indices of at most ``wanted`` of ``count`` views, evenly spread."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(wanted, count))})


def scene_step(out: Path, count: int, settings: RunSettings) -> Step:
    """Adds Gaussians where the views show what the scaffold lacks and a sheet behind its cracks, and fits all of them.

    Args:
        out: The run's folder, with steps 02 to 04 in it.
        count: Number of views there.
        settings: Of the run.
    """
    chosen = chosen_views(count, settings.refine_views)
    pictures = {view_name(v): cameras_file(out).with_name(view_name(v)) for v in chosen}
    cameras, holes = cameras_file(out), cameras_file(out).with_name(HOLES_FILE)
    inputs = {"gaussians": scaffold_file(out), "cameras": cameras, "holes": holes, **anchor_files(out), **pictures}
    inputs["distance"] = distance_file(out)

    def make(context: StepContext) -> dict[str, Any]:
        read = context.inputs
        gaussians, seen = load_gaussians(read["gaussians"]), load_cameras(read["cameras"])[chosen]
        rgb = torch.stack([load_image(read[name]) for name in pictures])
        with np.load(read["holes"]) as stored:
            alpha = torch.from_numpy(stored["alpha"][chosen]).float() / 255
            depth_z = torch.from_numpy(stored["depth_z"][chosen]).float()
        whole = refine.add_hole_gaussians(gaussians, rgb, alpha, depth_z, seen)
        anchors = torch.stack([load_image(read[face]) for face in anchor_files(out)])
        distance = torch.from_numpy(np.load(read["distance"]))
        whole = Gaussians.cat([whole, backing_sheet(anchors, distance, settings.anchor_fov_deg)])
        at_centre = face_cameras(anchors.shape[-1], settings.anchor_fov_deg)
        config = refine.RefineConfig(
            steps=settings.refine_steps, seed=settings.seed, check_every=settings.refine_steps or 1
        )
        fitted = refine.run(whole, [anchors, rgb], [at_centre, seen], config, context.progress)
        save_gaussians(fitted.gaussians, context.folder / "gaussians.ply")
        return {
            "gaussians": len(fitted.gaussians),
            "gaussians_added": len(whole) - len(gaussians),
            "psnr_db": [round(check.psnr_db, 2) for check in fitted.history],
        }

    names = ("refine_steps", "refine_views", "anchor_fov_deg", "seed")
    return Step(
        name=SCENE,
        folder=SCENE,
        make=make,
        inputs=inputs,
        parameters={name: getattr(settings, name) for name in names},
        code=(__name__,),
    )
