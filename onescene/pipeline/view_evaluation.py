"""Evaluation of novel views on panoramas with displaced true views: bare scaffold, classical filling, a network.

All three see the same scaffold from the same cameras, by the stages that the main job runs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from onescene.metrics import image_metrics
from onescene.models.scaffolds import ScaffoldNetwork
from onescene.models.seva.bundle import Guided, ViewModels
from onescene.pipeline.evaluation import EvaluationSample, SampleSource, metric_scaffold
from onescene.stages import views
from onescene.stages.diffusion_views import Guide, SynthesisConfig
from onescene.stages.scaffold import ScaffoldConfig
from onescene.stages.scaffold import run as run_scaffold

Distance = Callable[[Tensor, Tensor], Tensor]


def _scores(
    name: str, rgb: Float[Tensor, "v 3 h w"], true: Float[Tensor, "v 3 h w"], distance: Distance | None
) -> dict:
    rgb = rgb.clamp(0, 1)
    found = image_metrics(rgb, true)
    row = {f"{name}_psnr_db": found["psnr_db"], f"{name}_ssim_gauss11": found["ssim_gauss11"]}
    if distance is not None:
        with torch.no_grad():
            row[f"{name}_st_lpips"] = float(distance(rgb, true).mean())
    return row


def plain_and_made(
    sample: EvaluationSample, network: nn.Module | ScaffoldNetwork, models: ViewModels, method: Guided = "dual-lora"
) -> tuple[views.ViewsOutput, views.ViewsOutput]:
    """A panorama's displaced views by ``baseline`` and by a method; the scaffold has the truth's median distance.

    Args:
        sample: With views.
        network: Of the scaffold.
        models: Of the views.
        method: That they are for.
    """
    config = ScaffoldConfig()
    predicted = run_scaffold(sample.rgb, network, config)
    lifted = metric_scaffold(sample, predicted.distance, config).gaussians
    synthesis = SynthesisConfig(method=method)
    guide = Guide(models=models, anchors=predicted.faces, fov_deg=config.fov_deg, config=synthesis)
    made = views.run(lifted, sample.cameras, views.ViewsConfig(method=method), guide=guide)
    return views.run(lifted, sample.cameras), made


def evaluate_views_of(
    sample: EvaluationSample,
    network: nn.Module | ScaffoldNetwork,
    models: ViewModels,
    method: Guided = "dual-lora",
    distance: Distance | None = None,
) -> dict[str, float | str]:
    """Every number of one panorama's displaced views.

    Args:
        sample, network, models, method: As :func:`plain_and_made`.
        distance: A perceptual distance of two batches of pictures, ST-LPIPS; None = not measured.

    Returns:
        ``name``, the share of ``holes``, and PSNR, SSIM and ST-LPIPS of ``scaffold_*`` (its render over black),
        ``baseline_*`` (holes filled from around them) and ``made_*`` (the method's).
    """
    plain, made = plain_and_made(sample, network, models, method)
    row: dict[str, float | str] = {"name": sample.name, "holes": plain.hole_share}
    for name, rgb in (("scaffold", plain.rendered), ("baseline", plain.rgb), ("made", made.rgb)):
        row |= _scores(name, rgb, sample.views_rgb, distance)
    return row


def evaluate_views(
    samples: SampleSource,
    network: nn.Module | ScaffoldNetwork,
    models: ViewModels,
    method: Guided = "dual-lora",
    distance: Distance | None = None,
    on_row: Callable[[dict], None] | None = None,
) -> list[dict]:
    """:func:`evaluate_views_of` of every sample that has views, calling ``on_row`` after each."""
    rows = []
    for sample in samples:
        if sample.cameras is None:
            continue
        rows.append(evaluate_views_of(sample, network, models, method, distance))
        if on_row:
            on_row(rows[-1])
    return rows
