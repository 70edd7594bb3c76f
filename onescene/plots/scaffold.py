"""Figures about a scaffold: seen from above and from the side, sizes of its Gaussians."""

from __future__ import annotations

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from onescene.types import Gaussians

_MAX_POINTS = 40_000


def plan_figure(
    gaussians: Gaussians, path_world: Float[Tensor, "v 3"] | None = None, *, reach_world: float | None = None
) -> Figure:
    """The scaffold from above (x, z) and from the side (z, up), with the cameras' path.

    Args:
        gaussians: Drawn in their own colours, thinned to 40,000.
        path_world: Camera positions, or None.
        reach_world: Half the side of the drawing [world units]; None = the 90th percentile of the distances.
    """
    step = max(1, len(gaussians) // _MAX_POINTS)
    means, colours = gaussians.means[::step].cpu(), gaussians.rgb[::step].clamp(0, 1).cpu().numpy()
    reach = reach_world or float(means.norm(dim=-1).quantile(0.9))
    height = -means[:, 1]
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    above, aside = figure.subplots(1, 2)
    eye = (height - height.median()).abs() < 0.6 * reach
    above.scatter(means[eye, 0], means[eye, 2], s=0.4, c=colours[eye.numpy()], linewidths=0)
    aside.scatter(means[:, 2], height, s=0.4, c=colours, linewidths=0)
    if path_world is not None:
        above.plot(path_world[:, 0], path_world[:, 2], color="red", linewidth=1.5)
        aside.plot(path_world[:, 2], -path_world[:, 1], color="red", linewidth=1.5)
    above.plot(0, 0, "r+", markersize=10)
    above.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="x right", ylabel="z forward")
    above.set_title("from above (red: where the panorama stands)", fontsize=9)
    aside.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="z forward", ylabel="-y up")
    aside.set_title("from the side", fontsize=9)
    return figure


def footprint_figure(gaussians: Gaussians) -> Figure:
    """Distribution of the Gaussians' sizes, as seen from the centre and along their three axes.

    Args:
        gaussians: A scaffold; its centre is the world's origin.
    """
    distance = gaussians.means.norm(dim=-1, keepdim=True)
    milliradian = (gaussians.scales / distance * 1000).cpu()
    figure = Figure(figsize=(8, 3), layout="constrained")
    axis = figure.subplots()
    bins = torch.logspace(-2, 2, 80).numpy()
    for column, name in enumerate(("along the slope", "across", "along the normal")):
        axis.hist(milliradian[:, column].numpy(), bins=bins, histtype="step", label=name, linewidth=1.5)
    axis.set(xscale="log", xlabel="standard deviation over distance [mrad]", ylabel="Gaussians")
    axis.legend(fontsize=8)
    return figure
