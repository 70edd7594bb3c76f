"""Figures of a chunk of novel views: its frames, what the network is told, memory, and where attention goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from onescene.plots.pictures import to_numpy
from onescene.plots.training import running_mean
from onescene.types import Cameras

_ADAPTER = {0: "#4c78a8", 1: "#f58518"}  # adapter 1: clean frames and targets; adapter 2: renders
_CAMERA = {"path": "0.75", "target": "#d7263d", "memory": "#1f9e6e", "made": "0.35"}


def strips_figure(
    rows: Mapping[str, Float[Tensor, "n 3 h w"]], titles: Sequence[str] = (), *, cell_in: float = 0.85
) -> Figure:
    """Rows of pictures, each with its name at the left; rows may differ in length.

    Args:
        rows: Name to pictures in [0, 1].
        titles: Above the first row.
        cell_in: Side of a picture [inches].
    """
    columns = max(map(len, rows.values()))
    figure = Figure(figsize=(columns * cell_in + 1.2, len(rows) * (cell_in + 0.05) + 0.25), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        for column, axis in enumerate(line):
            _bare(axis)
            if column < len(pictures):
                axis.imshow(to_numpy(pictures[column]))
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set_title(title, fontsize=9)
    return figure


def conditions_figure(
    rows: Mapping[str, Float[Tensor, "t 3 height width"]],
    known: Float[Tensor, " t"],
    rendered: Float[Tensor, " t"],
    rays: Float[Tensor, "t 6 h w"],
    names: Sequence[str],
) -> Figure:
    """What the network is told about a chunk, a column per frame.

    Args:
        rows: Pictures, such as what is shown of each frame.
        known: 1 = input, 0 = target: the mask channel.
        rendered: 1 = adapter 2, 0 = adapter 1: the routing mask.
        rays: Ray maps; directions and moments are shown as colours.
        names: Of the frames.
    """
    scale = rays[:, 3:].abs().amax().clamp_min(1e-6)
    tiles = dict(rows) | {
        "known": known[:, None, None, None].expand(-1, 3, 8, 8),
        "ray direction": 0.5 + 0.5 * rays[:, :3],
        "ray moment": 0.5 + 0.5 * rays[:, 3:] / scale,
    }
    figure = strips_figure(tiles, names)
    axes = figure.axes
    for column in range(len(names)):
        adapter = int(rendered[column])
        axes[column].set_title(f"{names[column]}\nadapter {adapter + 1}", fontsize=9, color=_ADAPTER[adapter])
        for axis in axes[column :: len(names)]:
            for spine in axis.spines.values():
                spine.set(visible=True, color=_ADAPTER[adapter], linewidth=2)
    return figure


def memory_figure(
    cameras: Cameras,
    targets: Sequence[int],
    chosen: Sequence[int],
    rotation_deg: Float[Tensor, " n"],
    distance_world: Float[Tensor, " n"],
    cost_of_distance: float,
) -> Figure:
    """Why a frame was taken from memory: the path from above, and what every earlier frame costs.

    Args:
        cameras: Of the trajectory.
        targets: Frames of the chunk.
        chosen: Frames taken from memory.
        rotation_deg: Mean turn between each frame made earlier (0 to n - 1) and the targets [degrees].
        distance_world: Mean distance between them [world units].
        cost_of_distance: What a world unit costs [degrees].
    """
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    plan, bars = figure.subplots(1, 2, width_ratios=[1, 1.5])
    made = range(len(rotation_deg))
    reach = max(float(cameras.world_from_cam[:, :3, 3].abs().max()), 0.2)
    for frame, pose in enumerate(cameras.world_from_cam):
        kind = "target" if frame in targets else "memory" if frame in chosen else "made" if frame in made else "path"
        x, z = float(pose[0, 3]), float(pose[2, 3])
        dx, dz = (0.18 * reach * pose[[0, 2], 2]).tolist()
        width = 2.5 if kind in ("target", "memory") else 1.0
        plan.plot((x, x + dx), (z, z + dz), color=_CAMERA[kind], linewidth=width)
        plan.plot(x, z, "o", color=_CAMERA[kind], markersize=5)
        plan.text(x - 0.5 * dx, z - 0.5 * dz, str(frame), fontsize=7, ha="center", va="center", color=_CAMERA[kind])
    plan.plot(0, 0, "+", color="black", markersize=9)
    plan.margins(0.12)
    plan.set(aspect="equal", xlabel="x right", ylabel="z forward")
    plan.set_title("from above: targets red, memory green", fontsize=10)
    distance = cost_of_distance * distance_world
    bars.bar(made, rotation_deg.tolist(), color="0.6", label="turn [degrees]")
    bars.bar(made, distance.tolist(), bottom=rotation_deg.tolist(), color="0.3", label="distance, as degrees")
    for frame in chosen:
        bars.plot(frame, float(rotation_deg[frame] + distance[frame]) * 1.05, "v", color=_CAMERA["memory"])
    bars.set(xlabel="frame made earlier", ylabel="mean cost to the targets", xticks=list(made))
    bars.set_title("the cheapest goes with the chunk", fontsize=10)
    bars.legend(fontsize=8)
    return figure


def sources_figure(
    pictures: Float[Tensor, "t 3 h w"], weights: Float[Tensor, "t h2 w2"], names: Sequence[str], asks: tuple[int, ...]
) -> Figure:
    """Where one place of one frame looks: attention over every frame, and each frame's share of it.

    Args:
        pictures: Of the frames.
        weights: Attention of the place, summing to 1.
        names: Of the frames.
        asks: Frame, row and column of the place on the grid of ``weights``.
    """
    figure = Figure(figsize=(1.15 * len(pictures), 1.65), layout="constrained")
    axes = figure.subplots(1, len(pictures), squeeze=False)[0]
    height, width = pictures.shape[-2:]
    rows, columns = weights.shape[1:]
    for frame, axis in enumerate(axes):
        _bare(axis)
        axis.imshow(0.4 * to_numpy(pictures[frame]) + 0.3)
        shown = (weights[frame] / weights.max()).numpy()
        extent = (0, width, height, 0)
        axis.imshow(shown, extent=extent, cmap="inferno", vmin=0, vmax=1, alpha=0.2 + 0.7 * shown)
        axis.set_title(f"{names[frame]}\n{float(weights[frame].sum()):.0%}", fontsize=9)
    y, x = (asks[1] + 0.5) * height / rows, (asks[2] + 0.5) * width / columns
    axes[asks[0]].plot(x, y, "s", color="cyan", markerfacecolor="none", markersize=10, markeredgewidth=2)
    return figure


def curves_figure(curves: Mapping[str, Sequence[float]], ylabel: str) -> Figure:
    """Losses over steps on a logarithmic axis: every step pale, the running mean over it."""
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axis = figure.subplots()
    for name, values in curves.items():
        (line,) = axis.plot(range(1, len(values) + 1), running_mean(values), label=name, linewidth=2)
        axis.plot(range(1, len(values) + 1), list(values), color=line.get_color(), alpha=0.25, linewidth=0.8)
    axis.set(yscale="log", xlabel="step", ylabel=ylabel)
    axis.legend(fontsize=9)
    return figure


def _bare(axis: Axes) -> None:
    """No ticks, no frame."""
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)
