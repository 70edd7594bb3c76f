"""Metrics with their convention in the key's name: depth, images, camera poses, seams of panoramas.

Everything returns plain floats in a dict; nothing here reads files or needs learned weights.
"""

from onescene.metrics.depth import (
    PANORAMA_RULES,
    DepthRule,
    depth_metrics,
    latitude_weights,
    panorama_depth_metrics,
)
from onescene.metrics.image import image_metrics, psnr, ssim_map
from onescene.metrics.pose import POSE_ALIGNS, Similarity, pose_errors, umeyama, worldscore_camera_errors
from onescene.metrics.seams import seam_jump, wrap_seams

__all__ = [
    "PANORAMA_RULES",
    "POSE_ALIGNS",
    "DepthRule",
    "Similarity",
    "depth_metrics",
    "image_metrics",
    "latitude_weights",
    "panorama_depth_metrics",
    "pose_errors",
    "psnr",
    "seam_jump",
    "ssim_map",
    "umeyama",
    "worldscore_camera_errors",
    "wrap_seams",
]
