"""Cuts ``interior-photo.jpg`` out of ``interior.png``, ``forest-photo.jpg`` likewise: photos of a known panorama.

python examples/cut_photo.py
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from onescene.geometry.perspective import crop_panorama, intrinsics_from_fov
from onescene.geometry.rotations import matrix_from_yaw_pitch_roll
from onescene.types import Cameras

HERE = Path(__file__).resolve().parent
HW = (768, 1024)  # height and width of the photo [pixels]
FOV_DEG = 80.0  # across its width
YAWS_DEG = {"interior": -25.0, "forest": 0.0}  # where it looks, level: desk, armchair and window; a path and its fence
# As a camera would note it in EXIF, by the diagonal and in whole millimetres: 21 mm, which says 79 degrees.
FOCAL_35MM = round(math.hypot(24, 36) / 2 / (math.hypot(*HW) / HW[1] * math.tan(math.radians(FOV_DEG / 2))))
QUALITY = 93  # of the JPEG


def cut_photo(panorama: Image.Image, yaw_deg: float, fov_deg: float = FOV_DEG, hw: tuple[int, int] = HW) -> Image.Image:
    """A level photo of a panorama, interpolated linearly."""
    pixels = torch.from_numpy(np.array(panorama.convert("RGB"))).permute(2, 0, 1).double() / 255
    world_from_cam = torch.eye(4, dtype=torch.float64)
    world_from_cam[:3, :3] = matrix_from_yaw_pitch_roll(torch.deg2rad(torch.tensor([yaw_deg, 0, 0]).double()))
    K = intrinsics_from_fov(torch.tensor(fov_deg).double(), hw)
    photo = crop_panorama(pixels, Cameras(world_from_cam=world_from_cam[None], K=K[None], hw=hw))[0]
    return Image.fromarray((photo * 255).round().byte().permute(1, 2, 0).numpy())


if __name__ == "__main__":
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = FOCAL_35MM  # FocalLengthIn35mmFilm
    for name, yaw_deg in YAWS_DEG.items():
        with Image.open(HERE / f"{name}.png") as whole:
            photo = cut_photo(whole, yaw_deg)
        photo.save(HERE / f"{name}-photo.jpg", quality=QUALITY, subsampling=0, exif=exif)
