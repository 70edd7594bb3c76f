"""Figures about cubemap faces."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

from onescene.geometry.cubemap import world_from_face
from onescene.geometry.equirect import directions_from_panorama


def coverage_figure(hw: tuple[int, int], fovs_deg: tuple[float, ...]) -> Figure:
    """How many faces see each direction of a panorama, for several fields of view.

    Args:
        hw: Size of the panorama [pixels].
        fovs_deg: Fields of view of the faces [degrees].
    """
    directions = directions_from_panorama(hw, dtype=torch.float64)
    local = torch.einsum("fji,hwj->fhwi", world_from_face(dtype=torch.float64), directions)
    tangent = local[..., :2].abs().amax(-1) / local[..., 2].clamp_min(1e-9)
    figure = Figure(figsize=(4 * len(fovs_deg), 2.6), layout="constrained")
    for axis, fov_deg in zip(figure.subplots(1, len(fovs_deg), squeeze=False)[0], fovs_deg, strict=True):
        inside = (local[..., 2] > 0) & (tangent <= torch.tan(torch.deg2rad(torch.tensor(fov_deg / 2))))
        shown = axis.imshow(inside.sum(0).numpy(), vmin=0, vmax=3, cmap="viridis", extent=(-180, 180, -90, 90))
        axis.set_title(f"{fov_deg:g}° faces", fontsize=9)
        axis.set_xlabel("longitude [°]")
    figure.axes[0].set_ylabel("latitude [°]")
    figure.colorbar(shown, ax=figure.axes, ticks=[0, 1, 2, 3], label="faces that see it")
    return figure
