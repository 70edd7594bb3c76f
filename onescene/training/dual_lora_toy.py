"""A toy of scaffold-guided synthesis: clean anchors, spoilt renders, and adapters that tell them apart.

A scene is a smooth colour on a circle. Anchor tokens show it truly at some angles; render tokens stand at the
angles that are asked for, but their colour is a negative, a part of them are holes. A frozen base network has only
seen clean tokens; adapters must learn what a render is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.models.dual_lora import TinyMultiview, adapter_parameters

Routing = Literal["dual", "single", "none"]
CHANNELS_IN, CHANNELS_OUT = 3 + 1 + 6, 3  # colour, hole flag, three octaves of the angle


@dataclass(frozen=True)
class ToyConfig:
    """Sizes of the toy."""

    scenes: int = 64  # per step
    anchors: int = 8  # clean tokens of a scene
    renders: int = 8  # rendered tokens of a scene
    holes: float = 0.4  # share of the renders that show nothing
    noise: float = 0.05  # of a render's colour
    rank: int = 4
    base_steps: int = 400
    adapter_steps: int = 300
    lr: float = 3e-3
    seed: int = 0


@dataclass(frozen=True)
class ToyBatch:
    """Tokens of some scenes, anchors first.

    Attributes:
        tokens: What the network sees.
        rendered: 1 for render tokens.
        true: The scene's colour at every token.
    """

    tokens: Float[Tensor, "batch n c"]
    rendered: Float[Tensor, "batch n"]
    true: Float[Tensor, "batch n 3"]


def draw_batch(config: ToyConfig, generator: torch.Generator, *, spoil: bool = True) -> ToyBatch:
    """Draws scenes; ``spoil`` = False shows the renders' colours truly (what the base network is trained on)."""
    n = config.anchors + config.renders
    angle = torch.rand(config.scenes, n, generator=generator) * 2 * torch.pi
    octaves = torch.cat([f(k * angle)[..., None] for k in (1, 2, 3) for f in (torch.sin, torch.cos)], dim=-1)
    weights = torch.randn(config.scenes, 6, 3, generator=generator) * 0.35
    true = torch.tanh(octaves @ weights)
    rendered = (torch.arange(n) >= config.anchors).float().expand(config.scenes, n)
    hole = (torch.rand(config.scenes, n, generator=generator) < config.holes).float() * rendered
    noise = torch.randn(true.shape, generator=generator) * config.noise
    shown = torch.where(rendered[..., None] > 0, -0.7 * true + noise, true) if spoil else true
    shown = shown * (1 - hole[..., None])
    return ToyBatch(torch.cat((shown, hole[..., None], octaves), dim=-1), rendered, true)


def routing_mask(batch: ToyBatch, routing: Routing) -> Tensor | None:
    """``dual``: renders through adapter 2, others through 1. ``single``: all through 1. ``none``: adapters off."""
    return {"dual": batch.rendered, "single": torch.zeros_like(batch.rendered), "none": None}[routing]


def render_error(network: TinyMultiview, batch: ToyBatch, routing: Routing) -> Tensor:
    """Mean squared error at the render tokens: the loss on target frames only."""
    error = (network(batch.tokens, routing_mask(batch, routing)) - batch.true).square().mean(-1)
    return (error * batch.rendered).sum() / batch.rendered.sum()


def train_base(config: ToyConfig) -> TinyMultiview:
    """A network that fills holes from clean tokens; it never sees a spoilt one."""
    torch.manual_seed(config.seed)
    network = TinyMultiview(CHANNELS_IN, CHANNELS_OUT, rank=config.rank)
    optimiser = torch.optim.Adam(network.parameters(), lr=config.lr)
    generator = torch.Generator().manual_seed(config.seed)
    for _ in range(config.base_steps):
        batch = draw_batch(config, generator, spoil=False)
        loss = (network(batch.tokens) - batch.true).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network


def train_adapters(base: TinyMultiview, config: ToyConfig, routing: Routing) -> Iterator[tuple[TinyMultiview, float]]:
    """Trains fresh adapters on a frozen copy of ``base``; yields the network and its loss after every step."""
    network = copy.deepcopy(base).requires_grad_(False)
    parameters = adapter_parameters(network)
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(parameters, lr=config.lr)
    generator = torch.Generator().manual_seed(config.seed + 1)
    for _ in range(config.adapter_steps):
        loss = render_error(network, draw_batch(config, generator), routing)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        yield network, float(loss.detach())
