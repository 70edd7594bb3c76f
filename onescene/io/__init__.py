"""Files and their foreign conventions: Gaussians, cameras, images, video. Everything is written whole or not at all."""

from onescene.io.atomic import (
    atomic_path,
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    remove_partials,
)
from onescene.io.camera_checks import CameraFile
from onescene.io.cameras import load_camera_file, load_cameras, save_cameras
from onescene.io.colmap import read_colmap, write_colmap
from onescene.io.gaussians import GAUSSIAN_SUFFIXES, load_gaussians, save_gaussians

__all__ = [
    "GAUSSIAN_SUFFIXES",
    "CameraFile",
    "atomic_path",
    "atomic_write_bytes",
    "atomic_write_json",
    "atomic_write_text",
    "load_camera_file",
    "load_cameras",
    "load_gaussians",
    "read_colmap",
    "remove_partials",
    "save_cameras",
    "save_gaussians",
    "write_colmap",
]
