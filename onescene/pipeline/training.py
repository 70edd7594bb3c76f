"""Training runs on disk: parameters checked, checkpoints written whole, logs to watch, weights to ship."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from onescene.data.sets import MapSet, RoomSet
from onescene.io.atomic import atomic_path, atomic_write_bytes
from onescene.models import one2scene
from onescene.models.loading import half_bytes, load_imagenet, load_into
from onescene.models.one2scene.weights import one2scene_bytes
from onescene.models.scaffold import CubeScaffold, CubeScaffoldConfig
from onescene.models.vggt.weights import load_public
from onescene.pipeline.training_params import ScaffoldParams, stored_config, train_config
from onescene.pipeline.training_params import read_params as read_params  # the command line's name for it
from onescene.training.batches import PanoramaSet
from onescene.training.posed import PosedMaps, PosedRooms
from onescene.training.processes import processes, rank_and_count
from onescene.training.scaffold import StepLog, TrainState, new_state, train_scaffold, wants_views

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"


def open_data(params: ScaffoldParams) -> PanoramaSet:
    """The panoramas that the parameters name; with displaced views where the rendering loss wants them.

    Raises:
        FileNotFoundError: a folder holds no packed panorama of the training split.
        ValueError: views are wanted and there are none.
    """
    posed = wants_views(train_config(params))
    folders = [params.data] if isinstance(params.data, str) else params.data
    if folders == ["rooms"]:
        return (PosedRooms if posed else RoomSet)(params.rooms, seed=params.seed)
    return (PosedMaps if posed else MapSet)(*folders, split="train")


def choose_device(name: str) -> torch.device:
    """Where to train.

    Raises:
        ValueError: CUDA is asked for and torch sees none.
    """
    seen = torch.cuda.is_available()
    if name == "cuda" and not seen:
        raise ValueError("device: cuda was asked for, but torch sees no CUDA device; use auto or cpu")
    return torch.device("cuda" if seen and name != "cpu" else "cpu")


def build_network(params: ScaffoldParams, pretrained: bool) -> nn.Module:
    """A network with fresh weights, or with those that it starts from.

    Args:
        params: Which network; the seed of what is fresh.
        pretrained: Whether to read the weights to start from; a resumed run has its own.

    Raises:
        FileNotFoundError, ValueError: weights to start from are missing or do not fit.
    """
    torch.manual_seed(params.seed)
    size = {"face_px": params.face_px} if params.face_px else {}
    if params.network == "cube":
        network = CubeScaffold(CubeScaffoldConfig(joint=params.joint, fusion=params.fusion, **size))
        encoder = network.encoder
    else:
        preset = {"small": one2scene.SMALL, "paper": one2scene.PAPER}[params.preset]
        fusion = preset.fusion if params.fusion else ()
        network = one2scene.One2Scene(replace(preset, joint=params.joint, fusion=fusion, **size))
        encoder = network.aggregator.patch_embed.encoder if preset.patch_embed == "lite0" else None
    if pretrained and params.init:
        (load_into if params.network == "cube" else load_public)(network, params.init)
    elif pretrained and params.imagenet and encoder is not None:
        load_imagenet(encoder)
    return network


def start_or_resume(params: ScaffoldParams, out: Path, device: torch.device) -> TrainState:
    """A fresh state, or the one that the folder's checkpoint holds.

    Raises:
        FileNotFoundError: weights to start from are missing.
        ValueError: the checkpoint is damaged, or was trained by other parameters than these.
    """
    checkpoint = out / CHECKPOINT
    saved = read_checkpoint(checkpoint) if checkpoint.is_file() else None
    if saved is not None:
        refuse_other_config(saved.get("config"), stored_config(params), checkpoint)
    network = build_network(params, pretrained=saved is None)
    network = network.to(device=device, memory_format=torch.channels_last)
    state = new_state(network, train_config(params))
    if saved is not None:
        state.load_state_dict(saved)
    return state


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, without running anything in it.

    Raises:
        ValueError: it is damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch each have errors of their own
        raise ValueError(
            f"not a readable checkpoint: {path} ({type(error).__name__}); remove it to start anew"
        ) from error


def refuse_other_config(old: dict[str, Any] | None, new: dict[str, Any], path: Path) -> None:
    """Refuses to go on by other parameters than a checkpoint was started with.

    Raises:
        ValueError: a value differs; the sentence names it.
    """
    if old is None:
        logger.warning("%s does not say what it was trained by; going on with the parameters given", path)
        return
    for key, value in old.items():
        if new.get(key) != value:
            raise ValueError(
                f"{path} was trained with {key} = {value!r}, the parameters say {new.get(key)!r}: "
                "set it back, or give another `out` (and this run's weight file as `init`)"
            )


def save_checkpoint(state: TrainState, params: ScaffoldParams, out: Path) -> None:
    """Writes the resumable state, whole or not at all."""
    with atomic_path(out / CHECKPOINT) as path:
        torch.save(state.state_dict() | {"config": stored_config(params)}, path)


def export_weights(state: TrainState, params: ScaffoldParams, path: Path, licence: str) -> None:
    """Writes the averaged weights in half precision, with what a reader must know in the file's metadata."""
    metadata = {"licence": licence, "steps": str(state.step), "seed": str(params.seed)}
    if params.network == "cube":
        switches = {"joint": str(params.joint), "fusion": str(params.fusion)}
        content = half_bytes(state.average, metadata | {"architecture": "CubeScaffold"} | switches)
    else:
        content = one2scene_bytes(state.average, metadata | {"name": "one2scene"})
    atomic_write_bytes(path, content)


def run_training(
    params: ScaffoldParams, data: PanoramaSet, licence: str, on_step: Callable[[StepLog], None] | None = None
) -> Path:
    """Trains to ``params.steps`` in ``params.out``, resuming what is there; returns the weight file.

    The folder holds ``checkpoint.pt``, ``log.jsonl`` (a line per step) and ``scaffold.safetensors``. Under ``torchrun``
    or ``accelerate launch`` each process does its part, and the first one writes and reports.
    """
    out = Path(params.out)
    if params.threads:
        torch.set_num_threads(params.threads)
    weights = out / "scaffold.safetensors"
    with processes(choose_device(params.device)) as device:
        state = start_or_resume(params, out, device)
        steps = train_scaffold(state, data, train_config(params))
        if rank_and_count()[0] > 0:
            deque(steps, maxlen=0)
            return weights
        out.mkdir(parents=True, exist_ok=True)
        with open(out / "log.jsonl", "a", encoding="utf-8") as log:
            for step in _guarded(steps, state, params, out):
                line = {"step": step.step, "lr": step.lr, "seconds": step.seconds, **step.losses}
                log.write(json.dumps(line) + "\n")
                if step.step % 10 == 0:
                    log.flush()
                if on_step:
                    on_step(step)
        export_weights(state, params, weights, licence)
    return weights


def _guarded(steps: Iterator[StepLog], state: TrainState, params: ScaffoldParams, out: Path) -> Iterator[StepLog]:
    """Steps with a checkpoint every so often, and one more when the run ends or is interrupted."""
    first, saved = state.step, time.monotonic()
    try:
        for step in steps:
            yield step
            if step.step % params.checkpoint_every == 0 and time.monotonic() - saved > 20:
                save_checkpoint(state, params, out)
                saved = time.monotonic()
    finally:
        if state.step > first:
            save_checkpoint(state, params, out)
