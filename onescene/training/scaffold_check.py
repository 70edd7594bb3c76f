"""How a scaffold network does on panoramas with exact distance, while it is being trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from onescene.geometry.cubemap import faces_from_panorama
from onescene.metrics import depth_metrics, panorama_depth_metrics, seam_jump
from onescene.training.batches import PanoramaSet, known_ground, load_batch, shrink_targets
from onescene.training.networks import median_log_ratio, trained

NEAR_M = 5.0  # the nearest cap of the rules: a panorama with nothing nearer can not be scored by all of them


@dataclass(frozen=True)
class Compared:
    """Predictions beside the truth, at the network's resolution.

    Attributes:
        rgb: The panoramas in [0, 1].
        distance: Predicted distance, scaled to the truth's median [m].
        true: True distance [m]; NaN where unknown.
        sky: True sky.
    """

    rgb: Float[Tensor, "n 3 height width"]
    distance: Float[Tensor, "n h w"]
    true: Float[Tensor, "n h w"]
    sky: Bool[Tensor, "n h w"]


@torch.no_grad()
def predict_all(network: nn.Module, data: PanoramaSet) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Predicts every panorama of a (small) set as it is, one pass each; the network is left in the mode it was in.

    Returns:
        RGB [n, 3, H, 2H] in [0, 1]; predicted log distance, true log distance [log m] and sky at the targets' size.
    """
    training, kind = network.training, trained(network)
    network.eval()
    device = next(network.parameters()).device
    rgb, log_distance, sky = (x.to(device) for x in load_batch(data, range(len(data))))
    true_log, sky = shrink_targets(log_distance, sky, kind.face_px)
    faces = faces_from_panorama(rgb, kind.face_px, kind.fov_deg)
    hw = tuple(true_log.shape[-2:])
    predicted = torch.cat([kind.on_panorama(network(one[None]), hw).log_distance for one in faces])
    network.train(training)
    return rgb, predicted, true_log, sky


def compare(network: nn.Module, data: PanoramaSet) -> Compared:
    """Predictions at the truth's median distance, beside the truth."""
    rgb, predicted, true_log, sky = predict_all(network, data)
    ground = known_ground(true_log, sky)
    shift = [median_log_ratio(p, t, g) for p, t, g in zip(predicted, true_log, ground, strict=True)]
    return Compared(rgb, (predicted - torch.stack(shift)[:, None, None]).exp(), true_log.exp(), sky)


def held_out_errors(network: nn.Module, data: PanoramaSet) -> dict[str, dict[str, float]]:
    """AbsRel, delta1 (median-aligned, sky left out) and the seam jump of the network and of a sphere."""
    compared = compare(network, data)
    out = {}
    for name, distance in (("network", compared.distance), ("sphere", torch.ones_like(compared.distance))):
        metrics = depth_metrics(distance, compared.true, mask=~compared.sky)
        kept = {key: metrics[key] for key in ("abs_rel_median", "delta1_median")}
        out[name] = kept | {"seam_jump_ratio": seam_jump(distance)["seam_jump_ratio"]}
    return out


def scores_by_rule(network: nn.Module, data: PanoramaSet) -> dict[str, float]:
    """AbsRel and delta1 to 3 under every rule of ``PANORAMA_RULES``, the seams, and how many panoramas that is.

    Panoramas that show nothing within 5 m are left out of all rules, so that all speak of the same ones.

    Returns:
        ``{metric}_{rule}``, ``{metric}_median`` without a cap, ``seam_jump_ratio``, ``panoramas``.

    Raises:
        ValueError: no panorama shows anything within 5 m.
    """
    _, predicted, true_log, sky = predict_all(network, data)
    near = ((true_log < math.log(NEAR_M)) & ~sky).flatten(1).any(1)
    if not bool(near.any()):
        raise ValueError(f"data must hold a panorama that shows something within {NEAR_M:g} m, got none")
    distance, true, ground = predicted[near].exp(), true_log[near].exp(), ~sky[near]
    scores = panorama_depth_metrics(distance, true, mask=ground) | depth_metrics(distance, true, mask=ground)
    kept = {k: v for k, v in scores.items() if k.startswith(("abs_rel_", "delta"))}
    return kept | {"seam_jump_ratio": seam_jump(distance)["seam_jump_ratio"], "panoramas": float(near.sum())}
