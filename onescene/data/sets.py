"""Data sets for training and evaluation: packed maps and analytic rooms behind one small protocol.

An item is RGB uint8 [H, 2H, 3], distance [m] float32 [H, 2H] (NaN where it is not known) and sky bool [H, 2H].
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from onescene.data.panoramas import check_height, decode_panorama, list_maps, read_arrays
from onescene.data.rooms import render_panorama, sample_room

Item = tuple[np.ndarray, np.ndarray, np.ndarray]
_KEPT = ("rgb", "log_distance", "unknown")


class MapSet:
    """The packed panoramas of a split, held in memory (0.37 MB each at 192x384).

    Args:
        folders: One or more, made by ``onescene data maps`` or ``onescene data rooms``.
        split: ``train``, ``validation`` or ``heldout``; None = all that is there.

    Raises:
        FileNotFoundError: the folder holds no packed map of the split.
    """

    def __init__(self, *folders: str | Path, split: str | None = None) -> None:
        self._places: list[tuple[dict[str, np.ndarray], int]] = []  # a file's arrays, and which of its panoramas
        self.names: list[str] = []
        for folder in folders:
            names = list_maps(folder, split)
            if not names:
                raise FileNotFoundError(f"folder must hold packed maps of the split {split}, found none in {folder}")
            for name in names:
                arrays = {k: v for k, v in read_arrays(folder, name).items() if k in _KEPT}
                self._places += [(arrays, i) for i in range(len(arrays["rgb"]))]
                self.names += [name] * len(arrays["rgb"])

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Item:
        arrays, place = self._places[index]
        return arrays["rgb"][place], *decode_panorama(arrays, place)


class RoomSet:
    """Analytic rooms, rendered when they are first asked for and kept.

    Args:
        count: Number of rooms.
        hw: Size of the panoramas [pixels].
        seed: The rooms' seeds are ``seed * 100_000 + i``.

    Raises:
        ValueError: ``count`` < 1, or panoramas too low to show anything.
    """

    def __init__(self, count: int, hw: tuple[int, int] = (192, 384), seed: int = 0) -> None:
        if count < 1:
            raise ValueError(f"count must be >= 1, got {count}")
        check_height(hw[0])
        self.count, self.hw, self.seed = count, hw, seed
        self._kept: dict[int, Item] = {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < self.count:
            raise IndexError(f"index must be in [0, {self.count}), got {index}")
        if index not in self._kept:
            self._kept[index] = self.render(index)
        return self._kept[index]

    def render(self, index: int) -> Item:
        """Renders one room without keeping it."""
        seen = render_panorama(sample_room(self.seed * 100_000 + index), self.hw)
        rgb = (seen.rgb.permute(1, 2, 0) * 255).round().byte().numpy()
        return rgb, seen.distance.float().numpy(), seen.sky.numpy()
