"""Views by scaffold-guided diffusion (Sec. 3.3 of One2Scene): anchors, renders of the scaffold and memory to frames.

cameras -> widened to squares -> chunks of 8 (``models/seva/chunks.py``)
    scaffold seen from them, six anchors, frames made earlier -> latents, embeddings -> conditions (Eq. 2 to 4)
    noise -> Euler steps through the U-Net -> latents -> square frames [0, 1] -> cut to the cameras' own size

With the weights that ship there is one step and no noise: targets begin at the renders, whose holes are filled first
as ``baseline`` does, and the frames are as large as the views.

Memory: the networks, one chunk, and ``capacity`` latents of frames made earlier, however long the trajectory is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.cubemap import face_cameras
from onescene.geometry.plucker import normalised_intrinsics
from onescene.models.seva.bundle import GUIDED, Guided, Manifest, ViewModels
from onescene.models.seva.chunks import ChunkConfig, ChunkSources, MadeFrame, generate_chunks, plan_chunks
from onescene.models.seva.conditioning import ChunkViews, Form, PosedLatents, Routing, assemble
from onescene.models.seva.memory import POLICIES, Policy
from onescene.models.seva.sampling import SamplerConfig
from onescene.splatting import Backend, render
from onescene.stages.fill import seen_whole
from onescene.types import Cameras, Gaussians


@dataclass(frozen=True)
class SynthesisConfig:
    """How views are synthesised."""

    method: Guided = "dual-lora"  # anchors-only = Eq. 2, concat = the naive baseline, dual-lora = Eq. 3 and 4
    memory: Policy = "nearest"  # the paper's; "3 anchors + 2 generated" = the release's, "none" = Eq. 3; of dual-lora
    routing: Routing = "trained"  # "released" = the mask of ones that the release's sampler in fact has
    guidance: Literal["none", "multiview", "temporal"] = "none"  # none = the release's
    scale: float = 2.0  # of the guidance
    steps: int | None = None  # of sampling; None = the weights' own number
    capacity: int = 32  # frames kept in memory
    new: int | None = None  # frames made at a time; None = as many as the networks make at once
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in (("method", GUIDED), ("memory", POLICIES)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be >= 1, got {self.steps}")

    @property
    def policy(self) -> Policy:
        """Which memory a chunk has; only dual-lora has any."""
        return self.memory if self.method == "dual-lora" else "none"

    @property
    def form(self) -> Form:
        """The paper's form of conditioning."""
        if self.method == "dual-lora":
            return "renders" if self.memory == "none" else "memory"
        return "anchors" if self.method == "anchors-only" else "concat"


@dataclass(frozen=True, kw_only=True)
class Guide:
    """What the synthesis is guided by, beside the scaffold.

    Attributes:
        models: U-Net, auto-encoder, image encoder.
        anchors: The six faces in [0, 1].
        fov_deg: Their field of view [degrees].
        config: How.
        stored: A frame that an earlier, interrupted run has made, or None.
        keep: Called with every frame as it is made, in the trajectory's order; not with stored ones.
    """

    models: ViewModels
    anchors: Float[Tensor, "6 3 face face"]
    fov_deg: float = 95.0
    config: SynthesisConfig = field(default_factory=SynthesisConfig)
    stored: Callable[[int], MadeFrame | None] = lambda number: None
    keep: Callable[[MadeFrame], None] = lambda frame: None


def square_cameras(cameras: Cameras, px: int) -> Cameras:
    """Cameras that see what the given ones see and more along their short side, in square frames of ``px`` pixels."""
    side, (height, width) = max(cameras.hw), cameras.hw
    K = cameras.K.clone()
    K[:, 0, 2] += (side - width) // 2
    K[:, 1, 2] += (side - height) // 2
    return replace(cameras, K=K, hw=(side, side)).resized((px, px))


def cut_square(frame: Float[Tensor, "3 px px"], hw: tuple[int, int]) -> Float[Tensor, "3 h w"]:
    """The part of a square frame that the camera sees which :func:`square_cameras` widened, at its own size."""
    side = max(hw)
    top, left = (side - hw[0]) // 2, (side - hw[1]) // 2
    return _resized(frame[None], side)[0, :, top : top + hw[0], left : left + hw[1]]


def _resized(rgb: Tensor, px: int) -> Tensor:
    """Square images at another size, in [0, 1]."""
    if rgb.shape[-1] == px:
        return rgb
    return F.interpolate(rgb, (px, px), mode="bicubic", antialias=True).clamp(0, 1)


def posed_latents(models: ViewModels, rgb: Float[Tensor, "v 3 px px"], cameras: Cameras) -> PosedLatents:
    """Square images as the U-Net is given them, one after the other."""
    device = next(models.denoiser.parameters()).device
    rgb, cameras = rgb.to(device), cameras.to(device)
    return PosedLatents(
        latents=models.autoencoder.encode(rgb),
        embeddings=models.image_encoder.embed(rgb),
        world_from_cam=cameras.world_from_cam,
        K_normalised=normalised_intrinsics(cameras.K, cameras.hw),
    )


