"""A folder of weights for novel views: U-Net, auto-encoder, image encoder, perhaps adapters; named by ``views.json``.

Without ``views.json`` the folder is read as one that was filled with the public files:

    DIR/model.safetensors | modelv1.1.safetensors | one2scene_denoise.ckpt   the U-Net
    DIR/vae/{config.json, diffusion_pytorch_model.safetensors}               Stable Diffusion 2.1's auto-encoder
    DIR/image_encoder/{config.json, model.safetensors}                       OpenCLIP ViT-H/14

None of those comes with this package; each has a licence that whoever brings it has to accept. What comes with it is
``views-small``, trained here: the folder that is meant where none is given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

from onescene.models.arithmetic import quick_arithmetic
from onescene.models.loading import WEIGHTS_DIR, WeightFile, load_into, sha256_of, shards_of
from onescene.models.seva.adapter_files import CONFIG_NAME, WEIGHTS_NAME, load_adapter, read_rank_and_alpha
from onescene.models.seva.conditioning import Conditions
from onescene.models.seva.config import SevaConfig
from onescene.models.seva.encoders import (
    Autoencoder,
    ImageEncoder,
    LinearAutoencoder,
    ThumbnailEncoder,
    load_clip,
    load_kl_autoencoder,
)
from onescene.models.seva.network import SevaUNet
from onescene.models.seva.sampling import SamplerConfig, Start, sample
from onescene.models.seva.weights import add_adapters, load_seva
from onescene.models.seva_schedule import level_below

Guided = Literal["anchors-only", "concat", "dual-lora"]
GUIDED: tuple[Guided, ...] = get_args(Guided)
MANIFEST = "views.json"
SHIPPED = WEIGHTS_DIR / "views-small"
THUMBNAIL = "thumbnail"  # an image encoder without weights
PUBLIC_DENOISERS = ("one2scene_denoise.ckpt", "modelv1.1.safetensors", "model.safetensors")
LICENCES = {
    "denoiser": "SEVA of stabilityai/stable-virtual-camera (Stability AI, non-commercial, for you to accept there), "
    "or one2scene_denoise.ckpt of mutou0308/One2Scene (no licence stated, made from SEVA)",
    "autoencoder": "the folder vae of stabilityai/stable-diffusion-2-1-base (CreativeML OpenRAIL++-M)",
    "image_encoder": "laion/CLIP-ViT-H-14-laion2B-s32B-b79K (MIT)",
    "adapters": "PEFT folders of your own training",
}
PUBLIC = ("denoiser", "autoencoder", "image_encoder")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What ``views.json`` may say; paths are relative to its folder."""

    denoiser: str = ""  # file of the U-Net, or its index; empty = the first of the public names that is there
    autoencoder: str = "vae"  # a diffusers folder, or a .safetensors file of a LinearAutoencoder
    image_encoder: str = "image_encoder"  # a transformers folder, or "thumbnail"
    adapters: tuple[str, ...] = ()  # PEFT folders: of clean frames, of rendered frames
    network: dict[str, Any] = field(default_factory=dict)  # sizes of the U-Net that are not SEVA's
    frame_px: int | None = 576  # side of the square frames [pixels]; the release has 512; None = the views' long side
    camera_scale: float = 2.0  # distance of a chunk's first camera
    method: Guided | None = None  # what it was trained for; None = whatever its layers allow
    steps: int = 50  # of sampling, where the caller does not say
    start_sigma: float = 0.0  # > 0: targets begin at the renders, taken for pictures with that noise; 0: at pure noise
    strength: float = 1.0  # share of what a network that begins at the renders changes, in (0, 1]
    targets: int = 8  # frames made at a time
    clean: int = 5  # anchors and memory frames with them
    licence: dict[str, str] = field(default_factory=dict)  # of the parts, for run.json


