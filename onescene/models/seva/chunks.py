"""Trajectories of any length in chunks, with a memory of bounded size.

A plan needs cameras only, so it can be drawn, checked and resumed before any network runs. A generated frame is kept
while the plan may still ask for it; no more than ``capacity`` frames are kept at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.models.seva.conditioning import ChunkViews, PosedLatents
from onescene.models.seva.memory import POLICIES, Policy, choose_views, most_redundant


@dataclass(frozen=True)
class ChunkConfig:
    """How a trajectory is cut; the defaults make SEVA's 21 frames: 8 renders, 5 clean views, 8 targets."""

    targets: int = 8  # frames generated at a time
    clean: int = 5  # anchors and memory frames of a chunk
    policy: Policy = "nearest"
    capacity: int = 32  # generated frames kept

    def __post_init__(self) -> None:
        if min(self.targets, self.clean, self.capacity) < 1:
            raise ValueError(f"targets, clean and capacity must be >= 1, got {self}")
        if self.policy not in POLICIES:
            raise ValueError(f"policy must be one of {POLICIES}, got {self.policy!r}")


@dataclass(frozen=True)
class PlannedChunk:
    """One chunk, by the numbers of frames on the trajectory and of anchors.

    Attributes:
        targets: Frames to generate; the last chunk is filled up by repeating its last frame.
        new: How many of ``targets`` are not such repetitions.
        anchors: Anchors that go with them.
        memory: Generated frames that go with them.
        forgotten: Frames that no later chunk asks for, these targets included.
    """

    targets: tuple[int, ...]
    new: int
    anchors: tuple[int, ...]
    memory: tuple[int, ...]
    forgotten: tuple[int, ...]


def plan_chunks(
    world_from_cam: Float[Tensor, "n 4 4"], anchors: Float[Tensor, "a 4 4"], config: ChunkConfig | None = None
) -> Iterator[PlannedChunk]:
    """Plans a trajectory, chunk by chunk in its order.

    Args:
        world_from_cam: Cameras of the trajectory.
        anchors: Cameras of the anchors.
        config: Sizes and policy.

    Raises:
        ValueError: no camera, or no anchor.
    """
    config = config or ChunkConfig()
    if len(world_from_cam) == 0 or len(anchors) == 0:
        got = len(world_from_cam), len(anchors)
        raise ValueError(f"a plan needs at least one camera and one anchor, got {got[0]} and {got[1]}")
    return _plan(world_from_cam, anchors, config)


def _plan(cameras: Tensor, anchors: Tensor, config: ChunkConfig) -> Iterator[PlannedChunk]:
    kept: list[int] = []
    for first in range(0, len(cameras), config.targets):
        new = list(range(first, min(first + config.targets, len(cameras))))
        targets = new + [new[-1]] * (config.targets - len(new))
        chosen, remembered = choose_views(config.policy, cameras[targets], anchors, cameras[kept], config.clean)
        memory, forgotten = tuple(kept[i] for i in remembered), []
        kept += new
        while len(kept) > config.capacity:
            forgotten.append(kept.pop(most_redundant(cameras[kept]) if len(kept) > 1 else 0))
        if new[-1] == len(cameras) - 1:
            forgotten, kept = forgotten + kept, []
        yield PlannedChunk(tuple(targets), len(new), tuple(chosen), memory, tuple(forgotten))


@dataclass(frozen=True)
class ChunkSources:
    """Where the views of chunks come from, and who makes the new ones.

    Attributes:
        anchors: All anchors.
        renders: Frame numbers to the scaffold's renders at those frames' cameras.
        synthesise: The views of a chunk and its number to the targets' latents.
        embed: Latents of generated frames to their image embeddings.
        stored: Latent of a frame that an earlier, interrupted run has finished, or None.
    """

    anchors: PosedLatents
    renders: Callable[[tuple[int, ...]], PosedLatents]
    synthesise: Callable[[ChunkViews, int], Tensor]
    embed: Callable[[Tensor], Tensor]
    stored: Callable[[int], Tensor | None] = lambda frame: None


def generate_chunks(plan: Iterable[PlannedChunk], sources: ChunkSources) -> Iterator[tuple[int, Tensor]]:
    """Yields every frame's number and latent in the trajectory's order, holding no more than the plan keeps.

    A chunk whose frames are all stored is not generated again. Each chunk is told its number, from which a caller
    seeds its noise, so that a resumed run makes what an uninterrupted one would have made.
    """
    bank: dict[int, PosedLatents] = {}
    for number, chunk in enumerate(plan):
        renders = sources.renders(chunk.targets)
        found = [sources.stored(frame) for frame in chunk.targets[: chunk.new]]
        if any(latent is None for latent in found):
            memory = PosedLatents.cat([bank[frame] for frame in chunk.memory]) if chunk.memory else None
            views = ChunkViews(anchors=sources.anchors[chunk.anchors], renders=renders, memory=memory)
            made = sources.synthesise(views, number)[: chunk.new]
        else:
            made = torch.stack([latent for latent in found if latent is not None])
        embeddings = sources.embed(made)
        for i, frame in enumerate(chunk.targets[: chunk.new]):
            pose = renders[[i]]
            bank[frame] = PosedLatents(
                latents=made[i : i + 1].clone(),
                embeddings=embeddings[i : i + 1].clone(),
                world_from_cam=pose.world_from_cam,
                K_normalised=pose.K_normalised,
            )
        for frame in chunk.forgotten:
            del bank[frame]
        yield from zip(chunk.targets[: chunk.new], made, strict=True)
