"""Step 03: the panorama becomes distance and Gaussians, ``03_scaffold/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onescene.io.gaussians import save_gaussians
from onescene.io.images import load_panorama, save_distance, save_image
from onescene.models.loading import shards_of
from onescene.models.scaffolds import open_scaffold, scaffold_file
from onescene.pipeline.layout import PANORAMA_MAX_PX, SCAFFOLD
from onescene.pipeline.settings import RunSettings
from onescene.pipeline.step import Step, StepContext
from onescene.plots import colour_distance
from onescene.stages import scaffold

# settings that change what is made
_READ = ("face_px", "anchor_fov_deg", "turns", "scaffold_gaussians", "scaffold_source")


def scaffold_step(panorama: Path, settings: RunSettings) -> Step:
    """Predicts the distance, and lifts the panorama or takes the network's own Gaussians."""
    weights = scaffold_file(settings.scaffold_weights)
    config = scaffold.ScaffoldConfig(
        face_px=settings.face_px,
        most_gaussians=settings.scaffold_gaussians,
        fov_deg=settings.anchor_fov_deg,
        turns=settings.turns,
        mirror=settings.turns > 1,
        source=settings.scaffold_source,
    )

    def make(context: StepContext) -> dict[str, Any]:
        network, file = open_scaffold(weights)
        out = scaffold.run(context.given, network, config, context.progress)
        save_gaussians(out.gaussians, context.folder / "gaussians.ply")
        save_distance(out.distance, context.folder / "distance.npy")
        save_image(colour_distance(out.distance), context.folder / "distance.png")
        used = {"name": file.name, "file": file.path.name, "sha256": file.sha256, "licence": file.licence}
        facts = {"gaussians": len(out.gaussians), "source": out.source, "metres_per_unit": out.metres_per_unit}
        return {**facts, "weights": [used]}

    return Step(
        name=SCAFFOLD,
        folder=SCAFFOLD,
        make=make,
        inputs={"panorama": panorama},
        parameters={name: getattr(settings, name) for name in _READ},
        weights=shards_of(weights),
        code=(__name__,),
        read=lambda: load_panorama(panorama, max_height_px=PANORAMA_MAX_PX),
    )
