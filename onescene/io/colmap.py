"""Cameras as a COLMAP model: a folder of ``cameras``, ``images`` and ``points3D`` files, all ``.txt`` or all ``.bin``.

COLMAP stores world-to-camera motions in OpenCV axes, quaternions wxyz, and puts the corner of an image at (0, 0) as we
do. Cameras of several image sizes are groups; most callers have one.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from onescene.geometry.rotations import invert_rigid, matrix_from_quaternion, quaternion_from_matrix, rigid
from onescene.geometry.surface import PointCloud
from onescene.io.atomic import atomic_write_bytes
from onescene.io.camera_checks import CameraFile, Pinhole, checked_cameras, matrices_and_pinholes, rotations_from_quats
from onescene.io.colmap_points import points_file, read_points_file
from onescene.io.colmap_records import (
    MODEL_IDS,
    ColmapCamera,
    ColmapImage,
    read_binary_cameras,
    read_binary_images,
    read_text_cameras,
    read_text_images,
)
from onescene.io.sources import existing_file
from onescene.types import Cameras

Lens = tuple[Pinhole, tuple[int, int]]  # intrinsics and the image's height and width [px]
_PLACES = (".", "sparse/0", "sparse")  # of the model in a project's folder
# Where fx, fy, cx, cy stand in a model's parameters; what is left over is distortion.
_PINHOLES = {
    "SIMPLE_PINHOLE": (0, 0, 1, 2),
    "PINHOLE": (0, 1, 2, 3),
    "SIMPLE_RADIAL": (0, 0, 1, 2),
    "RADIAL": (0, 0, 1, 2),
    "OPENCV": (0, 1, 2, 3),
    "FULL_OPENCV": (0, 1, 2, 3),
}


def write_colmap(
    cameras: Cameras, folder: str | os.PathLike, names: Sequence[str] | None = None, *, binary: bool = False
) -> Path:
    """Writes a COLMAP model of cameras that share one image size; see :func:`write_colmap_groups`."""
    return write_colmap_groups([cameras], folder, names, binary=binary)


def write_colmap_groups(
    groups: Sequence[Cameras],
    folder: str | os.PathLike,
    names: Sequence[str] | None = None,
    *,
    points: PointCloud | None = None,
    binary: bool = False,
) -> Path:
    """Writes a COLMAP model, one camera per distinct intrinsics; returns the folder, made if it is not there.

    Args:
        groups: Pinholes without skew, one set per image size.
        folder: Where the three files go.
        names: The image of each camera, group after group; ``000.png``, ``001.png``, ... when None.
        points: For trainers that begin with points; none when None.
        binary: Whether to write ``.bin`` files instead of ``.txt``.

    Raises:
        ValueError: not as many names as cameras, a name twice, empty or with a line break or space in it, or cameras
            that :func:`matrices_and_pinholes` refuses.
        NotADirectoryError: ``folder`` is a file.
    """
    motions, lenses = [], []
    for cameras in groups:
        world_from_cam, pinholes = matrices_and_pinholes(cameras)
        motions.append(_motions(world_from_cam))
        lenses += [(pinhole, cameras.hw) for pinhole in pinholes]
    names = [f"{i:03d}.png" for i in range(len(lenses))] if names is None else [str(n) for n in names]
    if len(names) != len(lenses) or len(set(names)) != len(names):
        raise ValueError(f"names must be {len(lenses)} different names, got {len(set(names))}")
    if any(not name or len(name.split()) != 1 or "\0" in name for name in names):
        raise ValueError("names must not be empty or hold white space, which COLMAP's text format can not keep")
    ids = {lens: i for i, lens in enumerate(dict.fromkeys(lenses), start=1)}
    rows = torch.cat(motions).tolist()
    records = [(i, row, ids[lens], n) for i, (row, lens, n) in enumerate(zip(rows, lenses, names, strict=True), 1)]
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"a COLMAP model is a folder, got a file: {target}")
    target.mkdir(parents=True, exist_ok=True)
    other = "txt" if binary else "bin"
    contents = (_binary_files if binary else _text_files)(ids, records)
    contents["points3D"] = points_file(points, binary=binary)
    for stem, content in contents.items():
        atomic_write_bytes(target / f"{stem}.{'bin' if binary else 'txt'}", content)
    for stem in contents:  # a reader that prefers the other kind must not find an older model
        (target / f"{stem}.{other}").unlink(missing_ok=True)
    return target


def read_colmap(folder: str | os.PathLike) -> CameraFile:
    """Reads a COLMAP model of images of one size, text or binary; see :func:`read_colmap_groups`.

    Raises:
        FileNotFoundError: no model there.
        ValueError: images of different size, or as :func:`read_colmap_groups`.
    """
    groups = read_colmap_groups(folder)
    if len(groups) > 1:
        listed = ", ".join(f"{w} x {h}" for h, w in sorted(g.cameras.hw for g in groups)[:4])
        raise ValueError(f"{folder}: all images must have one size, got {listed}")
    return groups[0]


def colmap_camera_files(folder: str | os.PathLike) -> tuple[Path, Path]:
    """The two files of a COLMAP model that hold its cameras: lenses and images.

    Raises:
        FileNotFoundError: no model there.
    """
    place, suffix = _find_model(Path(folder))
    return tuple(existing_file(place / f"{stem}{suffix}", "COLMAP file") for stem in ("cameras", "images"))


def read_colmap_groups(folder: str | os.PathLike) -> list[CameraFile]:
    """Reads a COLMAP model, text or binary, in the folder itself or in its ``sparse/0`` or ``sparse``.

    Returns:
        One set of cameras per image size, each in the order of its image ids, the sizes as they first appear.

    Raises:
        FileNotFoundError: no model there.
        ValueError: a damaged file, a lens with distortion, or cameras that :func:`checked_cameras` refuses.
    """
    cameras_file, images_file = colmap_camera_files(folder)
    binary = cameras_file.suffix == ".bin"
    lenses = (read_binary_cameras if binary else read_text_cameras)(cameras_file)
    images = sorted((read_binary_images if binary else read_text_images)(images_file), key=lambda i: i.id)
    if not images:
        raise ValueError(f"{images_file} must hold at least one camera, got none")
    groups: dict[tuple[int, int], list[ColmapImage]] = {}
    for image in images:
        if image.camera_id not in lenses:
            raise ValueError(f"{images_file}: {image.name} names camera {image.camera_id}, which is not there")
        lens = lenses[image.camera_id]
        groups.setdefault((lens.height, lens.width), []).append(image)
    found = []
    for hw, members in groups.items():
        pinholes = [_pinhole(lenses[image.camera_id], cameras_file) for image in members]
        rotations = rotations_from_quats(torch.tensor([i.quat for i in members], dtype=torch.float64), images_file)
        cam_from_world = rigid(rotations, torch.tensor([i.translation for i in members], dtype=torch.float64))
        cameras = checked_cameras(invert_rigid(cam_from_world), pinholes, hw, images_file)
        found.append(CameraFile(cameras=cameras, names=tuple(i.name for i in members)))
    return found


def read_colmap_points(folder: str | os.PathLike) -> PointCloud:
    """Reads the points of a COLMAP model; a model may have none.

    Raises:
        FileNotFoundError: no model there, or a model without the file.
        ValueError: a damaged file, a coordinate that is not finite.
    """
    place, suffix = _find_model(Path(folder))
    return read_points_file(existing_file(place / f"points3D{suffix}", "COLMAP file"))


def _motions(world_from_cam: Tensor) -> Tensor:
    """World-to-camera motions [V, 7]: quaternion wxyz, translation."""
    quats = quaternion_from_matrix(world_from_cam[:, :3, :3].transpose(1, 2))
    # of the quaternion's own rotation: so the camera's centre is exact where the matrix has float32's rounding
    shifts = -(matrix_from_quaternion(quats) @ world_from_cam[:, :3, 3:])[..., 0]
    return torch.cat([quats, shifts], dim=1)


def _find_model(folder: Path) -> tuple[Path, str]:
    """Where the model lies and which kind it is; binary first, as COLMAP does."""
    if not folder.exists():
        raise FileNotFoundError(f"COLMAP folder not found: {folder}")
    for place in _PLACES:
        for suffix in (".bin", ".txt"):
            if (folder / place / f"cameras{suffix}").is_file():
                return folder / place, suffix
    raise FileNotFoundError(f"no COLMAP model (cameras.txt or cameras.bin) in {folder}, sparse/0 or sparse")


def _pinhole(lens: ColmapCamera, source: Path) -> Pinhole:
    """The pinhole of a lens without distortion."""
    if lens.model not in _PINHOLES:
        raise ValueError(f"{source}: camera {lens.id} is no pinhole but {lens.model}: undistort its images first")
    where = _PINHOLES[lens.model]
    bent = [p for i, p in enumerate(lens.parameters) if i not in where and p != 0]
    if bent:
        raise ValueError(f"{source}: camera {lens.id} has lens distortion {bent}: undistort its images first")
    return tuple(lens.parameters[i] for i in where)


def _text_files(ids: dict[Lens, int], records: list) -> dict[str, bytes]:
    """Contents of the text files of lenses and images; the line of an image's points is empty."""
    cameras = ["# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]"]
    for (pinhole, hw), i in ids.items():
        cameras.append(f"{i} PINHOLE {hw[1]} {hw[0]} " + " ".join(map(repr, pinhole)))
    images = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then a line of points (X Y POINT3D_ID)"]
    for i, motion, camera_id, name in records:
        images += [f"{i} " + " ".join(map(repr, motion)) + f" {camera_id} {name}", ""]
    return {stem: ("\n".join(lines) + "\n").encode() for stem, lines in {"cameras": cameras, "images": images}.items()}


def _binary_files(ids: dict[Lens, int], records: list) -> dict[str, bytes]:
    """Contents of the binary files of lenses and images, little endian."""
    cameras = [struct.pack("<Q", len(ids))]
    for (pinhole, hw), i in ids.items():
        cameras.append(struct.pack("<iiQQ4d", i, MODEL_IDS.index("PINHOLE"), hw[1], hw[0], *pinhole))
    images = [struct.pack("<Q", len(records))]
    for i, motion, camera_id, name in records:
        images.append(struct.pack("<i7di", i, *motion, camera_id) + name.encode() + b"\0" + struct.pack("<Q", 0))
    return {"cameras": b"".join(cameras), "images": b"".join(images)}
