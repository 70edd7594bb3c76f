"""The small scaffold network: EfficientNet features, joint attention over six faces, a fused DPT-like decoder.

The forward pass, with units:

    faces [0, 1] -> pyramid -> tokens + rays -> joint attention -> decoder with fusion at 1/16 .. 1/4
        -> per-face log distance -> C2E, blended, corrected on the sphere -> log distance [log m], sky [logit]

Depth estimation as multi-view stereo on six nearly disjoint faces (Sec. 3.2 of One2Scene); the VGGT backbone of the
paper is another model behind the same stage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from onescene.geometry.cubemap import face_directions, panorama_from_faces
from onescene.geometry.equirect import not_half
from onescene.models.encoder import TAP_CHANNELS, EfficientNetLite0
from onescene.models.scaffold.fusion import BidirectionalFusion, SphereConv, merge_batch, split_batch


@dataclass(frozen=True)
class CubeScaffoldConfig:
    """Sizes of :class:`CubeScaffold`."""

    face_px: int = 96  # side of a face that the weights were trained at, a multiple of 32
    fov_deg: float = 95.0
    dim: int = 192  # channels of the tokens
    heads: int = 6
    depth: int = 4  # attention blocks
    decoder: tuple[int, int, int, int] = (128, 96, 64, 48)  # channels at 1/16, 1/8, 1/4, 1/2
    joint: bool = True  # attention over all six faces; False = each face apart
    fusion: bool = True  # bidirectional fusion and the correction on the sphere; False = "w/o BF"


SMALL = CubeScaffoldConfig()


@dataclass(frozen=True)
class ScaffoldPrediction:
    """What the network says about one batch of panoramas.

    Attributes:
        log_distance: Natural logarithm of the distance from the centre [log m] on the panorama.
        sky_logit: Logit of the probability that a pixel is sky.
        face_log_distance: The per-face prediction before it is blended on the sphere.
    """

    log_distance: Float[Tensor, "batch height width"]
    sky_logit: Float[Tensor, "batch height width"]
    face_log_distance: Float[Tensor, "batch 6 face face"]


class _Attention(nn.Module):
    """Pre-norm transformer block on [B, tokens, dim]."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 3 * dim), nn.Linear(3 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class _Residual(nn.Module):
    """Two 3x3 convolutions with group normalisation and a skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="replicate")
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="replicate")

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.gelu(self.conv1(self.norm(x))))


class CubeScaffold(nn.Module):
    """Distance and sky of a panorama from its six faces.

    Args:
        config: Sizes and switches.
    """

    def __init__(self, config: CubeScaffoldConfig = SMALL) -> None:
        super().__init__()
        self.config = config
        dim, decoder = config.dim, config.decoder
        self.encoder = EfficientNetLite0()
        self.token_16 = nn.Conv2d(TAP_CHANNELS[3], dim, 1)
        self.token_32 = nn.Conv2d(TAP_CHANNELS[4], dim, 1)
        self.token_ray = nn.Linear(RAY_CHANNELS, dim)
        self.blocks = nn.ModuleList(_Attention(dim, config.heads) for _ in range(config.depth))
        self.token_norm = nn.LayerNorm(dim)
        skips = (dim, TAP_CHANNELS[2], TAP_CHANNELS[1], TAP_CHANNELS[0])
        self.skips = nn.ModuleList(nn.Conv2d(c, out, 1) for c, out in zip(skips, decoder, strict=True))
        self.ups = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise(decoder))
        self.refines = nn.ModuleList(_Residual(c) for c in decoder)
        self.fusions = nn.ModuleList(
            BidirectionalFusion(c, c // 2, config.fov_deg) if config.fusion else nn.Identity() for c in decoder[:3]
        )
        self.head = nn.Conv2d(decoder[-1], 2, 1)
        self.sphere_in = SphereConv(decoder[-1], 24) if config.fusion else None
        self.sphere_out = SphereConv(24, 2) if config.fusion else None
        nn.init.normal_(self.head.weight, std=1e-2)
        nn.init.zeros_(self.head.bias)
        if config.fusion:
            nn.init.zeros_(self.sphere_out.weight)
            nn.init.zeros_(self.sphere_out.bias)

    def _tokens(self, f16: Tensor, f32: Tensor) -> Tensor:
        """Joint attention over the tokens of six faces; [6 B, C, n, n] -> [6 B, dim, n, n]."""
        n = f16.shape[-1]
        deep = F.interpolate(self.token_32(f32), size=(n, n), mode="bilinear", align_corners=False)
        rays = ray_code(face_directions(n, self.config.fov_deg, device=f16.device, dtype=not_half(f16).dtype)).to(f16)
        x = (self.token_16(f16) + deep).flatten(2).transpose(1, 2)
        x = split_batch(x) + self.token_ray(rays.flatten(1, 2))
        shape = (0, 1) if not self.config.joint else (1, 2)
        x = x.flatten(*shape)
        for block in self.blocks:
            x = block(x)
        x = self.token_norm(x).reshape(f16.shape[0], n * n, -1)
        return x.transpose(1, 2).unflatten(-1, (n, n))

    def _decode(self, taps: list[Tensor]) -> Tensor:
        """Coarse to fine, fusing the faces at 1/16, 1/8 and 1/4; returns [6 B, C, S/2, S/2]."""
        f2, f4, f8, f16, f32 = taps
        inputs = (self._tokens(f16, f32), f8, f4, f2)
        x = None
        for i, (skip, refine) in enumerate(zip(self.skips, self.refines, strict=True)):
            here = skip(inputs[i])
            if x is not None:
                here = here + F.interpolate(self.ups[i - 1](x), scale_factor=2, mode="bilinear", align_corners=False)
            x = refine(here)
            if i < 3 and self.config.fusion:
                x = merge_batch(self.fusions[i](split_batch(x)))
        return x

    def forward(self, faces: Float[Tensor, "batch 6 3 face face"]) -> ScaffoldPrediction:
        """Predicts distance and sky on a panorama of the faces' own resolution, (S, 2 S) pixels.

        Args:
            faces: RGB in [0, 1], order F R B L U D, side a multiple of 32.

        Raises:
            ValueError: the faces are not six squares of a multiple of 32 pixels.
        """
        if faces.ndim != 5 or faces.shape[1] != 6 or faces.shape[-1] % 32 or faces.shape[-1] != faces.shape[-2]:
            raise ValueError(f"faces must be [B, 6, 3, S, S] with S a multiple of 32, got {tuple(faces.shape)}")
        face_px = faces.shape[-1]
        taps = self.encoder(merge_batch(faces).contiguous(memory_format=torch.channels_last))
        features = split_batch(self._decode(taps))
        raw = not_half(split_batch(self.head(merge_batch(features))))
        hw = (face_px, 2 * face_px)
        panorama = panorama_from_faces(raw, hw, self.config.fov_deg)
        if self.config.fusion:
            on_sphere = F.gelu(self.sphere_in(panorama_from_faces(features, hw, self.config.fov_deg)))
            panorama = panorama + self.sphere_out(on_sphere)
        return ScaffoldPrediction(
            log_distance=panorama[:, 0] + _LOG_PRIOR,
            sky_logit=panorama[:, 1],
            face_log_distance=raw[:, :, 0] + _LOG_PRIOR,
        )


_LOG_PRIOR = math.log(4.0)  # a fresh network says about 4 m everywhere
_OCTAVES = 3
RAY_CHANNELS = 3 + 6 * _OCTAVES


def ray_code(directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch c"]:
    """World directions and their sines and cosines at three octaves: where a token looks, upright panoramas assumed."""
    parts = [directions]
    for octave in range(_OCTAVES):
        angle = directions * (math.pi * 2**octave)
        parts += [angle.sin(), angle.cos()]
    return torch.cat(parts, dim=-1)
