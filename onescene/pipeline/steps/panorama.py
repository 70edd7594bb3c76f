"""Step 01: a photo, words, or a panorama that the user brings, becomes ``01_panorama/``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from onescene.geometry.perspective import FOV_RANGE_DEG
from onescene.io.images import Photo, load_panorama, load_photo, save_image, save_mask
from onescene.models.loading import WEIGHTS_DIR
from onescene.pipeline.digests import digest_of_file
from onescene.pipeline.layout import PANORAMA, PANORAMA_MAX_PX
from onescene.pipeline.licences import refuse_unaccepted
from onescene.pipeline.settings import RunSettings
from onescene.pipeline.step import Step, StepContext
from onescene.stages import panorama
from onescene.stages.camera_estimate import estimate_camera
from onescene.stages.panorama_methods import METHODS, PanoramaMethod, method_named, options_from
from onescene.stages.photo_checks import odd_about

logger = logging.getLogger(__name__)

EXIF_DIFFERS = 1.3  # a field of view that is this many times the camera's own note, or less, is told of
_PARAMETERS = (
    *("panorama_height", "fov_deg", "pitch_deg", "roll_deg", "seed"),
    *("panorama_placement", "panorama_method", "panorama_prompt", "panorama_negative_prompt", "panorama_options"),
)


def panorama_step(photo: Path | None, settings: RunSettings) -> Step:
    """Makes the surroundings of the photo, or a whole panorama from words, by the method of the settings.

    Raises:
        ValueError, FileNotFoundError: a licence was not accepted; weights are missing; no photo where one is needed.
    """
    method = method_named(settings.panorama_method)
    if photo is None and not method.from_text:
        able = [row.name for row in METHODS.values() if row.from_text]
        raise ValueError(f"method {method.name} needs a PHOTO; from words alone work: {', '.join(able) or 'none'}")
    if photo is not None and not method.with_photo:
        raise ValueError(f"method {method.name} works from words alone: leave the PHOTO out or choose another --method")
    options = options_from(method, settings.panorama_options)
    weights = method.files(options)
    refuse_unaccepted(method)

    def read() -> Photo | None:
        if photo is None:
            return None
        found = load_photo(photo)
        panorama.check_photo(found.rgb, method.name)
        return found

    def make(context: StepContext) -> dict[str, Any]:
        config = _config(context.given, settings, options)
        odd = odd_about(context.given.rgb) if context.given else ()
        for sentence in odd:
            logger.warning(sentence)
        out = panorama.run(context.given.rgb if context.given else None, config, context.progress)
        save_image(out.panorama, context.folder / "panorama.png")
        save_mask(out.mask, context.folder / "mask.png")
        facts = {"method": out.method, "fov_deg": out.fov_deg, "fov_source": out.fov_source, "warnings": list(odd)}
        facts |= {"pitch_deg": config.pitch_deg, "roll_deg": config.roll_deg}
        return {**facts, "weights": [_used(path, method) for path in weights]} if weights else facts

    return Step(
        name=PANORAMA,
        folder=PANORAMA,
        make=make,
        inputs={"photo": photo} if photo else {},
        parameters={name: getattr(settings, name) for name in _PARAMETERS},
        weights=weights,
        code=(__name__,),
        read=read,
        announcement=method.announcement,
    )


def _config(read: Photo | None, settings: RunSettings, options: Any) -> panorama.PanoramaConfig:
    """Settings of the stage; the field of view is the user's, else the camera's note, else of the photo's lines.

    In the last case pitch and roll are of its lines too, where they are not given; what no line tells is left to the
    stage.
    """
    fov_deg, source, angles = settings.fov_deg, "given", (0.0, 0.0)
    noted = read.fov_deg if read else None
    # a camera's own note out of range is not believed
    if noted is not None and not FOV_RANGE_DEG[0] < noted < FOV_RANGE_DEG[1]:
        noted = None
    if fov_deg is None and noted is not None:
        fov_deg, source = noted, "exif"
    elif fov_deg is None and read is not None and settings.panorama_method != "file":
        seen = estimate_camera(read.rgb)
        if seen.confident:
            fov_deg, source = seen.fov_deg, "estimated"
            angles = (seen.pitch_deg, seen.roll_deg) if settings.panorama_placement == "exact" else angles
            logger.info("field of view %.0f degrees, pitch %.0f and roll %.0f by the photo's lines", fov_deg, *angles)
    elif fov_deg is not None and noted is not None and not 1 / EXIF_DIFFERS < fov_deg / noted < EXIF_DIFFERS:
        logger.warning(
            "--fov-deg %.0f contradicts the %.0f degrees of the photo's EXIF; the former is used", fov_deg, noted
        )
    return panorama.PanoramaConfig(
        method=settings.panorama_method,
        height_px=settings.panorama_height,
        fov_deg=fov_deg,
        fov_source=source,
        pitch_deg=angles[0] if settings.pitch_deg is None else settings.pitch_deg,
        roll_deg=angles[1] if settings.roll_deg is None else settings.roll_deg,
        placement=settings.panorama_placement,
        prompt=settings.panorama_prompt,
        negative_prompt=settings.panorama_negative_prompt,
        options=options,
        seed=settings.seed,
    )


def _used(path: Path, method: PanoramaMethod) -> dict[str, str]:
    """A weight file, for run.json; what comes with the package has the name of its file."""
    name = path.stem if path.parent == WEIGHTS_DIR else method.name
    return {"name": name, "file": path.name, "sha256": digest_of_file(path), "licence": method.licence}


def given_panorama_step(file: Path) -> Step:
    """Takes a panorama as it is; nothing of it is generated."""

    def make(context: StepContext) -> dict[str, Any]:
        image = context.given
        save_image(image, context.folder / "panorama.png")
        save_mask(torch.zeros(image.shape[-2:], dtype=torch.bool), context.folder / "mask.png")
        return {"method": "file"}

    return Step(
        name=PANORAMA,
        folder=PANORAMA,
        make=make,
        inputs={"panorama": file},
        code=(__name__,),
        read=lambda: load_panorama(file, max_height_px=PANORAMA_MAX_PX),
    )
