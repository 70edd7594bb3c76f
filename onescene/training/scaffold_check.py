"""How a scaffold network does on panoramas with exact distance, while it is being trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.geometry.cubemap import faces_from_panorama
from onescene.metrics import depth_metrics, seam_jump
from onescene.models.scaffold import CubeScaffold
from onescene.training.scaffold import PanoramaSet, load_batch, shrink_targets


@dataclass(frozen=True)
class Compared:
    """Predictions beside the truth, at the network's resolution.

    Attributes:
        rgb: The panoramas in [0, 1].
        distance: Predicted distance, scaled to the truth's median [m].
        true: True distance [m].
        sky: True sky.
    """

    rgb: Float[Tensor, "n 3 height width"]
    distance: Float[Tensor, "n h w"]
    true: Float[Tensor, "n h w"]
    sky: Bool[Tensor, "n h w"]


@torch.no_grad()
def compare(network: CubeScaffold, data: PanoramaSet) -> Compared:
    """Predicts every panorama of a (small) set; the network is left in the mode it was in."""
    training, size = network.training, network.config.face_px
    network.eval()
    device = next(network.parameters()).device
    rgb, log_distance, sky = (x.to(device) for x in load_batch(data, range(len(data))))
    faces = faces_from_panorama(rgb, size, network.config.fov_deg)
    predicted = torch.cat([network(one[None]).log_distance for one in faces])
    network.train(training)
    true_log, sky = shrink_targets(log_distance, sky, size)
    shift = [(t - p)[~s].median() for t, p, s in zip(true_log, predicted, sky, strict=True)]
    return Compared(rgb, (predicted + torch.stack(shift)[:, None, None]).exp(), true_log.exp(), sky)


def held_out_errors(network: CubeScaffold, data: PanoramaSet) -> dict[str, dict[str, float]]:
    """AbsRel, delta1 (median-aligned, sky left out) and the seam jump of the network and of a sphere."""
    compared = compare(network, data)
    out = {}
    for name, distance in (("network", compared.distance), ("sphere", torch.ones_like(compared.distance))):
        metrics = depth_metrics(distance, compared.true, mask=~compared.sky)
        kept = {key: metrics[key] for key in ("abs_rel_median", "delta1_median")}
        out[name] = kept | {"seam_jump_ratio": seam_jump(distance)["seam_jump_ratio"]}
    return out
