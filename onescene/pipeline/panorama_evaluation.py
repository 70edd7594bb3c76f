"""Evaluation of panoramas: seams, naturalness and horizon of any; of methods also the photo, colours, truth and seeds.

A method is judged on real panoramas: a photo is cut out of each, the method makes a panorama of it, and what it made
stands beside the true surroundings. The true panoramas get a row too: what a perfect method would get.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from onescene.data.panoramas import INDEX_NAME
from onescene.geometry.cubemap import faces_from_panorama
from onescene.geometry.perspective import crop_panorama, intrinsics_from_fov, place_photo
from onescene.io.atomic import atomic_path
from onescene.io.images import load_panorama, save_image
from onescene.metrics import (
    NoTexture,
    Pristine,
    colour_statistics,
    crop_cameras,
    frechet_distance,
    horizon_statistics,
    niqe,
    photo_fidelity,
    seed_diversity,
    wrap_seams,
)
from onescene.models.encoder import EfficientNetLite0
from onescene.models.loading import load_imagenet
from onescene.models.niqe import pristine_statistics
from onescene.pipeline.evaluation import MapSamples
from onescene.plots.pictures import image_row
from onescene.stages.panorama import PanoramaConfig, run
from onescene.training.perceptual import perceptual_distance, stlpips_path
from onescene.types import Cameras

NIQE_FACE_PX = 288  # 3 x 3 patches; at 512 rows the faces' centres have 163 px per radian, these have 144
SHEET_ROWS, SHEET_PX, SHEET_DPI = 24, 160, 90  # panoramas on a sheet, rows of each, of the sheet
IN_A_FILE_NAME = str.maketrans({":": ",", "/": "-", "\\": "-"})
CROP_PX = 192  # divisible by the encoder's 32
FEATURE_TAP = 3  # of the encoder: 112 channels at 1/16; the 320 of its end need more crops than there are panoramas
TRUE, TURNED = "true", "true, turned by 30 deg"  # rows of what there was; turned: the same places, cut otherwise
FRECHET = "frechet_effnet_lite0_112"


@dataclass(frozen=True)
class PanoramaEvaluation:
    """How methods are judged."""

    fov_deg: float = 75.0  # of the photos' long side [degrees]
    photo_hw: tuple[int, int] = (384, 512)  # of the photos [pixels]
    height_px: int = 512  # rows of the panoramas [pixels]
    seeds: int = 2  # panoramas per photo; 1: no diversity


def panorama_files(path: Path) -> list[Path]:
    """A file, or the pictures in a folder, sorted.

    Raises:
        FileNotFoundError: nothing there, or no picture in the folder.
    """
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"))
    if not found:
        raise FileNotFoundError(f"no panorama (PNG, JPEG, WebP or TIFF) in {path}")
    return found


def measure_panorama(panorama: Float[Tensor, "3 height width"]) -> dict[str, float]:
    """What can be told of a panorama alone: seams, NIQE of its six faces, horizon.

    Returns:
        The keys of :func:`wrap_seams` and :func:`horizon_statistics`, and ``niqe_faces``, which is left out where the
        faces have no texture to judge.
    """
    faces, numbers = faces_from_panorama(panorama, NIQE_FACE_PX, 90), {}
    with suppress(NoTexture):
        numbers["niqe_faces"] = niqe(faces, Pristine(*pristine_statistics()))
    return wrap_seams(panorama) | numbers | horizon_statistics(panorama)


def cut_photo(panorama: Tensor, config: PanoramaEvaluation) -> tuple[Tensor, Cameras]:
    """The photo that looks at a panorama's longitude 0, and its camera."""
    K = intrinsics_from_fov(config.fov_deg, config.photo_hw, side="long")
    camera = Cameras(world_from_cam=torch.eye(4)[None], K=K[None], hw=config.photo_hw)
    return crop_panorama(panorama, camera, antialias=True)[0], camera


class Album:
    """What is judged, on disk: ``folder/PANORAMA/METHOD.png``, the first panoramas also on ``folder/sheet.jpg``.

    In a file's name a method's colons are commas, and the slashes of a path in it are hyphens.

    Args:
        folder: Made with the first picture; None = nothing is written.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.small: dict[str, dict[str, Tensor]] = {}

    def add(self, name: str, label: str, panorama: Float[Tensor, "3 height width"]) -> None:
        """Writes a panorama, unless it is the true one turned."""
        if self.folder is None or label == TURNED:
            return
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        save_image(panorama, self.folder / name / f"{label.translate(IN_A_FILE_NAME)}.png")
        if name not in self.small and len(self.small) == SHEET_ROWS:
            return
        size = (SHEET_PX, 2 * SHEET_PX)
        self.small.setdefault(name, {})[label] = F.interpolate(panorama[None], size=size, mode="area")[0].cpu()

    def write_sheet(self) -> None:
        """A row per panorama, the true one first; a JPEG holds ``SHEET_ROWS`` at most."""
        if self.folder is None or not self.small:
            return
        titles = [f"{name}, {label}" for name, row in self.small.items() for label in row]
        pictures = [picture for row in self.small.values() for picture in row.values()]
        with atomic_path(self.folder / "sheet.jpg") as sheet:
            image_row(pictures, titles, columns=len(pictures) // len(self.small)).savefig(sheet, dpi=SHEET_DPI)


class _CropMetrics:
    """Features and perceptual distances of a panorama's crops."""

    def __init__(self) -> None:
        self.cameras = crop_cameras(CROP_PX)
        self.encoder = EfficientNetLite0().eval()
        load_imagenet(self.encoder)
        self.perceptual = perceptual_distance("st-lpips").eval() if stlpips_path() else None

    def crops(self, panorama: Tensor) -> Tensor:
        return crop_panorama(panorama, self.cameras, antialias=True).clamp(0, 1)

    def features(self, crops: Tensor) -> Tensor:
        """Means of the encoder's features over each crop [crops, 112]."""
        return torch.cat([self.encoder(c[None])[FEATURE_TAP].mean(dim=(2, 3)) for c in crops])

    def distance(self, crops: Tensor, true: Tensor) -> dict[str, float]:
        """Mean ST-LPIPS of the crops, where its weights are installed."""
        if self.perceptual is None:
            return {}
        pairs = zip(crops, true, strict=True)
        return {"st_lpips_crops": torch.stack([self.perceptual(a[None], b[None]) for a, b in pairs]).mean().item()}


