"""Panorama method ``small``: a draft by patches, whose layout and colours a small learned network corrects.

placed photo -> draft with ground and ceiling in perspective (``planes``), or the sky's colours (``sky``) and clouds
  continued, whole size; the scaffold's network tells one from the other
  -> draft and photo averaged to the network's size -> corrected there (``models/outpainter``)
  -> where the draft repeats nothing of the photo, the corrected picture takes its place
  -> enlarged + the draft's detail, as far as the draft agrees with the correction
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.models.loading import load_scaffold
from onescene.models.outpainter import Outpainter
from onescene.models.outpainter.compose import average_inputs, compose
from onescene.models.outpainter.weights import SmallOptions, load_outpainter
from onescene.models.scaffold import CubeScaffold
from onescene.stages.outpaint import outpaint
from onescene.stages.panorama_methods import PanoramaRequest
from onescene.stages.planes import outpaint_planes
from onescene.stages.scaffold import ScaffoldConfig, predict_distance

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
        shares = options.lower, options.upper, options.beside
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
    shares: tuple[float, float, float] | None = None,
) -> Float[Tensor, "3 h w"]:
    """A draft with the network's layout and colours and its own detail.

    Args:
        network: In evaluation mode.
        placed: The photo on the panorama, RGB in [0, 1].
        mask: True where it is.
        draft: A classical outpainting of it.
        generator: On the CPU; for the network's noise.
        shares: How much of the correction is taken below, above and beside the photo (see :class:`SmallOptions`); None
            = all of it everywhere.
    """
    height = network.config.height_px
    small = average_inputs(placed[None], mask[None, None].float(), draft[None], height)
    noise = torch.randn(1, network.config.noise, height, 2 * height, generator=generator)
    corrected = network(small.photo, small.seen, small.draft, noise).clamp(0, 1)
    share = None if shares is None else correction_share(small.seen[0, 0] > 0, *shares)
    return compose(draft[None], small, corrected, share)[0].clamp(0, 1)


def correction_share(mask: Bool[Tensor, "h w"], lower: float, upper: float, beside: float) -> Float[Tensor, "h 1"]:
    """How much of the correction each row takes: ``beside`` in the photo's rows, ``lower`` below, ``upper`` above.

    Beside it the draft repeats what the photo shows; below and above it knows less. Without a photo nothing is
    repeated: all of it.
    """
    rows = torch.nonzero(mask.any(dim=1)).flatten()
    if not len(rows):
        return torch.ones(len(mask), 1)
    row, rim = torch.arange(len(mask)), RIM_DEG * len(mask) / 180
    below, above = ((row - rows.max()) / rim).clamp(0, 1), ((rows.min() - row) / rim).clamp(0, 1)
    return (lower * below + upper * above + beside * (1 - below - above))[:, None]