def check_one_step(manifest: Manifest, config: SynthesisConfig) -> None:
    """Refuses more than the one step without guidance that weights which begin at the renders make.

    Raises:
        ValueError: the sentence says what was asked for.
    """
    if manifest.start_sigma and (config.steps not in (None, 1) or config.guidance != "none"):
        got = f"{config.steps or 1} steps, guidance {config.guidance}"
        raise ValueError(f"these weights make a view in one step and without guidance, got {got}")


def check_guide(guide: Guide) -> None:
    """Refuses a method or a sampling that the networks can not do, and frames that they can not hold.

    Raises:
        ValueError: as :meth:`ViewModels.check_method` and :func:`check_one_step`, or a size that is no multiple of the
            networks' strides.
    """
    models = guide.models
    models.check_method(guide.config.method)
    check_one_step(models.manifest, guide.config)
    if models.manifest.frame_px is not None and models.manifest.frame_px % _stride(models):
        raise ValueError(f"frame_px must be a multiple of {_stride(models)}, got {models.manifest.frame_px}")


def _stride(models: ViewModels) -> int:
    """What the side of a frame must be a multiple of [pixels]."""
    return models.autoencoder.factor * models.denoiser.config.stride


def frame_side(models: ViewModels, hw: tuple[int, int]) -> int:
    """Side of the square frames in which views of a size are made: the networks' own, or the views' long side."""
    if models.manifest.frame_px is not None:
        return models.manifest.frame_px
    return -(-max(hw) // _stride(models)) * _stride(models)


@torch.no_grad()
def synthesise(gaussians: Gaussians, cameras: Cameras, guide: Guide, backend: Backend = "auto") -> Iterator[MadeFrame]:
    """Square frames of a trajectory, in its order; each is made once its chunk is asked for.

    Args:
        gaussians: The scaffold; holes of its renders are black.
        cameras: The trajectory, of any length; frames are made for :func:`square_cameras` of it.
        guide: What guides it.
        backend: Of the renderer.

    Raises:
        ValueError: as :func:`check_guide`, or no camera.
    """
    check_guide(guide)
    models, config, px = guide.models, guide.config, frame_side(guide.models, cameras.hw)
    device = next(models.denoiser.parameters()).device
    wide = square_cameras(cameras, px)
    faces = face_cameras(px, guide.fov_deg)
    anchors = posed_latents(models, _resized(guide.anchors, px), faces)

    def renders(frames: tuple[int, ...]) -> PosedLatents:
        seen = wide[list(frames)]
        if config.method == "anchors-only":  # only their cameras count
            blank = anchors[[0] * len(frames)]
            K = normalised_intrinsics(seen.K, seen.hw).to(device)
            return replace(blank, world_from_cam=seen.world_from_cam.to(device), K_normalised=K)
        if models.manifest.start_sigma:  # what a view begins at has to be whole
            rgb = torch.stack([seen_whole(gaussians, seen[i], backend)[1] for i in range(len(seen))])
        else:
            rgb = render(gaussians, seen, backend).rgb.clamp(0, 1)
        return posed_latents(models, rgb, seen)

    def latents(views: ChunkViews, number: int) -> Tensor:
        conditions = assemble(config.form, views, camera_scale=models.manifest.camera_scale)
        sampler = SamplerConfig(config.steps or models.manifest.steps, config.guidance, config.scale)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
        return models.sample(conditions, replace(sampler, routing=config.routing), generator)

    sources = ChunkSources(
        anchors=anchors,
        world_from_cam=wide.world_from_cam.to(device),
        K_normalised=normalised_intrinsics(wide.K, wide.hw).to(device),
        renders=renders,
        synthesise=latents,
        develop=lambda made: develop(models, made),
        stored=guide.stored,
    )
    sizes = models.manifest.targets, models.manifest.clean
    chunking = ChunkConfig(*sizes, config.policy, config.capacity, config.new)
    return _kept(generate_chunks(plan_chunks(wide.world_from_cam, faces.world_from_cam, chunking), sources), guide)


def _kept(frames: Iterator[MadeFrame], guide: Guide) -> Iterator[MadeFrame]:
    """Tells of every new frame; gradients are off only while the next one is made, not while the caller works."""
    while True:
        with torch.no_grad():
            frame = next(frames, None)
        if frame is None:
            return
        if guide.stored(frame.number) is None:
            guide.keep(frame)
        yield frame


def develop(models: ViewModels, latents: Float[Tensor, "v c h w"]) -> tuple[Tensor, Tensor]:
    """Pictures of latents, rounded to 8 bits as they are kept, and the pictures' embeddings."""
    rgb = (models.autoencoder.decode(latents) * 255).round() / 255
    return rgb, models.image_encoder.embed(rgb)
