"""What a step of the training of novel views sees: chunks of scenes, put together as the sampler puts them together.

Everything follows from the seed, the step and the place in the batch alone, as in ``batches.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from onescene.data.panoramas import pictures
from onescene.data.view_scenes import ViewScene
from onescene.models.seva.bundle import Guided
from onescene.models.seva.conditioning import ChunkViews, Conditions, Form, PosedLatents, assemble
from onescene.models.seva.encoders import Autoencoder, ImageEncoder
from onescene.models.seva.memory import choose_views

FORM: dict[Guided, Form] = {"anchors-only": "anchors", "concat": "concat", "dual-lora": "memory"}


class Scenes(Protocol):
    """What training asks of data."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> ViewScene: ...


@dataclass(frozen=True)
class ChunkDraw:
    """How chunks are drawn from scenes; one size for all of a batch."""

    method: Guided = "dual-lora"
    targets: int = 8
    clean: int = 5  # anchors and memory frames
    memory: float = 0.5  # share of chunks in which a true view that is no target stands in for a frame made earlier
    anchors: bool = True  # False = renders alone, for the ablation
    single_clean: bool = False  # one clean view repeated instead of all of them, as the release trains
    mirror: bool = True  # half of the chunks are mirrored

    def __post_init__(self) -> None:
        if min(self.targets, self.clean) < 1 or not 0 <= self.memory <= 1:
            raise ValueError(f"targets and clean must be >= 1, memory in [0, 1], got {self}")


@dataclass(frozen=True, kw_only=True)
class ChunkSample:
    """Pictures of one chunk: square, in [0, 1].

    Attributes:
        clean, rendered, true: Views by kind; ``rendered`` and ``true`` share their cameras.
        clean_world_from_cam, clean_K: Cameras of the clean views, intrinsics divided by the side.
        world_from_cam, K: Cameras of the targets.
        memory: How many of the clean views, the last ones, stand for frames made earlier.
    """

    clean: Float[Tensor, "a 3 s s"]
    clean_world_from_cam: Float[Tensor, "a 4 4"]
    clean_K: Float[Tensor, "a 3 3"]
    rendered: Float[Tensor, "t 3 s s"]
    true: Float[Tensor, "t 3 s s"]
    world_from_cam: Float[Tensor, "t 4 4"]
    K: Float[Tensor, "t 3 3"]
    memory: int

    def mirrored(self) -> ChunkSample:
        """The chunk of the mirrored world (x becomes -x)."""
        flip = torch.tensor([-1.0, 1.0, 1.0, 1.0])
        views = {name: getattr(self, name).flip(-1) for name in ("clean", "rendered", "true")}
        poses = {n: flip[:, None] * getattr(self, n) * flip for n in ("clean_world_from_cam", "world_from_cam")}
        intrinsics = {name: getattr(self, name).clone() for name in ("clean_K", "K")}
        for K in intrinsics.values():
            K[:, 0, 2] = 1 - K[:, 0, 2]
        return ChunkSample(**views, **poses, **intrinsics, memory=self.memory)


def _filled(numbers: Sequence[int], count: int) -> list[int]:
    """As many numbers as asked for: the last one is repeated."""
    return [*numbers, *[numbers[-1]] * count][:count]


