"""The photo on the panorama as HunyuanWorld's release places it: for comparison, not for use.

The release gives the short side a field of view in proportion to the sides (a lens does so by the tangent), and lets
the first and last column and row of the panorama lie exactly on +-180 and +-90 degrees. The exact placement is
:func:`onescene.geometry.perspective.place_photo`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.equirect import check_panorama_hw, directions_from_lonlat
from onescene.geometry.perspective import PlacedPhoto, check_fov_deg


def release_fov_deg(hw: tuple[int, int], fov_deg: float) -> tuple[float, float]:
    """Fields of view (vertical, horizontal) [degrees] of a photo whose long side spans ``fov_deg``, in proportion."""
    return fov_deg * hw[0] / max(hw), fov_deg * hw[1] / max(hw)


def place_as_released(
    photo: Float[Tensor, "3 h w"], hw: tuple[int, int], fov_deg: float, *, feather_px: float = 0.0
) -> PlacedPhoto:
    """Places a level photo by the rule of the release.

    Args:
        photo: RGB in [0, 1]; brought to as many pixels as it covers of the panorama, then sampled bicubically.
        hw: Size of the panorama [pixels], width twice the height.
        fov_deg: Field of view of the photo's long side [degrees], inside (10, 170).
        feather_px: Width of the rim in which ``weight`` grows to 1 [panorama pixels]; 0: none.

    Raises:
        ValueError: the size or the field of view is out of range.
    """
    height, width = check_panorama_hw(hw)
    check_fov_deg(fov_deg)
    size = tuple(photo.shape[-2:])
    fov = release_fov_deg(size, fov_deg)
    covered = (max(1, round(fov[0] / 180 * height)), max(1, round(fov[1] / 360 * width)))
    photo = F.interpolate(photo[None], size=covered, mode="area" if covered[0] < size[0] else "bilinear")
    longitude = torch.linspace(-math.pi, math.pi, width, dtype=torch.float64)
    latitude = torch.linspace(math.pi / 2, -math.pi / 2, height, dtype=torch.float64)
    directions = directions_from_lonlat(torch.stack(torch.meshgrid(longitude, latitude, indexing="xy"), dim=-1))
    z = directions[..., 2].clamp_min(1e-6)
    tangent = torch.tensor([math.tan(math.radians(f) / 2) for f in (fov[1], fov[0])], dtype=torch.float64)
    uv = directions[..., :2] / z[..., None] / tangent  # [-1, 1] inside the photo
    mask = (directions[..., 2] > 0) & (uv.abs() < 1).all(dim=-1)
    border_px = ((1 - uv.abs()) * torch.tensor([covered[1] / 2, covered[0] / 2])).amin(dim=-1)
    weight = (border_px / feather_px).clamp(0, 1) if feather_px > 0 else torch.ones_like(border_px)
    # the release's pixel u of n is where u / n of the photo is: half a pixel off
    half = torch.tensor([1 / covered[1], 1 / covered[0]], dtype=torch.float64)
    grid = (uv + half).to(photo)[None]
    colours = F.grid_sample(photo, grid, mode="bicubic", padding_mode="border", align_corners=False)[0].clamp(0, 1)
    return PlacedPhoto(panorama=colours * mask, mask=mask, weight=(weight * mask).to(photo))
