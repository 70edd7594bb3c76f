"""A point cloud to turn with the mouse, each point with its place and its distance from the centre."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onescene.types import Gaussians

if TYPE_CHECKING:
    import plotly.graph_objects as go


def points_figure(gaussians: Gaussians, *, max_points: int = 30_000, reach_world: float | None = None) -> go.Figure:
    """The centres of Gaussians in their own colours, to turn, zoom and point at (plotly; y is drawn downwards).

    Args:
        gaussians: A scene; thinned evenly to ``max_points``.
        max_points: Points at most; a notebook carries about 20 bytes for each.
        reach_world: Points farther from the centre than this are left out [world units]; None = the 99th percentile.

    Raises:
        ValueError: ``max_points`` is below 1, or there is nothing to draw.
    """
    import plotly.graph_objects as go  # a second to import

    if max_points < 1:
        raise ValueError(f"max_points must be >= 1, got {max_points}")
    if len(gaussians) == 0:
        raise ValueError("gaussians must hold at least one, got none")
    step = -(-len(gaussians) // max_points)
    means, colours = gaussians.means[::step].detach().cpu(), gaussians.rgb[::step].detach().clamp(0, 1).cpu()
    distance = means.norm(dim=-1)
    near = distance <= (distance.quantile(0.99) if reach_world is None else reach_world)
    means, distance, colours = means[near].numpy(), distance[near].numpy(), (colours[near] * 255).round().byte()
    points = go.Scatter3d(
        x=means[:, 0],
        y=means[:, 2],
        z=-means[:, 1],
        mode="markers",
        marker={"size": 2, "color": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours.tolist()]},
        customdata=distance,
        hovertemplate="right %{x:.2f}<br>forward %{y:.2f}<br>up %{z:.2f}<br>distance %{customdata:.2f}<extra></extra>",
    )
    axes = {"xaxis_title": "right", "yaxis_title": "forward", "zaxis_title": "up", "aspectmode": "data"}
    margin = {"l": 0, "r": 0, "t": 0, "b": 0}
    return go.Figure(points).update_layout(scene=axes, margin=margin, height=480, showlegend=False)
