"""Training of the multi-view denoiser as a generator: one step, one yield (Sec. 3.3 and 4.1 of One2Scene).

scene -> chunk: renders, clean views, targets -> latents -> noise of one level on the targets alone
    -> network, each frame through its adapter -> predicted noise -> squared error on the target frames

With ``start_sigma`` it learns to make a view in one step instead, as Difix3D+ does (Wu et al., CVPR 2025):

    targets begin at the renders, which the network is told are pictures with noise of that level
    -> network -> latents without it -> pictures -> error of their colours and perceptual distance to the true views
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from onescene.models.arithmetic import Precision, arithmetic
from onescene.models.dual_lora import train_adapters_only
from onescene.models.seva.bundle import ViewModels
from onescene.models.seva_schedule import level_below
from onescene.training.perceptual import Perceptual, perceptual_distance
from onescene.training.processes import mean_over_processes, rank_and_count, shared
from onescene.training.step_log import StepLog
from onescene.training.view_batches import ChunkDraw, ChunkSample, Scenes, draw_chunks, encode_chunk
from onescene.training.view_losses import ColourError, PartDistance, chunk_errors, one_step_errors


@dataclass(frozen=True)
class ViewTrainConfig:
    """How the denoiser is trained; the defaults are the paper's."""

    steps: int = 40_000
    batch: int = 16  # chunks per step, over all processes
    at_a_time: int = 1  # chunks of a pass; gradients of passes are added up
    lr: float = 1.25e-5  # of Adam
    warmup_steps: int = 0
    decay_fraction: float = 0.0  # the learning rate falls to zero over this last part
    trains: Literal["adapters", "all"] = "adapters"  # all = the release's full fine-tune
    ema: float = 0.999  # decay of the averaged weights
    clip: float = 1.0  # gradient norm
    precision: Precision = "float32"  # of the network's arithmetic
    start_sigma: float = 0.0  # > 0: one step from the renders, at that level; 0: from noise of every level
    perceptual: Perceptual = "auto"  # distance in the loss of that one step
    colour_error: ColourError = "absolute"  # of that one step
    perceptual_weight: float = 0.2  # beside that error
    ssim_weight: float = 0.0  # of 1 - SSIM beside it
    perceptual_px: int = 128  # side of the part of a picture, drawn at random, that the distance looks at [pixels]
    seed: int = 0
    draw: ChunkDraw = field(default_factory=ChunkDraw)

    def __post_init__(self) -> None:
        if self.start_sigma:
            level_below(self.start_sigma)
            if self.draw.method == "anchors-only":
                raise ValueError("start_sigma needs renders to begin at: method concat or dual-lora, got anchors-only")


PAPER = ViewTrainConfig()
SMALL = ViewTrainConfig(
    steps=20_000,
    batch=8,
    at_a_time=8,
    lr=3e-4,
    warmup_steps=200,
    decay_fraction=0.3,
    trains="all",  # there is no trained base to put adapters on
    start_sigma=1.0,
    draw=ChunkDraw(targets=4, clean=2),
)


@dataclass
class ViewTrainState:
    """Everything a resumed run needs; of the weights only those that learn."""

    models: ViewModels
    learning: dict[str, nn.Parameter]
    average: dict[str, Tensor]
    optimiser: torch.optim.Optimizer
    step: int = 0

    def state_dict(self) -> dict:
        """Tensors and numbers only, so that it can be read back without running anything."""
        weights = {name: p.detach() for name, p in self.learning.items()}
        return {
            "weights": weights,
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict) -> None:
        """Continues where a saved state stopped.

        Raises:
            ValueError: other parameters learn here than there.
        """
        if state["weights"].keys() != self.learning.keys():
            raise ValueError("the checkpoint's network has other learning parameters than this one")
        for name, parameter in self.learning.items():
            parameter.copy_(state["weights"][name])
            self.average[name].copy_(state["average"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])


def new_view_state(models: ViewModels, config: ViewTrainConfig) -> ViewTrainState:
    """Adam over the adapters alone, or over everything.

    Raises:
        ValueError: the network can not do the method, or has no adapters though only they should learn.
    """
    models.check_method(config.draw.method)
    network = models.denoiser.train()
    if config.trains == "adapters":
        train_adapters_only(network)
    else:
        network.requires_grad_(True)
    learning = {name: p for name, p in network.named_parameters() if p.requires_grad}
    average = {name: p.detach().clone() for name, p in learning.items()}
    return ViewTrainState(models, learning, average, torch.optim.Adam(learning.values(), lr=config.lr))


