"""Distance and depth as pictures: near is bright, the sky is pale blue, equal ratios are equal steps of colour."""

from __future__ import annotations

import matplotlib
import torch
from jaxtyping import Float
from torch import Tensor

SKY_RGB = (0.75, 0.85, 0.95)


def colour_distance(
    distance: Float[Tensor, "*batch height width"],
    sky: Float[Tensor, "*batch height width"] | None = None,
    *,
    limits: tuple[float, float] | None = None,
    colormap: str = "magma_r",
) -> Float[Tensor, "*batch 3 height width"]:
    """Colours a distance or depth map by its logarithm.

    Args:
        distance: Any unit, finite and > 0 (other values are drawn as sky).
        sky: Probability of sky, drawn pale blue where >= 0.5.
        limits: Distances of the two ends of the colour map; None = 2nd and 98th percentile of what is no sky.
        colormap: A matplotlib colour map.
    """
    hidden = ~torch.isfinite(distance) | (distance <= 0)
    if sky is not None:
        hidden = hidden | (sky >= 0.5)
    log_distance = torch.where(hidden, torch.ones_like(distance), distance).log()
    if limits is None:
        shown = log_distance[~hidden]
        shown = shown if shown.numel() else log_distance.flatten()
        shown = shown[:: max(1, shown.numel() // 1_000_000)]
        low, high = (float(shown.quantile(q)) for q in (0.02, 0.98))
    else:
        low, high = (float(torch.tensor(limit).log()) for limit in limits)
    share = ((log_distance - low) / max(high - low, 1e-6)).clamp(0, 1)
    table = torch.tensor(matplotlib.colormaps[colormap].resampled(256).colors[:, :3], dtype=torch.float32)
    rgb = table[(share * 255).long().cpu()]
    rgb = torch.where(hidden.cpu()[..., None], torch.tensor(SKY_RGB), rgb)
    return rgb.movedim(-1, -3)
