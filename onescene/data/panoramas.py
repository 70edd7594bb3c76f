"""Packed panoramas with distance: how a folder of them is laid out, written and read.

A folder holds one `<game>__<map>.npz` per map and an `index.json`. Each file has

* `rgb` uint8 [N, H, 2H, 3] and `log_distance` uint16 [N, H, 2H] (see `encode_distance`; 0 = sky),
* where not every distance is known, `unknown` bool [N, H, 2H],
* of maps, `points_m` [N, 3] and `yaw_rad` [N]: where in the map each panorama stands and looks,
* with views also `view_rgb` uint8 [N, V, h, w, 3], `view_depth_z` float32 [N, V, h, w] [m] (inf = sky),
  `view_world_from_cam` float32 [N, V, 4, 4] in the panorama's frame [m] and `view_K` float32 [N, V, 3, 3].
"""

from __future__ import annotations

import itertools
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8, UInt16
from numpy import ndarray
from torch import Tensor

from onescene.data.splits import check_split, split_of

MIN_DISTANCE_M, MAX_DISTANCE_M = 0.05, 1000.0
MIN_HEIGHT = 16  # rows of a panorama
SKY_CODE = 0  # of a distance: no surface
CODES = 65534  # 1 to 65535; 0 is the sky
INDEX_NAME = "index.json"


@dataclass(frozen=True, kw_only=True)
class PackedViews:
    """Displaced perspective views of one panorama's place.

    Attributes:
        rgb: [V, h, w, 3] uint8.
        depth_z: [V, h, w] [m]; inf = sky.
        world_from_cam: [V, 4, 4] in the panorama's frame [m].
        K: [V, 3, 3] [pixels].
    """

    rgb: UInt8[ndarray, "v h w 3"]
    depth_z: Float32[ndarray, "v h w"]
    world_from_cam: Float32[ndarray, "v 4 4"]
    K: Float32[ndarray, "v 3 3"]


@dataclass(frozen=True, kw_only=True)
class PackedPanorama:
    """One panorama with exact distance.

    Attributes:
        map_name: `<game>__<map>`.
        rgb: [H, 2H, 3] uint8.
        distance_m: [H, 2H] float32, along each ray; inf = sky, NaN = not known.
        sky: [H, 2H] bool.
        views: Displaced views, or None.
    """

    map_name: str
    rgb: UInt8[ndarray, "height width 3"]
    distance_m: Float32[ndarray, "height width"]
    sky: Bool[ndarray, "height width"]
    views: PackedViews | None = None


def encode_distance(distance_m: Float[ndarray, "*n"]) -> UInt16[ndarray, "*n"]:
    """Codes distances [m] in 16 bits, evenly in their logarithm (steps of 0.015 %); infinity becomes 0.

    Distances outside [0.05, 1000] m are clamped.
    """
    finite = np.isfinite(distance_m)
    low, high = np.log(MIN_DISTANCE_M), np.log(MAX_DISTANCE_M)
    share = (np.log(np.clip(np.where(finite, distance_m, 1.0), MIN_DISTANCE_M, MAX_DISTANCE_M)) - low) / (high - low)
    return np.where(finite, 1 + np.rint(share * (CODES - 1)), 0).astype(np.uint16)


def decode_distance(code: UInt16[ndarray, "*n"]) -> Float32[ndarray, "*n"]:
    """Distances [m] float32 of 16-bit codes; 0 becomes infinity."""
    low, high = np.log(MIN_DISTANCE_M), np.log(MAX_DISTANCE_M)
    distance = np.exp(low + (code.astype(np.float32) - 1) / (CODES - 1) * (high - low))
    return np.where(code > 0, distance, np.inf).astype(np.float32)


def decode_panorama(arrays: Mapping[str, ndarray], index: int) -> tuple[ndarray, ndarray]:
    """Distance [m] (inf = sky, NaN = not known) and sky [H, 2H] of one panorama of a file's arrays."""
    code = arrays["log_distance"][index]
    distance = decode_distance(code)
    if "unknown" in arrays:
        distance[arrays["unknown"][index]] = np.nan
    return distance, code == SKY_CODE


def pictures(rgb: UInt8[ndarray, "n h w 3"]) -> Float[Tensor, "n 3 h w"]:
    """Packed pictures of 8 bits as RGB in [0, 1]."""
    return torch.from_numpy(rgb).permute(0, 3, 1, 2) / 255


