"""Figures of camera paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from onescene.types import Cameras


def trajectories_figure(trajectories: Mapping[str, Cameras], *, columns: int = 6) -> Figure:
    """Paths from above, one panel each: a line for the way, ticks for where the cameras look.

    Args:
        trajectories: Name to cameras.
        columns: Panels per row.

    Raises:
        ValueError: no trajectory, or one without a camera.
    """
    if empty := [name for name, cameras in trajectories.items() if len(cameras) == 0]:
        raise ValueError(f"trajectories must have a camera each, {empty[0]} has none")
    if not trajectories:
        raise ValueError("trajectories must hold at least one, got none")
    rows = -(-len(trajectories) // columns)
    figure = Figure(figsize=(1.9 * columns, 2.0 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes:
        axis.axis("off")
    for axis, (name, cameras) in zip(axes, trajectories.items(), strict=False):
        place = cameras.world_from_cam[:, :3, 3].cpu()
        reach = max(float(place.abs().max()), 0.2) * 1.4
        axis.plot(place[:, 0], place[:, 2], color="tab:red", linewidth=1.5)
        draw_looks(axis, cameras, ticks=8, length_world=0.25 * reach, color="0.4", linewidth=0.8)
        axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axis.set_title(f"{name} (±{reach:.2g})", fontsize=8)
    return figure


def draw_looks(axis: Axes, cameras: Cameras, *, ticks: int, length_world: float, **style: Any) -> None:
    """Draws, from above, where some of the cameras look.

    Args:
        axis: x right, y forward.
        cameras: A path.
        ticks: About so many cameras are drawn.
        length_world: Of a tick [world units].
        style: As matplotlib's ``plot``.
    """
    shown = cameras.world_from_cam[:: max(1, len(cameras) // ticks)].detach().cpu()
    tips = shown[:, :3, 3] + length_world * shown[:, :3, 2]
    for place, tip in zip(shown[:, :3, 3], tips, strict=True):
        axis.plot([place[0], tip[0]], [place[2], tip[2]], **style)


def holes_figure(reach_world: Float[Tensor, " n"], share: Float[Tensor, " n"]) -> Figure:
    """Share of a view that no Gaussian covers, over the distance from the centre.

    Args:
        reach_world: Distance of the camera from the centre [world units].
        share: In [0, 1].
    """
    figure = Figure(figsize=(6, 2.8), layout="constrained")
    axis = figure.subplots()
    axis.plot(reach_world, share * 100, marker="o")
    axis.set(xlabel="camera's distance from the centre [world units]", ylabel="holes [% of the view]", ylim=(0, None))
    axis.grid(alpha=0.3)
    return figure
