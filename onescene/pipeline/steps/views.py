"""Step 04: the scaffold is seen from new cameras, ``04_views/``.

With a method that needs networks, frames are kept as they are made (``views_kept.py``): the same step goes on there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.cubemap import FACES
from onescene.geometry.trajectories import fit_trajectory_scale, make_trajectory
from onescene.io.cameras import camera_files, load_cameras, save_cameras
from onescene.io.gaussians import load_gaussians
from onescene.io.images import load_distance, load_image, save_image
from onescene.io.video import save_video
from onescene.models.arithmetic import best_device
from onescene.models.loading import WeightFile
from onescene.models.seva.bundle import check_bundle, load_bundle
from onescene.pipeline.digests import digest_of_value
from onescene.pipeline.layout import HOLES_FILE, VIEWS, anchor_files, view_name
from onescene.pipeline.settings import RunSettings
from onescene.pipeline.step import Step, StepContext, made_from
from onescene.pipeline.steps.views_kept import KeptFrames
from onescene.pipeline.view_cameras import odd_about_cameras
from onescene.pipeline.view_settings import synthesis_config
from onescene.stages import views
from onescene.stages.diffusion_views import Guide
from onescene.types import Cameras

logger = logging.getLogger(__name__)
_SHAPING = ("trajectory", "frames", "radius_world", "view_hw", "view_fov_deg")
_GUIDING = ("view_memory", "view_sampling", "view_steps", "anchor_fov_deg", "seed")


def trajectory_cameras(settings: RunSettings, distance: torch.Tensor) -> Cameras:
    """The cameras of the named trajectories, each scaled to its reach and into the free space of the scene."""
    parts = []
    for name in settings.trajectory:
        cameras = make_trajectory(name, settings.frames, hw=settings.view_hw, fov_deg=settings.view_fov_deg)
        positions = cameras.world_from_cam[:, :3, 3]
        reach = float(positions.norm(dim=-1).max())
        if reach > 0:
            factor = fit_trajectory_scale(positions, distance, requested=settings.radius_world / reach)
            world_from_cam = cameras.world_from_cam.clone()
            world_from_cam[:, :3, 3] *= factor
            cameras = Cameras(world_from_cam=world_from_cam, K=cameras.K, hw=cameras.hw)
        parts.append(cameras)
    return Cameras.cat(parts)


def views_step(gaussians: Path, distance: Path, settings: RunSettings, cameras_file: Path | None = None) -> Step:
    """Makes the views of trajectories, or of the cameras in a file.

    Args:
        gaussians: The scaffold; the anchors lie in the run's folder beside its own.
        distance: Its distance map.
        settings: Of the run.
        cameras_file: Instead of the trajectories of the settings.
    """
    config = views.ViewsConfig(method=settings.method)
    inputs, weights, parameters = {"gaussians": gaussians}, (), {"method": settings.method, "fps": settings.fps}
    if cameras_file:
        inputs |= dict(zip(("cameras", "images"), camera_files(cameras_file), strict=False))  # the second of COLMAP
    else:
        inputs["distance"] = distance
        parameters |= {name: getattr(settings, name) for name in _SHAPING}
    if settings.method != "baseline":
        inputs |= anchor_files(gaussians.parents[1])
        weights = check_bundle(settings.view_weights)[1]
        parameters |= {name: getattr(settings, name) for name in _GUIDING}

    def make(context: StepContext) -> dict[str, Any]:
        cameras = context.given or trajectory_cameras(settings, load_distance(context.inputs["distance"]))
        scene, facts = load_gaussians(context.inputs["gaussians"]), {"method": settings.method, "frames": len(cameras)}
        if cameras_file:
            seen = load_distance(distance) if distance.is_file() else None
            facts["warnings"] = odd_about_cameras(cameras, seen, cameras_file)
            for sentence in facts["warnings"]:
                logger.warning(sentence)
        kept, guide = None, None
        if settings.method != "baseline":
            kept = KeptFrames(gaussians.parents[1], digest_of_value(made_from(step)), best_device())
            guide = _guide(settings, kept, context)
            facts["weights"] = [_as_fact(file) for file in guide.models.files]
        made = _written(views.iterate(scene, cameras, config, guide), len(cameras), context)
        save_video(made, context.folder / "flythrough.mp4", settings.fps)
        names = [view_name(v) for v in range(len(cameras))]
        save_cameras(cameras, context.folder / "transforms.json", file_paths=names)
        if kept:
            kept.remove()
        return facts

    step = Step(
        name=VIEWS,
        folder=VIEWS,
        make=make,
        inputs=inputs,
        parameters=parameters,
        weights=weights,
        code=(__name__,),
        read=lambda: load_cameras(cameras_file) if cameras_file else None,
    )
    return step


def _guide(settings: RunSettings, kept: KeptFrames, context: StepContext) -> Guide:
    """Networks and anchors of a run, and its frames that are kept."""
    faces = torch.stack([load_image(context.inputs[face]) for face in FACES])
    return replace(view_guide(settings, faces, kept.device), stored=kept.stored, keep=kept.keep)


def view_guide(
    settings: RunSettings, anchors: Float[Tensor, "6 3 face face"], device: torch.device | None = None
) -> Guide | None:
    """What guides views by diffusion as the settings want them; None with ``baseline``, which needs nothing.

    Args:
        settings: Method, weights and how to sample.
        anchors: The six faces in [0, 1].
        device: Of the networks; None: a GPU where there is one.
    """
    if settings.method == "baseline":
        return None
    models = load_bundle(settings.view_weights, device or best_device())
    return Guide(models=models, anchors=anchors, fov_deg=settings.anchor_fov_deg, config=synthesis_config(settings))


def _as_fact(file: WeightFile) -> dict[str, str]:
    return {"name": file.name, "file": file.path.name, "sha256": file.sha256, "licence": file.licence}


def _written(made: Iterator[views.ViewsOutput], count: int, context: StepContext) -> Iterator[torch.Tensor]:
    """Writes views one by one, passes each on to the film, and keeps what the next step needs of holes."""
    alpha, depth_z = [], []
    for v, view in enumerate(made):
        save_image(view.rgb[0], context.folder / view_name(v))
        alpha.append((view.alpha[0] * 255).round().byte().numpy())
        depth_z.append(view.depth_z[0].half().numpy())
        context.progress((v + 1) / count)
        yield view.rgb[0]
    with open(context.folder / HOLES_FILE, "wb") as file:
        np.savez(file, alpha=np.stack(alpha), depth_z=np.stack(depth_z))