def train_views(state: ViewTrainState, data: Scenes, config: ViewTrainConfig) -> Iterator[StepLog]:
    """Trains until ``config.steps``, yielding after every step; resumes from ``state.step``.

    Chunks and noise depend on the seed and the step alone, so a resumed run sees what an unbroken one would have seen,
    and several processes together see what one would have seen.

    Raises:
        ValueError: there is no scene, the batch is no multiple of the number of processes, or a process's part of it is
            no multiple of ``at_a_time``; before the first step.
    """
    part = rank_and_count()
    if len(data) == 0:
        raise ValueError("data must hold at least one scene, got none")
    if config.batch % part[1] or config.batch // part[1] % config.at_a_time:
        got = f"batch {config.batch} for {part[1]} processes, {config.at_a_time} at a time"
        raise ValueError(f"batch must be a multiple of processes x at_a_time, got {got}")
    return _steps(state, data, config, part, shared(state.models.denoiser))


def _steps(
    state: ViewTrainState, data: Scenes, config: ViewTrainConfig, part: tuple[int, int], forward: nn.Module
) -> Iterator[StepLog]:
    perceptual = _part_distance(state.models, config)
    while state.step < config.steps:
        start = time.perf_counter()
        lr = config.lr * _lr_factor(state.step, config)
        for group in state.optimiser.param_groups:
            group["lr"] = lr
        whole = bool(config.start_sigma)
        drawn = draw_chunks(data, state.step, config.seed, config.batch, config.draw, part, whole)
        state.optimiser.zero_grad(set_to_none=True)
        losses = _add_gradients(state.models, forward, drawn, config, perceptual)
        nn.utils.clip_grad_norm_(list(state.learning.values()), config.clip)
        state.optimiser.step()
        state.step += 1
        _update_average(state, config.ema)
        yield StepLog(state.step, mean_over_processes(losses), lr, time.perf_counter() - start)


def _part_distance(models: ViewModels, config: ViewTrainConfig) -> PartDistance | None:
    if not config.start_sigma or not config.perceptual_weight:
        return None
    device = next(models.denoiser.parameters()).device
    distance = perceptual_distance(config.perceptual).to(device)
    return PartDistance(distance, config.perceptual_weight, config.perceptual_px)


def _add_gradients(
    models: ViewModels,
    forward: nn.Module,
    drawn: list[tuple[ChunkSample, torch.Generator]],
    config: ViewTrainConfig,
    perceptual: PartDistance | None,
) -> dict[str, Tensor]:
    """Backward passes over a step's chunks, a few at a time; returns the mean loss."""
    device = next(models.denoiser.parameters()).device
    encoders = models.autoencoder, models.image_encoder
    total = torch.zeros((), device=device)
    for first in range(0, len(drawn), config.at_a_time):
        some = drawn[first : first + config.at_a_time]
        scale = models.manifest.camera_scale
        chunks = [encode_chunk(sample, config.draw, encoders, device, scale) for sample, _ in some]
        with arithmetic(device, config.precision):
            if config.start_sigma:
                true = torch.stack([sample.true for sample, _ in some]).to(device)
                wanted = perceptual, [g for _, g in some], config.colour_error, config.ssim_weight
                errors = one_step_errors(forward, chunks, true, models, config.start_sigma, *wanted)
            else:
                errors, _ = chunk_errors(forward, chunks, [g for _, g in some], models.denoiser.config.lora_rank > 0)
        loss = errors.sum() / len(drawn)
        loss.backward()
        total += loss.detach()
    return {"total": total}


def _lr_factor(step: int, config: ViewTrainConfig) -> float:
    """Warm-up, constant, then a straight fall to zero over the last part."""
    rise = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    left = (config.steps - step) / (config.steps * config.decay_fraction) if config.decay_fraction else 1.0
    return min(rise, left, 1.0)


@torch.no_grad()
def _update_average(state: ViewTrainState, decay: float) -> None:
    decay = min(decay, (1 + state.step) / (10 + state.step))
    for name, parameter in state.learning.items():
        state.average[name].lerp_(parameter, 1 - decay)


@torch.no_grad()
def averaged(state: ViewTrainState) -> ViewModels:
    """The models with the averaged weights, for sampling; the learning weights are overwritten."""
    for name, parameter in state.learning.items():
        parameter.copy_(state.average[name])
    return replace(state.models, denoiser=state.models.denoiser.eval())
