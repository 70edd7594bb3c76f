"""VGGT put together: what goes in, what comes out, and its sizes.

The forward pass, with units:

    faces [0, 1] -> patch tokens -> frame and global attention in turn -> DPT head: depth_z [scene units], confidence
                                                                       -> camera head: cam_from_world, fields of view

State-dict keys are those of the public checkpoint; its track head is not part of this network. The bidirectional
fusion of One2Scene is one, where asked for, under a prefix of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from onescene.geometry.equirect import not_half
from onescene.models.arithmetic import own_precision
from onescene.models.scaffold.fusion import BidirectionalFusion, merge_batch, split_batch
from onescene.models.vggt.aggregator import SPECIAL, Aggregator
from onescene.models.vggt.camera import CameraHead
from onescene.models.vggt.dpt import DPTHead
from onescene.models.vggt.patches import ConvPatches, DinoV2, Lite0Patches

UNUSED_PREFIXES = ("track_head.",)  # in the public checkpoint, never read here
PatchEmbed = Literal["dinov2", "conv", "lite0"]
_FRAMES_AT_ONCE = 8  # frames in a dense head at a time: bounds the memory of its full-size maps


@dataclass(frozen=True)
class VGGTConfig:
    """Sizes of :class:`VGGT`."""

    img_size: int = 518  # side that DINOv2's position table is made for [pixels]
    patch_size: int = 14  # [pixels]
    embed_dim: int = 1024
    depth: int = 24  # frame blocks, and as many global blocks
    num_heads: int = 16
    patch_embed: PatchEmbed = "dinov2"  # lite0 = EfficientNet-Lite0, patches of 16 pixels
    vit_depth: int = 24  # blocks of DINOv2
    features: int = 256  # channels of a dense head
    out_channels: tuple[int, int, int, int] = (256, 512, 1024, 1024)  # of its four maps, fine to coarse
    intermediate_layer_idx: tuple[int, int, int, int] = (4, 11, 17, 23)  # layers that a dense head reads
    camera_head: bool = True
    camera_trunk_depth: int = 4
    joint: bool = True  # global attention over all frames; False = each frame apart
    point_head: bool = False  # the second dense head of the public checkpoint: points in the first camera's frame
    fusion: tuple[str, ...] = ()  # maps of the depth head (of DPTHead.MAPS) that the six faces agree on; () = "w/o BF"
    fusion_fov_deg: float = 95.0  # field of view of the faces [degrees]

    @property
    def side_px(self) -> int:
        """What the sides of images must be multiples of [pixels]."""
        return Lite0Patches.SIDE_PX if self.patch_embed == "lite0" else self.patch_size


PAPER = VGGTConfig()
SMALL = VGGTConfig(
    img_size=252,
    embed_dim=384,
    depth=8,
    num_heads=6,
    patch_embed="conv",
    features=64,
    out_channels=(48, 96, 192, 384),
    intermediate_layer_idx=(1, 3, 5, 7),
    camera_trunk_depth=2,
)


@dataclass(frozen=True)
class VGGTPrediction:
    """What VGGT says about a set of frames.

    Attributes:
        depth_z: Depth along each camera's axis, in units of the scene [> 0].
        confidence: Of the depth [> 1].
        pose_encoding: ``cam_from_world`` of every frame: translation 3, quaternion xyzw 4, fields of view [rad] 2;
            where the network has a camera head.
        points: Points in the first camera's frame, where the network has a point head.
        points_confidence: Of the points [> 1].
    """

    depth_z: Float[Tensor, "batch frame height width"]
    confidence: Float[Tensor, "batch frame height width"]
    pose_encoding: Float[Tensor, "batch frame 9"] | None
    points: Float[Tensor, "batch frame height width 3"] | None = None
    points_confidence: Float[Tensor, "batch frame height width"] | None = None


class VGGT(nn.Module):
    """Depth and cameras of a set of frames in one pass (the backbone of Sec. 3.2 of One2Scene).

    Args:
        config: Sizes and switches.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    NEW_PREFIXES: tuple[str, ...] = ("fusion.",)  # keys that the public checkpoint lacks

    def __init__(self, config: VGGTConfig = PAPER) -> None:
        super().__init__()
        _check(config)
        self.config = config
        dim, heads, patch_px = config.embed_dim, config.num_heads, config.patch_size
        patches = {
            "conv": lambda: ConvPatches(dim, patch_px),
            "dinov2": lambda: DinoV2(dim, heads, config.vit_depth, patch_px, config.img_size),
            "lite0": lambda: Lite0Patches(dim),
        }[config.patch_embed]()
        self.aggregator = Aggregator(patches, dim, heads, config.depth, patch_px, config.joint)
        if config.camera_head:
            self.camera_head = CameraHead(2 * dim, heads, config.camera_trunk_depth)
        if config.point_head:
            self.point_head = DPTHead(2 * dim, config.features, config.out_channels, 4, patch_px)
        self.depth_head = DPTHead(2 * dim, config.features, config.out_channels, 2, patch_px)
        channels = {name: config.features // (2 if name == "output_conv1" else 1) for name in config.fusion}
        self.fusion = nn.ModuleDict(
            {name: BidirectionalFusion(n, n // 2, config.fusion_fov_deg) for name, n in channels.items()}
        )

    @property
    def _head_dtype(self) -> torch.dtype:
        return next(self.depth_head.parameters()).dtype

    def _fused(
        self, name: str, faces: Float[Tensor, "n c face face"], fov_deg: float | None = None
    ) -> Float[Tensor, "n c face face"]:
        """A map of the depth head, after the faces have agreed on it where the config says so (Eq. 1 of One2Scene)."""
        return merge_batch(self.fusion[name](split_batch(faces), fov_deg)) if name in self.fusion else faces

    def _dense(
        self, head: DPTHead, layers: list[Tensor], hw: tuple[int, int], fused: bool = False
    ) -> Float[Tensor, "batch frame height width c"]:
        """Raw channels of a dense head, a few frames at a time; fused = the six faces of a scene together."""
        options = {"touch": self._fused} if fused else {}
        return in_parts(lambda tokens, _: head(tokens, hw, **options), layers, 6 if fused else _FRAMES_AT_ONCE)

    def forward(self, images: Float[Tensor, "batch frame 3 height width"]) -> VGGTPrediction:
        """Depth, confidence and camera of every frame.

        Args:
            images: RGB in [0, 1], sides multiples of the patch. The first frame's camera is the world. With fusion the
                frames are the faces F R B L U D.

        Raises:
            ValueError: the images are no [B, S, 3, H, W], no whole number of patches, or not what fusion needs.
        """
        config, hw = self.config, (images.shape[-2], images.shape[-1])
        if images.ndim != 5 or images.shape[2] != 3 or any(side % config.side_px for side in hw):
            expected = f"[B, S, 3, H, W] with sides that are multiples of {config.side_px}"
            raise ValueError(f"images must be {expected}, got {tuple(images.shape)}")
        if config.fusion and (images.shape[1] != 6 or hw[0] != hw[1]):
            raise ValueError(f"with fusion images must be six square faces, got {tuple(images.shape)}")
        layers = self.aggregator(images, (*config.intermediate_layer_idx, config.depth - 1))
        with own_precision(images.device):  # the heads, as in the public code
            *layers, last = (layer.to(self._head_dtype) for layer in layers)
            depth = not_half(self._dense(self.depth_head, layers, hw, fused=bool(config.fusion)))
            points = not_half(self._dense(self.point_head, layers, hw)) if config.point_head else None
            pose_encoding = self.camera_head(last) if config.camera_head else None
        return VGGTPrediction(
            depth_z=depth[..., 0].exp(),
            confidence=1 + depth[..., 1].exp(),
            pose_encoding=pose_encoding,
            points=None if points is None else points[..., :3].sign() * points[..., :3].abs().expm1(),
            points_confidence=None if points is None else 1 + points[..., 3].exp(),
        )


def in_parts(
    head: Callable[[list[Tensor], slice], Tensor], layers: Sequence[Float[Tensor, "batch frame n dim"]], step: int
) -> Float[Tensor, "batch frame height width c"]:
    """Runs a dense head on a few frames at a time, so that memory does not grow with their number.

    Args:
        head: Patch tokens of the layers and which frames (of all scenes, one after the other) to [n, c, H, W].
        layers: What the head reads, special tokens included.
        step: Frames at a time.
    """
    batch, frames = layers[0].shape[:2]
    patches = [layer[:, :, SPECIAL:].flatten(0, 1) for layer in layers]
    places = [slice(i, i + step) for i in range(0, batch * frames, step)]
    parts = [head([p[place] for p in patches], place) for place in places]
    return torch.cat(parts).unflatten(0, (batch, frames)).movedim(2, -1)


def _check(config: VGGTConfig) -> None:
    if config.patch_embed not in get_args(PatchEmbed):
        raise ValueError(f"patch_embed must be one of {', '.join(get_args(PatchEmbed))}, got {config.patch_embed!r}")
    if config.patch_embed == "lite0" and config.patch_size != Lite0Patches.PATCH_PX:
        raise ValueError(f"patch_size must be {Lite0Patches.PATCH_PX} with patch_embed lite0, got {config.patch_size}")
    if min(config.num_heads, config.patch_size) < 1:
        raise ValueError(f"num_heads and patch_size must be >= 1, got {config.num_heads} and {config.patch_size}")
    if config.embed_dim % (4 * config.num_heads):
        raise ValueError(f"embed_dim must be a multiple of 4 num_heads, got {config.embed_dim} and {config.num_heads}")
    layers = config.intermediate_layer_idx
    if len(layers) != 4 or len(config.out_channels) != 4 or not all(0 <= i < config.depth for i in layers):
        raise ValueError(
            f"intermediate_layer_idx must name four layers below {config.depth}, and out_channels be four, "
            f"got {layers} and {config.out_channels}"
        )
    if unknown := [name for name in config.fusion if name not in DPTHead.MAPS]:
        raise ValueError(f"fusion must name maps of {', '.join(DPTHead.MAPS)}, got {unknown[0]!r}")
