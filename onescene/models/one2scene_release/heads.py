"""The release's two DPT heads: 3 channels for the distance, 83 for everything else of a Gaussian."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from onescene.models.vggt.dpt import Refine, resize_layers

FEATURES = 256  # channels of both heads; they do not scale with the backbone
_MAPS = (96, 192, 384, 768)  # of the four maps, fine to coarse
_LAST = 128  # before the last convolution of the regression head


class _Scratch(nn.Module):
    """Convolutions under the released names; the first four stand there twice, as one and the same."""

    def __init__(self) -> None:
        super().__init__()
        rn = [nn.Conv2d(n, FEATURES, 3, padding=1, bias=False) for n in _MAPS]
        for i, layer in enumerate(rn, 1):
            setattr(self, f"layer{i}_rn", layer)
        self.layer_rn = nn.ModuleList(rn)
        for i in range(1, 5):  # the first unit of the coarsest exists and is not used
            setattr(self, f"refinenet{i}", Refine(FEATURES, relu_skip=False))


class ReleaseDPT(nn.Module):
    """What both heads share: four lists of tokens become one map at half the image's size.

    Args:
        dims: Channels of the four lists of tokens.
        head: The last layers.
    """

    def __init__(self, dims: Sequence[int], head: nn.Sequential) -> None:
        super().__init__()
        self.act_postprocess = nn.ModuleList(
            nn.Sequential(nn.Conv2d(dim, n, 1), resize)
            for dim, n, resize in zip(dims, _MAPS, resize_layers(_MAPS), strict=True)
        )
        self.scratch = _Scratch()
        self.head = head

    def fuse(
        self, tokens: Sequence[Float[Tensor, "n patches _"]], grid_hw: tuple[int, int]
    ) -> Float[Tensor, "n c h2 w2"]:
        """Coarse to fine, at twice the size of each map in turn."""
        scratch, maps = self.scratch, []
        for layer, process, rn in zip(tokens, self.act_postprocess, scratch.layer_rn, strict=True):
            maps.append(rn(process(layer.transpose(1, 2).unflatten(-1, grid_hw))))
        x = scratch.refinenet4(maps[3], _double(maps[3]))
        x = x[..., : maps[2].shape[-2], : maps[2].shape[-1]]
        for i in (3, 2, 1):
            x = getattr(scratch, f"refinenet{i}")(x, _double(maps[i - 1]), maps[i - 1])
        return x


def _double(x: Tensor) -> tuple[int, int]:
    return 2 * x.shape[-2], 2 * x.shape[-1]


class RegressionHead(nn.Module):
    """Three raw channels per pixel, of which the third becomes the distance."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        convolutions = (nn.Conv2d(FEATURES, _LAST, 3, padding=1), nn.Conv2d(_LAST, _LAST, 3, padding=1))
        up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.dpt = ReleaseDPT(
            dims, nn.Sequential(convolutions[0], up, convolutions[1], nn.ReLU(), nn.Conv2d(_LAST, 3, 1))
        )

    def forward(self, tokens: Sequence[Tensor], grid_hw: tuple[int, int]) -> Float[Tensor, "n 3 height width"]:
        """Raw output v; the regressed point is v / |v| * expm1(|v|)."""
        return self.dpt.head(self.dpt.fuse(tokens, grid_hw))


class GaussianHead(nn.Module):
    """Raw Gaussian channels per pixel, from tokens and from the image itself (NoPoSplat's shortcut).

    Args:
        dims: Channels of the four lists of tokens.
        outputs: Raw channels.
    """

    def __init__(self, dims: Sequence[int], outputs: int) -> None:
        super().__init__()
        first = nn.Conv2d(FEATURES, FEATURES, 3, padding=1, bias=False)
        last = nn.Conv2d(FEATURES, outputs, 1)
        self.dpt = ReleaseDPT(dims, nn.Sequential(first, nn.Identity(), nn.ReLU(), nn.Dropout(0.1), last))
        self.dpt.input_merger = nn.Sequential(nn.Conv2d(3, FEATURES, 7, padding=3), nn.ReLU())

    def forward(
        self,
        tokens: Sequence[Tensor],
        images: Float[Tensor, "n 3 height width"],
        grid_hw: tuple[int, int],
    ) -> Float[Tensor, "n c height width"]:
        """Raw output; ``images`` as the backbone sees them."""
        x = F.interpolate(self.dpt.fuse(tokens, grid_hw), size=images.shape[-2:], mode="bilinear", align_corners=True)
        return self.dpt.head(x + self.dpt.input_merger(images))
