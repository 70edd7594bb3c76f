"""Official weights into the network: SEVA's files, the One2Scene release's, and SEVA made ready for new adapters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from onescene.models.dual_lora import train_adapters_only
from onescene.models.loading import compare_keys, read_state_dict
from onescene.models.seva.config import PAPER, SevaConfig
from onescene.models.seva.network import SevaUNet

_FIRST, _ADAPTER = "input_blocks.0.0.weight", "input_blocks.1.0.in_layers.2.lora_A1"


def own_keys(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The U-Net's tensors of a checkpoint, without the prefix that stands before all of them.

    The release's checkpoint holds ``MODEL.module.<key>`` beside an auto-encoder and an image encoder, which are left
    out.

    Raises:
        ValueError: the checkpoint holds no such network, or several.
    """
    prefixes = [k.removesuffix(_FIRST) for k in tensors if k == _FIRST or k.endswith(f".{_FIRST}")]
    if len(prefixes) != 1:
        raise ValueError(f"weights must hold one SEVA network (a key ending in {_FIRST}), found {len(prefixes)}")
    return {k.removeprefix(prefixes[0]): v for k, v in tensors.items() if k.startswith(prefixes[0])}


def load_seva(path: str | Path, config: SevaConfig = PAPER) -> SevaUNet:
    """The network of a weight file, in evaluation mode and in the file's precision; with adapters if the file has them.

    Args:
        path: A file of SEVA or of the One2Scene release.
        config: Sizes of the plain network; the adapters' rank is read from the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it holds no such network, or a key or shape differs.
    """
    tensors = own_keys(read_state_dict(path))
    rank = len(tensors[_ADAPTER]) if _ADAPTER in tensors else 0
    with torch.device("meta"):
        network = SevaUNet(replace(config, lora_rank=rank))
    compare_keys(network, tensors).refuse_misfit("SEVA", path)
    network.load_state_dict(tensors, assign=True)
    return network.eval()


def add_adapters(plain: SevaUNet, rank: int = 8, alpha: float = 4.0) -> SevaUNet:
    """The same network with fresh adapters, which leave its answer as it was: where Dual-LoRA training starts.

    Only the adapters are trainable, as in the paper; ``requires_grad_(True)`` on the result is the release's full
    fine-tune. The weights are shared with ``plain``, not copied. The adapters' random numbers are torch's own; seed
    it before.

    Raises:
        ValueError: ``plain`` has adapters already, or ``rank`` is below 1.
    """
    if plain.config.lora_rank or rank < 1:
        raise ValueError(f"plain must be without adapters and rank >= 1, got {plain.config.lora_rank} and {rank}")
    network = SevaUNet(replace(plain.config, lora_rank=rank, lora_alpha=alpha))
    fresh = {k: v for k, v in network.state_dict().items() if ".lora_" in k or "_intensity_" in k}
    like = next(plain.parameters())
    network.load_state_dict({**plain.state_dict(), **{k: v.to(like) for k, v in fresh.items()}}, assign=True)
    train_adapters_only(network)
    return network
