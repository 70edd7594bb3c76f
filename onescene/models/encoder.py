"""EfficientNet-Lite0 as a feature pyramid: the ImageNet features under the small models.

Architecture: EfficientNet-Lite (no squeeze-and-excitation, ReLU6), TensorFlow's "same" padding, so that the public
ImageNet weights (Apache-2.0 upstream) give their exact features. Weights are read in ``models/loading.py``.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

_STAGES = (  # kernel, stride, expansion, channels, repeats
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
TAP_CHANNELS = (16, 24, 40, 112, 320)  # at 1/2, 1/4, 1/8, 1/16, 1/32
_TAP_AFTER = (0, 2, 4, 10, 15)
_BN_EPS = 1e-3  # TensorFlow's value, part of the weights


class _SameConv(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: for stride 2 on an even size, one row more below and right."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return F.conv2d(x, self.weight, None, 1, kernel // 2, 1, self.groups)
        total = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[-2:]]
        top, left = total[0] // 2, total[1] // 2
        x = F.pad(x, (left, total[1] - left, top, total[0] - top))
        return F.conv2d(x, self.weight, None, stride, 0, 1, self.groups)


class _FixedNorm(nn.BatchNorm2d):
    """Batch normalisation by the stored statistics, in training too: batches here are a few faces of one scene."""

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


class _Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise, project 1x1."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels_in * expansion
        self.expand = _SameConv(channels_in, hidden, 1, bias=False) if expansion > 1 else None
        self.expand_norm = _FixedNorm(hidden, eps=_BN_EPS) if expansion > 1 else None
        self.depthwise = _SameConv(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self.depthwise_norm = _FixedNorm(hidden, eps=_BN_EPS)
        self.project = _SameConv(hidden, channels_out, 1, bias=False)
        self.project_norm = _FixedNorm(channels_out, eps=_BN_EPS)
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self.expand is not None:
            y = F.relu6(self.expand_norm(self.expand(y)))
        y = F.relu6(self.depthwise_norm(self.depthwise(y)))
        y = self.project_norm(self.project(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """Feature pyramid of EfficientNet-Lite0, 3.4 M parameters without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _SameConv(3, 32, 3, 2, bias=False)
        self.stem_norm = _FixedNorm(32, eps=_BN_EPS)
        blocks, channels = [], 32
        for kernel, stride, expansion, out, repeats in _STAGES:
            for i in range(repeats):
                blocks.append(_Block(channels, out, kernel, stride if i == 0 else 1, expansion))
                channels = out
        self.blocks = nn.ModuleList(blocks)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Features at 1/2, 1/4, 1/8, 1/16 and 1/32 (16, 24, 40, 112 and 320 channels).

        Args:
            images: RGB in [0, 1]; sides divisible by 32.
        """
        x = (images * 255 - 127) / 128  # the upstream model's normalisation
        x = F.relu6(self.stem_norm(self.stem(x)))
        taps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in _TAP_AFTER:
                taps.append(x)
        return taps
