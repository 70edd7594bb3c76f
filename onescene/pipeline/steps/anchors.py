"""Step 02: the panorama becomes six anchor views, ``02_anchors/``."""

from __future__ import annotations

from pathlib import Path

from onescene.geometry.cubemap import FACES
from onescene.io.images import load_panorama, save_image
from onescene.pipeline.layout import ANCHORS, PANORAMA_MAX_PX
from onescene.pipeline.settings import RunSettings
from onescene.pipeline.step import Step, StepContext
from onescene.stages import anchors


def anchors_step(panorama: Path, settings: RunSettings) -> Step:
    """Cuts the anchors."""
    config = anchors.AnchorsConfig(face_px=settings.face_px, fov_deg=settings.anchor_fov_deg)

    def make(context: StepContext) -> None:
        out = anchors.run(context.given, config)
        for name, face in zip(FACES, out.faces, strict=True):
            save_image(face, context.folder / f"{name}.png")

    return Step(
        name=ANCHORS,
        folder=ANCHORS,
        make=make,
        inputs={"panorama": panorama},
        parameters={"face_px": settings.face_px, "anchor_fov_deg": settings.anchor_fov_deg},
        code=(__name__,),
        read=lambda: load_panorama(panorama, max_height_px=PANORAMA_MAX_PX),
    )
