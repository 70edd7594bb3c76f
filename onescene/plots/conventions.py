"""Figures that draw the project's conventions: where a panorama looks, how cameras stand."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from onescene.plots.pictures import to_numpy
from onescene.types import Cameras

_AXIS_COLOURS = ("tab:red", "tab:green", "tab:blue")  # x y z
_PLACES = (("+z forward", 0, 0), ("+x right", 90, 0), ("-x left", -90, 0), ("-z back", 180, 0), ("-z back", -180, 0))


def panorama_axes_figure(panorama: Float[Tensor, "3 height width"]) -> Figure:
    """A panorama with longitude, latitude, the world's axes and the borders of the six 90 degree faces.

    Args:
        panorama: RGB in [0, 1].
    """
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    axis = figure.subplots()
    axis.imshow(to_numpy(panorama), extent=(-180, 180, -90, 90), aspect="equal")
    longitude = np.linspace(-45, 45, 91)
    edge = np.rad2deg(np.arctan(np.cos(np.deg2rad(longitude))))
    for centre in (-180, -90, 0, 90, 180):
        for sign in (-1, 1):
            axis.plot(centre + longitude, sign * edge, color="white", linewidth=1)
        axis.plot([centre + 45] * 2, [-edge[0], edge[0]], color="white", linewidth=1)
    for label, x, y in (*_PLACES, ("-y up: zenith, row 0", 0, 84), ("+y down: nadir", 0, -84)):
        side = {180: "right", -180: "left"}.get(x, "center")
        box = {"facecolor": "black", "alpha": 0.6, "linewidth": 0}
        axis.text(x, y, label, color="white", ha=side, va="center", fontsize=9, bbox=box)
    axis.set(xlim=(-180, 180), ylim=(-90, 90), xlabel="longitude [°], to the right", ylabel="latitude [°], up")
    axis.set_xticks(range(-180, 181, 45))
    axis.set_yticks(range(-90, 91, 45))
    return figure


def cameras_figure(cameras: Cameras, *, size_world: float = 0.5, labels: tuple[str, ...] = ()) -> Figure:
    """Cameras in the world: a frustum each, its x axis red, y green, z blue. The figure stands upright (y points down).

    Args:
        cameras: Up to a few dozen.
        size_world: Length of a frustum [world units].
        labels: A name per camera, or none.
    """
    figure = Figure(figsize=(6.5, 5.5), layout="constrained")
    axis = figure.add_subplot(projection="3d")
    height, width = cameras.hw
    corners_px = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1], [0, 0, 1]], dtype=float)
    for i in range(len(cameras)):
        pose = cameras.world_from_cam[i].double().cpu().numpy()
        rays = corners_px @ np.linalg.inv(cameras.K[i].double().cpu().numpy()).T * size_world
        corners = rays @ pose[:3, :3].T + pose[:3, 3]
        axis.plot(*_upright(corners), color="0.4", linewidth=0.8)
        for corner in corners[:4]:
            axis.plot(*_upright(np.stack((pose[:3, 3], corner))), color="0.4", linewidth=0.6)
        for k, colour in enumerate(_AXIS_COLOURS):
            tip = pose[:3, 3] + pose[:3, k] * size_world * 0.6
            axis.plot(*_upright(np.stack((pose[:3, 3], tip))), color=colour, linewidth=1.5)
        if i < len(labels):
            end = pose[:3, 3] + pose[:3, 2] * size_world * 1.25
            axis.text(*_upright(end[None])[:, 0], labels[i], fontsize=10, ha="center")
    axis.set(xlabel="x right", ylabel="z forward", zlabel="-y up")
    axis.set_aspect("equal")
    axis.view_init(elev=22, azim=-60)
    return figure


def _upright(points: np.ndarray) -> np.ndarray:
    """World points as matplotlib's (x, z, -y)."""
    return np.stack((points[:, 0], points[:, 2], -points[:, 1]))
