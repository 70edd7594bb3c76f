"""A look into scaffold networks: who attends to whom across the faces, and what the fusion carries."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from onescene.models.scaffold import BidirectionalFusion, CubeScaffold
from onescene.models.scaffolds import as_scaffold


class _Listen(TorchFunctionMode):
    """Keeps queries and keys of every attention call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(self, function, types, arguments=(), options=None):
        if function is F.scaled_dot_product_attention:
            self.calls.append(arguments[:2])
        return function(*arguments, **(options or {}))


@torch.no_grad()
def attention_of_patch(
    network: nn.Module, faces: Float[Tensor, "6 3 face face"], patch: tuple[int, int, int], layer: int = -1
) -> Float[Tensor, "6 n n"]:
    """How much one patch of one face looks at every patch of all six, mean over the heads of one joint attention.

    Args:
        network: A scaffold network whose attention is joint (see :mod:`onescene.models.scaffolds`).
        faces: RGB in [0, 1], order F R B L U D.
        patch: Face, row and column of the patch.
        layer: Which of the joint attentions, in order; negative counts from the last.

    Returns:
        Weights >= 0, n x n patches per face; what is missing to a sum of 1 goes to camera and register tokens.

    Raises:
        ValueError: the network never attends across faces, or there is no such layer or patch.
    """
    with _Listen() as heard:
        as_scaffold(network).see(faces)
    most = max((query.shape[-2] for query, _ in heard.calls), default=0)
    joint = [call for call in heard.calls if call[0].shape[-2] == most and call[0].shape[0] == 1]
    if not joint:
        raise ValueError("network must attend across faces, this one has no joint attention")
    if not -len(joint) <= layer < len(joint):
        raise ValueError(f"layer must be one of {len(joint)} joint attentions, got {layer}")
    query, key = (part.to(faces) for part in joint[layer])
    n = math.isqrt(most // 6)
    special = most // 6 - n * n  # camera and register tokens stand in front of each face's patches
    face, row, column = patch
    if not (0 <= face < 6 and 0 <= row < n and 0 <= column < n):
        raise ValueError(f"patch must be a face of 6, a row and a column of {n}, got {patch}")
    own = query[0, :, face * (special + n * n) + special + row * n + column]
    weights = (torch.einsum("hc,hkc->hk", own, key[0]) / math.sqrt(own.shape[-1])).softmax(-1).mean(0)
    return weights.unflatten(0, (6, -1))[:, special:].unflatten(1, (n, n))


def without_fusion(network: nn.Module) -> nn.Module:
    """A copy of a trained network whose faces no longer agree: what every fusion adds is taken away.

    It shows what the fusion carries in these weights. A network that was trained without fusion is another one: for
    the ablation train both (``onescene train ablation``).
    """
    silent = copy.deepcopy(network)
    last = [part.conv_out for part in silent.modules() if isinstance(part, BidirectionalFusion)]
    if isinstance(silent, CubeScaffold) and silent.sphere_out is not None:
        last.append(silent.sphere_out)
    for convolution in last:
        nn.init.zeros_(convolution.weight)
        nn.init.zeros_(convolution.bias)
    return silent