def check_height(height: int) -> None:
    """Raises ValueError where panoramas are too low to show anything."""
    if height < MIN_HEIGHT:
        raise ValueError(f"height must be >= {MIN_HEIGHT}, got {height}")


def check_out_dir(out_dir: str | Path) -> Path:
    """The folder to write a set to.

    Raises:
        ValueError: it is a file.
    """
    out = Path(out_dir)
    if out.exists() and not out.is_dir():
        raise ValueError(f"out_dir must be a folder, got the file {out}")
    return out


def write_arrays(path: Path, arrays: Mapping[str, ndarray]) -> None:
    """Writes the arrays of one file, whole or not at all."""
    with _replacing(path) as part, part.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def write_index(folder: Path, index: dict) -> None:
    """Writes a folder's `index.json`, whole or not at all."""
    write_json(folder / INDEX_NAME, index)


def write_json(path: Path, content: dict) -> None:
    """Writes a JSON file, whole or not at all."""
    with _replacing(path) as part:
        part.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Gives a file beside ``path`` that takes its name once it is written."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_index(folder: str | Path) -> dict:
    """The folder's `index.json`: parameters, sources, and one entry per finished map.

    Raises:
        FileNotFoundError: The folder has none.
        ValueError: It is damaged.
    """
    path = Path(folder) / INDEX_NAME
    if not path.is_file():
        raise FileNotFoundError(f"folder must hold packed panoramas with an {INDEX_NAME}, found none in {folder}")
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be a JSON file, got {error}") from error
    if not isinstance(index, dict) or "maps" not in index:
        raise ValueError(f"{path} must hold an object with the key maps")
    return index


def list_maps(folder: str | Path, split: str | None = None) -> list[str]:
    """Names of the packed maps whose files are there, sorted; of one split only if it is named.

    Files count as they appear, so a set that is still being made can be read.
    """
    if split is not None:
        check_split(split)
    found = sorted(p.stem for p in Path(folder).glob("*__*.npz"))
    if not found:
        raise FileNotFoundError(f"folder must hold packed maps (<game>__<map>.npz), found none in {folder}")
    return [name for name in found if split is None or split_of(name) == split]


def read_arrays(folder: str | Path, map_name: str) -> dict[str, np.ndarray]:
    """All arrays of one map's file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged.
    """
    path = Path(folder) / f"{map_name}.npz"
    if not path.is_file():
        raise FileNotFoundError(f"map_name must be a packed map of {folder}, got {map_name!r}")
    try:
        with np.load(path) as stored:
            return {key: stored[key] for key in stored.files}
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} must be a packed map, but it is damaged") from error


def read_map(folder: str | Path, map_name: str) -> list[PackedPanorama]:
    """The panoramas of one map, decoded."""
    arrays = read_arrays(folder, map_name)
    out = []
    for i in range(len(arrays["rgb"])):
        views = None
        if "view_rgb" in arrays:
            names = {"rgb": "view_rgb", "depth_z": "view_depth_z", "world_from_cam": "view_world_from_cam"}
            views = PackedViews(**{k: arrays[v][i] for k, v in names.items()}, K=arrays["view_K"][i])
        distance, sky = decode_panorama(arrays, i)
        out.append(PackedPanorama(map_name=map_name, rgb=arrays["rgb"][i], distance_m=distance, sky=sky, views=views))
    return out


def iterate_panoramas(folder: str | Path, split: str | None = None) -> Iterator[PackedPanorama]:
    """Panoramas of all packed maps of a split, map after map."""
    for name in list_maps(folder, split):
        yield from read_map(folder, name)


def spread_panoramas(folder: str | Path, count: int, split: str | None = None) -> list[PackedPanorama]:
    """A few panoramas of a folder, spread over its maps: each map once before any is taken twice.

    Raises:
        FileNotFoundError: the folder holds no packed maps of the split.
        ValueError: ``count`` < 1.
    """
    if count < 1:
        raise ValueError(f"count must be >= 1, got {count}")
    names = list_maps(folder, split)
    if not names:
        raise FileNotFoundError(f"folder must hold packed maps of the split {split}, found none in {folder}")
    chosen = names[:: max(1, len(names) // count)][:count]
    rounds = itertools.zip_longest(*(read_map(folder, name) for name in chosen))
    found = (panorama for once in rounds for panorama in once if panorama is not None)
    return list(itertools.islice(found, count))