def draw_chunk(scene: ViewScene, draw: ChunkDraw, generator: torch.Generator, whole: bool = False) -> ChunkSample:
    """A chunk of one scene: targets drawn at random, clean views chosen as the sampler chooses them.

    Args:
        scene: The scene.
        draw: How.
        generator: What is drawn.
        whole: Renders are shown with their holes filled, as views in one step begin at them.

    Raises:
        ValueError: the scene has no true view or no clean one.
    """
    if len(scene) == 0 or len(scene.clean_rgb) == 0:
        raise ValueError(
            f"scene {scene.name} must have a true and a clean view, got {len(scene)} and {len(scene.clean_rgb)}"
        )
    order = torch.randperm(len(scene), generator=generator).tolist()
    targets = order[: draw.targets]
    remembers = draw.method == "dual-lora" and draw.anchors and float(torch.rand((), generator=generator)) < draw.memory
    spare = order[draw.targets :] if remembers else []
    poses, anchors = torch.from_numpy(scene.world_from_cam), torch.from_numpy(scene.clean_world_from_cam)
    policy = "nearest" if spare else "none"
    chosen, remembered = choose_views(policy, poses[targets], anchors, poses[spare], draw.clean)
    if draw.single_clean:
        chosen, remembered = [chosen[int(torch.randint(len(chosen), (), generator=generator))]], []
    chosen, targets = _filled(chosen, draw.clean - len(remembered)), _filled(targets, draw.targets)
    memory = [spare[i] for i in remembered]
    K, clean_K = torch.from_numpy(scene.K), torch.from_numpy(scene.clean_K)
    sample = ChunkSample(
        clean=torch.cat((pictures(scene.clean_rgb[chosen]), pictures(scene.true_rgb[memory]))),
        clean_world_from_cam=torch.cat((anchors[chosen], poses[memory])),
        clean_K=torch.cat((clean_K[chosen], K[memory])),
        rendered=pictures(scene.renders(whole)[targets]),
        true=pictures(scene.true_rgb[targets]),
        world_from_cam=poses[targets],
        K=K[targets],
        memory=len(memory),
    )
    mirrored = draw.mirror and bool(torch.rand((), generator=generator) < 0.5)
    return sample.mirrored() if mirrored else sample


def draw_chunks(
    data: Scenes, step: int, seed: int, batch: int, draw: ChunkDraw, part: tuple[int, int] = (0, 1), whole: bool = False
) -> list[tuple[ChunkSample, torch.Generator]]:
    """The chunks of one step, or one process's part of them, each with a generator for its noise.

    Args: as :func:`onescene.training.batches.draw_batch`, how a chunk is drawn, and ``whole`` of
        :func:`draw_chunk`.
    """
    rank, parts = part
    share, first = batch // parts, step * batch
    found = []
    for place in range(first + rank * share, first + (rank + 1) * share):
        epoch, turn = divmod(place, len(data))
        index = int(np.random.default_rng((seed, epoch)).permutation(len(data))[turn])
        generator = torch.Generator().manual_seed(seed * 1_000_003 + place)
        found.append((draw_chunk(data[index], draw, generator, whole), generator))
    return found


@torch.no_grad()
def encode_chunk(
    sample: ChunkSample,
    draw: ChunkDraw,
    encoders: tuple[Autoencoder, ImageEncoder],
    device: torch.device,
    camera_scale: float = 2.0,
) -> tuple[Conditions, Tensor]:
    """What the network is told about a chunk, and the latents [t, c, h, w] that it should find.

    Args:
        sample: The chunk.
        draw: Which form of conditioning, and whether there are anchors.
        encoders: Auto-encoder and image encoder.
        device: Where they are.
        camera_scale: As in :func:`onescene.models.seva.conditioning.assemble`.
    """
    autoencoder, image_encoder = encoders

    def posed(rgb: Tensor, world_from_cam: Tensor, K: Tensor) -> PosedLatents:
        rgb = rgb.to(device)
        known = {"latents": autoencoder.encode(rgb), "embeddings": image_encoder.embed(rgb)}
        return PosedLatents(**known, world_from_cam=world_from_cam.to(device), K_normalised=K.to(device))

    clean = posed(sample.clean, sample.clean_world_from_cam, sample.clean_K)
    renders = posed(sample.rendered, sample.world_from_cam, sample.K)
    split = len(clean) - sample.memory
    memory = clean[range(split, len(clean))] if sample.memory else None
    views = ChunkViews(anchors=clean[range(split if draw.anchors else 0)], renders=renders, memory=memory)
    return assemble(FORM[draw.method], views, camera_scale=camera_scale), autoencoder.encode(sample.true.to(device))
