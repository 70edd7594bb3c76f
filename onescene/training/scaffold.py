"""Training of a scaffold as a generator: one step, one yield; interrupt it wherever you like.

What a network, a batch and a loss are stands in ``networks.py``, ``batches.py``, ``scaffold_loss.py`` and
``render_loss.py``; several processes share a batch by ``processes.py``.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from onescene.geometry.cubemap import faces_from_panorama
from onescene.models.arithmetic import Precision, arithmetic
from onescene.training.batches import PanoramaSet, PosedSet, Sample, draw_batch, shrink_targets
from onescene.training.batches import load_batch as load_batch  # the notebooks' name for it
from onescene.training.networks import TrainedNetwork, trained
from onescene.training.perceptual import Perceptual, perceptual_distance
from onescene.training.processes import mean_over_processes, rank_and_count, shared
from onescene.training.render_loss import render_terms, true_views
from onescene.training.scaffold_loss import PAPER_LOSS, LossWeights, scaffold_loss
from onescene.training.step_log import StepLog


@dataclass(frozen=True)
class TrainConfig:
    """How a scaffold is trained."""

    steps: int = 5000
    batch: int = 4  # panoramas per step
    lr: float = 1e-3  # everything but the pretrained part
    lr_encoder: float = 3e-4  # the pretrained part: the encoder, or VGGT's backbone
    weight_decay: float = 0.02
    betas: tuple[float, float] = (0.9, 0.98)  # of AdamW
    warmup_steps: int = 200
    decay_fraction: float = 0.3  # the learning rate falls to zero over this last part
    ema: float = 0.998  # decay of the averaged weights
    clip: float = 1.0  # gradient norm
    precision: Precision = "float32"  # of the network's arithmetic; losses and geometry are in float32
    seed: int = 0
    views: int = 2  # displaced views per panorama in the rendering loss, where the data has them
    perceptual: Perceptual = "auto"  # which distance the term `perceptual` is
    loss: LossWeights = field(default_factory=LossWeights)


SMALL = TrainConfig()
PAPER = TrainConfig(  # Sec. 4.1 of One2Scene; decay, betas and warm-up, which it leaves open, are the release's
    steps=80_000,
    lr=2e-4,
    lr_encoder=2e-5,
    weight_decay=0.05,
    betas=(0.9, 0.95),
    warmup_steps=2000,
    decay_fraction=0.0,
    loss=PAPER_LOSS,
)


@dataclass
class TrainState:
    """Everything a resumed run needs."""

    network: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0

    def state_dict(self) -> dict:
        """Tensors and numbers only, so that it can be read back without running anything."""
        parts = {"network": self.network, "average": self.average, "optimiser": self.optimiser}
        return {name: part.state_dict() for name, part in parts.items()} | {"step": self.step}

    def load_state_dict(self, state: dict) -> None:
        """Continues where a saved state stopped."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])


def new_state(network: nn.Module, config: TrainConfig) -> TrainState:
    """AdamW over two groups: the rest, and the pretrained part.

    Raises:
        ValueError: training does not know this kind of network.
    """
    pretrained = trained(network).pretrained()
    known = {id(p) for p in pretrained}
    rest = [p for p in network.parameters() if id(p) not in known]
    groups = [{"params": rest, "lr": config.lr}, {"params": pretrained, "lr": config.lr_encoder}]
    optimiser = torch.optim.AdamW(groups, weight_decay=config.weight_decay, betas=config.betas)
    return TrainState(network, copy.deepcopy(network).requires_grad_(False), optimiser)


def lr_factor(step: int, config: TrainConfig) -> float:
    """Warm-up, constant, then a straight fall to zero over the last ``decay_fraction`` of the steps."""
    rise = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    left = (config.steps - step) / max(config.steps * config.decay_fraction, 1)
    return min(rise, max(left, 0.0), 1.0)


def wants_views(config: TrainConfig) -> bool:
    """Whether the loss looks at displaced views."""
    return config.views > 0 and config.loss.looks_at_views


