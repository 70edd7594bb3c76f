"""What every training on disk shares: the device, a folder of its own, a checkpoint refused if not its own, the log."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from pydantic import BaseModel, ValidationError

from onescene.io.atomic import atomic_path
from onescene.models.arithmetic import best_device
from onescene.pipeline.training_log import LOG
from onescene.pipeline.workspace import open_workspace
from onescene.training.processes import is_first_process
from onescene.training.step_log import StepLog

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
FREE = ("out", "steps", "checkpoint_every", "threads", "device")  # parameters that may change when a run goes on
_ANEW = "begin again in another `out` with a smaller lr"
_LEAST_SECONDS = 20  # between two checkpoints

Params = TypeVar("Params", bound=BaseModel)


class Resumable(Protocol):
    """Everything that a resumed run needs."""

    step: int

    def state_dict(self) -> dict:
        """Tensors and numbers only, so that it can be read back without running anything."""


def checked(kind: type[Params], values: dict[str, Any], where: str) -> Params:
    """Parameters from plain values.

    Raises:
        ValueError: a misspelt key or a value that can not be; the sentence names it and ``where`` it stands.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        told = f"{key}: {first['msg']}" if key else first["msg"]
        known = f"; known keys: {', '.join(kind.model_fields)}"
        more = known if first["type"] in ("extra_forbidden", "missing") else f", got {first['input']!r}" if key else ""
        raise ValueError(f"{where}: {told}{more}") from error


def choose_device(name: str) -> torch.device:
    """Where to train.

    Raises:
        ValueError: CUDA is asked for and torch sees none.
    """
    device = torch.device("cpu") if name == "cpu" else best_device()
    if name == "cuda" and device.type != "cuda":
        raise ValueError("device: cuda was asked for, but torch sees no CUDA device; use auto or cpu")
    return device


@contextmanager
def own_folder(out: Path) -> Iterator[None]:
    """Keeps a second run out of a training's folder from before its checkpoint is read until its weights are written.

    Of several processes that train together the first one, which writes, holds it. A folder made for nothing goes.

    Raises:
        ValueError: ``out`` is a file.
        PermissionError: it cannot be written.
        FolderBusyError: another run is writing into it.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"out must be a folder, {out} is a file")
    if not is_first_process():
        yield
        return
    with open_workspace(out):
        yield


def read_checkpoint(out: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """What the folder's checkpoint holds; None where there is none.

    Raises:
        ValueError: it is damaged, or was trained by other parameters than these.
    """
    path = out / CHECKPOINT
    if not path.is_file():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch each have errors of their own
        raise ValueError(
            f"not a readable checkpoint: {path} ({type(error).__name__}); remove it to start anew"
        ) from error
    if saved.get("config") is None:
        logger.warning("%s does not say what it was trained by; going on with the parameters given", path)
        return saved
    for key, value in saved["config"].items():
        if config.get(key) != value:
            raise ValueError(
                f"{path} was trained with {key} = {value!r}, the parameters say {config.get(key)!r}: "
                "set it back, or give another `out` (and this run's weights as what it starts from)"
            )
    return saved


def save_checkpoint(state: Resumable, config: dict[str, Any], out: Path) -> None:
    """Writes the resumable state, whole or not at all.

    Raises:
        ValueError: the weights are not finite.
    """
    content = state.state_dict()
    if not _finite(content):
        raise ValueError(f"the weights are not finite at step {state.step}: {_ANEW}")
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / CHECKPOINT) as path:
        torch.save(content | {"config": config}, path)


def _finite(value: Any) -> bool:
    """Whether all numbers in tensors, at any depth of mappings and lists, are finite."""
    if isinstance(value, torch.Tensor):
        return bool(torch.isfinite(value).all())
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return all(map(_finite, parts))


def follow(
    steps: Iterator[StepLog],
    state: Resumable,
    config: dict[str, Any],
    out: Path,
    every: int,
    on_step: Callable[[StepLog], None] | None,
) -> None:
    """Runs a training to its end: a line of the log per step, a checkpoint now and then, and when it is interrupted.

    Args:
        steps: The training; every step changes ``state``.
        state: What a checkpoint keeps.
        config: What it remembers of the parameters.
        out: Folder of the run, made if need be after the first step: one that can not be leaves nothing.
        every: Steps between checkpoints.
        on_step: Called after every step.

    Raises:
        ValueError: a loss is not finite; the last checkpoint is kept.
    """
    with closing(_guarded(steps, state, config, out, every)) as guarded:
        begun = list(islice(guarded, 1))
        out.mkdir(parents=True, exist_ok=True)
        with open(out / LOG, "a", encoding="utf-8") as log:
            for step in chain(begun, guarded):
                entry = {"step": step.step, "lr": step.lr, "seconds": step.seconds, **step.losses}
                log.write(json.dumps(entry) + "\n")
                if step.step % 10 == 0:
                    log.flush()
                if on_step:
                    on_step(step)


def _guarded(
    steps: Iterator[StepLog], state: Resumable, config: dict[str, Any], out: Path, every: int
) -> Iterator[StepLog]:
    """Steps with a checkpoint every so often, and one more when the run ends or is interrupted."""
    first, saved = state.step, time.monotonic()
    try:
        for step in steps:
            if not all(map(math.isfinite, step.losses.values())):
                first = state.step  # nothing of it is worth keeping
                raise ValueError(f"the loss is not finite at step {step.step}: {_ANEW}")
            yield step
            if step.step % every == 0 and time.monotonic() - saved > _LEAST_SECONDS:
                save_checkpoint(state, config, out)
                saved = time.monotonic()
    finally:
        if state.step > first:
            save_checkpoint(state, config, out)
