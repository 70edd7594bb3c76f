"""How a trained denoiser does on held-out scenes: every true view made anew, chunk by chunk, and compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from onescene.data.panoramas import pictures
from onescene.data.view_scenes import ViewScene
from onescene.metrics import image_metrics, psnr
from onescene.metrics.consistency import tsed
from onescene.metrics.view_poses import Reference, view_pose_errors
from onescene.models.seva.bundle import ViewModels
from onescene.models.seva.chunks import ChunkConfig, ChunkSources, generate_chunks, plan_chunks
from onescene.models.seva.conditioning import ChunkViews, PosedLatents, assemble
from onescene.models.seva.memory import Policy
from onescene.models.seva.sampling import SamplerConfig, Start
from onescene.training.view_batches import FORM, ChunkDraw, Scenes, draw_chunks, encode_chunk
from onescene.training.view_losses import chunk_errors

_DARK = 2 / 255  # a render's pixel that no channel of which is brighter is a hole


Bare = Literal["truth", "scaffold render", "holes filled"]
BARE: dict[Bare, Callable[[ViewScene], np.ndarray]] = {  # what the measures themselves lose; where views begin
    "truth": lambda scene: scene.true_rgb,
    "scaffold render": lambda scene: scene.rendered_rgb,
    "holes filled": lambda scene: scene.renders(whole=True),
}


@dataclass(frozen=True)
class CheckConfig:
    """How the views of a check are made."""

    draw: ChunkDraw  # method, sizes, whether there are anchors: as it was trained
    memory: Policy = "nearest"
    steps: int = 8  # weights that begin at the renders make one
    seed: int = 0
    start_sigma: float | None = None  # noise on the renders at which targets begin; None = as the weights say


@torch.no_grad()
def remake(models: ViewModels, scene: ViewScene, config: CheckConfig) -> Float[Tensor, "t 3 s s"]:
    """The scene's true views as the models make them of clean views and renders, in their order."""
    device, draw = next(models.denoiser.parameters()).device, config.draw
    at_renders = bool(models.manifest.start_sigma)

    def posed(rgb: np.ndarray, poses: np.ndarray, K: np.ndarray) -> PosedLatents:
        seen = pictures(rgb).to(device)
        known = {"latents": models.autoencoder.encode(seen), "embeddings": models.image_encoder.embed(seen)}
        cameras = {"world_from_cam": torch.from_numpy(poses), "K_normalised": torch.from_numpy(K)}
        return PosedLatents(**known, **{name: value.to(device) for name, value in cameras.items()})

    anchors = posed(scene.clean_rgb, scene.clean_world_from_cam, scene.clean_K)
    renders = posed(scene.renders(whole=at_renders), scene.world_from_cam, scene.K)

    def synthesise(given: ChunkViews, number: int) -> Tensor:
        given = given if draw.anchors else replace(given, anchors=given.anchors[[]])
        conditions = assemble(FORM[draw.method], given, camera_scale=models.manifest.camera_scale)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
        start = Start(latents=given.renders.latents, sigma=config.start_sigma) if config.start_sigma else None
        return models.sample(conditions, SamplerConfig(1 if at_renders else config.steps), generator, start)

    def develop(latents: Tensor) -> tuple[Tensor, Tensor]:
        rgb = models.autoencoder.decode(latents)
        return rgb, models.image_encoder.embed(rgb)

    sources = ChunkSources(
        anchors, renders.world_from_cam, renders.K_normalised, lambda numbers: renders[numbers], synthesise, develop
    )
    policy = config.memory if draw.method == "dual-lora" else "none"
    plan = plan_chunks(renders.world_from_cam, anchors.world_from_cam, ChunkConfig(draw.targets, draw.clean, policy))
    return torch.stack([frame.rgb for frame in generate_chunks(plan, sources)]).float().cpu()


