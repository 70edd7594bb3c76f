"""Evaluation of a scaffold on panoramas with exact distance: depth, seams, and what displaced cameras see.

Every number stands beside the trivial baselines that the docs name: a sphere (constant distance), the mean layout
of the training maps (a distance per row of the panorama), and, for views, the exact distance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.cubemap import face_cameras
from onescene.metrics import depth_metrics, image_metrics, seam_jump
from onescene.models.scaffold import CubeScaffold
from onescene.splatting import render
from onescene.stages import views
from onescene.stages.scaffold import ScaffoldConfig, ScaffoldOutput, lift_panorama
from onescene.stages.scaffold import run as run_scaffold
from onescene.types import Cameras


@dataclass(frozen=True)
class EvaluationSample:
    """One panorama with its truth.

    Attributes:
        name: Where it is from.
        rgb: The panorama in [0, 1].
        distance: Exact distance [m]; anything in the sky.
        sky: Where there is no surface.
        views_rgb: True views from displaced cameras, or None.
        cameras: Their cameras, in the panorama's frame [m], or None.
    """

    name: str
    rgb: Float[Tensor, "3 height width"]
    distance: Float[Tensor, "height width"]
    sky: Float[Tensor, "height width"]
    views_rgb: Float[Tensor, "v 3 h w"] | None = None
    cameras: Cameras | None = None


class SampleSource(Protocol):
    """Anything that gives evaluation samples one by one."""

    def __iter__(self) -> Iterator[EvaluationSample]: ...


@dataclass(frozen=True)
class EvaluationConfig:
    """What to measure."""

    scaffold: ScaffoldConfig = field(default_factory=lambda: ScaffoldConfig(face_px=128))
    layout: tuple[float, ...] = ()  # mean layout: log distance per row, zenith first; empty = not measured
    displaced: bool = True  # render the displaced views (slow)


def mean_layout(log_distance_rows: Iterator[tuple[np.ndarray, np.ndarray]], rows: int = 48) -> np.ndarray:
    """Mean over panoramas of the median-aligned log distance of each row.

    Args:
        log_distance_rows: Pairs of log distance [H, 2H] and sky [H, 2H].
        rows: Rows of the layout.

    Raises:
        ValueError: there is no panorama.
    """
    total, count = np.zeros(rows), np.zeros(rows)
    for log_distance, sky in log_distance_rows:
        if sky.all():
            continue
        aligned = np.where(sky, 0.0, log_distance - np.median(log_distance[~sky]))
        bands = np.array_split(np.arange(log_distance.shape[0]), rows)
        total += [aligned[band].sum() for band in bands]
        count += [(~sky[band]).sum() for band in bands]
    if not count.any():
        raise ValueError("the mean layout needs at least one panorama, got none")
    return total / np.maximum(count, 1)


def _depth_row(predicted: Tensor, sample: EvaluationSample, prefix: str) -> dict[str, float]:
    mask = sample.sky < 0.5
    values = depth_metrics(predicted, sample.distance, mask=mask)
    values |= depth_metrics(predicted, sample.distance, mask=mask, weights="latitude")
    keep = ("abs_rel_median", "delta1_median", "abs_rel_median_latitude", "delta1_median_latitude")
    return {f"{prefix}_{key}": values[key] for key in keep}


def _layout_distance(layout: tuple[float, ...], hw: tuple[int, int]) -> Tensor:
    rows = torch.tensor(layout, dtype=torch.float32)[None, None]
    rows = torch.nn.functional.interpolate(rows, size=hw[0], mode="linear", align_corners=False)[0, 0]
    return rows.exp()[:, None].expand(hw).contiguous()


def _metric_scaffold(sample: EvaluationSample, distance: Tensor, config: ScaffoldConfig) -> ScaffoldOutput:
    """Lifts a distance map after its median is brought to the truth's, with the true sky far away."""
    ground = sample.sky < 0.5
    scaled = distance * (sample.distance[ground].median() / distance[ground].median())
    far = config.sky_factor * float(sample.distance[ground].quantile(0.99))
    return lift_panorama(sample.rgb, torch.where(ground, scaled, torch.full_like(scaled, far)), sample.sky, config)


def _view_psnr(scaffold: ScaffoldOutput, sample: EvaluationSample) -> tuple[float, float]:
    """PSNR of displaced views with the holes filled, and the share of pixels that were holes."""
    out = views.run(scaffold.gaussians, sample.cameras)
    return image_metrics(out.rgb, sample.views_rgb)["psnr_db"], float((out.alpha < 0.5).float().mean())


def _views_row(predicted: ScaffoldOutput, sample: EvaluationSample, config: ScaffoldConfig) -> dict[str, float]:
    row = {}
    candidates = {
        "scaffold": predicted.distance,
        "sphere": torch.ones_like(sample.distance),
        "exact": sample.distance,
    }
    for name, distance in candidates.items():
        if distance.shape != sample.distance.shape:
            raise ValueError(f"{name} distance must have shape {tuple(sample.distance.shape)}")
        row[f"{name}_displaced_psnr_db"], row[f"{name}_holes"] = _view_psnr(
            _metric_scaffold(sample, distance, config), sample
        )
    return row


def evaluate_sample(
    sample: EvaluationSample, network: CubeScaffold, config: EvaluationConfig = EvaluationConfig()
) -> dict[str, float | str]:
    """Every number of one panorama.

    Returns:
        ``name`` and floats: ``scaffold_*``, ``sphere_*`` and ``layout_*`` of :func:`onescene.metrics.depth_metrics`
        (median-aligned, sky left out; plain and weighted by latitude), ``seam_jump_ratio``, ``center_psnr_db`` (the
        scaffold rendered at its own anchors) and, with views, ``*_displaced_psnr_db`` and ``*_holes``.
    """
    predicted = run_scaffold(sample.rgb, network, config.scaffold)
    row: dict[str, float | str] = {"name": sample.name}
    row |= _depth_row(predicted.distance, sample, "scaffold")
    row |= _depth_row(torch.ones_like(sample.distance), sample, "sphere")
    if config.layout:
        row |= _depth_row(_layout_distance(config.layout, sample.distance.shape), sample, "layout")
    row |= seam_jump(predicted.distance)
    if config.displaced and sample.cameras is not None:
        row |= _views_row(predicted, sample, config.scaffold)
    cameras = face_cameras(config.scaffold.face_px, config.scaffold.fov_deg)
    at_center = render(predicted.gaussians, cameras).rgb.clamp(0, 1)
    row["center_psnr_db"] = image_metrics(at_center, predicted.faces)["psnr_db"]
    return row


def evaluate(
    samples: SampleSource,
    network: CubeScaffold,
    config: EvaluationConfig = EvaluationConfig(),
    on_row: Callable[[dict], None] | None = None,
) -> list[dict]:
    """Evaluates every sample, calling ``on_row`` after each."""
    rows = []
    for sample in samples:
        rows.append(evaluate_sample(sample, network, config))
        if on_row:
            on_row(rows[-1])
    return rows
