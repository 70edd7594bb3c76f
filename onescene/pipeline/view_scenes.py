"""Training scenes for novel views out of panoramas with displaced true views: the small scaffold is the reconstruction.

What a panorama's scaffold shows from beside its centre has the holes, the blur and the misplaced walls that the job's
renders have, because it is made by the same stage.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from onescene.data.panoramas import pictures
from onescene.data.view_scenes import ViewScene
from onescene.geometry.cubemap import face_cameras
from onescene.geometry.plucker import normalised_intrinsics
from onescene.models.scaffold import CubeScaffold
from onescene.stages import scaffold
from onescene.stages.fill import seen_whole
from onescene.training.batches import PosedSet
from onescene.training.posed import PosedMaps, PosedRooms
from onescene.types import Cameras


@dataclass(frozen=True)
class PairConfig:
    """How scenes are made."""

    px: int = 256  # side of all pictures [pixels]
    scaffold: scaffold.ScaffoldConfig = field(default_factory=scaffold.ScaffoldConfig)  # as the main job has it


def open_posed(folders: list[str], split: str | None, rooms: int, seed: int) -> PosedSet:
    """Panoramas with displaced true views: packed ones, or rooms made when they are asked for.

    Raises:
        FileNotFoundError: a folder holds no packed panorama of the split.
        ValueError: no panorama has views, or rooms are mixed with folders.
    """
    if "rooms" in folders and len(folders) > 1:
        raise ValueError(f"--data must be folders or rooms, got {', '.join(folders)}")
    return PosedRooms(rooms, seed=seed) if folders == ["rooms"] else PosedMaps(*folders, split=split)


@torch.no_grad()
def scene_of_panorama(
    data: PosedSet, index: int, name: str, network: CubeScaffold, config: PairConfig = PairConfig()
) -> ViewScene | None:
    """One panorama's scene: its six faces, its displaced true views, and the scaffold seen from there.

    The scaffold has the scale of its own guess; it is brought to the true median distance, since what is to be learnt
    is its shape's mistakes. Where true views are displaced in metres, nothing else could be compared.

    Returns:
        The scene in world units of 2 per median distance, as the job has them; None where the panorama has no views.
    """
    packed = data.views(index)
    if packed is None:
        return None
    rgb, distance_m, sky = data[index]
    panorama = torch.from_numpy(rgb).permute(2, 0, 1).float() / 255
    made = scaffold.run(panorama, network, config.scaffold)
    known = torch.from_numpy(~sky & np.isfinite(distance_m))
    if not bool(known.any()):
        return None
    predicted = F.interpolate(made.distance[None, None], tuple(distance_m.shape), mode="nearest")[0, 0]
    units_per_metre = float(predicted[known].median() / torch.from_numpy(distance_m)[known].median())
    side = packed.rgb.shape[1]
    world_from_cam = torch.from_numpy(packed.world_from_cam).clone()
    world_from_cam[:, :3, 3] *= units_per_metre
    cameras = Cameras(world_from_cam=world_from_cam, K=torch.from_numpy(packed.K), hw=(side, packed.rgb.shape[2]))
    cameras = cameras.resized((config.px, config.px))
    true = pictures(packed.rgb)
    seen = [seen_whole(made.gaussians, cameras[i]) for i in range(len(cameras))]
    faces = face_cameras(config.px, config.scaffold.fov_deg)
    return ViewScene(
        name=name,
        clean_rgb=_bytes(_resized(made.faces, config.px)),
        clean_world_from_cam=faces.world_from_cam.numpy(),
        clean_K=normalised_intrinsics(faces.K, faces.hw).numpy(),
        true_rgb=_bytes(_resized(true, config.px)),
        rendered_rgb=_bytes(torch.cat([out.rgb for out, *_ in seen]).clamp(0, 1)),
        whole_rgb=_bytes(torch.stack([whole for _, whole, *_ in seen])),
        world_from_cam=world_from_cam.numpy(),
        K=normalised_intrinsics(cameras.K, cameras.hw).numpy(),
    )


def _resized(rgb: Tensor, px: int) -> Tensor:
    return F.interpolate(rgb, (px, px), mode="bilinear", antialias=True) if rgb.shape[-1] != px else rgb


def _bytes(rgb: Tensor) -> np.ndarray:
    return (rgb.permute(0, 2, 3, 1) * 255).round().clamp(0, 255).byte().numpy()
