"""``load_cameras`` and ``save_cameras``: nerfstudio, COLMAP and TUM files, OpenCV axes on our side of all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.io.camera_checks import CameraFile
from onescene.io.colmap import colmap_camera_files, read_colmap, write_colmap
from onescene.io.sources import existing_file, suffix_of
from onescene.io.transforms_json import read_transforms, write_transforms
from onescene.io.tum import read_tum, write_tum
from onescene.types import Cameras

_KINDS = "transforms.json, a TUM .txt or a COLMAP folder"


def load_cameras(
    path: str | os.PathLike,
    *,
    hw: tuple[int, int] | None = None,
    K: Float[Tensor, "3 3"] | None = None,
    undo_applied_transform: bool = False,
) -> Cameras:
    """Reads cameras from ``.json`` (nerfstudio), ``.txt`` (TUM) or a folder (COLMAP, text or binary).

    Args:
        path: The file or folder.
        hw: Image height and width [px], for a file that names none.
        K: Intrinsics [px], for a TUM file that names none.
        undo_applied_transform: Whether to take back the motion by which nerfstudio moved the world.

    Returns:
        The cameras in float32, in the order of the file (COLMAP: of the image ids).

    Raises:
        FileNotFoundError: nothing there, or a folder without a model.
        ValueError: an unknown suffix, a damaged file, a NaN or an infinity, a matrix that is no rigid motion, images
            of different size, lens distortion.
    """
    return load_camera_file(path, hw=hw, K=K, undo_applied_transform=undo_applied_transform).cameras


def load_poses(path: str | os.PathLike) -> Float[Tensor, "n 4 4"]:
    """The poses alone of a camera file, ``world_from_cam`` in the file's order: a TUM file needs no intrinsics then.

    Raises:
        FileNotFoundError, ValueError: as :func:`load_cameras`.
    """
    if suffix_of(Path(path)) == ".txt" and not Path(path).is_dir():
        return read_tum(path, hw=(1, 1), pinhole=(1.0, 1.0, 0.5, 0.5)).cameras.world_from_cam
    return load_cameras(path).world_from_cam


def camera_files(path: str | os.PathLike) -> tuple[Path, ...]:
    """The files that :func:`load_cameras` reads: one, or two of a COLMAP folder.

    Raises:
        FileNotFoundError: nothing there, or a folder without a model.
    """
    return colmap_camera_files(path) if Path(path).is_dir() else (existing_file(path, "camera file"),)


def load_camera_file(
    path: str | os.PathLike,
    *,
    hw: tuple[int, int] | None = None,
    K: Float[Tensor, "3 3"] | None = None,
    undo_applied_transform: bool = False,
) -> CameraFile:
    """Reads cameras together with the names of their images; see :func:`load_cameras`."""
    found = Path(path)
    if found.is_dir() or (not found.exists() and not suffix_of(found)):
        return read_colmap(found)
    if suffix_of(found) == ".json":
        return read_transforms(found, hw=hw, undo_applied_transform=undo_applied_transform)
    if suffix_of(found) == ".txt":
        k = None if K is None else torch.as_tensor(K).tolist()
        return read_tum(found, hw=hw, pinhole=None if k is None else (k[0][0], k[1][1], k[0][2], k[1][2]))
    raise ValueError(f"cameras must be {_KINDS}, got {found.name!r}")


def save_cameras(cameras: Cameras, path: str | os.PathLike, file_paths: Sequence[str] | None = None) -> Path:
    """Writes cameras by suffix: ``.json`` (nerfstudio), ``.txt`` (TUM), none (a COLMAP folder of text files).

    Args:
        cameras: Pinholes without skew.
        path: The file or folder.
        file_paths: The image of each camera as seen from the file's folder; a TUM file can not name them.

    Returns:
        The path.

    Raises:
        ValueError: an unknown suffix, cameras that the format can not hold, or values that are not finite.
    """
    suffix = suffix_of(path)
    if suffix == ".json":
        return write_transforms(cameras, path, file_paths)
    if suffix == ".txt":
        if file_paths is not None:
            raise ValueError("a TUM file can not name images: file_paths must be None for a .txt")
        return write_tum(cameras, path)
    if suffix == "" or Path(path).is_dir():
        return write_colmap(cameras, path, file_paths)
    raise ValueError(f"cameras must be written to {_KINDS}, got {Path(path).name!r}")