def batch_terms(
    kind: TrainedNetwork,
    forward: nn.Module,
    samples: list[Sample],
    config: TrainConfig,
    distance: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Every loss term of some samples, and their weighted sum under ``total``.

    Args:
        kind: How training sees the network.
        forward: The network itself, or what stands for it among several processes.
        samples: What it sees.
        config: With the weights.
        distance: The perceptual distance, where its term has a weight.
    """
    device, weights = next(forward.parameters()).device, config.loss
    seen, log_distance, sky = (
        torch.stack([getattr(s, name) for s in samples]) for name in ("seen", "log_distance", "sky")
    )
    faces = faces_from_panorama(seen.to(device), kind.face_px, kind.fov_deg)
    log_distance, sky = (x.to(device) for x in shrink_targets(log_distance, sky, kind.face_px))
    with arithmetic(device, config.precision):
        raw = forward(faces)
    prediction = kind.on_panorama(raw, log_distance.shape[-2:])
    terms = scaffold_loss(prediction, log_distance, sky, kind.fov_deg, weights)
    if not weights.looks_at_views:
        return terms
    for i, sample in enumerate(samples):
        gaussians = kind.gaussians(raw, i, sample, log_distance[i], sky[i])
        views = true_views(sample, kind.face_px, kind.fov_deg, device)
        for name, value in render_terms(gaussians, views, distance, kind.holes_are_errors).items():
            terms[name] = terms.get(name, 0.0) + value / len(samples)
            terms["total"] = terms["total"] + getattr(weights, name) * value / len(samples)
    return terms


def train_scaffold(state: TrainState, data: PanoramaSet, config: TrainConfig) -> Iterator[StepLog]:
    """Trains until ``config.steps``, yielding after every step; resumes from ``state.step``.

    Batches depend on the seed and the step alone, so a resumed run sees what an unbroken one would have seen, and
    several processes together see what one would have seen.

    Raises:
        ValueError: the data set is empty, or has no displaced views where the rendering loss wants some, the batch is
            no multiple of the number of processes, or the weights of the perceptual distance are missing. All of it
            before the first step.
    """
    part = rank_and_count()
    if len(data) == 0:
        raise ValueError("data must hold at least one panorama, got none")
    if config.batch % part[1]:
        raise ValueError(f"batch must be a multiple of the {part[1]} processes, got {config.batch}")
    if wants_views(config) and not isinstance(data, PosedSet):
        raise ValueError(f"views = {config.views} needs data with displaced views, this has none; set views to 0")
    kind, forward = trained(state.network.train()), shared(state.network)
    device = next(state.network.parameters()).device
    distance = perceptual_distance(config.perceptual).to(device) if config.loss.perceptual else None
    return _steps(state, data, config, part, (kind, forward, distance))


def _steps(
    state: TrainState,
    data: PanoramaSet,
    config: TrainConfig,
    part: tuple[int, int],
    model: tuple[TrainedNetwork, nn.Module, nn.Module | None],
) -> Iterator[StepLog]:
    kind, forward, distance = model
    views = config.views if wants_views(config) else 0
    while state.step < config.steps:
        start = time.perf_counter()
        samples = draw_batch(data, state.step, config.seed, config.batch, views, part)
        factor = lr_factor(state.step, config)
        for group, lr in zip(state.optimiser.param_groups, (config.lr, config.lr_encoder), strict=True):
            group["lr"] = lr * factor
        terms = batch_terms(kind, forward, samples, config, distance)
        state.optimiser.zero_grad(set_to_none=True)
        terms["total"].backward()
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), config.clip)
        state.optimiser.step()
        state.step += 1
        _update_average(state, config)
        yield StepLog(state.step, mean_over_processes(terms), config.lr * factor, time.perf_counter() - start)


@torch.no_grad()
def _update_average(state: TrainState, config: TrainConfig) -> None:
    decay = min(config.ema, (1 + state.step) / (10 + state.step))
    own = state.network.state_dict()
    for name, value in state.average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(own[name], 1 - decay)
