"""The overview of a run: photo, panorama, anchors, distance and novel views on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from onescene.geometry.cubemap import FACES
from onescene.plots.pictures import to_numpy


def overview_figure(
    photo: Float[Tensor, "3 h w"] | None,
    panorama: Float[Tensor, "3 height width"],
    faces: Float[Tensor, "6 3 face face"],
    distance_rgb: Float[Tensor, "3 h2 w2"],
    renders: Sequence[Float[Tensor, "3 h3 w3"]],
    *,
    title: str = "",
) -> Figure:
    """Lays a run out on one sheet.

    Args:
        photo: The input, or None where the run began with a panorama.
        panorama: The panorama [0, 1].
        faces: The anchors, in the order F R B L U D.
        distance_rgb: The distance map, coloured.
        renders: Up to six novel views.
        title: Line above everything.
    """
    figure = Figure(figsize=(12, 8.6), layout="constrained", facecolor="white")
    if title:
        figure.suptitle(title, fontsize=11)
    grid = figure.add_gridspec(4, 12, height_ratios=[2.6, 1.55, 1.55, 0.01])
    top = [(panorama, "panorama", slice(4, 8)), (distance_rgb, "distance (near = bright)", slice(8, 12))]
    if photo is not None:
        top.insert(0, (photo, "photo", slice(0, 4)))
    else:
        top = [(panorama, "panorama", slice(0, 6)), (distance_rgb, "distance (near = bright)", slice(6, 12))]
    panels = [(picture, name, (0, place)) for picture, name, place in top]
    panels += [
        (face, f"anchor {name}", (1, slice(2 * i, 2 * i + 2)))
        for i, (face, name) in enumerate(zip(faces, FACES, strict=True))
    ]
    panels += [(view, f"novel view {i + 1}", (2, slice(2 * i, 2 * i + 2))) for i, view in enumerate(renders[:6])]
    for picture, name, (row, place) in panels:
        axis = figure.add_subplot(grid[row, place])
        axis.imshow(to_numpy(picture))
        axis.set_title(name, fontsize=9)
        axis.axis("off")
    return figure
