"""Trajectories of any length in chunks, with a memory of bounded size.

A plan needs cameras only, so it can be drawn, checked and resumed before any network runs. A generated frame is kept
while the plan may still ask for it; no more than ``capacity`` frames are kept at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from onescene.models.seva.conditioning import ChunkViews, PosedLatents
from onescene.models.seva.memory import POLICIES, Policy, choose_views, forget_over


@dataclass(frozen=True)
class ChunkConfig:
    """How a trajectory is cut; the defaults make SEVA's 21 frames: 8 renders, 5 clean views, 8 targets."""

    targets: int = 8  # frames generated at a time
    clean: int = 5  # anchors and memory frames of a chunk
    policy: Policy = "nearest"
    capacity: int = 32  # generated frames kept
    new: int | None = None  # frames that a chunk moves on by, the last one repeated to fill it; None = targets

    def __post_init__(self) -> None:
        if min(self.targets, self.clean, self.capacity, 1 if self.new is None else self.new) < 1:
            raise ValueError(f"targets, clean, capacity and new must be >= 1, got {self}")
        if self.new is not None and self.new > self.targets:
            raise ValueError(f"new must be at most the number of targets, got {self.new} of {self.targets}")
        if self.policy not in POLICIES:
            raise ValueError(f"policy must be one of {POLICIES}, got {self.policy!r}")


@dataclass(frozen=True)
class PlannedChunk:
    """One chunk, by the numbers of frames on the trajectory and of anchors.

    Attributes:
        targets: Frames to generate; a chunk that has fewer is filled up by repeating its last frame.
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
    step = config.new or config.targets
    for first in range(0, len(cameras), step):
        new = list(range(first, min(first + step, len(cameras))))
        targets = new + [new[-1]] * (config.targets - len(new))
        chosen, remembered = choose_views(config.policy, cameras[targets], anchors, cameras[kept], config.clean)
        memory = tuple(kept[i] for i in remembered)
        kept += new
        forgotten = forget_over(kept, cameras, config.capacity)
        if new[-1] == len(cameras) - 1:
            forgotten, kept = forgotten + kept, []
        yield PlannedChunk(tuple(targets), len(new), tuple(chosen), memory, tuple(forgotten))


@dataclass(frozen=True, kw_only=True)
class MadeFrame:
    """A generated frame.

    Attributes:
        number: Its place on the trajectory.
        latent: As it was sampled.
        embedding: Of its picture, by the image encoder.
        rgb: Its picture in [0, 1], in steps of 1/255.
    """

    number: int
    latent: Float[Tensor, "c h w"]
    embedding: Float[Tensor, " d"]
    rgb: Float[Tensor, "3 height width"]


@dataclass(frozen=True)
class ChunkSources:
    """Where the views of chunks come from, and who makes the new ones.

    Attributes:
        anchors: All anchors.
        world_from_cam: Cameras of the trajectory.
        K_normalised: Their intrinsics.
        renders: Frame numbers to the scaffold's renders at those frames' cameras.
        synthesise: The views of a chunk and its number to the targets' latents.
        develop: Latents of generated frames to their pictures and image embeddings.
        stored: A frame that an earlier, interrupted run has finished, or None.
    """

    anchors: PosedLatents
    world_from_cam: Float[Tensor, "n 4 4"]
    K_normalised: Float[Tensor, "n 3 3"]
    renders: Callable[[tuple[int, ...]], PosedLatents]
    synthesise: Callable[[ChunkViews, int], Tensor]
    develop: Callable[[Tensor], tuple[Tensor, Tensor]]
    stored: Callable[[int], MadeFrame | None] = lambda frame: None


def generate_chunks(plan: Iterable[PlannedChunk], sources: ChunkSources) -> Iterator[MadeFrame]:
    """Yields every frame in the trajectory's order, holding no more latents than the plan keeps.

    A chunk whose frames are all stored is not generated again. Each chunk is told its number, from which a caller
    seeds its noise, so that a resumed run makes what an uninterrupted one would have made.
    """
    bank: dict[int, PosedLatents] = {}
    for number, chunk in enumerate(plan):
        frames = [sources.stored(frame) for frame in chunk.targets[: chunk.new]]
        if any(frame is None for frame in frames):
            fresh = _made(chunk, number, bank, sources)
            frames = [old or new for old, new in zip(frames, fresh, strict=True)]
        for frame in frames:
            bank[frame.number] = PosedLatents(
                latents=frame.latent[None].clone(),
                embeddings=frame.embedding[None].clone(),
                world_from_cam=sources.world_from_cam[[frame.number]],
                K_normalised=sources.K_normalised[[frame.number]],
            )
        for forgotten in chunk.forgotten:
            del bank[forgotten]
        yield from frames


def _made(chunk: PlannedChunk, number: int, bank: dict[int, PosedLatents], sources: ChunkSources) -> list[MadeFrame]:
    """The new frames of a chunk."""
    memory = PosedLatents.cat([bank[frame] for frame in chunk.memory]) if chunk.memory else None
    views = ChunkViews(anchors=sources.anchors[chunk.anchors], renders=sources.renders(chunk.targets), memory=memory)
    latents = sources.synthesise(views, number)[: chunk.new]
    rgb, embeddings = sources.develop(latents)
    parts = zip(chunk.targets[: chunk.new], latents, embeddings, rgb, strict=True)
    return [MadeFrame(number=frame, latent=z, embedding=e, rgb=picture) for frame, z, e, picture in parts]
