"""Data sets for training and evaluation: packed maps and analytic rooms behind one small protocol.

An item is RGB uint8 [H, 2H, 3], distance [m] float32 [H, 2H] and sky bool [H, 2H].
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from onescene.data.panoramas import decode_distance, list_maps, read_arrays

Item = tuple[np.ndarray, np.ndarray, np.ndarray]


class MapSet:
    """The packed panoramas of a split, held in memory (0.37 MB each at 192x384).

    Args:
        folder: Made by ``onescene data maps``.
        split: ``train``, ``validation`` or ``heldout``; None = all that is there.

    Raises:
        FileNotFoundError: the folder holds no packed map of the split.
    """

    def __init__(self, folder: str | Path, split: str | None = None) -> None:
        names = list_maps(folder, split)
        if not names:
            raise FileNotFoundError(f"folder must hold packed maps of the split {split}, found none in {folder}")
        self._rgb: list[np.ndarray] = []
        self._code: list[np.ndarray] = []
        self.names: list[str] = []
        for name in names:
            arrays = read_arrays(folder, name)
            self._rgb += list(arrays["rgb"])
            self._code += list(arrays["log_distance"])
            self.names += [name] * len(arrays["rgb"])

    def __len__(self) -> int:
        return len(self._rgb)

    def __getitem__(self, index: int) -> Item:
        code = self._code[index]
        return self._rgb[index], decode_distance(code), code == 0
