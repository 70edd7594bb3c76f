"""Bidirectional fusion of One2Scene: faces -> panorama -> convolution -> faces (Eq. 1, 10 and 11)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from onescene.geometry.cubemap import faces_from_panorama, panorama_from_faces
from onescene.geometry.equirect import pad_panorama


class SphereConv(nn.Conv2d):
    """Convolution of a panorama that continues around the circle and over the poles."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 3) -> None:
        super().__init__(channels_in, channels_out, kernel)

    def forward(self, panorama: Float[Tensor, "batch c height width"]) -> Float[Tensor, "batch c2 height width"]:
        return super().forward(pad_panorama(panorama, self.kernel_size[0] // 2))


class BidirectionalFusion(nn.Module):
    """F'_i = F_i + E2C(H_c(C2E({F_i}))): the faces agree through one equirectangular latent.

    The last convolution starts at zero, so a fresh module leaves its input unchanged.

    Args:
        channels: Channels of the faces' features.
        hidden: Channels inside H_c.
        fov_deg: Field of view of the faces [degrees].
    """

    def __init__(self, channels: int, hidden: int, fov_deg: float = 95.0) -> None:
        super().__init__()
        self.fov_deg = fov_deg
        self.conv_in = SphereConv(channels, hidden)
        self.conv_out = SphereConv(hidden, channels)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)

    def forward(
        self, features: Float[Tensor, "batch 6 c face face"], fov_deg: float | None = None
    ) -> Float[Tensor, "batch 6 c face face"]:
        """Fuses the faces; ``fov_deg`` where their field of view is another one than the module's."""
        face_px, fov_deg = features.shape[-1], self.fov_deg if fov_deg is None else fov_deg
        latent = panorama_from_faces(features, (2 * face_px, 4 * face_px), fov_deg)
        latent = self.conv_out(F.gelu(self.conv_in(latent)))
        return features + faces_from_panorama(latent, face_px, fov_deg)


def merge_batch(faces: Tensor) -> Tensor:
    """[B, 6, ...] -> [6 B, ...]."""
    return faces.flatten(0, 1)


def split_batch(faces: Tensor) -> Tensor:
    """[6 B, ...] -> [B, 6, ...]."""
    return torch.unflatten(faces, 0, (-1, 6))
