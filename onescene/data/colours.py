"""Colours and skies of packed panoramas and of pictures, reduced to one size: what the outpainter learns from."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, UInt8
from numpy import ndarray

from onescene.data.panoramas import SKY_CODE, list_maps
from onescene.data.splits import HELD_OUT_PANORAMAS, SHOWN_PANORAMAS


@dataclass(frozen=True)
class Colours:
    """Panoramas, and where each shows the sky.

    Attributes:
        rgb: RGB in [0, 255].
        sky: True where there is no surface; nowhere for a picture of which that is not known.
    """

    rgb: UInt8[ndarray, "n h w 3"]
    sky: Bool[ndarray, "n h w"]

    def __len__(self) -> int:
        return len(self.rgb)


def load_colours(folders: Sequence[str | Path], height: int, split: str) -> Colours:
    """The pictures of packed panoramas, averaged to ``height`` rows, and their skies.

    Args:
        folders: Made by ``onescene data maps|homes|rooms``.
        height: Rows; at most as many as the panoramas have.
        split: Of the maps.

    Raises:
        FileNotFoundError: a folder holds no packed map of the split.
        ValueError: a file is damaged, or lower than ``height``.
    """
    parts = []
    for folder in folders:
        names = list_maps(folder, split)
        if not names:
            raise FileNotFoundError(f"folder must hold packed maps of the split {split}, found none in {folder}")
        for name in names:
            path = Path(folder) / f"{name}.npz"
            try:
                with np.load(path) as stored:
                    rgb, sky = stored["rgb"], stored["log_distance"] == SKY_CODE  # alone: views stay packed
            except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
                raise ValueError(f"{path} must be a packed map, but it is damaged") from error
            mostly = shrink_colours(sky[..., None].repeat(3, -1) * np.uint8(255), height, str(path))[..., 0] > 127
            parts.append(Colours(shrink_colours(rgb, height, str(path)), mostly))
    return join_colours(parts)


def join_colours(parts: Sequence[Colours]) -> Colours:
    """Several sets of one size as one."""
    return Colours(np.concatenate([part.rgb for part in parts]), np.concatenate([part.sky for part in parts]))


def shrink_colours(rgb: UInt8[ndarray, "n h w 3"], height: int, where: str) -> UInt8[ndarray, "n h2 w2 3"]:
    """Panoramas averaged to ``height`` rows.

    Raises:
        ValueError: they have fewer; the sentence names ``where`` they are from.
    """
    if rgb.shape[1] < height:
        raise ValueError(f"panoramas must have at least {height} rows, got {rgb.shape[1]} in {where}")
    if rgb.shape[1] == height:
        return rgb
    x = torch.from_numpy(rgb).permute(0, 3, 1, 2).float()
    small = F.interpolate(x, (height, 2 * height), mode="area").round().byte()
    return np.ascontiguousarray(small.permute(0, 2, 3, 1).numpy())


def photos_to_train(folder: str | Path) -> list[Path]:
    """Pictures of a folder (``.png``, ``.jpg``), without those that are held out for measuring or shown as examples.

    A name counts as held out or shown if one of ``splits.HELD_OUT_PANORAMAS`` or ``SHOWN_PANORAMAS`` stands in it.

    Raises:
        FileNotFoundError: there is none.
    """
    kept_back = (*HELD_OUT_PANORAMAS, *SHOWN_PANORAMAS)
    found = sorted(p for p in Path(folder).glob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
    found = [p for p in found if not any(name in p.stem.lower() for name in kept_back)]
    if not found:
        raise FileNotFoundError(f"photos must be a folder of panoramas that may be trained on, found none in {folder}")
    return found
