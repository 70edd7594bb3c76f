"""The scaffold network of the paper: VGGT with bidirectional fusion, and Gaussian heads (Sec. 3.2 of One2Scene).

The interface:

    faces [B, 6, 3, S, S] in [0, 1], order F R B L U D -> One2Scene(config)(faces) -> One2ScenePrediction
        .distance, .depth_z, .confidence [B, 6, S, S]      depth of every face pixel, along the ray and along z
        .face_log_distance [B, 6, S, S]                    the same as a logarithm
        .face_sky_logit [B, 6, S, S] or None               where config.sky
        .face_gaussians: offset, opacities, scales, quats, sh per face pixel, in the face's camera frame
        .gaussians(item) -> onescene.types.Gaussians       one scene of the batch, in the world, differentiable
        .log_distance, .sky_logit [B, S, 2 S]              on the panorama, by C2E: what the scaffold stage reads

The forward pass, with units:

    faces -> tokens (+ rays) -> frame and global attention in turn
        -> DPT head, faces fused on the sphere (Eq. 1): depth [scene units], confidence
        -> second DPT head, beside it the image itself: Delta, opacity, scale, rotation, colour
        -> mu = K^-1 u d + Delta, with the faces' known K and rotations

State-dict keys are VGGT's public ones (``aggregator.``, ``depth_head.``) and, under prefixes of their own, ``fusion.``,
``gaussian_head.``, ``rays.`` and ``detail.``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from onescene.geometry.cubemap import (
    FACES,
    depth_z_from_distance,
    distance_from_depth_z,
    panorama_from_faces,
)
from onescene.geometry.equirect import not_half
from onescene.models.arithmetic import own_precision
from onescene.models.one2scene.config import PAPER, One2SceneConfig
from onescene.models.one2scene.gaussians import Convention, FaceGaussians, activate, add_colour, as_gaussians
from onescene.models.one2scene.heads import GaussianHead, RayCode
from onescene.models.vggt.network import VGGT, in_parts
from onescene.models.vggt.patches import Lite0Patches
from onescene.types import Gaussians

_NO_SKY = -20.0  # a logit
DETAILED = ("layer1_rn", "layer2_rn")  # maps at 1/4 and 1/8 that the patch embedding's own join


@dataclass(frozen=True)
class One2ScenePrediction:
    """What the network says about a batch of six faces.

    Attributes:
        distance: Along each pixel's ray [scene units, > 0].
        confidence: Of it [> 1].
        face_sky_logit: Logit of the probability that a pixel is sky, where the network predicts it.
        face_gaussians: One per face pixel.
        fov_deg: Field of view of the faces [degrees].
        convention: Of the Gaussians.
    """

    distance: Float[Tensor, "batch 6 face face"]
    confidence: Float[Tensor, "batch 6 face face"]
    face_sky_logit: Float[Tensor, "batch 6 face face"] | None
    face_gaussians: FaceGaussians
    fov_deg: float
    convention: Convention

    @property
    def depth_z(self) -> Float[Tensor, "batch 6 face face"]:
        """Depth along each face's axis [scene units]."""
        return depth_z_from_distance(self.distance, self.fov_deg)

    @property
    def face_log_distance(self) -> Float[Tensor, "batch 6 face face"]:
        """Natural logarithm of the distance."""
        return self.distance.log()

    @property
    def log_distance(self) -> Float[Tensor, "batch height width"]:
        """The same on the panorama of the faces' own resolution, (S, 2 S) pixels (C2E)."""
        return self._on_panorama(self.face_log_distance)

    @property
    def sky_logit(self) -> Float[Tensor, "batch height width"]:
        """The sky's logit on the same panorama; -20, which is no sky, where the network does not predict it."""
        sky = self.face_sky_logit
        return self._on_panorama(torch.full_like(self.distance, _NO_SKY) if sky is None else sky)

    def _on_panorama(self, faces: Tensor) -> Tensor:
        face_px = faces.shape[-1]
        return panorama_from_faces(faces[:, :, None], (face_px, 2 * face_px), self.fov_deg)[:, 0]

    def gaussians(self, item: int = 0) -> Gaussians:
        """The Gaussians of one scene of the batch, in the world, in the order face, row, column."""
        return as_gaussians(self.face_gaussians, self.distance, self.fov_deg, self.convention, item)


