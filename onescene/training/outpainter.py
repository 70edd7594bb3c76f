"""Training of the outpainter as a generator: one step, one yield; resumes from its state.

Loss outside the photo: L1 of the network's averaged picture, weighted by the sphere's area; where they have a weight,
in views cut out of the panorama that this and the draft's detail become (``models/outpainter/compose.py``), a
perceptual distance, the distance of ImageNet features, that of edges by direction (``outpainter_losses.py``) and, once
``critic_from`` is reached, a critic on those features (``outpainter_critic.py``). Views, because a panorama's poles
look like nothing that the features know.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from onescene.geometry.perspective import crop_panorama, intrinsics_from_fov
from onescene.geometry.rotations import matrix_from_yaw_pitch_roll
from onescene.models.arithmetic import Precision, arithmetic
from onescene.models.encoder import EfficientNetLite0
from onescene.models.loading import load_imagenet
from onescene.models.outpainter import Outpainter
from onescene.models.outpainter.compose import average_inputs, averaged, compose
from onescene.training.outpainter_batches import CutSource, OutpaintBatch, draw_outpaint_batch
from onescene.training.outpainter_critic import TAPS, Critic, critic_loss, deceit_loss
from onescene.training.outpainter_losses import cycle_distance, feature_distance, layout_distance, oriented_distance
from onescene.training.perceptual import perceptual_distance
from onescene.training.step_log import StepLog
from onescene.types import Cameras

TERMS = {
    "perceptual": "perceptual",
    "features": "features",
    "oriented": "oriented",
    "adversarial": "deceit",
}  # of views
VIEW_FOV_DEG, VIEW_PX = 75.0, 96  # of the views that features are taken of; the latter a multiple of 32


@dataclass(frozen=True)
class OutpaintTrainConfig:
    """How an outpainter is trained."""

    steps: int = 4000
    batch: int = 8  # photos per step
    lr: float = 4e-4
    lr_critic: float = 4e-4
    warmup_steps: int = 100
    decay_fraction: float = 0.3  # the learning rates fall to zero over this last part
    ema: float = 0.998  # decay of the averaged weights
    clip: float = 1.0  # gradient norm
    seed: int = 0
    layout: float = 1.0  # weight of the L1 of the averaged picture
    scales: tuple[int, ...] = (1, 4, 16)  # it is averaged over squares of so many pixels
    cycle: float = 0.0  # weight of what the step across +-180 degrees lacks (Look Beyond)
    features: float = 0.0  # of the distance of ImageNet features
    perceptual: float = 0.0  # of LPIPS, or of what stands for it (``training/perceptual.py``), of views
    oriented: float = 0.0  # of how much edges there are in which direction, of views
    adversarial: float = 0.0  # of the critic; 0 = without
    views: int = 4  # that features, critic and perceptual distance are shown of each panorama
    critic_from: int = 0  # step at which the critic comes in
    precision: Precision = "float32"  # of the convolutions


@dataclass
class OutpaintState:
    """Everything a resumed run needs."""

    network: Outpainter
    average: Outpainter
    critic: Critic
    optimiser: torch.optim.Optimizer
    critic_optimiser: torch.optim.Optimizer
    step: int = 0

    def state_dict(self) -> dict:
        """Tensors and numbers only."""
        parts = {k: v for k, v in vars(self).items() if k != "step"}
        return {name: part.state_dict() for name, part in parts.items()} | {"step": self.step}

    def load_state_dict(self, state: dict) -> None:
        """Continues where a saved state stopped."""
        for name, part in vars(self).items():
            if name != "step":
                part.load_state_dict(state[name])
        self.step = int(state["step"])


def new_outpaint_state(network: Outpainter, config: OutpaintTrainConfig) -> OutpaintState:
    """Adam for the network and for its critic, both fresh."""
    critic = Critic().to(next(network.parameters()).device)
    betas = (0.5, 0.99)  # a critic's gradient changes: a short memory
    return OutpaintState(
        network,
        copy.deepcopy(network).requires_grad_(False),
        critic,
        torch.optim.Adam(network.parameters(), lr=config.lr, betas=betas),
        torch.optim.Adam(critic.parameters(), lr=config.lr_critic, betas=betas),
    )


def draw_views(count: int, generator: torch.Generator) -> Cameras:
    """Views from a panorama's centre, every direction as likely as any other."""
    turn, height = torch.rand(2, count, generator=generator)
    angles = torch.stack((2 * math.pi * turn, torch.asin(2 * height - 1), torch.zeros(count)), dim=-1)
    world_from_cam = torch.eye(4).repeat(count, 1, 1)
    world_from_cam[:, :3, :3] = matrix_from_yaw_pitch_roll(angles)
    K = intrinsics_from_fov(VIEW_FOV_DEG, (VIEW_PX, VIEW_PX)).repeat(count, 1, 1)
    return Cameras(world_from_cam=world_from_cam, K=K, hw=(VIEW_PX, VIEW_PX))


def cut_views(panoramas: Float[Tensor, "b 3 h w"], views: Sequence[Cameras]) -> Float[Tensor, "n 3 s s"]:
    """Each panorama's own views, joined, in [0, 1]."""
    seen = [crop_panorama(panorama, cameras) for panorama, cameras in zip(panoramas, views, strict=True)]
    return torch.cat(seen).clamp(0, 1)


