"""Panorama method ``small``: a draft by patches, whose layout and colours a small learned network corrects.

placed photo -> draft with ground and ceiling in perspective (``planes``), or the sky's colours (``sky``) and clouds
  continued, whole size; the scaffold's network tells one from the other
  -> draft and photo averaged to the network's size -> corrected there (``models/outpainter``)
  -> where the draft repeats nothing of the photo, the corrected picture takes its place
  -> enlarged + the draft's detail, as far as the draft agrees with the correction
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.models.loading import load_scaffold
from onescene.models.outpainter import Outpainter
from onescene.models.outpainter.network import pad_sphere
from onescene.models.outpainter.weights import SmallOptions, load_outpainter
from onescene.models.scaffold import CubeScaffold
from onescene.stages.outpaint import outpaint
from onescene.stages.panorama_methods import PanoramaRequest
from onescene.stages.planes import outpaint_planes
from onescene.stages.scaffold import ScaffoldConfig, predict_distance

WINDOW = 5  # side of the neighbourhood in which draft and correction are compared [pixels of the network's size]
FLAT = 0.03**2  # variance below which a neighbourhood counts as flat and keeps the draft's grain
LARGEST_GAIN = 1.5
EVEN = 0.5  # standard deviation of what evens a row [its height]
RIM_DEG = 10.0  # beyond the photo's rows, over which the correction comes in


def load(options: SmallOptions) -> Callable[[PanoramaRequest], Tensor]:
    """The method with its weights.

    Raises:
        FileNotFoundError, ValueError: the weights are missing or do not fit.
    """
    network, _ = load_outpainter(options.file())
    sky_of = sky_by(load_scaffold()[0]) if options.planes else None

    def synthesise(request: PanoramaRequest) -> Tensor:
        image = request.placed.panorama.permute(1, 2, 0).float().cpu().contiguous().numpy()
        placed, mask = request.placed.panorama.float().cpu(), request.placed.mask.cpu()
        if sky_of is None:
            around = outpaint(image, mask.numpy(), request.seed)
        else:
            around = outpaint_planes(image, mask.numpy(), request.seed, sky_of)
        request.progress(0.6)
        draft = torch.from_numpy(around).permute(2, 0, 1).float()
        shares = options.lower, options.upper
        return correct(network, placed, mask, draft, request.generator, shares).to(request.placed.panorama)

    return synthesise


def sky_by(scaffold: CubeScaffold) -> Callable[[np.ndarray], np.ndarray]:
    """Tells the sky above a photo from a ceiling by the scaffold network's look at a draft.

    Args:
        scaffold: In evaluation mode.

    Returns:
        Takes the draft [height, width, 3], gives the probability of sky on a panorama of the network's size.
    """
    config = ScaffoldConfig(turns=1)

    @torch.no_grad()
    def sky_of(draft: np.ndarray) -> np.ndarray:
        image = torch.from_numpy(draft).permute(2, 0, 1).float().contiguous()
        return predict_distance(image, scaffold, config)[1].numpy()

    return sky_of


@torch.no_grad()
def correct(
    network: Outpainter,
    placed: Float[Tensor, "3 h w"],
    mask: Bool[Tensor, "h w"],
    draft: Float[Tensor, "3 h w"],
    generator: torch.Generator,
    shares: tuple[float, float] | None = None,
) -> Float[Tensor, "3 h w"]:
    """A draft with the network's layout and colours and its own detail.

    Args:
        network: In evaluation mode.
        placed: The photo on the panorama, RGB in [0, 1].
        mask: True where it is.
        draft: A classical outpainting of it.
        generator: On the CPU; for the network's noise.
        shares: How much of the correction is taken below and above the photo, while none is beside it, where the draft
            repeats the photo (see :class:`SmallOptions`); None = all of it everywhere: the draft repeats nothing.
    """
    height = network.config.height_px
    hw = (height, 2 * height)
    share = _averaged(mask[None, None].float(), hw)
    seen = (share > 0.5).float()
    photo = _averaged((placed * mask)[None], hw) / share.clamp_min(1e-3) * seen
    small = _averaged(draft[None], hw)
    noise = torch.randn(1, network.config.noise, *hw, generator=generator)
    corrected = network(photo, seen, small, noise).clamp(0, 1)
    change = even_at_poles(corrected - small)
    change = change if shares is None else change * correction_share(seen[0, 0] > 0, *shares)
    corrected = torch.where(seen > 0, photo, small + change)
    gain = _enlarged(detail_gain(small, corrected), draft)
    detail = draft[None] - _enlarged(small, draft)
    return (_enlarged(corrected, draft) + gain * detail)[0].clamp(0, 1)


def even_at_poles(x: Float[Tensor, "... h w"]) -> Float[Tensor, "... h w"]:
    """A panorama without what is narrower than a row is high: towards the poles columns crowd, and show one place.

    A Gaussian along each row, as wide as makes up for the crowding; nothing changes at the horizon.
    """
    height, width = x.shape[-2:]
    latitude = math.pi * (0.5 - (torch.arange(height, dtype=torch.float64) + 0.5) / height)
    sigma = EVEN * math.pi / height * (latitude.cos() ** -2 - 1).sqrt()  # [rad of longitude]
    gain = torch.exp(-0.5 * (sigma[:, None] * torch.arange(width // 2 + 1)) ** 2).to(x)
    return torch.fft.irfft(torch.fft.rfft(x) * gain, n=width)


def correction_share(mask: Bool[Tensor, "h w"], lower: float, upper: float) -> Float[Tensor, "h 1"]:
    """How much of the correction each row takes: none beside the photo, ``lower`` below, ``upper`` above.

    Beside it the draft repeats what the photo shows; below and above it knows nothing but colours. Without a photo
    nothing is repeated.
    """
    rows = torch.nonzero(mask.any(dim=1)).flatten()
    if not len(rows):
        return torch.ones(len(mask), 1)
    row, rim = torch.arange(len(mask)), RIM_DEG * len(mask) / 180
    below, above = (row - rows.max()) / rim, (rows.min() - row) / rim
    return (lower * below.clamp(0, 1) + upper * above.clamp(0, 1))[:, None]


def detail_gain(draft: Float[Tensor, "1 3 h w"], corrected: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 1 h w"]:
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


def _averaged(x: Tensor, hw: tuple[int, int]) -> Tensor:
    """A panorama at the network's size."""
    return F.interpolate(x, hw, mode="area") if x.shape[-2] >= hw[0] else F.interpolate(x, hw, mode="bilinear")


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    """A panorama at another's size, bicubic around the circle and across the poles."""
    pad, (height, width) = 2, x.shape[-2:]
    rows, columns = (
        (torch.arange(n, dtype=x.dtype) + 0.5) / n * size + pad
        for n, size in zip(like.shape[-2:], (height, width), strict=True)
    )
    grid = torch.stack(torch.meshgrid(columns / (width + 2 * pad), rows / (height + 2 * pad), indexing="xy"), -1)
    return F.grid_sample(pad_sphere(x, pad), grid[None] * 2 - 1, mode="bicubic", align_corners=False)
