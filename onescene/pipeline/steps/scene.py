"""Step 05: the scaffold is fitted to its anchors and to the novel views, ``05_scene/``.

A fit that is stopped, or takes longer than half a minute, is kept beside the step's record, in ``fit-<key>.pt``: the
same step goes on from there, and takes the file away when it is through.
"""

from __future__ import annotations

import logging
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onescene.io.atomic import atomic_path
from onescene.io.cameras import load_cameras
from onescene.io.gaussians import load_gaussians, save_gaussians
from onescene.io.images import load_image
from onescene.pipeline.digests import digest_of_value
from onescene.pipeline.layout import (
    HOLES_FILE,
    SCENE,
    anchor_files,
    cameras_file,
    distance_file,
    panorama_file,
    scaffold_file,
    view_name,
)
from onescene.pipeline.pictures import load_of_size
from onescene.pipeline.refine_settings import CROPPED, refine_config
from onescene.pipeline.settings import RunSettings
from onescene.pipeline.step import Step, StepContext, made_from
from onescene.pipeline.steps.fit_views import views_to_fit
from onescene.pipeline.workspace import STATE
from onescene.stages import refine
from onescene.stages.sheet import backing_sheet
from onescene.types import Gaussians

logger = logging.getLogger(__name__)


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
    if settings.refine_recipe in CROPPED:
        inputs["panorama"] = panorama_file(out)

    def make(context: StepContext) -> dict[str, Any]:
        read = context.inputs
        gaussians, seen = load_gaussians(read["gaussians"]), load_cameras(read["cameras"])[chosen]
        rgb = torch.stack([load_of_size(read[name], seen.hw, f"view {name}") for name in pictures])
        with np.load(read["holes"]) as stored:
            alpha = torch.from_numpy(stored["alpha"][chosen]).float() / 255
            depth_z = torch.from_numpy(stored["depth_z"][chosen]).float()
        whole = refine.add_hole_gaussians(gaussians, rgb, alpha, depth_z, seen)
        anchors = torch.stack([load_image(read[face]) for face in anchor_files(out)])
        distance = torch.from_numpy(np.load(read["distance"]))
        whole = Gaussians.cat([whole, backing_sheet(anchors, distance, settings.anchor_fov_deg)])
        views = views_to_fit(settings, read, anchors, distance, (rgb, alpha, depth_z, seen))
        kept = _kept_fit(out, digest_of_value(made_from(step)))
        fitted = _fitted(whole, views, refine_config(settings), kept, context)
        save_gaussians(fitted.gaussians, context.folder / "gaussians.ply")
        kept.unlink(missing_ok=True)
        return {
            "gaussians": len(fitted.gaussians),
            "gaussians_added": len(whole) - len(gaussians),
            "steps": len(fitted.losses),
            "psnr_db": [round(check.psnr_db, 2) for check in fitted.history],
        }

    names = [name for name in asdict(settings) if name.startswith("refine_")]
    step = Step(
        name=SCENE,
        folder=SCENE,
        make=make,
        inputs=inputs,
        parameters={name: getattr(settings, name) for name in (*names, "anchor_fov_deg", "seed")},
        code=(__name__,),
    )
    return step


def _kept_fit(out: Path, key: str) -> Path:
    """Where a fit made from this is kept; those made from anything else are no use any more."""
    path = out / STATE / f"fit-{key[:16]}.pt"
    for other in set(path.parent.glob("fit-*.pt")) - {path}:
        other.unlink(missing_ok=True)
    return path


def _fitted(
    start: Gaussians,
    views: dict[str, Any],
    config: refine.RefineConfig,
    kept: Path,
    context: StepContext,
) -> refine.RefineOutput:
    """Fits, from where a stopped fit was kept if there is one."""

    def save(state: dict[str, Any]) -> None:
        with atomic_path(kept) as path:
            torch.save(state, path)

    def run(resume: dict[str, Any] | None) -> refine.RefineOutput:
        keep = {"progress": context.progress, "checkpoint": refine.Checkpoint(save, resume)}
        return refine.run(start, config=config, **views, **keep)

    try:
        return run(_kept_state(kept))
    except refine.AnotherFitError as error:  # other versions or another processor: no number is quite the same
        logger.warning("%s is not taken up, the fit begins again: %s", kept, error)
        return run(None)


def _kept_state(path: Path) -> dict[str, Any] | None:
    """The state of a stopped fit; None if there is none that can be read."""
    try:
        return torch.load(path, weights_only=True) if path.is_file() else None
    except (RuntimeError, EOFError, pickle.UnpicklingError):
        logger.warning("%s can not be read, the fit begins again", path)
        return None
