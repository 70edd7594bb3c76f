"""Batches for the outpainter: photos cut from panoramas in all ways, and a classical draft around each.

What a step sees follows from the seed and the step alone, as in ``batches.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from torch import Tensor

from onescene.geometry.equirect import directions_from_panorama, panorama_xy_from_directions
from onescene.geometry.rotations import matrix_from_yaw_pitch_roll
from onescene.training.augment import draw_colours
from onescene.training.skies import paint_sky

Draft = Callable[[ndarray, ndarray, int], ndarray]  # placed photo [h, w, 3], mask [h, w], seed -> panorama [h, w, 3]

FOV_DEG = (50.0, 110.0)  # of a photo's long side
ASPECT = (0.56, 1.78)  # of a photo's width to its height: portrait and landscape 16:9
PITCH_DEG, ROLL_DEG = 12.0, 4.0  # standard deviation and ...
TILT_DEG = 3.0  # the same of what the photo's holder does not know
DRAFT_EPOCHS = 4  # so often a draft is shown, turned and coloured anew, before another photo is cut
WORKERS = 2  # threads that make drafts


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A panorama, which part of it a photo shows, and a draft of the rest; uint8 in [0, 255].

    Attributes:
        true: The panorama, the photo's camera at longitude 0.
        mask: Where the photo is.
        draft: A classical outpainting.
    """

    true: UInt8[ndarray, "h w 3"]
    mask: Bool[ndarray, "h w"]
    draft: UInt8[ndarray, "h w 3"]


@dataclass(frozen=True, kw_only=True)
class OutpaintBatch:
    """What a step sees, in [0, 1]."""

    true: Float[Tensor, "b 3 h w"]
    mask: Float[Tensor, "b 1 h w"]
    draft: Float[Tensor, "b 3 h w"]

    def to(self, device: torch.device) -> OutpaintBatch:
        """The same on a device."""
        return OutpaintBatch(**{k: v.to(device) for k, v in vars(self).items()})


def photo_mask(
    hw: tuple[int, int], fov_deg: float, aspect: float, pitch_deg: float, roll_deg: float
) -> Bool[Tensor, "h w"]:
    """Which pixels of a panorama a photo covers that looks to longitude 0.

    Args:
        hw: Size of the panorama [pixels].
        fov_deg: Field of view of the photo's long side [degrees].
        aspect: Its width divided by its height.
        pitch_deg: How far it looks up [degrees].
        roll_deg: How far it is turned clockwise [degrees].
    """
    half = np.tan(np.deg2rad(fov_deg) / 2)
    width, height = half * min(1.0, aspect), half * min(1.0, 1 / aspect)
    rotation = matrix_from_yaw_pitch_roll(torch.deg2rad(torch.tensor([0.0, pitch_deg, roll_deg])))
    x, y, z = (directions_from_panorama(hw) @ rotation).unbind(-1)
    return (z > 0) & (x.abs() < width * z) & (y.abs() < height * z)


def tilt(panorama: Float[Tensor, "c h w"], pitch_deg: float, roll_deg: float) -> Float[Tensor, "c h w"]:
    """The panorama of a head that is not held upright; bilinear."""
    height, width = panorama.shape[-2:]
    rotation = matrix_from_yaw_pitch_roll(torch.deg2rad(torch.tensor([0.0, pitch_deg, roll_deg])))
    directions = directions_from_panorama((height, width)) @ rotation.T
    xy = panorama_xy_from_directions(directions, (height, width)) + 1
    padded = F.pad(torch.cat((panorama[..., -1:], panorama, panorama[..., :1]), -1)[None], (0, 0, 1, 1), "replicate")
    grid = xy / torch.tensor([width + 2, height + 2]) * 2 - 1
    return F.grid_sample(padded, grid[None].to(padded), align_corners=False)[0]


class CutSource:
    """Photos cut from panoramas, each kept for some epochs because a draft takes time.

    Args:
        panoramas: RGB [N, H, 2H, 3], uint8.
        draft: Makes a classical outpainting.
        seed: Of everything drawn at random.
        skies: True where the panoramas show the sky: half of these skies are painted anew (``skies.py``); None = none.
    """

    def __init__(
        self,
        panoramas: UInt8[ndarray, "n h w 3"],
        draft: Draft,
        seed: int,
        skies: Bool[ndarray, "n h w"] | None = None,
    ) -> None:
        self.panoramas, self.draft, self.seed, self.skies = panoramas, draft, seed, skies
        self._kept: dict[int, tuple[int, Cut]] = {}

    def __len__(self) -> int:
        return len(self.panoramas)

    def __call__(self, index: int, epoch: int) -> Cut:
        """The cut of one panorama that an epoch shows."""
        turn = epoch // DRAFT_EPOCHS
        kept = self._kept.get(index)
        if kept is None or kept[0] != turn:
            kept = self._kept[index] = (turn, self._make(index, turn))
        return kept[1]

    def _make(self, index: int, turn: int) -> Cut:
        rng = np.random.default_rng((self.seed, 1, turn, index))
        true = torch.from_numpy(self.panoramas[index]).permute(2, 0, 1).float() / 255
        if self.skies is not None:
            painter = torch.Generator().manual_seed(int(rng.integers(2**31)))
            true = paint_sky(true, torch.from_numpy(self.skies[index]), painter)
        true = true.roll(int(rng.integers(true.shape[-1])), dims=-1)
        true = tilt(true, *(TILT_DEG * rng.standard_normal(2)).tolist())
        aspect = float(np.exp(rng.uniform(*np.log(ASPECT))))
        angles = np.array([PITCH_DEG, ROLL_DEG]) * rng.standard_normal(2)
        mask = photo_mask(tuple(true.shape[-2:]), rng.uniform(*FOV_DEG), aspect, *angles.clip(-30, 30).tolist()).numpy()
        image = true.permute(1, 2, 0).numpy()
        placed = np.ascontiguousarray(image * mask[..., None], dtype=np.float32)
        draft = self.draft(placed, mask, int(rng.integers(2**31)))
        return Cut(true=_bytes(image), mask=mask, draft=_bytes(draft))


def _bytes(image: ndarray) -> ndarray:
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8)


def draw_outpaint_batch(source: CutSource, step: int, seed: int, batch: int) -> OutpaintBatch:
    """The samples of one step: cuts mirrored and coloured at random, draft and truth alike."""

    def draw(place: int) -> tuple[Tensor, Tensor, Tensor]:
        epoch, turn = divmod(place, len(source))
        index = int(np.random.default_rng((seed, epoch)).permutation(len(source))[turn])
        cut, generator = source(index, epoch), torch.Generator().manual_seed(seed * 1_000_003 + place)
        rgb, around = (torch.from_numpy(x).permute(2, 0, 1).float() / 255 for x in (cut.true, cut.draft))
        colours = draw_colours(rgb, generator)
        parts = (colours(rgb), torch.from_numpy(cut.mask)[None].float(), colours(around))
        mirrored = bool(torch.rand(1, generator=generator) < 0.5)
        return tuple(x.flip(-1) if mirrored else x for x in parts)

    with ThreadPoolExecutor(WORKERS) as pool:  # a draft takes longer than a step
        true, mask, draft = zip(*pool.map(draw, range(step * batch, (step + 1) * batch)), strict=True)
    return OutpaintBatch(true=torch.stack(true), mask=torch.stack(mask), draft=torch.stack(draft))
