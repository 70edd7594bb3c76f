"""Evaluation of a scaffold on panoramas with exact distance: depth, seams, and what displaced cameras see.

Every number stands beside the trivial baselines that the docs name: a sphere (constant distance), the mean layout
of the training maps (a distance per row of the panorama), and, for views, the exact distance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from onescene.data.panoramas import PackedPanorama, iterate_panoramas, pictures
from onescene.data.rooms import render_panorama, render_views, sample_room
from onescene.geometry.cubemap import face_cameras
from onescene.metrics import PanoramaDepthScores, depth_metrics, image_metrics, seam_jump
from onescene.models.scaffolds import ScaffoldNetwork
from onescene.splatting import render
from onescene.stages import views
from onescene.stages.scaffold import ScaffoldConfig, ScaffoldOutput, lift_panorama
from onescene.stages.scaffold import run as run_scaffold
from onescene.types import Cameras, Gaussians


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

    scaffold: ScaffoldConfig = field(default_factory=ScaffoldConfig)
    layout: tuple[float, ...] = ()  # mean layout: log distance per row, zenith first; empty = not measured
    displaced: bool = True  # render the displaced views (slow)
    scores: PanoramaDepthScores | None = None  # gathers the depth's errors under the papers' rules


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


def layout_of(folder: str | Path, rows: int = 48) -> tuple[float, ...]:
    """The mean layout of the training maps in a folder (see :func:`mean_layout`)."""
    training = iterate_panoramas(folder, "train")
    pairs = ((np.log(np.where(p.sky, 1.0, p.distance_m)), p.sky) for p in training)
    return tuple(float(v) for v in mean_layout(pairs, rows))


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


def metric_scaffold(sample: EvaluationSample, distance: Tensor, config: ScaffoldConfig) -> ScaffoldOutput:
    """Lifts a distance map after its median is brought to the truth's, with the true sky far away."""
    ground = sample.sky < 0.5
    scaled = distance * (sample.distance[ground].median() / distance[ground].median())
    far = max(
        config.sky_factor * float(sample.distance[ground].quantile(0.99)),
        config.sky_medians * float(sample.distance[ground].median()),
    )
    return lift_panorama(sample.rgb, torch.where(ground, scaled, torch.full_like(scaled, far)), sample.sky, config)


def _view_psnr(gaussians: Gaussians, sample: EvaluationSample) -> tuple[float, float]:
    """PSNR of displaced views with the holes filled, and the share of pixels that were holes."""
    out = views.run(gaussians, sample.cameras)
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
        lifted = metric_scaffold(sample, distance, config).gaussians
        row[f"{name}_displaced_psnr_db"], row[f"{name}_holes"] = _view_psnr(lifted, sample)
    if predicted.source == "heads":
        ground, own = sample.sky < 0.5, predicted.gaussians
        scale = sample.distance[ground].median() / predicted.distance[ground].median()
        own = replace(own, means=own.means * scale, scales=own.scales * scale)
        row["heads_displaced_psnr_db"], row["heads_holes"] = _view_psnr(own, sample)
    return row


def evaluate_sample(
    sample: EvaluationSample, network: nn.Module | ScaffoldNetwork, config: EvaluationConfig = EvaluationConfig()
) -> dict[str, float | str]:
    """Every number of one panorama.

    Returns:
        ``name`` and floats: ``scaffold_*``, ``sphere_*`` and ``layout_*`` of :func:`onescene.metrics.depth_metrics`
        (median-aligned, sky left out; plain and weighted by latitude), ``seam_jump_ratio``, ``center_psnr_db`` (the
        scaffold rendered at its own anchors) and, with views, ``*_displaced_psnr_db`` and ``*_holes``; ``heads_*`` is
        the network's own Gaussians, where it has them. With ``config.scores`` this panorama's ``{metric}_{rule}``, its
        distance in metres as predicted.
    """
    predicted = run_scaffold(sample.rgb, network, config.scaffold)
    row: dict[str, float | str] = {"name": sample.name}
    row |= _depth_row(predicted.distance, sample, "scaffold")
    row |= _depth_row(torch.ones_like(sample.distance), sample, "sphere")
    if config.layout:
        row |= _depth_row(_layout_distance(config.layout, sample.distance.shape), sample, "layout")
    row |= seam_jump(predicted.distance)
    if config.scores is not None:
        row |= config.scores.add(predicted.distance * predicted.metres_per_unit, sample.distance, sample.sky < 0.5)
    if config.displaced and sample.cameras is not None:
        row |= _views_row(predicted, sample, config.scaffold)
    cameras = face_cameras(config.scaffold.face_px, config.scaffold.fov_deg)
    at_center = render(predicted.gaussians, cameras).rgb.clamp(0, 1)
    row["center_psnr_db"] = image_metrics(at_center, predicted.faces)["psnr_db"]
    return row


