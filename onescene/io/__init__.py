"""Files and their foreign conventions: Gaussians, cameras, images, video. Everything is written whole or not at all."""

from onescene.io.atomic import (
    atomic_path,
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    remove_partials,
)
from onescene.io.gaussians import GAUSSIAN_SUFFIXES, load_gaussians, save_gaussians

__all__ = [
    "GAUSSIAN_SUFFIXES",
    "atomic_path",
    "atomic_write_bytes",
    "atomic_write_json",
    "atomic_write_text",
    "load_gaussians",
    "remove_partials",
    "save_gaussians",
]
