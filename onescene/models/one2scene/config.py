"""Sizes and switches of the paper's scaffold network: one preset for the laptop, one for the paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from onescene.models.one2scene.gaussians import CONVENTIONS, Convention
from onescene.models.vggt import VGGTConfig

DepthKind = Literal["depth_z", "distance"]


@dataclass(frozen=True)
class One2SceneConfig(VGGTConfig):
    """VGGT's sizes, and those of :class:`~onescene.models.one2scene.network.One2Scene` beside them.

    ``fusion`` names the maps that the six faces agree on; () = "w/o BF". ``joint`` = False without fusion = each face
    apart.
    """

    camera_head: bool = False  # K and rotations of the faces are known
    fusion: tuple[str, ...] = ("refinenet3", "refinenet2", "output_conv1")  # at 1/8, 1/4 and 1/2 of the face
    face_px: int = 518  # side of a face that the weights are for [pixels]
    depth_kind: DepthKind = "depth_z"  # what the depth head predicts: along z as VGGT, along the ray as the release
    convention: Convention = "pixelsplat"  # of scales and colours
    sh_degree: int = 3
    gaussian_hidden: int = 128  # channels before the last convolution of the Gaussian head
    own_colour: bool = False  # colours are predicted as differences from the pixel's own
    rays: bool = False  # tokens are told which way they look, so that up is not down
    detail: bool = False  # heads also see the patch embedding's finer maps (with lite0), as in DPT-Hybrid
    sky: bool = False  # whether the Gaussian head predicts where the sky is
    gaussians: bool = True  # whether it was trained for Gaussians; False = only its sky means something

    @property
    def fov_deg(self) -> float:
        """Field of view of the faces that the weights are for [degrees]."""
        return self.fusion_fov_deg

    def __post_init__(self) -> None:
        if self.depth_kind not in get_args(DepthKind):
            raise ValueError(f"depth_kind must be one of {', '.join(get_args(DepthKind))}, got {self.depth_kind!r}")
        if self.convention not in CONVENTIONS:
            raise ValueError(f"convention must be one of {', '.join(CONVENTIONS)}, got {self.convention!r}")
        if not 0 <= self.sh_degree <= 3:
            raise ValueError(f"sh_degree must be 0 to 3, got {self.sh_degree}")
        if self.face_px < 1 or self.face_px % self.side_px:
            raise ValueError(f"face_px must be a multiple of {self.side_px}, got {self.face_px}")
        if self.detail and self.patch_embed != "lite0":
            raise ValueError(f"detail needs patch_embed lite0, got {self.patch_embed!r}")


PAPER = One2SceneConfig()
"""VGGT-1B with bidirectional fusion and Gaussian heads."""
SMALL = One2SceneConfig(
    img_size=256,
    patch_size=16,
    embed_dim=192,
    depth=6,
    num_heads=6,
    patch_embed="lite0",
    features=64,
    out_channels=(48, 96, 128, 128),
    intermediate_layer_idx=(1, 2, 4, 5),
    face_px=256,
    depth_kind="distance",  # smooth where faces meet, so easier to agree on
    sh_degree=0,
    gaussian_hidden=32,
    own_colour=True,
    rays=True,
    detail=True,
    sky=True,
)
"""EfficientNet-Lite0 under six pairs of attention blocks: trained here, runs on two cores."""
