"""Step 04: the scaffold is seen from new cameras, ``04_views/``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onescene.geometry.trajectories import fit_trajectory_scale, make_trajectory
from onescene.io.cameras import load_cameras, save_cameras
from onescene.io.gaussians import load_gaussians
from onescene.io.images import load_distance, save_image
from onescene.io.video import save_video
from onescene.pipeline.layout import HOLES_FILE, VIEWS, view_name
from onescene.pipeline.settings import RunSettings
from onescene.pipeline.step import Step, StepContext
from onescene.stages import views
from onescene.types import Cameras


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
    """Makes the views of trajectories, or of the cameras in a file."""
    config = views.ViewsConfig(method=settings.method)
    shaping = ("trajectory", "frames", "radius_world", "view_hw", "view_fov_deg")
    inputs = {"gaussians": gaussians, "cameras": cameras_file} if cameras_file else {"gaussians": gaussians}

    def make(context: StepContext) -> dict[str, Any]:
        cameras = context.given or trajectory_cameras(settings, load_distance(context.inputs["distance"]))
        scene = load_gaussians(context.inputs["gaussians"])
        save_video(_written(scene, cameras, config, context), context.folder / "flythrough.mp4", settings.fps)
        names = [view_name(v) for v in range(len(cameras))]
        save_cameras(cameras, context.folder / "transforms.json", file_paths=names)
        return {"method": settings.method, "frames": len(cameras)}

    return Step(
        name=VIEWS,
        folder=VIEWS,
        make=make,
        inputs=inputs if cameras_file else inputs | {"distance": distance},
        parameters={"method": settings.method, "fps": settings.fps}
        | ({} if cameras_file else {name: getattr(settings, name) for name in shaping}),
        code=(__name__,),
        read=lambda: load_cameras(cameras_file) if cameras_file else None,
    )


def _written(scene, cameras: Cameras, config: views.ViewsConfig, context: StepContext) -> Iterator[torch.Tensor]:
    """Makes views one by one, writes each, passes it on to the film, and keeps what the next step needs of holes."""
    alpha, depth_z = [], []
    for v, view in enumerate(views.iterate(scene, cameras, config)):
        save_image(view.rgb[0], context.folder / view_name(v))
        alpha.append((view.alpha[0] * 255).round().byte().numpy())
        depth_z.append(view.depth_z[0].half().numpy())
        context.progress((v + 1) / len(cameras))
        yield view.rgb[0]
    with open(context.folder / HOLES_FILE, "wb") as file:
        np.savez(file, alpha=np.stack(alpha), depth_z=np.stack(depth_z))
