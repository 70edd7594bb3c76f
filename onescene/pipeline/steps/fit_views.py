"""What step 05 fits the scene to: views from the panorama's centre, novel views, and what is known of their depth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.cubemap import face_cameras
from onescene.geometry.perspective import camera_rays, crop_panorama
from onescene.io.images import load_panorama
from onescene.pipeline.layout import PANORAMA_MAX_PX
from onescene.pipeline.refine_settings import CROPPED
from onescene.pipeline.settings import RunSettings
from onescene.stages import refine
from onescene.stages.views import ViewsConfig
from onescene.types import Cameras

SMOOTH = 1.02  # beyond this, the mean of distances over that of disparities tells an edge


def views_to_fit(
    settings: RunSettings,
    read: Mapping[str, Path],
    anchors: Float[Tensor, "6 3 face face"],
    distance: Float[Tensor, "height width"],
    novel: tuple[Tensor, Tensor, Tensor, Cameras],
) -> dict[str, Any]:
    """The arguments of :func:`onescene.stages.refine.run` that say what is seen.

    Args:
        settings: Of the run.
        read: Where the panorama lies, for a recipe that sees it in crops.
        anchors: The six anchors.
        distance: The scaffold's distance panorama [world units].
        novel: Of the novel views: pictures, alpha of the scaffold in them, depth of their pixels, cameras.

    Returns:
        ``views_rgb``, ``cameras`` and ``extras``. Novel views alone may judge. Their depth is known where the scaffold
        covers them, that of the others away from edges; it counts where the settings give it a weight.
    """
    rgb, alpha, depth_z, seen = novel
    if settings.refine_recipe in CROPPED:
        panorama = load_panorama(read["panorama"], max_height_px=PANORAMA_MAX_PX)
        at_centre, cameras = refine.panorama_crops(panorama[None], torch.eye(4)[None], anchors.shape[-1])
    else:
        at_centre, cameras = anchors, face_cameras(anchors.shape[-1], settings.anchor_fov_deg)
    covered = alpha >= ViewsConfig().alpha_threshold
    known = [depth_at_centre(distance, cameras), torch.where(covered, depth_z, torch.nan)]
    may_judge = [False] * len(at_centre) + [True] * len(rgb)
    extras = refine.Supervision(depth_z=known, may_judge=may_judge)
    return {"views_rgb": [at_centre, rgb], "cameras": [cameras, seen], "extras": extras}


def depth_at_centre(distance: Float[Tensor, "height width"], cameras: Cameras) -> Float[Tensor, "v h w"]:
    """Depth along the axes of cameras that stand in a panorama's centre; NaN at edges, where pixels mix two surfaces.

    Notes: between pixels, distances and disparities are both taken linear; they agree on a surface, not across an edge.
    """
    far = crop_panorama(distance[None], cameras)[:, 0]
    near = 1 / crop_panorama(1 / distance[None], cameras)[:, 0]
    axes = cameras.world_from_cam[:, None, None, :3, 2]
    along = (camera_rays(cameras)[1] * axes).sum(-1)
    return torch.where(far <= SMOOTH * near, near * along, torch.nan)