class One2Scene(VGGT):
    """Six faces to depth and Gaussians in one pass.

    Args:
        config: Sizes and switches.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    NEW_PREFIXES = ("fusion.", "gaussian_head.", "rays.", "detail.")

    def __init__(self, config: One2SceneConfig = PAPER) -> None:
        super().__init__(config)
        self.config: One2SceneConfig = config
        self.gaussian_head = GaussianHead(config)
        if config.rays:
            self.rays = RayCode(config.embed_dim)
        channels = zip(DETAILED, Lite0Patches.DETAIL_CHANNELS, strict=True) if config.detail else ()
        self.detail = nn.ModuleDict(
            {
                f"{head}_{name}": nn.Conv2d(n, config.features, 1)
                for name, n in channels
                for head in ("depth", "gaussian")
            }
        )

    def split_parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Parameters that come from public weights (to be trained gently), and new ones.

        Public are VGGT's keys; with an EfficientNet as patch embedding, only that.
        """
        public: list[nn.Parameter] = []
        new: list[nn.Parameter] = []
        small = self.config.patch_embed == "lite0"
        for name, parameter in self.named_parameters():
            own = (
                not name.startswith("aggregator.patch_embed.encoder.") if small else name.startswith(self.NEW_PREFIXES)
            )
            (new if own else public).append(parameter)
        return public, new

    def forward(self, faces: Float[Tensor, "batch 6 3 face face"], fov_deg: float | None = None) -> One2ScenePrediction:
        """Depth and Gaussians of six faces.

        Args:
            faces: RGB in [0, 1], order F R B L U D; the side is a multiple of ``config.side_px``.
            fov_deg: Field of view of the faces [degrees]; None = the one that the weights are for. Another one gives
                the right geometry, and a warning: the network was not trained for it.

        Raises:
            ValueError: the faces are not [B, 6, 3, S, S], their side does not fit, or one of them is not finite.
        """
        config = self.config
        fov_deg = config.fov_deg if fov_deg is None else fov_deg
        if not torch.compiler.is_compiling():
            _check_faces(faces, config, fov_deg)
        face_px = faces.shape[-1]
        code = self.rays(face_px // config.patch_size, fov_deg, faces) if config.rays else None
        layers, details = self.aggregator.features(faces, config.intermediate_layer_idx, code)
        with own_precision(faces.device):  # the heads, as in VGGT
            layers, details = ([x.to(self._head_dtype) for x in some] for some in (layers, details))
            raw_depth = not_half(self._scene_by_scene("depth", faces, layers, details, fov_deg))
            raw = not_half(self._scene_by_scene("gaussian", faces, layers, details, fov_deg))
        depth = raw_depth[..., 0].exp()
        distance = depth if config.depth_kind == "distance" else distance_from_depth_z(depth, fov_deg)
        f_px = face_px / 2 / math.tan(math.radians(fov_deg) / 2)
        found = activate(raw, distance, f_px, config.convention, config.sh_degree)
        return One2ScenePrediction(
            distance=distance,
            confidence=1 + raw_depth[..., 1].exp(),
            face_sky_logit=raw[..., -1] if config.sky else None,
            face_gaussians=add_colour(found, faces) if config.own_colour else found,
            fov_deg=fov_deg,
            convention=config.convention,
        )

    def _scene_by_scene(
        self, which: str, faces: Tensor, layers: Sequence[Tensor], details: Sequence[Tensor], fov_deg: float
    ) -> Float[Tensor, "batch 6 face face c"]:
        """Raw channels of the depth or of the Gaussian head; only the depth head's maps are fused."""
        images, hw = faces.flatten(0, 1), (faces.shape[-2], faces.shape[-1])

        def head(tokens: list[Tensor], scene: slice) -> Tensor:
            def touch(name: str, features: Tensor) -> Tensor:
                if (key := f"{which}_{name}") in self.detail:
                    features = features + self.detail[key](details[DETAILED.index(name)][scene])
                return self._fused(name, features, fov_deg) if which == "depth" else features

            if which == "depth":
                return self.depth_head(tokens, hw, touch)
            return self.gaussian_head(tokens, images[scene], touch)

        return in_parts(head, layers, len(FACES))


def _check_faces(faces: Tensor, config: One2SceneConfig, fov_deg: float) -> None:
    side_px = config.side_px
    if faces.ndim != 5 or faces.shape[1:3] != (6, 3) or faces.shape[-1] != faces.shape[-2] or faces.shape[-1] % side_px:
        expected = f"[B, 6, 3, S, S] with S a multiple of {side_px}"
        raise ValueError(f"faces must be {expected}, got {tuple(faces.shape)}")
    finite = torch.isfinite(faces).flatten(2).all(-1).all(0)
    if not bool(finite.all()):
        wrong = ", ".join(name for name, good in zip(FACES, finite.tolist(), strict=True) if not good)
        raise ValueError(f"faces must be finite, got NaN or infinity in {wrong}")
    if abs(fov_deg - config.fov_deg) > 0.01:
        warnings.warn(
            f"fov_deg is {fov_deg:g}, the weights are for {config.fov_deg:g}: depth will be less exact", stacklevel=3
        )
