"""What the network is told about a chunk of frames: the conditioning forms (2), (3) and (4) of One2Scene.

Frames stand in the release's order: renders, clean views (anchors, then memory), targets. Frame 0 is the reference of
the ray maps. Renders share the targets' cameras.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.geometry.plucker import normalise_cameras, plucker_maps

Form = Literal["anchors", "renders", "memory", "concat"]
FORMS: tuple[Form, ...] = ("anchors", "renders", "memory", "concat")
Routing = Literal["trained", "released"]


@dataclass(frozen=True, kw_only=True)
class PosedLatents:
    """Views as the network knows them.

    Attributes:
        latents: Encoded images.
        embeddings: Of the images, by the image encoder.
        world_from_cam: Cameras, OpenCV axes.
        K_normalised: Intrinsics divided by the image's width and height.
    """

    latents: Float[Tensor, "v c h w"]
    embeddings: Float[Tensor, "v d"]
    world_from_cam: Float[Tensor, "v 4 4"]
    K_normalised: Float[Tensor, "v 3 3"]

    def __post_init__(self) -> None:
        counts = {name: len(value) for name, value in vars(self).items()}
        if len(set(counts.values())) != 1:
            raise ValueError(f"views must agree in number, got {counts}")

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, index: Sequence[int]) -> PosedLatents:
        """The views that a list of numbers names."""
        return PosedLatents(**{name: value[list(index)] for name, value in vars(self).items()})

    @staticmethod
    def cat(parts: Sequence[PosedLatents]) -> PosedLatents:
        """Joins views in the given order."""
        return PosedLatents(**{name: torch.cat([getattr(p, name) for p in parts]) for name in vars(parts[0])})


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Everything but the noisy latents that the network needs for a chunk of T frames.

    Attributes:
        latents: Known latents, zero at targets.
        known: 1 = input frame, 0 = target.
        rays: Ray maps relative to frame 0.
        context: Mean embedding of the inputs, repeated.
        source_view_mask: 1 = rendered frame, 0 = any other.
        beside: Latents that the network gets as further channels (the "naive concat" baseline), or None.
        world_from_cam: Cameras after normalisation.
        K_normalised: Intrinsics.
    """

    latents: Float[Tensor, "t c h w"]
    known: Float[Tensor, " t"]
    rays: Float[Tensor, "t 6 h w"]
    context: Float[Tensor, "t 1 d"]
    source_view_mask: Float[Tensor, " t"]
    beside: Float[Tensor, "t c h w"] | None
    world_from_cam: Float[Tensor, "t 4 4"]
    K_normalised: Float[Tensor, "t 3 3"]

    @property
    def input_frames(self) -> Bool[Tensor, " t"]:
        """Which frames are inputs."""
        return self.known > 0

    @property
    def rendered(self) -> Float[Tensor, "targets c h w"]:
        """Latents of the renders, one per target in their order; none where the form shows none."""
        return self.latents[self.source_view_mask > 0] if self.beside is None else self.beside[~self.input_frames]

    @property
    def known_map(self) -> Float[Tensor, "t 1 1 1"]:
        """``known``, to multiply latents with."""
        return self.known[:, None, None, None]

    def network_input(self, scaled: Float[Tensor, "t c h w"]) -> Float[Tensor, "t c2 h w"]:
        """The network's ``x``: scaled latents, mask, rays, and what stands beside."""
        parts = [scaled, self.known_map.expand_as(scaled[:, :1]), self.rays]
        return torch.cat(parts + ([] if self.beside is None else [self.beside]), dim=1)

    def unconditional(self) -> Conditions:
        """The same chunk with nothing known but its cameras, as SEVA's guidance has it."""
        nothing = {name: torch.zeros_like(getattr(self, name)) for name in ("latents", "known", "context")}
        beside = None if self.beside is None else torch.zeros_like(self.beside)
        return replace(self, **nothing, beside=beside)

    def routing_mask(self, routing: Routing) -> Float[Tensor, " t"]:
        """Which adapter each frame goes through: the mask of the training, or the release's sampler's, all ones."""
        return self.source_view_mask if routing == "trained" else torch.ones_like(self.source_view_mask)


@dataclass(frozen=True, kw_only=True)
class ChunkViews:
    """The views of a chunk by kind; ``renders`` stand at the targets' cameras, whatever the form makes of them."""

    anchors: PosedLatents
    renders: PosedLatents
    memory: PosedLatents | None = None


def assemble(
    form: Form,
    views: ChunkViews,
    scene_world_from_cam: Float[Tensor, "n 4 4"] | None = None,
    camera_scale: float = 2.0,
) -> Conditions:
    """Puts the conditions of a chunk together.

    Args:
        form: ``anchors`` = Eq. 2, ``renders`` = Eq. 3, ``memory`` = Eq. 4 (as Eq. 3 while the memory is empty),
            ``concat`` = the paper's naive baseline: renders as further channels of the targets.
        views: The chunk's views; the targets are those of ``renders``.
        scene_world_from_cam: All cameras of the scene, for the normalisation; the chunk's own if not given.
        camera_scale: Distance of frame 0 after normalisation.

    Raises:
        ValueError: an unknown form, no target, or no input.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {FORMS}, got {form!r}")
    if len(views.renders) == 0:
        raise ValueError("views.renders must hold at least one target camera, got none")
    rendered = [views.renders] if form in ("renders", "memory") else []
    memory = [views.memory] if form == "memory" and views.memory is not None else []
    inputs = PosedLatents.cat([*rendered, views.anchors, *memory])
    if len(inputs) == 0:
        raise ValueError("views must hold at least one input, got none")
    frames, targets = PosedLatents.cat([inputs, views.renders]), len(views.renders)
    known = torch.cat((torch.ones(len(inputs)), torch.zeros(targets))).to(frames.latents)
    source = torch.zeros_like(known)
    source[: sum(map(len, rendered))] = 1
    cameras = normalise_cameras(frames.world_from_cam, scene_world_from_cam, camera_scale=camera_scale)
    is_target = 1 - known[:, None, None, None]
    return Conditions(
        latents=frames.latents * (1 - is_target),
        known=known,
        rays=plucker_maps(cameras, frames.K_normalised, tuple(frames.latents.shape[2:])).to(frames.latents),
        context=inputs.embeddings.mean(dim=0).expand(len(known), 1, -1),
        source_view_mask=source,
        beside=frames.latents * is_target if form == "concat" else None,
        world_from_cam=cameras,
        K_normalised=frames.K_normalised,
    )
