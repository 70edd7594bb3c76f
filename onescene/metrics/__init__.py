"""Metrics with their convention in the key's name: depth, images, camera poses, panoramas and their seams.

Everything returns plain floats in a dict; nothing here reads files or needs learned weights.
"""

from onescene.metrics.depth import DepthRule, depth_metrics, latitude_weights
from onescene.metrics.frechet import frechet_distance
from onescene.metrics.image import image_metrics, psnr, ssim_map
from onescene.metrics.niqe import NoTexture, Pristine, niqe
from onescene.metrics.panorama import (
    colour_statistics,
    crop_cameras,
    horizon_statistics,
    photo_fidelity,
    seed_diversity,
)
from onescene.metrics.panorama_depth import PANORAMA_RULES, PanoramaDepthScores, panorama_depth_metrics
from onescene.metrics.pose import POSE_ALIGNS, Similarity, pose_errors, umeyama, worldscore_camera_errors
from onescene.metrics.seams import seam_jump, seam_map, wrap_seams

__all__ = [
    "PANORAMA_RULES",
    "POSE_ALIGNS",
    "DepthRule",
    "NoTexture",
    "PanoramaDepthScores",
    "Pristine",
    "Similarity",
    "colour_statistics",
    "crop_cameras",
    "depth_metrics",
    "frechet_distance",
    "horizon_statistics",
    "image_metrics",
    "latitude_weights",
    "niqe",
    "panorama_depth_metrics",
    "photo_fidelity",
    "pose_errors",
    "psnr",
    "seam_jump",
    "seam_map",
    "seed_diversity",
    "ssim_map",
    "umeyama",
    "worldscore_camera_errors",
    "wrap_seams",
]