@torch.no_grad()
def evaluate_methods(
    truths: Iterable[tuple[str, Tensor]],
    variants: Mapping[str, PanoramaConfig],
    config: PanoramaEvaluation = PanoramaEvaluation(),
    on_row: Callable[[dict], None] = lambda row: None,
    on_panorama: Callable[[str, str, Tensor], None] = lambda name, label, panorama: None,
) -> tuple[list[dict], dict[str, float]]:
    """Judges methods on real panoramas.

    Args:
        truths: Name and panorama, RGB in [0, 1].
        variants: Label to method and options; size, field of view and seed are set here.
        config: Photo, size, seeds.
        on_row: Called with each row when it is done.
        on_panorama: Called with each panorama before it is judged: name, label, RGB; the true one too.

    Returns:
        A row per panorama and label (``true`` among them), of seed 0 except for the diversity; and, per label, the
        Frechet distance of its crops' features to those of the true panoramas (seed 0), key :data:`FRECHET`'s meaning.

    Raises:
        ValueError: no panorama, no variant, under one seed, or what a method refuses.
        FileNotFoundError: weights of a method, or of the features, are missing.
    """
    if not variants or config.seeds < 1:
        raise ValueError(f"at least one method and one seed are needed, got {len(variants)} and {config.seeds}")
    judge, rows, features = _CropMetrics(), [], {}
    for name, truth in truths:
        height = config.height_px
        truth = F.interpolate(truth[None], size=(height, 2 * height), mode="area")[0]
        true_crops = judge.crops(truth)
        for label, panorama, numbers in _made(truth, variants, config):
            on_panorama(name, label, panorama)
            crops = true_crops if label == TRUE else judge.crops(panorama)
            features.setdefault(label, []).append(judge.features(crops))
            row = {"panorama": name, "method": label} | measure_panorama(panorama) | numbers
            if label not in (TRUE, TURNED):
                row |= judge.distance(crops, true_crops)
            rows.append(row)
            on_row(row)
    if not rows:
        raise ValueError("no panorama to evaluate on")
    joined = {label: torch.cat(parts) for label, parts in features.items()}
    return rows, {label: frechet_distance(x, joined[TRUE]) for label, x in joined.items() if label != TRUE}


def _made(
    truth: Tensor, variants: Mapping[str, PanoramaConfig], config: PanoramaEvaluation
) -> Iterator[tuple[str, Tensor, dict[str, float]]]:
    """Label, panorama, and what is told of it beside itself."""
    photo, camera = cut_photo(truth, config)
    generated = ~place_photo(photo, tuple(truth.shape[-2:]), config.fov_deg).mask
    yield TRUE, truth, colour_statistics(truth, generated)
    yield TURNED, truth.roll(round(truth.shape[-1] / 12), dims=-1), {}
    for label, variant in variants.items():
        setting = replace(variant, height_px=config.height_px, fov_deg=config.fov_deg)
        made = [run(photo, replace(setting, seed=seed)) for seed in range(config.seeds)]
        numbers = photo_fidelity(made[0].panorama, photo, camera) | colour_statistics(made[0].panorama, made[0].mask)
        if len(made) > 1:
            numbers |= seed_diversity(torch.stack([m.panorama for m in made]), made[0].mask)
        yield label, made[0].panorama, numbers


def read_truths(
    path: Path, height_px: int, split: str | None = None, every: int = 1
) -> Iterator[tuple[str, Float[Tensor, "3 height width"]]]:
    """Name and panorama of a file, of the pictures in a folder, or of what ``onescene data maps|homes|rooms`` packed.

    Args:
        path: The file or the folder.
        height_px: Files are read at most twice as high.
        split: Of packed panoramas; None = all.
        every: Takes every n-th of those.

    Raises:
        FileNotFoundError: as :func:`panorama_files`.
        ValueError: ``every`` < 1, or a split of what is not packed; as :func:`load_panorama` when its turn comes.
    """
    if every < 1:
        raise ValueError(f"every must be >= 1, got {every}")
    if (path / INDEX_NAME).is_file():
        return ((f"{s.name}_{i:03d}", s.rgb) for i, s in enumerate(MapSamples(path, split, every)))
    if split is not None or every != 1:
        raise ValueError(f"a split and every n-th are of packed panoramas, {path} holds pictures")
    return ((file.stem, load_panorama(file, max_height_px=2 * height_px)) for file in panorama_files(path))
