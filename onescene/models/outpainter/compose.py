"""How the small picture that the network makes and a draft of any size become one panorama.

    photo, mask, draft averaged to the network's size -> the network's correction, evened at the poles
      -> enlarged + the draft's detail, as far as the draft agrees with the correction

Training looks at what comes of this, not at the small picture alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from onescene.models.outpainter.network import pad_sphere

WINDOW = 5  # side of the neighbourhood in which draft and correction are compared [pixels of the network's size]
FLAT = 0.03**2  # variance below which a neighbourhood counts as flat and keeps the draft's grain
LARGEST_GAIN = 1.5
EVEN = 0.5  # standard deviation of what evens a row [its height]


@dataclass(frozen=True, kw_only=True)
class SmallInputs:
    """What the network sees of a panorama, at its own size.

    Attributes:
        photo: The photo on the panorama, RGB in [0, 1], 0 outside.
        seen: 1 where more than half of a pixel is photo, else 0.
        draft: A classical outpainting of it.
    """

    photo: Float[Tensor, "b 3 h w"]
    seen: Float[Tensor, "b 1 h w"]
    draft: Float[Tensor, "b 3 h w"]


def average_inputs(
    placed: Float[Tensor, "b 3 _h _w"], mask: Float[Tensor, "b 1 _h _w"], draft: Float[Tensor, "b 3 _h _w"], height: int
) -> SmallInputs:
    """Photo, mask and draft at ``height`` rows.

    Args:
        placed: The photo on the panorama, RGB in [0, 1]; what is outside does not matter.
        mask: 1 where it is.
        draft: A classical outpainting of it.
        height: Rows of the network's panoramas.
    """
    share = averaged(mask, height)
    seen = (share > 0.5).to(share)
    photo = averaged(placed * mask, height) / share.clamp_min(1e-3) * seen
    return SmallInputs(photo=photo, seen=seen, draft=averaged(draft, height))


def compose(
    draft: Float[Tensor, "b 3 _h _w"],
    small: SmallInputs,
    corrected: Float[Tensor, "b 3 h w"],
    share: Float[Tensor, "h 1"] | None = None,
) -> Float[Tensor, "b 3 _h _w"]:
    """The panorama with the network's layout and colours and the draft's detail; not clamped.

    Args:
        draft: The classical outpainting at its own size.
        small: What the network saw.
        corrected: What it made of that.
        share: How much of the correction each row takes; None = all of it.
    """
    change = even_at_poles(corrected - small.draft)
    change = change if share is None else change * share
    corrected = torch.where(small.seen > 0, small.photo, small.draft + change)
    gain = enlarged(detail_gain(small.draft, corrected), draft)
    detail = draft - enlarged(small.draft, draft)
    return enlarged(corrected, draft) + gain * detail


def even_at_poles(x: Float[Tensor, "... h w"]) -> Float[Tensor, "... h w"]:
    """A panorama without what is narrower than a row is high: towards the poles columns crowd, and show one place.

    A Gaussian along each row, as wide as makes up for the crowding; nothing changes at the horizon.
    """
    height, width = x.shape[-2:]
    latitude = math.pi * (0.5 - (torch.arange(height, dtype=torch.float64) + 0.5) / height)
    sigma = EVEN * math.pi / height * (latitude.cos() ** -2 - 1).sqrt()  # [rad of longitude]
    gain = torch.exp(-0.5 * (sigma[:, None] * torch.arange(width // 2 + 1)) ** 2).to(x)
    return torch.fft.irfft(torch.fft.rfft(x) * gain, n=width)


def detail_gain(draft: Float[Tensor, "b 3 h w"], corrected: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
    """How much of the draft's detail to keep: the slope of the correction over the draft in each neighbourhood.

    As in the guided filter (He, Sun and Tang 2013, Eq. 5): 1 where both show the same structure, 0 where the network
    put something else there; 1 where the draft is flat and has grain only.
    """

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(pad_sphere(x, WINDOW // 2), WINDOW, stride=1)

    both = (draft, corrected)
    d, c = (x - mean(x) for x in both)
    covariance, variance = mean((d * c).sum(1, keepdim=True)), mean((d * d).sum(1, keepdim=True))
    return ((covariance + FLAT) / (variance + FLAT)).clamp(0, LARGEST_GAIN)


def averaged(x: Float[Tensor, "b c _h _w"], height: int) -> Float[Tensor, "b c h w"]:
    """A panorama at ``height`` rows."""
    size = (height, 2 * height)
    return F.interpolate(x, size, mode="area") if x.shape[-2] >= height else F.interpolate(x, size, mode="bilinear")


def enlarged(x: Float[Tensor, "b c h w"], like: Float[Tensor, "b _c _h _w"]) -> Float[Tensor, "b c _h _w"]:
    """A panorama at another's size, bicubic around the circle and across the poles."""
    pad, (height, width) = 2, x.shape[-2:]
    rows, columns = (
        (torch.arange(n, dtype=x.dtype, device=x.device) + 0.5) / n * size + pad
        for n, size in zip(like.shape[-2:], (height, width), strict=True)
    )
    grid = torch.stack(torch.meshgrid(columns / (width + 2 * pad), rows / (height + 2 * pad), indexing="xy"), -1)
    grid = (grid * 2 - 1).expand(len(x), -1, -1, -1)
    return F.grid_sample(pad_sphere(x, pad), grid, mode="bicubic", align_corners=False)
