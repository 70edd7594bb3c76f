"""Rows of labelled pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor


def to_numpy(picture: Float[Tensor, "c height width"]) -> np.ndarray:
    """Channel-first values in [0, 1] as [H, W, C] for matplotlib."""
    return picture.detach().cpu().clamp(0, 1).movedim(0, -1).numpy()


def image_row(
    pictures: Sequence[Float[Tensor, "c height width"]],
    titles: Sequence[str],
    *,
    width_in: float = 11.0,
    columns: int | None = None,
) -> Figure:
    """Pictures in rows, each under its title.

    Args:
        pictures: RGB [3, H, W] or grey [1, H, W] in [0, 1].
        titles: One per picture.
        width_in: Width of the figure [inches].
        columns: Pictures per row; None = all in one.

    Raises:
        ValueError: there are no pictures, or not as many titles.
    """
    if not pictures or len(pictures) != len(titles):
        raise ValueError(f"titles must be one per picture, got {len(titles)} for {len(pictures)}")
    columns = min(columns or len(pictures), len(pictures))
    rows = -(-len(pictures) // columns)
    aspect = sum(p.shape[-2] / p.shape[-1] for p in pictures) / len(pictures)
    figure = Figure(figsize=(width_in, rows * (width_in / columns * aspect + 0.3)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes:
        axis.axis("off")
    for axis, picture, title in zip(axes, pictures, titles, strict=False):
        grey = picture.shape[0] == 1
        axis.imshow(to_numpy(picture).squeeze(), cmap="gray" if grey else None, vmin=0, vmax=1)
        axis.set_title(title, fontsize=9)
    return figure