@dataclass(frozen=True)
class ViewModels:
    """What makes novel views.

    Attributes:
        denoiser: The U-Net, with adapters or without.
        autoencoder: Between images and latents.
        image_encoder: Images to embeddings.
        manifest: Sizes and the like.
        files: The weight files, for the record of a run.
    """

    denoiser: SevaUNet
    autoencoder: Autoencoder
    image_encoder: ImageEncoder
    manifest: Manifest = field(default_factory=Manifest)
    files: tuple[WeightFile, ...] = ()

    def check_method(self, method: str) -> None:
        """Refuses a method that these networks can not do.

        Raises:
            ValueError: the U-Net has no adapters, or its first layer takes other channels.
        """
        config, latent = self.denoiser.config, self.autoencoder.channels
        wanted = latent + 1 + config.dense_in_channels + (latent if method == "concat" else 0)
        if config.in_channels != wanted or config.out_channels != latent:
            got = f"{config.in_channels} in and {config.out_channels} out"
            raise ValueError(f"method {method} needs a U-Net of {wanted} channels in and {latent} out, got {got}")
        if method == "dual-lora" and not config.lora_rank:
            raise ValueError(
                "method dual-lora needs a U-Net with adapters: add `adapters` to views.json, or use another"
            )

    def sample(
        self, conditions: Conditions, config: SamplerConfig, generator: torch.Generator, start: Start | None = None
    ) -> Float[Tensor, "targets c h w"]:
        """The targets of a chunk (:func:`onescene.models.seva.sampling.sample`), begun as the weights were trained.

        Args:
            conditions, config, generator: As there.
            start: Where targets begin if the weights leave it open; None = pure noise.
        """
        sigma = self.manifest.start_sigma
        if not sigma:
            return sample(self.denoiser, conditions, config, generator, start)
        at_renders = Start(latents=conditions.rendered, sigma=sigma, noisy=False)
        with quick_arithmetic(conditions.latents.device):
            made = sample(self.denoiser, conditions, config, generator, at_renders)
        return made if self.manifest.strength == 1 else torch.lerp(conditions.rendered, made, self.manifest.strength)


def read_manifest(folder: str | Path) -> Manifest:
    """What the folder's ``views.json`` says, or the public names where there is none.

    Raises:
        ValueError: it is no JSON object, or has a key that is not known.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        return Manifest()
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} must be a JSON file, got {error}") from error
    known = [f.name for f in fields(Manifest)]
    unknown = sorted(set(content) - set(known)) if isinstance(content, dict) else ["no object"]
    if unknown:
        raise ValueError(f"{path}: {unknown[0]!r} is not known; keys: {', '.join(known)}")
    try:
        manifest = Manifest(**(content | {"adapters": tuple(content.get("adapters", ()))}))
        px = 1 if manifest.frame_px is None else manifest.frame_px
        if min(px, manifest.steps, manifest.targets, manifest.clean) < 1:
            raise ValueError("frame_px, steps, targets and clean must be >= 1")
        if manifest.start_sigma:
            level_below(manifest.start_sigma)
            if manifest.steps != 1 or manifest.method in (None, "anchors-only"):
                raise ValueError("start_sigma needs renders to begin at: steps 1, and method concat or dual-lora")
        if not 0 < manifest.strength <= 1 or (manifest.strength != 1 and not manifest.start_sigma):
            raise ValueError("strength must lie in (0, 1], and be 1 without start_sigma")
        SevaConfig.from_official(manifest.network)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    if manifest.method not in (None, *GUIDED) or len(manifest.adapters) not in (0, 2):
        raise ValueError(f"{path}: method must be one of {', '.join(GUIDED)}, adapters two folders or none")
    return manifest


def _parts(folder: Path, manifest: Manifest) -> dict[str, tuple[Path, ...]]:
    """The files of every part; of the U-Net the first public name that is there, else the usual one."""
    names = (manifest.denoiser,) if manifest.denoiser else PUBLIC_DENOISERS
    denoiser = next((folder / n for n in names if (folder / n).is_file()), folder / names[-1])
    parts = {"denoiser": shards_of(denoiser)}
    linear = manifest.autoencoder.endswith(".safetensors")
    vae = ("",) if linear else ("config.json", "diffusion_pytorch_model.safetensors")
    parts["autoencoder"] = tuple(folder / manifest.autoencoder / name for name in vae)
    if manifest.image_encoder != THUMBNAIL:
        parts["image_encoder"] = tuple(
            folder / manifest.image_encoder / n for n in ("config.json", "model.safetensors")
        )
    if manifest.adapters:
        parts["adapters"] = tuple(folder / a / name for a in manifest.adapters for name in (CONFIG_NAME, WEIGHTS_NAME))
    return parts


def _folder(named: str | Path | None) -> Path:
    return SHIPPED if named is None else Path(named)


def check_bundle(folder: str | Path | None) -> tuple[Manifest, tuple[Path, ...]]:
    """Whether every file is there, before anything is read; returns the manifest and the weight files.

    Args:
        folder: See the module; None = the weights that come with the package.

    Raises:
        FileNotFoundError: one is missing; the sentence names the files, where they come from and their licences.
        ValueError: as :func:`read_manifest`.
    """
    folder = _folder(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}; --weights names one with {_wanted(PUBLIC)}")
    manifest = read_manifest(folder)
    parts = _parts(folder, manifest)
    missing = {part: [p for p in paths if not p.is_file()] for part, paths in parts.items()}
    missing = {part: paths for part, paths in missing.items() if paths}
    if missing:
        names = ", ".join(p.relative_to(folder).as_posix() for paths in missing.values() for p in paths)
        raise FileNotFoundError(f"{folder} lacks {names}: {_wanted(missing)}")
    return manifest, tuple(p for paths in parts.values() for p in paths)


def denoiser_file(folder: Path, manifest: Manifest) -> str:
    """The U-Net's file, or its index, as a path from the folder."""
    return _parts(folder, manifest)["denoiser"][0].relative_to(folder).as_posix()


