"""Losses of the scaffold's distance: aligned log error and its outliers, SILog, gradients, faces that agree, sky.

Terms on edges, crops and normals stand in ``geometry_terms.py``, those on rendered views in ``render_loss.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.geometry.cubemap import faces_from_panorama
from onescene.models.scaffold import ScaffoldPrediction
from onescene.training.batches import known_ground
from onescene.training.geometry_terms import crop_loss, gradient_loss, masked_mean, normal_loss


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; 0 leaves a term out.

    The paper (Sec. 3.2) has SILog, MSE and LPIPS; ``aligned`` to ``sky`` train the small network.
    """

    aligned: float = 1.0  # mean |log error| after each image's median is taken out
    relative: float = 0.0  # the same of the relative error (AbsRel): too far counts for more than too near
    absolute: float = 0.1  # mean |log error| in log metres
    outlier: float = 1.0  # share of pixels that are off by more than 25 %, made smooth (1 - delta1)
    silog: float = 0.1  # Eigen 2014, variance focus 0.85
    gradient: float = 0.5  # mean |difference of log error| between neighbours, four scales
    overlap: float = 0.1  # mean |face - sphere| in log distance
    sky: float = 0.3  # binary cross-entropy
    crop: float = 0.0  # shape within crops, each with a scale and a shift of its own
    normal: float = 0.0  # 1 - cosine between normals, not across depth edges
    render: float = 0.0  # mean squared error of views rendered from the Gaussians, at the centre and beside it
    perceptual: float = 0.0  # LPIPS (or what stands for it, see perceptual.py) of the same views

    @property
    def looks_at_views(self) -> bool:
        """Whether a term renders the Gaussians, and teaches the heads that predict them."""
        return self.render > 0 or self.perceptual > 0


PAPER_LOSS = LossWeights(  # Sec. 3.2 names the three terms, the released code weighs them so
    **dict.fromkeys(("aligned", "absolute", "outlier", "gradient", "overlap", "sky"), 0.0),
    silog=10.0,
    render=10.0,
    perceptual=0.5,
)


def median_offset(error: Float[Tensor, "batch h w"], valid: Bool[Tensor, "batch h w"]) -> Float[Tensor, " batch"]:
    """Median of each image's valid errors (0 where an image has none), without gradient."""
    with torch.no_grad():
        medians = [e[v].median() if bool(v.any()) else e.new_zeros(()) for e, v in zip(error, valid, strict=True)]
        return torch.stack(medians)


def outlier_share(error: Tensor, tolerance: float = math.log(1.25)) -> Tensor:
    """e^2 / (e^2 + tolerance^2) (Geman and McClure 1987): 0 for no error, 1/2 at the tolerance, 1 for a gross one."""
    square = error.square()
    return square / (square + tolerance**2)


def relative_error(error: Tensor) -> Tensor:
    """|exp(e) - 1| of a log error, AbsRel's summand; its tangent from e = 1 on, so that no pixel rules a step."""
    near = error.clamp(max=1.0)
    return near.expm1().abs() + math.e * (error - near)


def scaffold_loss(
    prediction: ScaffoldPrediction,
    log_distance: Float[Tensor, "batch h w"],
    sky: Bool[Tensor, "batch h w"],
    fov_deg: float,
    weights: LossWeights = LossWeights(),
) -> dict[str, Tensor]:
    """Every term and their weighted sum under ``total``.

    Args:
        prediction: The network's output at the targets' resolution.
        log_distance: True log distance [log m]; anything where ``sky``, NaN where unknown.
        sky: True sky.
        fov_deg: Field of view of the faces [degrees].
        weights: Weight of each term.
    """
    valid = known_ground(log_distance, sky)
    mask = valid.to(log_distance)
    error = torch.where(valid, prediction.log_distance - log_distance, torch.zeros_like(log_distance))
    median = median_offset(error, valid)[:, None, None]
    aligned = (error - median) * mask
    count = mask.sum((1, 2)).clamp_min(1)
    mean, mean_square = (error * mask).sum((1, 2)) / count, (error.square() * mask).sum((1, 2)) / count
    on_faces = faces_from_panorama(prediction.log_distance[:, None], prediction.face_log_distance.shape[-1], fov_deg)
    sky_error = F.binary_cross_entropy_with_logits(prediction.sky_logit, sky.to(log_distance), reduction="none")
    terms = {
        "aligned": masked_mean(aligned.abs(), mask),
        "absolute": masked_mean(error.abs(), mask),
        "outlier": masked_mean(outlier_share(aligned), mask),
        "silog": (mean_square - 0.85 * mean.square()).clamp_min(1e-6).sqrt().mean(),
        "gradient": gradient_loss(aligned, valid),
        "overlap": (prediction.face_log_distance - on_faces[:, :, 0]).abs().mean(),
        "sky": masked_mean(sky_error, (valid | sky).to(log_distance)),
    }
    if weights.relative:
        middle = mean[:, None, None]  # its gradient is taken out: too far counts for more, all would come ever nearer
        shape = (error - middle + (middle - median).detach()) * mask
        terms["relative"] = masked_mean(relative_error(shape), mask)
    if weights.crop:
        terms["crop"] = crop_loss(prediction.log_distance, log_distance, valid)
    if weights.normal:
        terms["normal"] = normal_loss(prediction.log_distance, log_distance, valid)
    terms["total"] = sum(getattr(weights, name) * value for name, value in terms.items())
    return terms
