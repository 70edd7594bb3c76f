"""Step 01: a photo, or a panorama that the user brings, becomes ``01_panorama/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from onescene.io.images import load_panorama, load_photo, save_image, save_mask
from onescene.pipeline.layout import PANORAMA
from onescene.pipeline.settings import RunSettings
from onescene.pipeline.step import Step, StepContext
from onescene.stages import panorama


def panorama_step(photo: Path, settings: RunSettings) -> Step:
    """Outpaints the photo."""

    def make(context: StepContext) -> dict[str, Any]:
        config = panorama.PanoramaConfig(
            height_px=settings.panorama_height, fov_deg=settings.fov_deg, seed=settings.seed
        )
        out = panorama.run(load_photo(context.inputs["photo"]), config, context.progress)
        save_image(out.panorama, context.folder / "panorama.png")
        save_mask(out.mask, context.folder / "mask.png")
        return {"method": out.method, "fov_deg": out.fov_deg, "fov_source": out.fov_source}

    names = ("panorama_height", "fov_deg", "seed")
    return Step(
        name=PANORAMA,
        folder=PANORAMA,
        make=make,
        inputs={"photo": photo},
        parameters={name: getattr(settings, name) for name in names},
        code=(__name__,),
    )


def given_panorama_step(file: Path, settings: RunSettings) -> Step:
    """Takes a panorama as it is; nothing of it is generated."""

    def make(context: StepContext) -> dict[str, Any]:
        image = load_panorama(context.inputs["panorama"], max_height=4 * settings.panorama_height)
        save_image(image, context.folder / "panorama.png")
        save_mask(torch.zeros(image.shape[-2:], dtype=torch.bool), context.folder / "mask.png")
        return {"method": "given"}

    return Step(
        name=PANORAMA,
        folder=PANORAMA,
        make=make,
        inputs={"panorama": file},
        parameters={"panorama_height": settings.panorama_height},
        code=(__name__,),
    )
