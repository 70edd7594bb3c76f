"""A critic on frozen ImageNet features ("Projected GANs Converge Faster", Sauer et al. 2021), hinge loss.

Because the features are given, the critic is small and learns in few steps. Differences to the paper: the features
are not mixed across channels and scales before they are judged, and the encoder is EfficientNet-Lite0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from onescene.models.encoder import TAP_CHANNELS

TAPS = (1, 2, 3, 4)  # of the encoder: features at 1/4, 1/8, 1/16 and 1/32
WIDTH = 64


class Critic(nn.Module):
    """A head per level: which parts of a panorama look like a true one; higher = truer."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(8, TAP_CHANNELS[tap]),
                nn.utils.spectral_norm(nn.Conv2d(TAP_CHANNELS[tap], WIDTH, 1)),
                nn.LeakyReLU(0.2),
                nn.utils.spectral_norm(nn.Conv2d(WIDTH, WIDTH, 3, padding=1)),
                nn.LeakyReLU(0.2),
                nn.utils.spectral_norm(nn.Conv2d(WIDTH, 1, 1)),
            )
            for tap in TAPS
        )

    def forward(self, features: list[Float[Tensor, "b _c _h _w"]]) -> list[Float[Tensor, "b 1 _h _w"]]:
        """Scores of every level's pixels.

        Args:
            features: The encoder's maps at ``TAPS``.
        """
        return [head(x) for head, x in zip(self.heads, features, strict=True)]


def critic_loss(seen: list[Tensor], known: list[Tensor]) -> Float[Tensor, ""]:
    """Hinge: generated parts should score below -1, true ones above 1; the mean over levels."""
    return torch.stack([F.relu(1 + s).mean() + F.relu(1 - k).mean() for s, k in zip(seen, known, strict=True)]).mean()


def deceit_loss(seen: list[Tensor]) -> Float[Tensor, ""]:
    """What the network is to lower: the negative score of what it generated."""
    return -torch.stack([s.mean() for s in seen]).mean()
