"""Analytic rooms as packed panoramas, in the same files as the maps: ``rooms__<seed>_<first>.npz``, 16 rooms each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from onescene.data.panoramas import check_out_dir, encode_distance, write_arrays, write_index
from onescene.data.sets import RoomSet

ROOMS_PER_FILE = 16


def generate_rooms(
    out_dir: str | Path,
    count: int,
    hw: tuple[int, int] = (192, 384),
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Path]:
    """Renders rooms into a folder of packed panoramas; a file that is there is kept.

    Args:
        out_dir: Folder to write to.
        count: Number of rooms.
        hw: Size of the panoramas [pixels].
        seed: See :class:`onescene.data.sets.RoomSet`.
        progress: Called with the last file's name, how many rooms are done, and how many there are.

    Raises:
        ValueError: ``count`` < 1, or ``out_dir`` is a file.
    """
    out = check_out_dir(out_dir)
    rooms = RoomSet(count, hw, seed)
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for first in range(0, count, ROOMS_PER_FILE):
        last = min(first + ROOMS_PER_FILE, count)
        path = out / f"rooms__{seed}_{first:05d}_{last - first}_{hw[0]}.npz"
        if not path.is_file():
            _write(path, [rooms.render(i) for i in range(first, last)])
        paths.append(path)
        if progress:
            progress(path.name, last, count)
    index = {"maps": {p.stem: {} for p in paths}, "parameters": {"rooms": count, "hw": list(hw), "seed": seed}}
    write_index(out, index)
    return paths


def _write(path: Path, items: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    distance = [np.where(sky, np.inf, d) for _, d, sky in items]
    rgb, code = np.stack([item[0] for item in items]), np.stack([encode_distance(d) for d in distance])
    write_arrays(path, {"rgb": rgb, "log_distance": code})
