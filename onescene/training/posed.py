"""Training data with displaced posed views: what a scaffold should look like from beside its centre."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from onescene.data.panoramas import PackedPanorama, PackedViews, iterate_panoramas
from onescene.data.rooms import render_views, sample_room
from onescene.data.sets import Item, RoomSet
from onescene.geometry.cubemap import face_intrinsics
from onescene.geometry.equirect import directions_from_lonlat, panorama_xy_from_directions
from onescene.types import Cameras

VIEW_FOV_DEG = 80.0  # of a room's views, as the maps' views have it


class PosedMaps:
    """The packed panoramas of a split with their displaced views, held in memory (1.6 MB each at 192 px with four).

    Args:
        folders: One or more, made by ``onescene data maps --views N``; panoramas without views are taken as well.
        split: ``train``, ``validation`` or ``heldout``; None = all that is there.

    Raises:
        FileNotFoundError: a folder holds no packed map of the split.
        ValueError: no panorama has views.
    """

    def __init__(self, *folders: str | Path, split: str | None = None) -> None:
        self._items: list[PackedPanorama] = []
        for folder in folders:
            found = list(iterate_panoramas(folder, split))
            if not found:
                raise FileNotFoundError(f"folder must hold packed maps of the split {split}, found none in {folder}")
            self._items += found
        if all(item.views is None for item in self._items):
            where = ", ".join(map(str, folders))
            raise ValueError(f"data must hold displaced views (onescene data maps --views 4), found none in {where}")

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        item = self._items[index]
        return item.rgb, item.distance_m, item.sky

    def views(self, index: int) -> PackedViews | None:
        """Displaced views of one panorama's place; None where it has none."""
        return self._items[index].views


class PosedRooms(RoomSet):
    """Analytic rooms with displaced views, rendered when they are first asked for and kept.

    Args:
        count: Number of rooms.
        hw: Size of the panoramas [pixels].
        seed: See :class:`onescene.data.sets.RoomSet`.
        views: Views per room.
        shift: Displacement as a share of the median distance, from and to (the maps' values).
    """

    def __init__(
        self,
        count: int,
        hw: tuple[int, int] = (192, 384),
        seed: int = 0,
        views: int = 4,
        shift: tuple[float, float] = (0.05, 0.25),
    ) -> None:
        super().__init__(count, hw, seed)
        self.views_per_room, self.shift = views, shift
        self._views: dict[int, PackedViews] = {}

    def views(self, index: int) -> PackedViews:
        """Displaced views of one room."""
        if index not in self._views:
            seed = self.seed * 100_000 + index
            cameras = self._cameras(self[index], np.random.default_rng(seed))
            seen = render_views(sample_room(seed), cameras)
            self._views[index] = PackedViews(
                rgb=(seen.rgb.permute(0, 2, 3, 1) * 255).round().byte().numpy(),
                depth_z=torch.where(seen.sky, torch.inf, seen.depth_z).float().numpy(),
                world_from_cam=cameras.world_from_cam.numpy(),
                K=cameras.K.numpy(),
            )
        return self._views[index]

    def _cameras(self, item: Item, draw: np.random.Generator) -> Cameras:
        """Upright cameras in free space: at most half-way to what the panorama sees in that direction."""
        _, distance, sky = item
        side, median = self.hw[0] // 2, float(np.median(distance[~sky]))
        poses = torch.eye(4).repeat(self.views_per_room, 1, 1)
        for pose in poses:
            lonlat = torch.tensor([draw.uniform(-math.pi, math.pi), draw.uniform(-0.4, 0.4)])
            way = directions_from_lonlat(lonlat)
            column, row = panorama_xy_from_directions(way, self.hw).long().tolist()
            free = float(distance[min(row, self.hw[0] - 1), column % self.hw[1]])
            pose[:3, 3] = way * min(median * draw.uniform(*self.shift), free / 2)
            ahead = directions_from_lonlat(torch.tensor([draw.uniform(-math.pi, math.pi), 0.0]))
            pose[:3, 2], pose[:3, 0] = ahead, torch.stack((ahead[2], torch.zeros(()), -ahead[0]))
        K = face_intrinsics(side, VIEW_FOV_DEG).repeat(len(poses), 1, 1)
        return Cameras(world_from_cam=poses, K=K, hw=(side, side))
