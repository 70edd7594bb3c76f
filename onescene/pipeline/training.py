"""Training runs on disk: parameters checked, checkpoints written whole, logs to watch, weights to ship."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from onescene.io.atomic import atomic_path, atomic_write_bytes
from onescene.models.loading import half_bytes, load_imagenet
from onescene.models.scaffold import CubeScaffold, CubeScaffoldConfig
from onescene.pipeline.parameters import read_params as read_yaml
from onescene.training.scaffold import PanoramaSet, StepLog, TrainConfig, TrainState, new_state, train_scaffold


class ScaffoldParams(BaseModel):
    """What a params file of ``onescene train scaffold`` may say; any other key is refused."""

    model_config = ConfigDict(extra="forbid")

    data: str | list[str]  # folders made by `onescene data maps|rooms` (twice = twice as often), or "rooms"
    out: str  # folder of this run
    rooms: int = 64  # number of rooms when data is "rooms"
    steps: int = TrainConfig.steps
    batch: int = TrainConfig.batch
    lr: float = TrainConfig.lr
    lr_encoder: float = TrainConfig.lr_encoder
    warmup_steps: int = TrainConfig.warmup_steps
    decay_fraction: float = TrainConfig.decay_fraction
    ema: float = TrainConfig.ema
    seed: int = TrainConfig.seed
    joint: bool = True  # False = each face apart
    fusion: bool = True  # False = without bidirectional fusion
    imagenet: bool = True  # start from ImageNet features
    checkpoint_every: int = 250  # steps
    threads: int = 0  # torch threads, 0 = torch's own choice
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: CUDA where torch sees it


def read_params(path: str | Path) -> ScaffoldParams:
    """Reads and checks a params file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML, a misspelt key, or a value of the wrong type; the sentence names it.
    """
    try:
        return ScaffoldParams(**read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ValueError(
            f"{Path(path).name}: {key}: {first['msg']}; known keys: {', '.join(ScaffoldParams.model_fields)}"
        ) from error


def train_config(params: ScaffoldParams) -> TrainConfig:
    """The part of the parameters that the training loop reads."""
    names = {f.name for f in fields(TrainConfig)} & set(ScaffoldParams.model_fields)
    return TrainConfig(**{name: getattr(params, name) for name in names})


def choose_device(name: str) -> torch.device:
    """Where to train.

    Raises:
        ValueError: CUDA is asked for and torch sees none.
    """
    seen = torch.cuda.is_available()
    if name == "cuda" and not seen:
        raise ValueError("device: cuda was asked for, but torch sees no CUDA device; use auto or cpu")
    return torch.device("cuda" if seen and name != "cpu" else "cpu")


def start_or_resume(params: ScaffoldParams, out: Path) -> TrainState:
    """A fresh state, or the one that the folder's checkpoint holds.

    Raises:
        ValueError: the device that the parameters name is not there.
    """
    device = choose_device(params.device)
    torch.manual_seed(params.seed)
    network = CubeScaffold(CubeScaffoldConfig(joint=params.joint, fusion=params.fusion))
    checkpoint = out / "checkpoint.pt"
    if not checkpoint.is_file() and params.imagenet:
        load_imagenet(network.encoder)
    network = network.to(device=device, memory_format=torch.channels_last)
    state = new_state(network, train_config(params))
    if checkpoint.is_file():
        state.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
    return state


def save_checkpoint(state: TrainState, out: Path) -> None:
    """Writes the resumable state, whole or not at all."""
    with atomic_path(out / "checkpoint.pt") as path:
        torch.save(state.state_dict(), path)


def export_weights(state: TrainState, params: ScaffoldParams, path: Path, licence: str) -> None:
    """Writes the averaged weights in half precision, with what a reader must know in the file's metadata."""
    metadata = {
        "architecture": "CubeScaffold",
        "joint": str(params.joint),
        "fusion": str(params.fusion),
        "licence": licence,
        "steps": str(state.step),
        "seed": str(params.seed),
    }
    atomic_write_bytes(path, half_bytes(state.average, metadata))


def run_training(
    params: ScaffoldParams, data: PanoramaSet, licence: str, on_step: Callable[[StepLog], None] | None = None
) -> Path:
    """Trains to ``params.steps`` in ``params.out``, resuming what is there; returns the weight file.

    The folder holds ``checkpoint.pt``, ``log.jsonl`` (a line per step) and ``scaffold.safetensors``.
    """
    out = Path(params.out)
    out.mkdir(parents=True, exist_ok=True)
    if params.threads:
        torch.set_num_threads(params.threads)
    state = start_or_resume(params, out)
    with open(out / "log.jsonl", "a", encoding="utf-8") as log:
        for step in _guarded(state, data, params, out):
            log.write(json.dumps({"step": step.step, "lr": step.lr, "seconds": step.seconds, **step.losses}) + "\n")
            if step.step % 10 == 0:
                log.flush()
            if on_step:
                on_step(step)
    weights = out / "scaffold.safetensors"
    export_weights(state, params, weights, licence)
    return weights


def _guarded(state: TrainState, data: PanoramaSet, params: ScaffoldParams, out: Path) -> Iterator[StepLog]:
    """Steps with a checkpoint every so often, and one more when the run ends or is interrupted."""
    saved = time.monotonic()
    try:
        for step in train_scaffold(state, data, train_config(params)):
            yield step
            if step.step % params.checkpoint_every == 0 and time.monotonic() - saved > 20:
                save_checkpoint(state, out)
                saved = time.monotonic()
    finally:
        save_checkpoint(state, out)