def shipped_bundle_files() -> tuple[Path, ...]:
    """The weight files that come with the package; none where it was installed without them."""
    return tuple(sorted(SHIPPED.glob("*.safetensors")))


def _wanted(parts: Iterable[str]) -> str:
    return "; ".join(f"{part.replace('_', ' ')}: {LICENCES[part]}" for part in parts)


def load_bundle(
    folder: str | Path | None, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> ViewModels:
    """Loads a folder's networks.

    Memory: the files' own size in the precision asked for (SEVA 2.5 GB, CLIP 1.3 GB, auto-encoder 0.2 GB in half
    precision), and what a chunk needs.

    Args:
        folder: See the module; None = the weights that come with the package.
        device: Where to.
        dtype: Precision of all three; None = half on a GPU, single on a CPU.

    Raises:
        FileNotFoundError, ValueError: as :func:`check_bundle`, or a file that does not fit.
    """
    manifest, paths = check_bundle(folder)
    folder = _folder(folder)
    parts = _parts(folder, manifest)
    dtype = dtype or (torch.float16 if torch.device(device).type == "cuda" else torch.float32)
    denoiser = load_seva(parts["denoiser"][0], SevaConfig.from_official(manifest.network))
    if manifest.adapters:
        if not denoiser.config.lora_rank:
            denoiser = add_adapters(denoiser, *read_rank_and_alpha(folder / manifest.adapters[0])).eval()
        for which, name in enumerate(manifest.adapters, start=1):
            load_adapter(denoiser, which, folder / name)
    path = folder / manifest.autoencoder
    autoencoder = load_linear(path) if path.suffix == ".safetensors" else load_kl_autoencoder(path)
    thumbnail = manifest.image_encoder == THUMBNAIL
    encoder = ThumbnailEncoder(denoiser.config.context_dim) if thumbnail else load_clip(folder / manifest.image_encoder)
    if encoder.dim != denoiser.config.context_dim:
        raise ValueError(
            f"the image encoder gives {encoder.dim} numbers, the U-Net takes {denoiser.config.context_dim}"
        )
    networks = [n.to(device).requires_grad_(False) for n in (denoiser, autoencoder, encoder)]
    for network in networks:
        if not isinstance(network, LinearAutoencoder):  # whose few numbers cost nothing
            network.to(dtype)
    return ViewModels(*networks, manifest, _files(paths, parts, manifest))


def _files(paths: tuple[Path, ...], parts: dict[str, tuple[Path, ...]], manifest: Manifest) -> tuple[WeightFile, ...]:
    part_of = {p: part for part, own in parts.items() for p in own}
    weights = [p for p in paths if p.suffix != ".json"]
    stated = {p: manifest.licence.get(part_of[p], LICENCES[part_of[p]]) for p in weights}
    return tuple(WeightFile(f"views-{part_of[p]}", p, sha256_of(p), stated[p]) for p in weights)


def load_linear(path: str | Path) -> LinearAutoencoder:
    """A linear auto-encoder from its file.

    Raises:
        FileNotFoundError, ValueError: as :func:`onescene.models.loading.load_into`.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"auto-encoder not found: {path}")
    with safe_open(path, framework="pt") as file:
        shape = file.get_slice("patterns").get_shape() if "patterns" in file.keys() else (1, 3)
    network = LinearAutoencoder(round((shape[1] / 3) ** 0.5), shape[0])
    load_into(network, path)
    return network.eval()
