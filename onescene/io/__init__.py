"""Files and their foreign conventions: Gaussians, cameras, images, video. Everything is written whole or not at all."""

from onescene.io.atomic import (
    atomic_folder,
    atomic_path,
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    remove_partials,
)
from onescene.io.camera_checks import CameraFile
from onescene.io.cameras import load_camera_file, load_cameras, load_poses, save_cameras
from onescene.io.colmap import read_colmap, read_colmap_groups, read_colmap_points, write_colmap, write_colmap_groups
from onescene.io.gaussians import GAUSSIAN_SUFFIXES, load_gaussians, save_gaussians
from onescene.io.images import (
    Photo,
    load_distance,
    load_image,
    load_mask,
    load_panorama,
    load_photo,
    save_distance,
    save_gray16,
    save_image,
    save_mask,
)
from onescene.io.mesh_glb import load_mesh, save_mesh
from onescene.io.points_ply import load_points, save_points
from onescene.io.video import save_video

__all__ = [
    "GAUSSIAN_SUFFIXES",
    "CameraFile",
    "Photo",
    "atomic_folder",
    "atomic_path",
    "atomic_write_bytes",
    "atomic_write_json",
    "atomic_write_text",
    "load_camera_file",
    "load_cameras",
    "load_distance",
    "load_gaussians",
    "load_image",
    "load_mask",
    "load_mesh",
    "load_panorama",
    "load_photo",
    "load_points",
    "load_poses",
    "read_colmap",
    "read_colmap_groups",
    "read_colmap_points",
    "remove_partials",
    "save_cameras",
    "save_distance",
    "save_gaussians",
    "save_gray16",
    "save_image",
    "save_mask",
    "save_mesh",
    "save_points",
    "save_video",
    "write_colmap",
    "write_colmap_groups",
]