def _sample_of(packed: PackedPanorama) -> EvaluationSample:
    views, cameras = None, None
    if packed.views is not None:
        views = pictures(packed.views.rgb)
        matrices = {"world_from_cam": packed.views.world_from_cam, "K": packed.views.K}
        cameras = Cameras(**{k: torch.from_numpy(v) for k, v in matrices.items()}, hw=tuple(views.shape[-2:]))
    sky = torch.from_numpy(packed.sky)
    distance = torch.from_numpy(packed.distance_m)
    return EvaluationSample(
        name=packed.map_name,
        rgb=torch.from_numpy(packed.rgb).permute(2, 0, 1).float() / 255,
        distance=torch.where(sky, torch.ones_like(distance), distance),
        sky=sky.float(),
        views_rgb=views,
        cameras=cameras,
    )


class MapSamples:
    """Evaluation samples of a folder of packed maps.

    Args:
        folder: Made by ``onescene data maps``.
        split: Which maps; None = all that are there.
        every: Takes every n-th panorama.
    """

    def __init__(self, folder: str | Path, split: str | None = None, every: int = 1) -> None:
        self.folder, self.split, self.every = folder, split, every

    def __iter__(self) -> Iterator[EvaluationSample]:
        for i, packed in enumerate(iterate_panoramas(self.folder, self.split)):
            if i % self.every == 0 and packed.sky.mean() < 0.9:
                yield _sample_of(packed)


class RoomSamples:
    """Evaluation samples of analytic rooms: the truth at every ray, displaced views from free space.

    Args:
        count: Number of rooms.
        seed: First room's seed; rooms used for training come from elsewhere (see ``RoomSet``).
        height_px: Height of the panoramas [pixels].
        view_px: Side of the views [pixels].
        shift: Displacement of the four views as a share of the median distance.
    """

    def __init__(
        self, count: int, seed: int = 900_000, height_px: int = 192, view_px: int = 128, shift: float = 0.15
    ) -> None:
        self.count, self.seed, self.height_px, self.view_px, self.shift = count, seed, height_px, view_px, shift

    def __iter__(self) -> Iterator[EvaluationSample]:
        for i in range(self.count):
            room = sample_room(self.seed + i)
            seen = render_panorama(room, (self.height_px, 2 * self.height_px))
            cameras = self._cameras(seen.distance, seen.sky)
            views = render_views(room, cameras)
            distance = torch.where(seen.sky, torch.ones_like(seen.distance), seen.distance)
            yield EvaluationSample(
                f"room {self.seed + i}", seen.rgb, distance, seen.sky.float(), views.rgb.float(), cameras
            )

    def _cameras(self, distance: Tensor, sky: Tensor) -> Cameras:
        """Four cameras on the horizon's free ways, each looking outwards, 80 degrees wide."""
        reach = self.shift * float(distance[~sky].median())
        poses = face_cameras(self.view_px, 80.0).world_from_cam[:4].clone()
        poses[:, :3, 3] = poses[:, :3, 2] * reach
        row, width = distance[distance.shape[0] // 2], distance.shape[1]
        for k in range(4):
            ahead = float(row[(width // 2 + k * width // 4) % width])
            poses[k, :3, 3] *= min(1.0, 0.5 * ahead / reach)
        return Cameras(world_from_cam=poses, K=face_cameras(self.view_px, 80.0).K[:4], hw=(self.view_px, self.view_px))


def evaluate(
    samples: SampleSource,
    network: nn.Module | ScaffoldNetwork,
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
