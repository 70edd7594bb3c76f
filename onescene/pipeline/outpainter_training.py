"""Training runs of the outpainter on disk: parameters checked, resumable, watched by a log, weights to ship."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, model_validator

from onescene.data.colours import Colours, join_colours, load_colours, photos_to_train, shrink_colours
from onescene.io.atomic import atomic_write_bytes
from onescene.io.images import load_panorama
from onescene.models.arithmetic import Precision
from onescene.models.loading import load_into, load_scaffold
from onescene.models.outpainter import LARGE, SMALL, Outpainter, OutpainterConfig
from onescene.models.outpainter.weights import outpainter_bytes
from onescene.pipeline import limits
from onescene.pipeline.parameters import read_params
from onescene.pipeline.training_run import FREE, checked, choose_device, follow, own_folder, read_checkpoint
from onescene.stages.outpaint import outpaint
from onescene.stages.outpaint_learned import sky_by
from onescene.stages.planes import outpaint_planes
from onescene.training.outpainter import (
    OutpaintState,
    OutpaintTrainConfig,
    new_outpaint_state,
    train_outpainter,
)
from onescene.training.outpainter_batches import CutSource, Draft
from onescene.training.step_log import StepLog

SIZES: dict[str, OutpainterConfig] = {"small": SMALL, "large": LARGE}
TOURS = 200  # that a draft chooses from: fewer than the stage tries, for the sake of time
WEIGHTS = "outpainter.safetensors"


class OutpainterParams(BaseModel):
    """What a params file of ``onescene train outpainter`` may say; any other key is refused.

    Keys of :class:`onescene.training.outpainter.OutpaintTrainConfig` that the file leaves out have its values.
    """

    model_config = ConfigDict(extra="forbid")

    size: Literal["small", "large"] = "small"  # of the network
    data: str | list[str]  # folders made by `onescene data maps|rooms`
    photos: str | None = None  # folder of 2:1 pictures; held-out and shown ones are left out by name
    draft: Literal["baseline", "planes"] = "baseline"  # whose outpainting is corrected: planes = the method small's
    rows: limits.Whole = 0  # of panoramas and drafts; 0 = the network's
    skies: bool = False  # half of the data's skies are painted anew, as a camera sees them
    photo_repeats: limits.Whole = 40  # so often a photograph stands in an epoch
    out: limits.Folder  # folder of this run
    steps: limits.Whole  # may grow when a run goes on
    batch: limits.Count
    lr: limits.Positive
    lr_critic: limits.NotNegative
    warmup_steps: limits.Whole
    decay_fraction: limits.Share
    ema: limits.Decay
    clip: limits.Clip
    seed: limits.Seed
    layout: limits.NotNegative
    scales: tuple[limits.Count, ...]  # multiples of which the panorama's height must be
    circular: bool = True  # whether the network's convolutions continue across the panorama's borders
    cycle: limits.NotNegative
    features: limits.NotNegative
    perceptual: limits.NotNegative
    oriented: limits.NotNegative
    adversarial: limits.NotNegative
    views: limits.Whole
    critic_from: limits.Whole
    precision: Precision
    init: str | None = None  # weights to start from: an earlier training's file
    checkpoint_every: limits.Count = 100  # steps
    threads: limits.Whole = 0  # torch threads, 0 = torch's own choice
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: dict[str, Any]) -> dict[str, Any]:
        usual = asdict(OutpaintTrainConfig())
        return {name: usual[name] for name in usual if name in cls.model_fields} | values


def read_outpainter_params(path: str | Path) -> OutpainterParams:
    """Reads and checks a params file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML, a misspelt key, or a value of the wrong type; the sentence names it.
    """
    return checked(OutpainterParams, read_params(path), Path(path).name)


def outpainter_config(params: OutpainterParams) -> OutpaintTrainConfig:
    """The part of the parameters that the training loop reads."""
    return OutpaintTrainConfig(**{f.name: getattr(params, f.name) for f in fields(OutpaintTrainConfig)})


def open_colours(params: OutpainterParams) -> Colours:
    """The panoramas that the parameters name, photographs as often as they say, and their skies.

    Raises:
        FileNotFoundError, ValueError: see :func:`onescene.data.colours.load_colours`; a picture is not 2:1; fewer
            rows than the network has.
    """
    height = SIZES[params.size].height_px
    if params.rows and params.rows < height:
        raise ValueError(f"rows must be 0 or at least the network's {height}, got {params.rows}")
    height = params.rows or height
    parts = [load_colours([params.data] if isinstance(params.data, str) else params.data, height, "train")]
    if params.photos:
        for path in photos_to_train(params.photos):
            rgb = (load_panorama(path).permute(1, 2, 0)[None] * 255).round().byte().numpy()
            small = shrink_colours(rgb, height, str(path))
            parts += [Colours(small, np.zeros(small.shape[:3], dtype=bool))] * params.photo_repeats
    return join_colours(parts)


def open_draft(params: OutpainterParams) -> Draft:
    """What makes the drafts that the network is shown.

    Raises:
        FileNotFoundError: the scaffold's weights, which tell ``planes`` where the sky is, are missing.
    """
    if params.draft == "planes":
        return partial(outpaint_planes, sky_of=sky_by(load_scaffold()[0]))
    return partial(outpaint, tours=TOURS)


def start_or_resume(params: OutpainterParams, out: Path) -> OutpaintState:
    """A fresh state, or the one that the folder's checkpoint holds.

    Raises:
        FileNotFoundError, ValueError: weights to start from or the checkpoint are missing, damaged or of another run.
    """
    saved = read_checkpoint(out, _stored(params))
    torch.manual_seed(params.seed)
    network = Outpainter(replace(SIZES[params.size], circular=params.circular))
    if saved is None and params.init:
        load_into(network, params.init)
    network = network.to(device=choose_device(params.device), memory_format=torch.channels_last)
    state = new_outpaint_state(network, outpainter_config(params))
    if saved is not None:
        state.load_state_dict(saved)
    return state


def run_outpainter_training(
    params: OutpainterParams,
    colours: Colours,
    licence: str,
    on_step: Callable[[StepLog], None] | None = None,
) -> Path:
    """Trains to ``params.steps`` in ``params.out``, resuming what is there; returns the weight file.

    The folder holds ``checkpoint.pt``, ``log.jsonl`` (a line per step) and ``outpainter.safetensors``.
    """
    out = Path(params.out)
    if params.threads:
        torch.set_num_threads(params.threads)
    with own_folder(out):
        state = start_or_resume(params, out)
        source = CutSource(colours.rgb, open_draft(params), params.seed, colours.sky if params.skies else None)
        steps = train_outpainter(state, source, outpainter_config(params))
        follow(steps, state, _stored(params), out, params.checkpoint_every, on_step)
        metadata = {"licence": licence, "steps": str(state.step), "seed": str(params.seed)}
        atomic_write_bytes(out / WEIGHTS, outpainter_bytes(state.average, metadata))
    return out / WEIGHTS


def _stored(params: OutpainterParams) -> dict[str, Any]:
    """What a checkpoint remembers of the parameters: all that changes what is computed."""
    return params.model_dump(exclude=set(FREE))
