"""Training of the small scaffold as a generator: one step, one yield; interrupt it wherever you like."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from onescene.geometry.cubemap import faces_from_panorama
from onescene.models.scaffold import CubeScaffold
from onescene.training.augment import jitter_colour, roll_and_flip
from onescene.training.scaffold_loss import LossWeights, scaffold_loss


@runtime_checkable
class PanoramaSet(Protocol):
    """What training asks of data: panoramas with their exact distance."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """RGB uint8 [H, 2H, 3], distance [m] float32 [H, 2H] and sky bool [H, 2H]."""


@dataclass(frozen=True)
class TrainConfig:
    """How a scaffold is trained."""

    steps: int = 5000
    batch: int = 4  # panoramas per step
    lr: float = 1e-3  # everything but the encoder
    lr_encoder: float = 3e-4
    weight_decay: float = 0.02
    warmup_steps: int = 200
    decay_fraction: float = 0.3  # the learning rate falls to zero over this last part
    ema: float = 0.998  # decay of the averaged weights
    clip: float = 1.0  # gradient norm
    seed: int = 0
    loss: LossWeights = field(default_factory=LossWeights)


@dataclass
class TrainState:
    """Everything a resumed run needs."""

    network: CubeScaffold
    average: CubeScaffold
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


@dataclass(frozen=True)
class StepLog:
    """What one step did.

    Attributes:
        step: Number of steps done.
        losses: Every loss term of the batch.
        lr: Learning rate of the new layers.
        seconds: Time of the step [s].
    """

    step: int
    losses: dict[str, float]
    lr: float
    seconds: float


def new_state(network: CubeScaffold, config: TrainConfig) -> TrainState:
    """AdamW over two groups: the pretrained encoder and the rest."""
    encoder = list(network.encoder.parameters())
    known = {id(p) for p in encoder}
    rest = [p for p in network.parameters() if id(p) not in known]
    groups = [{"params": rest, "lr": config.lr}, {"params": encoder, "lr": config.lr_encoder}]
    optimiser = torch.optim.AdamW(groups, weight_decay=config.weight_decay, betas=(0.9, 0.98))
    return TrainState(network, copy.deepcopy(network).requires_grad_(False), optimiser)


def lr_factor(step: int, config: TrainConfig) -> float:
    """Warm-up, constant, then a straight fall to zero over the last ``decay_fraction`` of the steps."""
    rise = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    left = (config.steps - step) / max(config.steps * config.decay_fraction, 1)
    return min(rise, max(left, 0.0), 1.0)


def load_batch(data: PanoramaSet, index: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """RGB [B, 3, H, 2H] in [0, 1], log distance [log m] [B, H, 2H] (0 in the sky) and sky [B, H, 2H]."""
    items = [data[int(i)] for i in index]
    rgb = torch.from_numpy(np.stack([item[0] for item in items])).permute(0, 3, 1, 2).float() / 255
    sky = torch.from_numpy(np.stack([item[2] for item in items]))
    distance = torch.from_numpy(np.stack([item[1] for item in items])).float()
    return rgb, torch.where(sky, torch.ones_like(distance), distance).clamp_min(1e-2).log(), sky


def shrink_targets(log_distance: Tensor, sky: Tensor, height: int) -> tuple[Tensor, Tensor]:
    """Averages the log distance of non-sky pixels over each target pixel; sky where most of it is sky."""
    factor = log_distance.shape[-2] // height
    if factor <= 1:
        return log_distance, sky
    ground = (~sky).to(log_distance)[:, None]
    share = F.avg_pool2d(ground, factor)
    mean = F.avg_pool2d(log_distance[:, None] * ground, factor) / share.clamp_min(1e-6)
    return mean[:, 0], share[:, 0] < 0.5


def train_scaffold(state: TrainState, data: PanoramaSet, config: TrainConfig) -> Iterator[StepLog]:
    """Trains until ``config.steps``, yielding after every step; resumes from ``state.step``.

    Batches depend on the seed and the step alone, so a resumed run sees what an unbroken one would have seen.

    Raises:
        ValueError: the data set is empty.
    """
    if len(data) == 0:
        raise ValueError("data must hold at least one panorama, got none")
    network, model = state.network.train(), state.network.config
    device = next(network.parameters()).device
    while state.step < config.steps:
        start = time.perf_counter()
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + state.step)
        index = _batch_index(len(data), state.step, config)
        rgb, log_distance, sky = roll_and_flip(*load_batch(data, index), generator)
        faces = faces_from_panorama(jitter_colour(rgb, generator).to(device), model.face_px, model.fov_deg)
        log_distance, sky = (x.to(device) for x in shrink_targets(log_distance, sky, model.face_px))
        factor = lr_factor(state.step, config)
        for group, lr in zip(state.optimiser.param_groups, (config.lr, config.lr_encoder), strict=True):
            group["lr"] = lr * factor
        terms = scaffold_loss(network(faces), log_distance, sky, model.fov_deg, config.loss)
        state.optimiser.zero_grad(set_to_none=True)
        terms["total"].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        state.optimiser.step()
        state.step += 1
        _update_average(state, config)
        losses = {name: float(value.detach()) for name, value in terms.items()}
        yield StepLog(state.step, losses, config.lr * factor, time.perf_counter() - start)


def _batch_index(count: int, step: int, config: TrainConfig) -> list[int]:
    """Panoramas of one step: epochs are permutations drawn from the seed and the epoch's number."""
    out = []
    for i in range(step * config.batch, (step + 1) * config.batch):
        epoch, place = divmod(i, count)
        order = np.random.default_rng((config.seed, epoch)).permutation(count)
        out.append(int(order[place]))
    return out


@torch.no_grad()
def _update_average(state: TrainState, config: TrainConfig) -> None:
    decay = min(config.ema, (1 + state.step) / (10 + state.step))
    own = state.network.state_dict()
    for name, value in state.average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(own[name], 1 - decay)
