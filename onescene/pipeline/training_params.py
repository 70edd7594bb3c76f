"""What a training may be told: the keys of a params file, the presets behind them, what a checkpoint remembers."""

from __future__ import annotations

import math
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from onescene.models.arithmetic import Precision
from onescene.pipeline import limits
from onescene.pipeline.parameters import read_params as read_yaml
from onescene.pipeline.training_run import FREE, checked
from onescene.training.perceptual import Perceptual, choose_perceptual
from onescene.training.scaffold import PAPER, SMALL, TrainConfig
from onescene.training.scaffold_loss import LossWeights

PRESETS: dict[str, TrainConfig] = {"small": SMALL, "paper": PAPER}


class ScaffoldParams(BaseModel):
    """What a params file of ``onescene train scaffold`` may say; any other key is refused.

    Keys of :class:`onescene.training.scaffold.TrainConfig` that the file leaves out are the preset's.
    """

    model_config = ConfigDict(extra="forbid")

    preset: Literal["small", "paper"] = "small"  # of the training, and of the network's sizes where it has two
    network: Literal["cube", "vggt"] = "cube"  # cube = the small network; vggt = the paper's, with Gaussian heads
    data: str | list[str]  # folders made by `onescene data maps|rooms` (twice = twice as often), or "rooms"
    out: limits.Folder  # folder of this run
    rooms: limits.Count = 64  # number of rooms when data is "rooms"
    steps: limits.Whole  # may grow when a run goes on
    batch: limits.Count
    lr: limits.Positive
    lr_encoder: limits.NotNegative
    weight_decay: limits.NotNegative
    warmup_steps: limits.Whole
    decay_fraction: limits.Share
    ema: limits.Decay
    precision: Precision
    seed: limits.Seed
    views: limits.Whole  # displaced views per panorama in the rendering loss
    perceptual: Perceptual
    loss: dict[str, float] = {}  # weights of loss terms that are not the preset's, such as {render: 10, normal: 1}
    face_px: limits.Count | None = None  # side of the faces [pixels], a multiple of 32 (VGGT-1B: 14); None = its own
    joint: bool = True  # False = each face apart
    fusion: bool = True  # False = without bidirectional fusion
    imagenet: bool = True  # start from ImageNet features
    init: str | None = None  # weights to start from instead: an earlier training's; with vggt also VGGT-1B's or cube's
    checkpoint_every: limits.Count = 250  # steps
    threads: limits.Whole = 0  # torch threads, 0 = torch's own choice
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: CUDA where torch sees it

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: dict[str, Any]) -> dict[str, Any]:
        preset = PRESETS.get(values.get("preset", "small"), SMALL)
        names = {f.name for f in fields(TrainConfig)} & set(cls.model_fields) - {"loss"}
        return {name: getattr(preset, name) for name in names} | values

    @field_validator("loss")
    @classmethod
    def _check_terms(cls, loss: dict[str, float]) -> dict[str, float]:
        known = [f.name for f in fields(LossWeights)]
        if unknown := [name for name in loss if name not in known]:
            raise ValueError(f"no loss term {unknown[0]!r}; terms: {', '.join(known)}")
        for name, weight in loss.items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"weight of {name} must be >= 0 and finite, got {weight}")
        return loss


def read_params(path: str | Path) -> ScaffoldParams:
    """Reads and checks a params file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML, a misspelt key, or a value of the wrong type; the sentence names it.
    """
    return check_params(read_yaml(path), Path(path).name)


def check_params(values: dict[str, Any], where: str) -> ScaffoldParams:
    """Parameters from plain values.

    Raises:
        ValueError: a misspelt key or a value of the wrong type; the sentence names it and ``where`` it stands.
    """
    return checked(ScaffoldParams, values, where)


def train_config(params: ScaffoldParams) -> TrainConfig:
    """The part of the parameters that the training loop reads, over the preset."""
    preset = PRESETS[params.preset]
    names = {f.name for f in fields(TrainConfig)} & set(ScaffoldParams.model_fields) - {"loss"}
    loss = replace(preset.loss, **params.loss)
    return replace(preset, **{name: getattr(params, name) for name in names}, loss=loss)


def stored_config(params: ScaffoldParams) -> dict[str, Any]:
    """What a checkpoint remembers of the parameters: all that changes what is computed."""
    config = train_config(params)
    kept = params.model_dump(exclude=set(FREE)) | {"loss": asdict(config.loss)}
    return kept | {"perceptual": choose_perceptual(params.perceptual) if config.loss.perceptual else None}
