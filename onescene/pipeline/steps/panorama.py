"""Step 01: a photo, or a panorama that the user brings, becomes ``01_panorama/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from onescene.geometry.perspective import FOV_RANGE_DEG
from onescene.io.images import load_panorama, load_photo, save_image, save_mask
from onescene.pipeline.layout import PANORAMA, PANORAMA_MAX_PX
from onescene.pipeline.settings import RunSettings
from onescene.pipeline.step import Step, StepContext
from onescene.stages import panorama


def panorama_step(photo: Path, settings: RunSettings) -> Step:
    """Outpaints the photo."""

    def make(context: StepContext) -> dict[str, Any]:
        read = context.given
        fov_deg, source = settings.fov_deg, "given"
        # a camera's own note out of range is not believed
        if fov_deg is None and read.fov_deg is not None and FOV_RANGE_DEG[0] < read.fov_deg < FOV_RANGE_DEG[1]:
            fov_deg, source = read.fov_deg, "exif"
        config = panorama.PanoramaConfig(
            height_px=settings.panorama_height, fov_deg=fov_deg, fov_source=source, seed=settings.seed
        )
        out = panorama.run(read.rgb, config, context.progress)
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
        read=lambda: load_photo(photo),
    )


def given_panorama_step(file: Path) -> Step:
    """Takes a panorama as it is; nothing of it is generated."""

    def make(context: StepContext) -> dict[str, Any]:
        image = context.given
        save_image(image, context.folder / "panorama.png")
        save_mask(torch.zeros(image.shape[-2:], dtype=torch.bool), context.folder / "mask.png")
        return {"method": "given"}

    return Step(
        name=PANORAMA,
        folder=PANORAMA,
        make=make,
        inputs={"panorama": file},
        code=(__name__,),
        read=lambda: load_panorama(file, max_height_px=PANORAMA_MAX_PX),
    )
