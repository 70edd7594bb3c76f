"""The plan of a scene: seen from above, with its free space and a camera path on it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from onescene.geometry.trajectories.free_space import free_plan, path_clearance
from onescene.plots.trajectories import draw_looks
from onescene.types import Cameras, Gaussians

_CELLS = 220  # of the picture, along a side
_SAMPLE = 100_000  # Gaussians from which the ceiling is found
_PER_FRAME = 4  # places looked at between two cameras
_COLOURS = {"free": "#1f9e6e", "near": "#f0a030", "hit": "#d7263d"}
_MEANING = {"free": "free", "near": "closer than the margin", "hit": "behind a surface"}
_PAPER = (0.95, 0.95, 0.93)
_CEILING = 0.35  # of the height between the level and the top that is kept: the rest would hide the room


def plan_view_figure(
    gaussians: Gaussians,
    distance: Float[Tensor, "height width"],
    cameras: Cameras | None = None,
    *,
    keyframes: Cameras | None = None,
    margin_world: float = 0.25,
    reach_world: float | None = None,
) -> Figure:
    """A scene from above, its free space within the dark line, and a path on it.

    The path is green where it is free, orange where it is close to things, red where it is behind or inside them.

    Args:
        gaussians: The scaffold, drawn in its own colours, without its ceiling.
        distance: Its distance panorama [world units].
        cameras: The trajectory. It is looked at between its cameras, too.
        keyframes: Numbered on the plan.
        margin_world: Less room than this is marked [world units].
        reach_world: Half the side of the plan [world units]; None = twice the median distance.

    Raises:
        ValueError: no Gaussian, or cameras without one.
    """
    if len(gaussians) == 0:
        raise ValueError("gaussians must hold at least one, got none")
    if cameras is not None and len(cameras) == 0:
        raise ValueError("cameras must hold at least one, got none; leave them out")
    reach = reach_world or 2.0 * float(distance.median())
    level = 0.0 if cameras is None else float(cameras.world_from_cam[:, 1, 3].median())
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axis = figure.subplots()
    _draw_scene(axis, gaussians, level, reach)
    free = free_plan(distance, reach_world=reach, height_world=level).cpu().numpy()
    shade = ListedColormap([(*_PAPER, 0.72), (0, 0, 0, 0)])
    extent = (-reach, reach, -reach, reach)
    axis.imshow(free, cmap=shade, vmin=0, vmax=1, extent=extent, interpolation="nearest", zorder=2)
    axis.contour(free[::-1].astype(float), levels=[0.5], extent=extent, colors="0.25", linewidths=1.2, zorder=3)
    if cameras is not None:
        _draw_path(axis, cameras, distance, margin_world, reach)
    for number, place in enumerate(() if keyframes is None else keyframes.world_from_cam[:, :3, 3].cpu(), start=1):
        axis.plot(place[0], place[2], "o", color="white", markeredgecolor="black", markersize=11, zorder=6)
        axis.text(place[0], place[2], str(number), ha="center", va="center", fontsize=7, zorder=7)
    axis.plot(0, 0, "+", color="black", markersize=10, zorder=5)
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="x right", ylabel="z forward")
    return figure


def path_places(cameras: Cameras, per_frame: int = _PER_FRAME) -> Float[Tensor, "n 3"]:
    """Places on a path, ``per_frame`` for each stretch between two cameras, and the last camera."""
    place = cameras.world_from_cam[:, :3, 3].detach()
    steps = torch.arange(per_frame).to(place) / per_frame
    between = place[:-1, None] + steps[None, :, None] * (place[1:] - place[:-1])[:, None]
    return torch.cat((between.reshape(-1, 3), place[-1:]))


def _draw_scene(axis, gaussians: Gaussians, level: float, reach: float) -> None:
    """Each cell shows the highest Gaussian in it that is below the ceiling."""
    means = gaussians.means.detach().cpu()
    top = float(means[:: max(1, len(means) // _SAMPLE), 1].quantile(0.05))
    below = means[:, 1] > level + _CEILING * min(0.0, top - level)
    near = (means[:, [0, 2]].abs() < reach).all(dim=1)
    shown = torch.nonzero(below & near).flatten()
    shown = shown[means[shown, 1].argsort(descending=True)]  # the last one written into a cell is the highest
    cells = ((means[shown][:, [2, 0]] * torch.tensor([-1.0, 1.0]) / reach + 1) / 2 * _CELLS).long().clamp(0, _CELLS - 1)
    picture = torch.tensor(_PAPER).repeat(_CELLS, _CELLS, 1).numpy()
    picture[cells[:, 0].numpy(), cells[:, 1].numpy()] = gaussians.rgb.detach()[shown].clamp(0, 1).cpu().numpy()
    axis.imshow(picture, extent=(-reach, reach, -reach, reach), interpolation="nearest", zorder=1)


def _draw_path(axis, cameras: Cameras, distance: Tensor, margin_world: float, reach: float) -> None:
    places = path_places(cameras)
    clearance = path_clearance(places, distance)
    states = clearance.state(margin_world)
    places = places.cpu()
    for k in range(len(places) - 1):
        worst = max(states[k : k + 2], key=list(_COLOURS).index)
        axis.plot(places[k : k + 2, 0], places[k : k + 2, 2], color=_COLOURS[worst], linewidth=3, zorder=4)
    draw_looks(axis, cameras, ticks=12, length_world=0.08 * reach, color="0.15", linewidth=1, zorder=5)
    counts = {name: states.count(name) / len(states) for name in _COLOURS}
    handles = [Line2D([], [], color=_COLOURS[n], linewidth=3) for n in counts]
    labels = [f"{_MEANING[n]}: {share:.0%}" for n, share in counts.items()]
    axis.legend(handles, labels, fontsize=8, loc="upper right")
    axis.set_title(f"least room {float(clearance.room_world.min()):.2f} (margin {margin_world:.2f})", fontsize=9)
