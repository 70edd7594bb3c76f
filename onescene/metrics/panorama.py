"""Metrics of a generated panorama: the photo in it, colours, horizon, diversity over seeds; crops for other metrics.

Seams are in ``seams``, distances of feature sets in ``frechet``, naturalness in ``niqe``.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.geometry.equirect import check_panorama_hw
from onescene.geometry.perspective import crop_panorama, intrinsics_from_fov
from onescene.geometry.rotations import matrix_from_yaw_pitch_roll
from onescene.metrics.depth import latitude_weights
from onescene.metrics.image import psnr
from onescene.types import Cameras

CROP_FOV_DEG = 75.0
_RING_PITCHES_DEG, _RING_VIEWS = (-45.0, 0.0, 45.0), 6  # with both poles: 20 crops, each place seen in about 1.8
_LUMA = (0.299, 0.587, 0.114)  # Rec. 601
_HORIZON_REACH_DEG = 45.0  # a horizon is looked for this far from latitude 0
_HORIZON_SIDE_DEG = 12.0  # colours of bands this high are compared above and below
_NO_CHANGE = 1e-9  # of summed colours: rounding
_HORIZON_COLUMN_DEG = 10.0  # columns are averaged over this width


def crop_cameras(crop_px: int, *, fov_deg: float = CROP_FOV_DEG) -> Cameras:
    """20 views that cover the sphere evenly: rings of six at latitudes -45, 0 and 45 degrees, zenith and nadir.

    Args:
        crop_px: Side of the square crops [pixels].
        fov_deg: Field of view [degrees].
    """
    turns = [(360 * k / _RING_VIEWS, pitch) for pitch in _RING_PITCHES_DEG for k in range(_RING_VIEWS)]
    angles = torch.tensor([(yaw, pitch, 0.0) for yaw, pitch in [*turns, (0.0, 90.0), (0.0, -90.0)]])
    world_from_cam = torch.eye(4).repeat(len(angles), 1, 1)
    world_from_cam[:, :3, :3] = matrix_from_yaw_pitch_roll(torch.deg2rad(angles))
    K = intrinsics_from_fov(fov_deg, (crop_px, crop_px))
    return Cameras(world_from_cam=world_from_cam, K=K.repeat(len(angles), 1, 1), hw=(crop_px, crop_px))


def photo_fidelity(
    panorama: Float[Tensor, "3 height width"], photo: Float[Tensor, "3 h w"], camera: Cameras, *, rim_px: int = 4
) -> dict[str, float]:
    """How well the photo survives: its view is cut back out of the panorama and compared with it.

    Args:
        panorama: RGB in [0, 1].
        photo: RGB in [0, 1], reduced to about the panorama's resolution: what is finer cannot survive.
        camera: The photo's own, of the photo's size.
        rim_px: Width of the photo's border that is left out, where it is blended [pixels of the photo].

    Returns:
        ``photo_psnr_db``: inside the rim. ``photo_psnr_db_with_rim``: everywhere.

    Raises:
        ValueError: the sizes do not fit, or nothing is left inside the rim.
    """
    if tuple(photo.shape[-2:]) != camera.hw or len(camera) != 1:
        raise ValueError(f"camera must be one of size {tuple(photo.shape[-2:])}, got {len(camera)} of {camera.hw}")
    if rim_px < 0 or 2 * rim_px >= min(camera.hw):
        raise ValueError(f"rim_px must be >= 0 and leave something of {camera.hw}, got {rim_px}")
    back = crop_panorama(panorama, camera)[0]
    inner = torch.zeros(camera.hw, dtype=torch.bool)
    inner[rim_px : camera.hw[0] - rim_px, rim_px : camera.hw[1] - rim_px] = True
    return {
        "photo_psnr_db": psnr(back, photo, mask=inner).item(),
        "photo_psnr_db_with_rim": psnr(back, photo).item(),
    }


def colour_statistics(
    panorama: Float[Tensor, "3 height width"], generated: Bool[Tensor, "height width"]
) -> dict[str, float]:
    """Colours of what was generated against those of the photo, weighted by solid angle.

    Args:
        panorama: RGB in [0, 1].
        generated: True where it was generated, False where the photo is.

    Returns:
        ``colour_mean_shift``: length of the difference of the mean colours, in [0, sqrt 3]. ``colour_contrast_ratio``:
        standard deviation of the luma. ``colour_saturation_ratio``: mean of the largest less the smallest channel.
        ``colour_detail_ratio``: mean luma step to the next pixel below, 0 for a smear. Ratios are generated / photo, 1
        where nothing differs, nan where the photo has none. True surroundings need not get 1: compare with the means
        over real panoramas.

    Raises:
        ValueError: the sizes differ or are not 2:1, or the mask is all of one kind.
    """
    hw = check_panorama_hw(tuple(panorama.shape[-2:]), "panorama's size")
    if tuple(generated.shape) != hw:
        raise ValueError(f"generated must have shape {hw}, got {tuple(generated.shape)}")
    if bool(generated.all()) or not bool(generated.any()):
        raise ValueError("generated must be True at some pixels and False at others")
    x, area = panorama.detach().double(), latitude_weights(hw, device=panorama.device)
    luma = torch.einsum("chw,c->hw", x, x.new_tensor(_LUMA))
    step = F.pad((luma[1:] - luma[:-1]).abs(), (0, 0, 0, 1))

    def mean(values: Tensor, where: Tensor) -> Tensor:
        weight = area * where
        return (values * weight).sum(dim=(-2, -1)) / weight.sum()

    numbers = {}
    for name, where in (("generated", generated), ("photo", ~generated)):
        inside = where & where.roll(-1, dims=0)  # steps from the one part into the other belong to neither
        inside[-1] = False
        numbers[name] = {
            "mean": mean(x, where),
            "contrast": (mean((luma - mean(luma, where)) ** 2, where)).sqrt().item(),
            "saturation": mean(x.amax(0) - x.amin(0), where).item(),
            "detail": mean(step, inside).item() if bool(inside.any()) else math.nan,
        }
    made, photo = numbers["generated"], numbers["photo"]
    ratios = {
        f"colour_{k}_ratio": made[k] / photo[k] if photo[k] > 0 else math.nan
        for k in ("contrast", "saturation", "detail")
    }
    return {"colour_mean_shift": (made["mean"] - photo["mean"]).norm().item()} | ratios


def horizon_latitudes(panorama: Float[Tensor, "3 height width"]) -> Float[Tensor, " columns"]:
    """Where each column changes most from above to below [degrees], within 45 degrees of the equator: 36 columns.

    A column in which nothing changes there has its horizon on the equator.

    In a landscape that is the horizon, in a room the foot or head of a wall.

    Raises:
        ValueError: the panorama is not 2:1, or has under 64 rows.
    """
    height, _ = check_panorama_hw(tuple(panorama.shape[-2:]), "panorama's size")
    if height < 64:
        raise ValueError(f"panorama must have at least 64 rows, got {height}")
    columns = round(360 / _HORIZON_COLUMN_DEG)
    narrow = F.adaptive_avg_pool2d(panorama.detach().double()[None], (height, columns))[0]
    side = max(1, round(_HORIZON_SIDE_DEG * height / 180))
    total = F.pad(narrow.cumsum(dim=1), (0, 0, 1, 0))  # row r: sum of the rows above
    edges = torch.arange(side, height - side + 1)
    above = total[:, edges] - total[:, edges - side]
    below = total[:, edges + side] - total[:, edges]
    latitude = 90 - edges.double() * 180 / height
    change = (above - below).norm(dim=0) * (latitude.abs() <= _HORIZON_REACH_DEG)[:, None]
    found = latitude[change.argmax(dim=0)]
    return torch.where(change.amax(dim=0) > _NO_CHANGE, found, 0.0)


def horizon_statistics(panorama: Float[Tensor, "3 height width"]) -> dict[str, float]:
    """Where the horizon lies and how straight it is.

    Returns:
        ``horizon_latitude_deg``: median over the circle. ``horizon_spread_deg``: mean absolute deviation from it: 0 for
        an upright landscape, 2 / pi times the tilt for a tilted one, large where there is no horizon.

    Raises:
        ValueError: as :func:`horizon_latitudes`.
    """
    latitudes = horizon_latitudes(panorama)
    middle = latitudes.median()
    return {
        "horizon_latitude_deg": middle.item(),
        "horizon_spread_deg": (latitudes - middle).abs().mean().item(),
    }


def seed_diversity(
    panoramas: Float[Tensor, "seeds 3 height width"], generated: Bool[Tensor, "height width"]
) -> dict[str, float]:
    """How much panoramas of one photo by several seeds differ where they were generated, weighted by solid angle.

    Args:
        panoramas: RGB in [0, 1], one per seed, at least two.
        generated: True where they were generated.

    Returns:
        ``diversity_std``: root mean square deviation of a pixel over seeds (ddof 1). ``diversity_std_coarse``: the same
        after averaging over about 11 degrees, where grain no longer counts: other things, not other noise.

    Raises:
        ValueError: under two panoramas, not 2:1, or nothing generated.
    """
    hw = check_panorama_hw(tuple(panoramas.shape[-2:]), "panoramas' size")
    if len(panoramas) < 2:
        raise ValueError(f"panoramas must be of at least 2 seeds, got {len(panoramas)}")
    if tuple(generated.shape) != hw or not bool(generated.any()):
        raise ValueError(f"generated must have shape {hw} and be True somewhere")
    x, weight = panoramas.detach().double(), latitude_weights(hw, device=panoramas.device) * generated
    coarse = (min(hw[0], 16), min(hw[1], 32))
    share = F.adaptive_avg_pool2d(weight[None, None], coarse)
    pooled = F.adaptive_avg_pool2d(x * weight, coarse) / share.clamp_min(1e-12)[0]

    def spread(values: Tensor, weights: Tensor) -> float:
        variance = values.var(dim=0).mean(dim=0)
        return ((variance * weights).sum() / weights.sum()).sqrt().item()

    return {"diversity_std": spread(x, weight), "diversity_std_coarse": spread(pooled, share[0, 0])}
