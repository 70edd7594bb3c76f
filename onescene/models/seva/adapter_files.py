"""Adapters as standard LoRA files: PEFT's names in safetensors, one file per adapter.

Adapter 1 (clean frames) and adapter 2 (rendered frames) are two files, each of which any PEFT-reading program can put
onto a plain SEVA. An adapter of a convolution looks at one pixel only; PEFT's has the layer's own kernel, so it is
written with its numbers at the centre of that kernel and zeros around.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save
from torch import Tensor, nn

from onescene.models.dual_lora import DualLoRAConv2d, DualLoRALinear
from onescene.models.loading import read_state_dict

_PREFIX = "base_model.model."
WEIGHTS_NAME, CONFIG_NAME = "adapter_model.safetensors", "adapter_config.json"
Which = Literal[1, 2]


def _wrapped(network: nn.Module) -> dict[str, DualLoRALinear | DualLoRAConv2d]:
    layers = {k: m for k, m in network.named_modules() if isinstance(m, DualLoRALinear | DualLoRAConv2d)}
    if not layers:
        raise ValueError(f"{type(network).__name__} must have adapters, found none")
    return layers


def _side(layer: nn.Module) -> int:
    """Side of a layer's kernel; 0 for a linear layer."""
    return layer.kernel_size[0] if isinstance(layer, nn.Conv2d) else 0


def adapter_state(network: nn.Module, which: Which) -> dict[str, Tensor]:
    """One adapter of every wrapped layer, under PEFT's names and in its shapes.

    Args:
        network: A network of layers with two adapters.
        which: 1 = clean frames, 2 = rendered frames.

    Raises:
        ValueError: the network has no adapters.
    """
    state = {}
    for name, layer in _wrapped(network).items():
        a, b = (getattr(layer, f"lora_{part}{which}").detach() for part in "AB")
        if side := _side(layer):
            kernel = a.new_zeros(*a.shape, side, side)
            kernel[..., side // 2, side // 2] = a
            a, b = kernel, b[..., None, None]
        state[f"{_PREFIX}{name}.lora_A.weight"] = a.contiguous()
        state[f"{_PREFIX}{name}.lora_B.weight"] = b.contiguous()
    return state


def adapter_files(network: nn.Module, which: Which) -> dict[str, bytes]:
    """The two files of one adapter, name to content; the caller writes them into a folder of their own.

    Raises:
        ValueError: the network has no adapters, or its layers differ in rank or scale.
    """
    layers = _wrapped(network)
    sizes = {(layer.lora_A1.shape[0], layer.scaling) for layer in layers.values()}
    if len(sizes) != 1:
        raise ValueError(f"adapters must share one rank and scale, got {sorted(sizes)}")
    rank, scaling = sizes.pop()
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": None,
        "r": rank,
        "lora_alpha": scaling * rank,
        "target_modules": sorted(layers),
        "bias": "none",
        "inference_mode": True,
    }
    metadata = {"format": "pt", "adapter": {1: "clean frames", 2: "rendered frames"}[which]}
    return {
        WEIGHTS_NAME: save(adapter_state(network, which), metadata=metadata),
        CONFIG_NAME: (json.dumps(config, indent=2) + "\n").encode(),
    }


def read_rank_and_alpha(folder: str | Path) -> tuple[int, float]:
    """Rank and scale of the adapter in a PEFT folder.

    Raises:
        FileNotFoundError: it has no ``adapter_config.json``.
        ValueError: that file is no JSON object, or lacks a rank or a scale that can be.
    """
    path = Path(folder) / CONFIG_NAME
    if not path.is_file():
        raise FileNotFoundError(f"adapter config not found: {path}")
    try:
        config = json.loads(path.read_text("utf-8"))
        rank, alpha = config["r"], config["lora_alpha"]
        fits = type(rank) is int and rank >= 1 and type(alpha) in (int, float) and math.isfinite(alpha)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must be a JSON object with r and lora_alpha, as PEFT writes it") from error
    if not fits:
        raise ValueError(f"{path}: r must be a whole number >= 1 and lora_alpha a number, got {rank!r} and {alpha!r}")
    return rank, float(alpha)


def load_adapter(network: nn.Module, which: Which, folder: str | Path) -> None:
    """Loads one adapter of every wrapped layer from a PEFT folder; nothing is changed if anything does not fit.

    Args:
        network: A network of layers with two adapters.
        which: 1 = clean frames, 2 = rendered frames.
        folder: Where ``adapter_model.safetensors`` and ``adapter_config.json`` are.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: another rank, scale or base, or a convolution's adapter that looks at more than one pixel.
    """
    folder = Path(folder)
    found, alpha = read_rank_and_alpha(folder)
    state, layers = read_state_dict(folder / WEIGHTS_NAME), _wrapped(network)
    rank, scaling = next(iter(layers.values())).lora_A1.shape[0], next(iter(layers.values())).scaling
    if found != rank:
        raise ValueError(f"adapter must have rank {rank} as the network has, got {found} in {folder}")
    if abs(alpha / rank - scaling) > 1e-9:
        raise ValueError(f"lora_alpha must be {scaling * rank:g}, got {alpha:g} in {folder}")
    wanted = adapter_state(network, which)
    if odd := sorted(wanted.keys() ^ state.keys()):
        raise ValueError(f"adapter is of another base: {len(odd)} keys differ (first: {odd[0]}) in {folder}")
    for key, value in state.items():
        if value.shape != wanted[key].shape:
            raise ValueError(f"{key} must be {tuple(wanted[key].shape)}, got {tuple(value.shape)} in {folder}")
    _assign(layers, {key: _one_pixel(key, value) for key, value in state.items()}, which)


def _one_pixel(key: str, value: Tensor) -> Tensor:
    """The middle of a kernel, which must be all there is."""
    if value.ndim == 2:
        return value
    middle = value[..., value.shape[-2] // 2, value.shape[-1] // 2]
    if torch.count_nonzero(value) != torch.count_nonzero(middle):
        raise ValueError(f"{key} must act on one pixel, its kernel has weights beside the centre")
    return middle


@torch.no_grad()
def _assign(layers: dict[str, nn.Module], state: dict[str, Tensor], which: Which) -> None:
    for name, layer in layers.items():
        for part in "AB":
            getattr(layer, f"lora_{part}{which}").copy_(state[f"{_PREFIX}{name}.lora_{part}.weight"])


@torch.no_grad()
def merged_weights(network: nn.Module, which: Which) -> dict[str, Tensor]:
    """The weights of a plain network that behaves as this one does when every frame goes through one adapter.

    With ``which`` = 2 that is how the release samples in fact, without any cost of adapters.

    Raises:
        ValueError: the network has no adapters.
    """
    merged = {k: v.clone() for k, v in network.state_dict().items() if ".lora_" not in k and "_intensity_" not in k}
    for name, layer in _wrapped(network).items():
        a, b = (getattr(layer, f"lora_{part}{which}") for part in "AB")
        weight, side = merged[f"{name}.weight"], _side(layer)
        (weight[..., side // 2, side // 2] if side else weight).add_(b @ a, alpha=layer.scaling)
    return merged
