"""Figure of views on a panorama, numbered in the order in which they are made."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from onescene.geometry.equirect import panorama_xy_from_directions
from onescene.plots.pictures import to_numpy
from onescene.types import Cameras

_PER_SIDE = 60  # points along a side of an outline


def outline_xy(camera: Cameras, hw: tuple[int, int]) -> Float[Tensor, "n 2"]:
    """Panorama pixels of a view's border, closed: its four sides one after the other.

    Args:
        camera: One view.
        hw: Size of the panorama [pixels].
    """
    t = torch.arange(_PER_SIDE) / _PER_SIDE
    zero, one = torch.zeros_like(t), torch.ones_like(t)
    square = torch.cat([torch.stack(p, -1) for p in ((t, zero), (one, t), (1 - t, one), (zero, 1 - t))])
    square = torch.cat((square, square[:1]))
    pixels = square * torch.tensor([camera.hw[1], camera.hw[0]])
    K, rotation = camera.K[0].cpu().float(), camera.world_from_cam[0, :3, :3].cpu().float()
    rays = torch.cat(((pixels - K[:2, 2]) / torch.stack((K[0, 0], K[1, 1])), torch.ones(len(pixels), 1)), dim=-1)
    return panorama_xy_from_directions(rays @ rotation.T, hw)


def view_order_figure(
    panorama: Float[Tensor, "3 height width"], cameras: Cameras, names: Sequence[str], *, width_in: float = 10.0
) -> Figure:
    """Outlines of views over a panorama, dark to bright in their order, each with its number and name in the middle.

    Args:
        panorama: RGB in [0, 1], shown pale.
        cameras: The views, first to last.
        names: One per view.
        width_in: Width of the figure [inches].

    Raises:
        ValueError: not as many names as views.
    """
    if len(names) != len(cameras):
        raise ValueError(f"names must be one per view, got {len(names)} for {len(cameras)}")
    hw = (panorama.shape[-2], panorama.shape[-1])
    figure = Figure(figsize=(width_in, width_in / 2 + 0.2), layout="constrained")
    axis = figure.subplots()
    axis.imshow(to_numpy(0.45 * panorama + 0.55), extent=(0, hw[1], hw[0], 0))
    colours = colormaps["viridis"](torch.linspace(0, 0.85, max(2, len(names))).tolist())
    for k, name in enumerate(names):
        camera = cameras[k]
        _draw_outline(axis, outline_xy(camera, hw), hw[1], colours[k])
        middle = panorama_xy_from_directions(camera.world_from_cam[0, :3, 2].cpu().float(), hw)
        x, y = (float(v) for v in middle)
        box = {"boxstyle": "round,pad=0.25", "facecolor": colours[k], "edgecolor": "none"}
        place = (min(max(x, 0.04 * hw[1]), 0.96 * hw[1]), min(max(y, 0.06 * hw[0]), 0.94 * hw[0]))
        axis.text(*place, f"{k + 1} {name}", ha="center", va="center", fontsize=8, color="white", bbox=box)
    axis.set(xlim=(0, hw[1]), ylim=(hw[0], 0), xticks=[], yticks=[])
    return figure


def _draw_outline(axis: Axes, xy: Tensor, width: int, colour) -> None:
    """A closed line, interrupted where it leaves the panorama on one side and comes back on the other."""
    jump = (xy[1:, 0] - xy[:-1, 0]).abs() > width / 2
    start = 0
    for stop in [*(torch.nonzero(jump).flatten() + 1).tolist(), len(xy)]:
        axis.plot(xy[start:stop, 0], xy[start:stop, 1], color=colour, linewidth=2)
        start = stop