class Teacher(nn.Module):
    """Frozen networks that look at views: those that the weights of a training ask for.

    Raises:
        FileNotFoundError: the ImageNet weights are missing.
        ValueError: those of the perceptual distance are.
    """

    def __init__(self, config: OutpaintTrainConfig) -> None:
        super().__init__()
        self.encoder = None
        if config.features or config.adversarial:
            self.encoder = EfficientNetLite0()
            load_imagenet(self.encoder)
        self.distance = perceptual_distance("auto") if config.perceptual else None
        self.requires_grad_(False).eval()

    def features(self, views: Float[Tensor, "n 3 s s"]) -> list[Tensor]:
        """Some of the encoder's maps; none where there is no encoder."""
        if self.encoder is None:
            return []
        taps = self.encoder(views)
        return [taps[i].float() for i in TAPS]


def train_outpainter(state: OutpaintState, source: CutSource, config: OutpaintTrainConfig) -> Iterator[StepLog]:
    """Trains until ``config.steps``, yielding after every step; resumes from ``state.step``.

    Raises:
        ValueError: there is no panorama, or the perceptual distance's weights are missing.
        FileNotFoundError: the ImageNet weights are.
    """
    if len(source) == 0:
        raise ValueError("source must hold at least one panorama, got none")
    device = next(state.network.parameters()).device
    looks = any(getattr(config, weight) for weight in TERMS)
    teacher = Teacher(config).to(device) if looks else None
    return _steps(state, source, config, teacher)


def _steps(
    state: OutpaintState, source: CutSource, config: OutpaintTrainConfig, teacher: Teacher | None
) -> Iterator[StepLog]:
    device = next(state.network.parameters()).device
    while state.step < config.steps:
        start = time.perf_counter()
        batch = draw_outpaint_batch(source, state.step, config.seed, config.batch).to(device)
        draw = torch.Generator().manual_seed(config.seed * 7_919 + state.step)
        size, height = state.network.config.noise, state.network.config.height_px
        noise = torch.randn(len(batch.true), size, height, 2 * height, generator=draw)
        views = [draw_views(config.views, draw) for _ in batch.true]
        factor = lr_share(state.step, config)
        for optimiser, lr in ((state.optimiser, config.lr), (state.critic_optimiser, config.lr_critic)):
            optimiser.param_groups[0]["lr"] = lr * factor
        terms = _step(state, batch, noise.to(device), views, config, teacher)
        state.step += 1
        _update_average(state, config.ema)
        losses = {name: float(value.detach()) for name, value in terms.items()}
        yield StepLog(state.step, losses, config.lr * factor, time.perf_counter() - start)


def lr_share(step: int, config: OutpaintTrainConfig) -> float:
    """Warm-up, constant, then a straight fall to zero."""
    rise = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    left = (config.steps - step) / max(config.steps * config.decay_fraction, 1)
    return min(rise, max(left, 0.0), 1.0)


def _step(
    state: OutpaintState,
    batch: OutpaintBatch,
    noise: Tensor,
    views: Sequence[Cameras],
    config: OutpaintTrainConfig,
    teacher: Teacher | None,
) -> dict[str, Tensor]:
    """One step of the network and, where it is due, of its critic; every loss term."""
    small = average_inputs(batch.true, batch.mask, batch.draft, state.network.config.height_px)
    true = averaged(batch.true, state.network.config.height_px)
    with arithmetic(batch.true.device, config.precision):
        predicted = state.network(small.photo, small.seen, small.draft, noise).float()
    terms = {"layout": layout_distance(predicted, true, small.seen, config.scales)}
    total = config.layout * terms["layout"]
    if config.cycle:
        terms["cycle"] = cycle_distance(predicted, true, small.seen)
        total = total + config.cycle * terms["cycle"]
    if teacher is not None:
        made = compose(batch.draft, small, predicted.clamp(0, 1))
        shown, true_views = cut_views(made, views), cut_views(batch.true, views)
        with arithmetic(batch.true.device, config.precision):
            if teacher.distance is not None:
                terms["perceptual"] = teacher.distance(shown, true_views).float().mean()
            seen = teacher.features(shown)
            with torch.no_grad():
                known = teacher.features(true_views)
        if config.oriented:
            terms["oriented"] = oriented_distance(shown, true_views)
        terms |= _of_features(state, seen, known, config)
        total = total + sum(getattr(config, w) * terms[name] for w, name in TERMS.items() if name in terms)
    state.optimiser.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_norm_(state.network.parameters(), config.clip)
    state.optimiser.step()
    with torch.no_grad():
        terms["draft"] = layout_distance(small.draft, true, small.seen, config.scales)
    return terms | {"total": total}


def _of_features(
    state: OutpaintState, seen: list[Tensor], known: list[Tensor], config: OutpaintTrainConfig
) -> dict[str, Tensor]:
    """The terms of features, if there are any; the critic makes its own step."""
    terms = {"features": feature_distance(seen, known)} if seen else {}
    if config.adversarial and state.step >= config.critic_from:
        terms["critic"] = _critic_step(state, [x.detach() for x in seen], known)
        terms["deceit"] = deceit_loss(state.critic(seen))
    return terms


def _critic_step(state: OutpaintState, seen: list[Tensor], known: list[Tensor]) -> Tensor:
    loss = critic_loss(state.critic(seen), state.critic(known))
    state.critic_optimiser.zero_grad(set_to_none=True)
    loss.backward()
    state.critic_optimiser.step()
    return loss


@torch.no_grad()
def _update_average(state: OutpaintState, ema: float) -> None:
    decay = min(ema, (1 + state.step) / (10 + state.step))
    for kept, own in zip(state.average.parameters(), state.network.parameters(), strict=True):
        kept.lerp_(own, 1 - decay)