@torch.no_grad()
def noise_error(
    models: ViewModels,
    data: Scenes,
    draw: ChunkDraw,
    count: int = 24,
    seed: int = 0,
    mask: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """Mean squared error of the predicted noise on the targets of chunks, as in training but without learning.

    Args:
        models: Trained for the method of ``draw``.
        data: Scenes.
        draw: How chunks are drawn; the same for the same seed and method, others for another method.
        count: Number of chunks.
        seed: Of chunks, levels and noise.
        mask: Makes the routing mask from the true one (1 = rendered frame); None = the true one.
    """
    device = next(models.denoiser.parameters()).device
    encoders, scale = (models.autoencoder, models.image_encoder), models.manifest.camera_scale
    errors = []
    for sample_, generator in draw_chunks(data, 0, seed, count, draw):
        told, true = encode_chunk(sample_, draw, encoders, device, scale)
        if mask is not None:
            told = replace(told, source_view_mask=mask(told.source_view_mask))
        routed = models.denoiser.config.lora_rank > 0
        errors.append(float(chunk_errors(models.denoiser, [(told, true)], [generator], routed)[0]))
    return float(np.mean(errors))


def scene_scores(
    rgb: Float[Tensor, "t 3 s s"], scene: ViewScene, distance: Callable[[Tensor, Tensor], Tensor] | None = None
) -> dict[str, float]:
    """Pictures of a scene's true views against them.

    Args:
        rgb: In [0, 1].
        scene: The truth, and the renders that say where holes were.
        distance: A perceptual distance, such as ST-LPIPS.

    Returns:
        ``psnr_db``, ``ssim_gauss11``, ``psnr_db_holes`` and ``psnr_db_covered`` (NaN where there are no such pixels),
        ``perceptual`` where a distance is given, and those of :func:`onescene.metrics.consistency.tsed` and of
        :func:`onescene.metrics.view_poses.view_pose_errors`, the poses estimated from the clean views.
    """
    true, rendered = pictures(scene.true_rgb), pictures(scene.rendered_rgb)
    holes = (rendered.amax(1, keepdim=True) <= _DARK)[:, 0]
    found = image_metrics(rgb, true)
    scores = {"psnr_db": found["psnr_db"], "ssim_gauss11": found["ssim_gauss11"]}
    for name, mask in (("holes", holes), ("covered", ~holes)):
        some = mask.flatten(1).any(1)
        values = psnr(rgb[some], true[some], mask=mask[some]) if bool(some.any()) else torch.tensor([torch.nan])
        scores[f"psnr_db_{name}"] = float(values.mean())
    if distance is not None:
        with torch.no_grad():
            scores["perceptual"] = float(distance(rgb, true).mean())
    side = torch.tensor([[rgb.shape[-1]], [rgb.shape[-2]], [1.0]])
    cameras, K = torch.from_numpy(scene.world_from_cam), torch.from_numpy(scene.K) * side
    clean = pictures(scene.clean_rgb)
    reference = Reference(clean, torch.from_numpy(scene.clean_world_from_cam), torch.from_numpy(scene.clean_K) * side)
    return scores | tsed(rgb, cameras, K) | view_pose_errors(rgb, cameras, K, reference)


def view_scores(
    models: ViewModels | None,
    data: Scenes,
    config: CheckConfig | None = None,
    distance: Callable[[Tensor, Tensor], Tensor] | None = None,
    without: Bare = "scaffold render",
) -> dict[str, float]:
    """Mean of :func:`scene_scores` over scenes; without models those of what needs none (:data:`BARE`).

    The truth tells what TSED can reach: views that do not overlap have no matches however true they are.

    Raises:
        ValueError: there is no scene.
    """
    if len(data) == 0:
        raise ValueError("data must hold at least one scene, got none")
    rows = []
    for index in range(len(data)):
        scene = data[index]
        if models is None or config is None:
            rgb = pictures(BARE[without](scene))
        else:
            rgb = remake(models, scene, config)
        rows.append(scene_scores(rgb, scene, distance))
    return {name: _mean([row[name] for row in rows]) for name in rows[0]} | {"scenes": float(len(rows))}


def _mean(values: list[float]) -> float:
    """Over the scenes that have the number; NaN if none has."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
