"""How densely a panorama is lifted: one Gaussian per face pixel, or one for 2x2 or 4x4 where a picture is smooth.

A photo on its panorama is sharp, what continues it is not, and a white wall needs few Gaussians anywhere. So blocks of
pixels on one surface become one Gaussian, those first whose colours a coarser picture shows as well for the contrast
around there, until no more Gaussians are left than were allowed. Pixels beside a depth edge or a face's border stay as
they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.models.scaffold.lift import LiftConfig, lift_faces, owned_pixels
from onescene.types import Gaussians

HALVINGS = 2  # at most so often: a Gaussian stands for 4x4 pixels at most
FLAT = 0.05  # contrast (standard deviation of grey) below which what is lost counts less: noise of a wall
REACH_PX = 8  # so far around a block it counts what is lost: one size of blocks over a wall, not one here and there
COARSE_FOOTPRINT = 0.68  # LiftConfig.footprint of more than a pixel: on a screen each is seen, and the gaps between
_ROUNDS = 20  # of bisection


@dataclass(frozen=True)
class Blocks:
    """Which blocks of face pixels have a Gaussian each.

    Attributes:
        kept: For blocks of 1, 2, 4, ... pixels a side: those that have one [6, face / side, face / side].
    """

    kept: tuple[Bool[Tensor, "6 _ _"], ...]

    def __len__(self) -> int:
        return sum(int(kept.sum()) for kept in self.kept)

    def sides(self) -> Float[Tensor, "6 face face"]:
        """Side of the block that each pixel is in [pixels]; 0 where its face does not own it."""
        parts = [kept.float().repeat_interleave(2**k, 1).repeat_interleave(2**k, 2) for k, kept in enumerate(self.kept)]
        return sum(2**k * part for k, part in enumerate(parts))

    def means(self, image: Float[Tensor, "6 c face face"]) -> Float[Tensor, "n c"]:
        """Mean of an image over every block, in the order of the Gaussians."""
        found = [shrink(image, k).permute(0, 2, 3, 1)[kept] for k, kept in enumerate(self.kept)]
        return torch.cat(found)


def shrink(image: Float[Tensor, "6 c face face"], halvings: int) -> Float[Tensor, "6 c small small"]:
    """Means over blocks of 2 ** halvings pixels a side; what a block does not fill at the end is left out."""
    return F.avg_pool2d(image, 2**halvings) if halvings else image


def every_pixel(face_px: int, fov_deg: float, device: torch.device | str = "cpu") -> Blocks:
    """One Gaussian per pixel that its face owns, as in the paper."""
    return Blocks((owned_pixels(face_px, fov_deg).to(device),))


@torch.no_grad()
def choose_blocks(
    faces: Float[Tensor, "6 3 face face"],
    distance: Float[Tensor, "6 face face"],
    fov_deg: float,
    most: int | None = None,
    edge_ratio: float = LiftConfig.edge_ratio,
) -> Blocks:
    """As many Gaussians as are allowed, where the picture needs them.

    Args:
        faces: RGB in [0, 1].
        distance: Along each pixel's ray [any unit], > 0.
        fov_deg: Field of view of the faces [degrees].
        most: Gaussians at most, as far as blocks on one surface can be found; None: one per pixel.
        edge_ratio: A block whose distances differ by more is not one surface.

    Raises:
        ValueError: ``most`` is less than 1.
    """
    if most is not None and most < 1:
        raise ValueError(f"most must be >= 1, got {most}")
    pixels = every_pixel(faces.shape[-1], fov_deg, faces.device)
    halvings = [k for k in range(1, HALVINGS + 1) if faces.shape[-1] % 2**k == 0]
    if most is None or len(pixels) <= most or not halvings:
        return pixels
    lost = [_lost(faces, distance, k, edge_ratio) for k in halvings]
    low, high = 0.0, max(float(torch.where(x.isfinite(), x, 0).max()) for x in lost)
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        low, high = (low, middle) if len(_blocks(pixels.kept[0], lost, middle)) <= most else (middle, high)
    return _blocks(pixels.kept[0], lost, high)


def _lost(faces: Tensor, distance: Tensor, halvings: int, edge_ratio: float) -> Tensor:
    """What one Gaussian in place of a block loses of the colours around there; infinite at a depth edge.

    RMS over the standard deviation of grey around it: gravel is not to lose its grain so that leaves before the sky
    keep theirs.
    """
    side = 2**halvings
    coarse = F.interpolate(shrink(faces, halvings), size=faces.shape[-2:], mode="bilinear")
    grey = faces.mean(1, keepdim=True)
    lost = _around((faces - coarse).square().mean(1, keepdim=True), halvings, REACH_PX)
    contrast = _around(grey.square(), halvings, 2 * REACH_PX) - _around(grey, halvings, 2 * REACH_PX).square()
    lost = (lost.sqrt() / (contrast.clamp_min(0).sqrt() + FLAT))[:, 0]
    log_distance = distance.log()[:, None]
    span = (F.max_pool2d(log_distance, side) + F.max_pool2d(-log_distance, side))[:, 0]
    return torch.where(span < torch.tensor(edge_ratio).log(), lost, torch.inf)


def _around(image: Float[Tensor, "6 c face face"], halvings: int, reach_px: int) -> Tensor:
    """Means over blocks and the pixels around them."""
    reach = reach_px >> halvings
    small = F.pad(shrink(image, halvings), (reach,) * 4, mode="replicate")
    return F.avg_pool2d(small, 2 * reach + 1, 1)


def _blocks(owned: Tensor, lost: list[Tensor], tolerance: float) -> Blocks:
    """The largest blocks that lose at most ``tolerance``, each of four that could be one as well."""
    kept, own = [], owned
    for larger in lost:
        together = (larger <= tolerance) & (F.max_pool2d((~own).float()[:, None], 2)[:, 0] == 0)
        kept.append(own & ~together.repeat_interleave(2, -2).repeat_interleave(2, -1))
        own = together
    return Blocks((*kept, own))


def lift_blocks(
    faces: Float[Tensor, "6 3 face face"],
    distance: Float[Tensor, "6 face face"],
    sky: Bool[Tensor, "6 face face"],
    fov_deg: float,
    blocks: Blocks,
    config: LiftConfig,
) -> Gaussians:
    """Lifts six faces, a Gaussian per block: each size of blocks as :func:`lift_faces` lifts the faces shrunk to it.

    Args:
        faces: RGB in [0, 1].
        distance: Along each pixel's ray [world units], finite and > 0.
        sky: Where the surface is far away and has no normal.
        fov_deg: Field of view of the faces [degrees].
        blocks: Which have one.
        config: Sizes and opacity.

    Raises:
        ValueError: a distance is not finite and positive.
    """
    parts = []
    for k, kept in enumerate(blocks.kept):
        mean_distance = shrink(distance.log()[:, None], k)[:, 0].exp() if k else distance
        is_sky = shrink(sky.to(faces)[:, None], k)[:, 0] > 0.5 if k else sky
        coarse = replace(config, footprint=COARSE_FOOTPRINT) if k else config
        parts.append(lift_faces(shrink(faces, k), mean_distance, is_sky, fov_deg, coarse, kept))
    return Gaussians.cat(parts)
