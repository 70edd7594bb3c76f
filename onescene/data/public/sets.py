"""Public panoramas behind the protocol of every data set here: RGB, distance, sky."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from onescene.data.panoramas import check_height
from onescene.data.public.sources import source_named
from onescene.data.sets import Item
from onescene.data.splits import check_split


class PublicSet:
    """The panoramas of a public data set, read from its own files when they are asked for.

    An item is RGB uint8 [H, 2H, 3], distance [m] float32 [H, 2H] and sky bool [H, 2H]. Distance is NaN where nothing
    is known: no measurement, or beyond the papers' cap; it is infinite in the sky, which only rendered streets have.

    Args:
        dataset: One of ``SOURCES``.
        root: The folder that holds its files.
        split: ``train``, ``validation`` or ``heldout``, as its makers divide it; None = all that is there.
        height: Rows of the panoramas [pixels]; colours are averaged over areas, distances are taken at the centres.

    Attributes:
        frames: Those with both files, in the order of the items.
        without_depth: Pictures whose depth is missing, by their paths below the folder.

    Raises:
        FileNotFoundError: no such folder, or no panorama of that split in it.
        ValueError: an unknown data set or split, a split that the folder does not say, a height that is too small.
    """

    def __init__(self, dataset: str, root: str | Path, split: str | None = None, height: int = 192) -> None:
        self.source, self.root, self.height = source_named(dataset), Path(root), height
        if split is not None:
            check_split(split)
        check_height(height)
        if not self.root.is_dir():
            raise FileNotFoundError(f"no such folder: {root}")
        found = list(self.source.frames(self.root))
        if split is not None and found and all(frame.split is None for frame in found):
            raise ValueError(f"{root} does not say which scenes are {split}: scenes_{{train,val,test}}.txt are missing")
        wanted = [frame for frame in found if split in (None, frame.split)]
        self.frames = [frame for frame in wanted if frame.depth.is_file()]
        self.without_depth = [self._below(frame.rgb) for frame in wanted if not frame.depth.is_file()]
        if not self.frames:
            what = "no panorama with depth" if split is None else f"no panorama with depth of the split {split}"
            raise FileNotFoundError(f"{what} in {root}: {dataset} keeps them as {self.source.layout}")

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Item:
        """Reads a panorama.

        Raises:
            ValueError: a file of it is damaged, is no panorama, or knows no distance; the sentence names it.
        """
        frame = self.frames[index]
        rgb, metres = self.source.read_rgb(frame.rgb), self.source.read_depth(frame.depth)
        _check_panorama(rgb, frame.rgb)
        _check_panorama(metres, frame.depth)
        hw = (self.height, 2 * self.height)
        metres = _at_centres(metres, hw)
        sky = np.isposinf(metres)
        metres[(metres > self.source.cap_m) & ~sky] = np.nan
        if not np.isfinite(metres).any():
            raise ValueError(f"{frame.depth} holds no distance of at most {self.source.cap_m:g} m")
        return cv2.resize(rgb, hw[::-1], interpolation=cv2.INTER_AREA), metres, sky

    def name(self, index: int) -> str:
        """Where a panorama is from: its picture's path below the folder."""
        return self._below(self.frames[index].rgb)

    def _below(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def by_scene(self) -> dict[str, list[int]]:
        """Indices of each scene's panoramas."""
        scenes: dict[str, list[int]] = {}
        for index, frame in enumerate(self.frames):
            scenes.setdefault(frame.scene, []).append(index)
        return scenes


def _check_panorama(image: np.ndarray, path: Path) -> None:
    height, width = image.shape[:2]
    if width != 2 * height:
        raise ValueError(f"{path} must be twice as wide as high, got {width} x {height}")


def _at_centres(metres: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """The pixel in which each centre of the smaller map falls: no number between two surfaces."""
    rows, columns = (((np.arange(n) + 0.5) * size / n).astype(int) for n, size in zip(hw, metres.shape, strict=True))
    return metres[rows[:, None], columns]
