"""Training runs of novel views on disk: parameters checked, resumable, and at the end a folder for ``--weights``."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, model_validator
from safetensors.torch import save

from onescene.data.panoramas import pictures
from onescene.data.view_scenes import SceneSet
from onescene.io.atomic import atomic_write_bytes, atomic_write_json
from onescene.models.arithmetic import Precision
from onescene.models.loading import INDEX, half_shards
from onescene.models.seva import SMALL as SMALL_NETWORK
from onescene.models.seva import SevaConfig, SevaUNet
from onescene.models.seva.adapter_files import adapter_files
from onescene.models.seva.bundle import (
    MANIFEST,
    Guided,
    Manifest,
    ViewModels,
    denoiser_file,
    load_bundle,
    load_linear,
    read_manifest,
)
from onescene.models.seva.encoders import LinearAutoencoder, ThumbnailEncoder
from onescene.models.seva.weights import add_adapters
from onescene.pipeline import limits
from onescene.pipeline.parameters import read_params
from onescene.pipeline.training_run import FREE, checked, choose_device, follow, own_folder, read_checkpoint
from onescene.training.novel_views import (
    PAPER,
    SMALL,
    ViewTrainConfig,
    ViewTrainState,
    averaged,
    new_view_state,
    train_views,
)
from onescene.training.perceptual import Perceptual
from onescene.training.processes import is_first_process, processes
from onescene.training.step_log import StepLog
from onescene.training.view_batches import ChunkDraw, Scenes

PRESETS: dict[str, ViewTrainConfig] = {"small": SMALL, "paper": PAPER}
BUNDLE, LINEAR, DENOISER = "bundle", "linear.safetensors", "denoiser"
_FITTED_TO = 256  # pictures that a new linear auto-encoder is fitted to
_CONFIG = tuple(f.name for f in fields(ViewTrainConfig) if f.name != "draw")
_DRAW = tuple(f.name for f in fields(ChunkDraw))


class ViewParams(BaseModel):
    """What a params file of ``onescene train views`` may say; any other key is refused.

    Keys of :class:`ViewTrainConfig` and of its :class:`ChunkDraw` that the file leaves out are the preset's.
    """

    model_config = ConfigDict(extra="forbid")

    preset: Literal["small", "paper"] = "small"
    data: str | list[str]  # folders made by `onescene data pairs` or `onescene data clips`
    out: limits.Folder  # folder of this run
    weights: str | None = None  # networks to start from (see onescene.models.seva.bundle); None = a new small network
    rank: limits.Count = 8  # of new adapters
    alpha: limits.Positive = 4.0  # their scale: the release's factor of 0.5
    sampling_steps: limits.Count = 8  # of a network trained on noise, where `weights` does not say
    method: Guided
    targets: limits.Count
    clean: limits.Count
    memory: limits.Share
    anchors: bool
    single_clean: bool
    mirror: bool
    steps: limits.Count  # may grow when a run goes on
    batch: limits.Count
    at_a_time: limits.Count
    lr: limits.Positive
    warmup_steps: limits.Whole
    decay_fraction: limits.Share
    trains: Literal["adapters", "all"]
    ema: limits.Decay
    clip: limits.Clip
    precision: Precision
    start_sigma: limits.NotNegative
    perceptual: Perceptual
    colour_error: Literal["absolute", "squared"]
    perceptual_weight: limits.NotNegative
    ssim_weight: limits.NotNegative
    perceptual_px: limits.Count
    seed: limits.Seed
    checkpoint_every: limits.Count = 250  # steps
    threads: limits.Whole = 0  # torch threads, 0 = torch's own choice
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: CUDA where torch sees it

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: dict[str, Any]) -> dict[str, Any]:
        preset = PRESETS.get(values.get("preset", "small"), SMALL)
        known = {name: getattr(preset, name) for name in _CONFIG} | {n: getattr(preset.draw, n) for n in _DRAW}
        return known | values

    @model_validator(mode="after")
    def _check(self) -> ViewParams:
        train_config(self)  # what its classes refuse
        if self.trains == "adapters" and self.weights is None:
            raise ValueError("adapters need trained networks to be put on: set `weights`, or `trains: all`")
        return self


def read_view_params(path: str | Path) -> ViewParams:
    """Reads and checks a params file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML, a misspelt key, or a value that can not be; the sentence names it.
    """
    return check_view_params(read_params(path), Path(path).name)


def check_view_params(values: dict[str, Any], where: str) -> ViewParams:
    """Parameters from plain values.

    Raises:
        ValueError: a misspelt key or a value that can not be; the sentence names it and ``where`` it stands.
    """
    return checked(ViewParams, values, where)


def train_config(params: ViewParams) -> ViewTrainConfig:
    """The part of the parameters that the training loop reads."""
    draw = ChunkDraw(**{name: getattr(params, name) for name in _DRAW})
    return ViewTrainConfig(**{name: getattr(params, name) for name in _CONFIG}, draw=draw)


def stored_config(params: ViewParams) -> dict[str, Any]:
    """What a checkpoint remembers of the parameters: all that changes what is computed."""
    return params.model_dump(exclude=set(FREE))


def open_scenes(params: ViewParams) -> SceneSet:
    """The scenes that the parameters name.

    Raises:
        FileNotFoundError: a folder holds none.
    """
    return SceneSet(*([params.data] if isinstance(params.data, str) else params.data))


def build_models(params: ViewParams, data: Scenes, out: Path, device: torch.device) -> ViewModels:
    """The networks to train: those that the parameters name with adapters where they lack them, or new small ones.

    Raises:
        FileNotFoundError, ValueError: weights are missing or do not fit.
    """
    torch.manual_seed(params.seed)
    if params.weights is not None:
        models = load_bundle(params.weights, device, torch.float32)
        network = models.denoiser
        if params.method == "dual-lora" and not network.config.lora_rank:
            network = add_adapters(network, params.rank, params.alpha).to(device)
        chunk = {"method": params.method, "targets": params.targets, "clean": params.clean}
        chunk |= {"start_sigma": params.start_sigma} | ({"steps": 1} if params.start_sigma else {})
        return replace(models, denoiser=network, manifest=replace(models.manifest, **chunk))
    stored = out / BUNDLE / LINEAR
    autoencoder = load_linear(stored) if stored.is_file() else fitted_autoencoder(data, SMALL_NETWORK.out_channels)
    sizes = replace(SMALL_NETWORK, lora_rank=params.rank, lora_alpha=params.alpha)
    models = new_models(data, train_config(params), sizes, autoencoder, params.sampling_steps)
    return replace(models, denoiser=models.denoiser.to(device), autoencoder=autoencoder.to(device))


def new_models(
    data: Scenes, config: ViewTrainConfig, network: SevaConfig, autoencoder: LinearAutoencoder, sampling_steps: int = 8
) -> ViewModels:
    """An untrained network for a method, between a linear auto-encoder and a thumbnail.

    Args:
        data: Scenes of the size that it is for.
        config: Method and sizes of its chunks, and where targets begin.
        network: Its sizes; channels in and the number of frames follow from the rest, adapters are for dual-lora alone.
        autoencoder: Of as many channels as the network gives.
        sampling_steps: That a network trained on noise is to be sampled with.

    Raises:
        ValueError: the pictures' side does not fit the levels, or the auto-encoder has other channels.
    """
    draw, px, latent = config.draw, data[0].true_rgb.shape[1], autoencoder.channels
    sizes = replace(
        network,
        in_channels=latent + 7 + (latent if draw.method == "concat" else 0),
        lora_rank=network.lora_rank if draw.method == "dual-lora" else 0,
        num_frames=2 * draw.targets + draw.clean,
    )
    stride = autoencoder.factor * sizes.stride
    if px % stride:
        raise ValueError(f"pictures must have a side that is a multiple of {stride}, got {px}")
    manifest = Manifest(
        denoiser=DENOISER + INDEX,
        autoencoder=LINEAR,
        image_encoder="thumbnail",
        network=asdict(replace(sizes, lora_rank=0)),
        frame_px=None if config.start_sigma else px,  # what is mended pixel by pixel is mended at any size
        method=draw.method,
        steps=1 if config.start_sigma else sampling_steps,
        start_sigma=config.start_sigma,
        targets=draw.targets,
        clean=draw.clean,
    )
    models = ViewModels(SevaUNet(sizes), autoencoder, ThumbnailEncoder(sizes.context_dim), manifest)
    models.check_method(draw.method)
    return models


def fitted_autoencoder(data: Scenes, channels: int) -> LinearAutoencoder:
    """A linear auto-encoder of 8 x 8 pixels to as many channels, fitted to true views of the data."""
    seen: list[Tensor] = []
    for index in torch.linspace(0, len(data) - 1, min(len(data), _FITTED_TO)).long().unique().tolist():
        seen.append(pictures(data[index].true_rgb))
        if sum(map(len, seen)) >= _FITTED_TO:
            break
    return LinearAutoencoder(8, channels).fit(torch.cat(seen))


def start_or_resume(params: ViewParams, data: Scenes, device: torch.device) -> ViewTrainState:
    """A fresh state, or the one that the folder's checkpoint holds.

    Raises:
        FileNotFoundError, ValueError: weights or the checkpoint are missing, damaged or of another run.
    """
    saved = read_checkpoint(Path(params.out), stored_config(params))
    state = new_view_state(build_models(params, data, Path(params.out), device), train_config(params))
    if saved is not None:
        state.load_state_dict(saved)
    return state


def run_view_training(
    params: ViewParams, data: Scenes, licence: str, on_step: Callable[[StepLog], None] | None = None
) -> Path:
    """Trains to ``params.steps`` in ``params.out``, resuming what is there; returns the folder for ``--weights``.

    The folder holds ``checkpoint.pt`` (what learns, its average, Adam's state), ``log.jsonl`` (a line per step) and
    ``bundle/``. Under ``torchrun`` or ``accelerate launch`` each process does its part, and the first one writes.
    """
    out = Path(params.out)
    if params.threads:
        torch.set_num_threads(params.threads)
    with own_folder(out), processes(choose_device(params.device)) as device:
        state = start_or_resume(params, data, device)
        steps = train_views(state, data, train_config(params))
        if not is_first_process():
            deque(steps, maxlen=0)
            return out / BUNDLE
        if isinstance(state.models.autoencoder, LinearAutoencoder):  # kept first: a resumed run must have the same one
            tensors = {name: value.cpu() for name, value in state.models.autoencoder.state_dict().items()}
            atomic_write_bytes(_made(out / BUNDLE) / LINEAR, save(tensors))
        follow(steps, state, stored_config(params), out, params.checkpoint_every, on_step)
        return export_bundle(averaged(state), params, out / BUNDLE, licence)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def export_bundle(models: ViewModels, params: ViewParams, folder: Path, licence: str) -> Path:
    """Writes what was trained as a folder for ``--weights``: adapters in PEFT's format, or the whole U-Net in half.

    What was not trained stays where it is and is named by a path from here. ``views.json`` comes last.
    """
    network, manifest, licences = models.denoiser, models.manifest, {"denoiser": licence, "autoencoder": licence}
    if params.weights is not None:
        base, named = Path(params.weights), read_manifest(params.weights)
        files = {f.name.removeprefix("views-"): f for f in models.files}
        licences = {part: file.licence for part, file in files.items()}
        there = {"denoiser": denoiser_file(base, named), "autoencoder": named.autoencoder}
        there |= {} if named.image_encoder == "thumbnail" else {"image_encoder": named.image_encoder}
        moved = {part: os.path.relpath(base / name, folder) for part, name in there.items()}
        manifest = replace(manifest, **moved, adapters=())
    if params.trains == "adapters":
        manifest, licences = replace(manifest, adapters=("clean", "rendered")), licences | {"adapters": licence}
        for which, name in enumerate(manifest.adapters, 1):
            for file, content in adapter_files(network, which).items():
                atomic_write_bytes(_made(folder / name) / file, content)
    else:
        metadata = {"licence": licence, "method": params.method, "steps": str(params.steps), "seed": str(params.seed)}
        for file, content in half_shards(network, DENOISER, metadata).items():
            atomic_write_bytes(_made(folder) / file, content)
        sizes = manifest.network | {"lora_alpha": network.config.lora_alpha}
        manifest = replace(manifest, denoiser=DENOISER + INDEX, network=sizes)
    atomic_write_json(folder / MANIFEST, asdict(replace(manifest, licence=licences)))
    return folder
