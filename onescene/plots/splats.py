"""Figures that explain splatting: ellipses on a picture, what one pixel is made of, how busy the tiles are."""

from __future__ import annotations

import matplotlib
import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from onescene.plots.pictures import to_numpy

LABELS = 12  # under an axis at most, so that they stay apart


def ellipse_figure(
    rgb: Float[Tensor, "3 h w"],
    xy_px: Float[Tensor, "n 2"],
    conics: Float[Tensor, "n 3"],
    title: str = "",
) -> Figure:
    """A picture with the outlines of Gaussians on it: one and three standard deviations.

    Args:
        rgb: The picture in [0, 1].
        xy_px: Centres [pixels].
        conics: Inverse covariances (xx, xy, yy) [1 / pixels^2], as ``project_gaussians`` gives them.
        title: Above the picture.
    """
    figure = Figure(figsize=(4.2, 4.2 * rgb.shape[1] / rgb.shape[2] + 0.3), layout="constrained")
    axis = figure.subplots()
    height, width = rgb.shape[1:]
    axis.imshow(to_numpy(rgb), extent=(0, width, height, 0))  # pixel centres lie at halves
    angle = torch.linspace(0, 2 * torch.pi, 90)
    circle = torch.stack((angle.cos(), angle.sin()))
    for centre, (xx, xy, yy) in zip(xy_px.detach().cpu(), conics.detach().cpu().unbind(0), strict=True):
        covariance = torch.linalg.inv(torch.stack((xx, xy, xy, yy)).reshape(2, 2).double())
        outline = (torch.linalg.cholesky(covariance) @ circle.double()).float()
        for k in (1, 3):
            x, y = centre[:, None] + k * outline
            axis.plot(x, y, color="white", linewidth=1.2, linestyle="-" if k == 1 else ":")
    axis.set(xlim=(0, width), ylim=(height, 0), xlabel="x [px]", ylabel="y [px]")
    axis.set_title(title, fontsize=9)
    return figure


def pixel_figure(
    depth_z: Float[Tensor, " n"], alpha: Float[Tensor, " n"], colours: Float[Tensor, "n 3"], title: str = ""
) -> Figure:
    """What one pixel is made of: the light that is left behind each Gaussian, and what each one adds.

    Args:
        depth_z: Depths of the Gaussians that the pixel meets, front to back [world units].
        alpha: How much of the light each one stops, in [0, 1].
        colours: Their colours.
        title: Above the figure.
    """
    through = torch.cumprod(1 - alpha, 0)
    before = torch.cat((torch.ones(1).to(through), through[:-1]))
    weight, colour = (alpha * before).detach().cpu().numpy(), colours.detach().clamp(0, 1).cpu().numpy()
    places = np.arange(len(alpha))
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    axis = figure.subplots()
    axis.bar(places, weight, color=colour, edgecolor="black", linewidth=0.5, label="weight = alpha times light left")
    axis.step(
        places, before.detach().cpu().numpy(), where="mid", color="black", linewidth=1.2, label="light left in front"
    )
    labels = [f"{z:.2f}" for z in depth_z.tolist()]
    every = max(1, -(-len(places) // LABELS))
    axis.set_xticks(places[::every], labels[::every])
    axis.set(xlabel="depth of the Gaussians, front to back [world units]", ylabel="share of the pixel", ylim=(0, 1.05))
    axis.set_title(title, fontsize=9)
    axis.legend(fontsize=8)
    return figure


def tile_picture(counts: Int[Tensor, " tiles"], hw: tuple[int, int], tile_px: int) -> Float[Tensor, "3 h w"]:
    """How many Gaussians each tile has to blend, as a picture: dark is few, bright is many.

    Args:
        counts: Per tile, row by row, as ``tile_lists`` gives them.
        hw: Size of the image [pixels].
        tile_px: Side of a tile [pixels].
    """
    rows, columns = -(-hw[0] // tile_px), -(-hw[1] // tile_px)
    level = (counts.reshape(rows, columns) / counts.max().clamp_min(1)).cpu().numpy()
    picture = torch.from_numpy(matplotlib.colormaps["magma"](level)[..., :3].copy()).float().permute(2, 0, 1)
    return picture.repeat_interleave(tile_px, 1).repeat_interleave(tile_px, 2)[:, : hw[0], : hw[1]]
