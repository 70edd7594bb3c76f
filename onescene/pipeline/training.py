"""Training runs on disk: parameters checked, checkpoints written whole, logs to watch, weights to ship."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from onescene.data.sets import MapSet, RoomSet
from onescene.io.atomic import atomic_write_bytes
from onescene.models import one2scene
from onescene.models.loading import half_bytes, load_imagenet, load_into, read_metadata
from onescene.models.one2scene.weights import one2scene_bytes, start_from_cube
from onescene.models.scaffold import CubeScaffold, CubeScaffoldConfig
from onescene.models.vggt.weights import load_public
from onescene.pipeline.training_params import ScaffoldParams, stored_config, train_config
from onescene.pipeline.training_params import read_params as read_params  # the command line's name for it
from onescene.pipeline.training_run import choose_device, follow, own_folder, read_checkpoint
from onescene.training.batches import PanoramaSet
from onescene.training.posed import PosedMaps, PosedRooms
from onescene.training.processes import processes, rank_and_count
from onescene.training.scaffold import TrainState, new_state, train_scaffold, wants_views
from onescene.training.step_log import StepLog


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
        heads = train_config(params).loss.looks_at_views  # else nothing teaches them Gaussians
        network = one2scene.One2Scene(replace(preset, joint=params.joint, fusion=fusion, gaussians=heads, **size))
        encoder = network.aggregator.patch_embed.encoder if preset.patch_embed == "lite0" else None
    if pretrained and params.init:
        _start_from(network, params.init)
    elif pretrained and params.imagenet and encoder is not None:
        load_imagenet(encoder)
    return network


def _start_from(network: CubeScaffold | one2scene.One2Scene, path: str) -> None:
    """Reads weights to start from: the network's own, VGGT-1B's, or the small network's for what the two share."""
    if isinstance(network, CubeScaffold):
        load_into(network, path)
    elif read_metadata(path).get("architecture") == "CubeScaffold":
        start_from_cube(network, path)
    else:
        load_public(network, path)


def start_or_resume(params: ScaffoldParams, out: Path, device: torch.device) -> TrainState:
    """A fresh state, or the one that the folder's checkpoint holds.

    Raises:
        FileNotFoundError: weights to start from are missing.
        ValueError: the checkpoint is damaged, or was trained by other parameters than these.
    """
    saved = read_checkpoint(out, stored_config(params))
    network = build_network(params, pretrained=saved is None)
    network = network.to(device=device, memory_format=torch.channels_last)
    state = new_state(network, train_config(params))
    if saved is not None:
        state.load_state_dict(saved)
    return state


def export_weights(state: TrainState, params: ScaffoldParams, path: Path, licence: str) -> None:
    """Writes the averaged weights in half precision, with what a reader must know in the file's metadata."""
    metadata = {"licence": licence, "steps": str(state.step), "seed": str(params.seed)}
    if params.network == "cube":
        switches = {"joint": str(params.joint), "fusion": str(params.fusion)}
        content = half_bytes(state.average, metadata | {"architecture": "CubeScaffold"} | switches)
    else:
        content = one2scene_bytes(state.average, metadata | {"name": f"one2scene-{params.preset}"})
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
    with own_folder(out), processes(choose_device(params.device)) as device:
        state = start_or_resume(params, out, device)
        steps = train_scaffold(state, data, train_config(params))
        if rank_and_count()[0] > 0:
            deque(steps, maxlen=0)
            return weights
        follow(steps, state, stored_config(params), out, params.checkpoint_every, on_step)
        export_weights(state, params, weights, licence)
    return weights
