"""Figures about a scaffold: seen from above and from the side, sizes of its Gaussians."""

from __future__ import annotations

import matplotlib
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from onescene.metrics import seam_map
from onescene.types import Gaussians

_MAX_POINTS = 40_000
_SEAM_LIMIT = 0.2  # log jump that is drawn brightest: a step of 22 %


def plan_figure(
    gaussians: Gaussians, path_world: Float[Tensor, "v 3"] | None = None, *, reach_world: float | None = None
) -> Figure:
    """The scaffold from above (x, z) and from the side (z, up), with the cameras' path.

    Args:
        gaussians: Drawn in their own colours, thinned to 40,000.
        path_world: Camera positions, or None.
        reach_world: Half the side of the drawing [world units]; None = the 90th percentile of the distances.
    """
    step = max(1, len(gaussians) // _MAX_POINTS)
    means, colours = gaussians.means[::step].cpu(), gaussians.rgb[::step].clamp(0, 1).cpu().numpy()
    reach = reach_world or float(means.norm(dim=-1).quantile(0.9))
    height = -means[:, 1]
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    above, aside = figure.subplots(1, 2)
    eye = (height - height.median()).abs() < 0.6 * reach
    above.scatter(means[eye, 0], means[eye, 2], s=0.4, c=colours[eye.numpy()], linewidths=0)
    aside.scatter(means[:, 2], height, s=0.4, c=colours, linewidths=0)
    if path_world is not None:
        above.plot(path_world[:, 0], path_world[:, 2], color="red", linewidth=1.5)
        aside.plot(path_world[:, 2], -path_world[:, 1], color="red", linewidth=1.5)
    above.plot(0, 0, "r+", markersize=10)
    above.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="x right", ylabel="z forward")
    above.set_title("from above (red: where the panorama stands)", fontsize=9)
    aside.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="z forward", ylabel="-y up")
    aside.set_title("from the side", fontsize=9)
    return figure


def footprint_figure(gaussians: Gaussians) -> Figure:
    """Distribution of the Gaussians' sizes, as seen from the centre and along their three axes.

    Args:
        gaussians: A scaffold; its centre is the world's origin.
    """
    distance = gaussians.means.norm(dim=-1, keepdim=True)
    milliradian = (gaussians.scales / distance * 1000).cpu()
    figure = Figure(figsize=(8, 3), layout="constrained")
    axis = figure.subplots()
    bins = torch.logspace(-2, 2, 80).numpy()
    for column, name in enumerate(("along the slope", "across", "along the normal")):
        axis.hist(milliradian[:, column].numpy(), bins=bins, histtype="step", label=name, linewidth=1.5)
    axis.set(xscale="log", xlabel="standard deviation over distance [mrad]", ylabel="Gaussians")
    axis.legend(fontsize=8)
    return figure


def seam_picture(distance: Float[Tensor, "height width"], width_px: int = 3) -> Float[Tensor, "3 height width"]:
    """The borders of the cube's faces by the jump of the log distance across them, over a dim picture of the distance.

    Black is no jump, yellow a step of 22 % or more.

    Args:
        distance: On a panorama, finite and > 0.
        width_px: Of the lines [pixels], odd.
    """
    log_distance = distance.log()
    low, high = (log_distance.flatten()[:: max(1, log_distance.numel() // 10**6)].quantile(q) for q in (0.02, 0.98))
    grey = 0.95 - 0.35 * ((log_distance - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    jumps = torch.nan_to_num(seam_map(distance), nan=-1.0)
    wide = torch.nn.functional.max_pool2d(jumps[None], width_px, stride=1, padding=width_px // 2)[0].cpu()
    table = torch.tensor(matplotlib.colormaps["inferno"].resampled(256).colors[:, :3], dtype=torch.float32)
    lines = table[(wide / _SEAM_LIMIT * 255).clamp(0, 255).long()].movedim(-1, 0)
    return torch.where(wide >= 0, lines, grey.cpu().expand(3, -1, -1))


def attention_picture(
    faces: Float[Tensor, "6 3 face face"], attention: Float[Tensor, "6 n n"], patch: tuple[int, int, int]
) -> Float[Tensor, "6 3 face face"]:
    """Faces lit by how much one patch looks at each place; the patch itself is outlined in green.

    Args:
        faces: RGB in [0, 1].
        attention: Weights of one patch over all patches, any scale.
        patch: Its face, row and column.
    """
    face_px, n = faces.shape[-1], attention.shape[-1]
    light = torch.nn.functional.interpolate(attention[:, None], size=(face_px, face_px), mode="bilinear")
    light = (light / attention.flatten().quantile(0.995).clamp_min(1e-12)).clamp(0, 1)
    grey = 0.35 * faces.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    out = grey + light * torch.tensor([1.0, 0.75, 0.1])[:, None, None] * 0.9
    side = face_px // n
    face, top, left = patch[0], patch[1] * side, patch[2] * side
    frame = torch.zeros(face_px, face_px, dtype=torch.bool)
    frame[max(top - 2, 0) : top + side + 2, max(left - 2, 0) : left + side + 2] = True
    frame[top : top + side, left : left + side] = False
    out[face] = torch.where(frame, torch.tensor([0.1, 1.0, 0.3])[:, None, None], out[face])
    return out.clamp(0, 1)
