"""Weights of the golden test networks, by the rule that the golden README states, and how far results may be off."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def golden_weight(key: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """One parameter: normal numbers seeded by the key's CRC-32, over the root of the fan-in."""
    noise = np.random.default_rng([zlib.crc32(key.encode()), seed]).standard_normal(shape, dtype=np.float32)
    value = noise.astype(np.float64) / np.sqrt(np.prod(shape[1:]) if len(shape) > 1 else 100)
    last = key.rpartition(".")[2]
    if last == "gamma" or (last == "weight" and len(shape) == 1):
        value += 1
    return torch.from_numpy(value.astype(np.float32))


def golden_weights(shapes: dict[str, list[int]], seed: int, tied: dict[str, str] | None = None) -> dict[str, Tensor]:
    """All parameters of a manifest; a tied key has the values of the key that it is tied to."""
    return {k: golden_weight((tied or {}).get(k, k), tuple(shape), seed) for k, shape in shapes.items()}


def fill(network: Network, tied: dict[str, str] | None = None) -> Network:
    """The network with the rule's weights at seed 0, in evaluation mode: every parameter matters."""
    with torch.no_grad():
        for key, parameter in network.named_parameters(remove_duplicate=False):
            parameter.copy_(golden_weight((tied or {}).get(key, key), tuple(parameter.shape), 0))
    return network.eval()


def read_golden(path: Path) -> tuple[dict, dict[str, Tensor], dict[str, Tensor]]:
    """Config, weights and arrays of a golden file."""
    with np.load(path, allow_pickle=False) as file:
        texts = {k: json.loads(str(file[k])) for k in file.files if file[k].dtype.kind == "U"}
        arrays = {k: torch.from_numpy(file[k]) for k in file.files if file[k].dtype.kind in "fiub"}
    return texts["config"], golden_weights(texts["manifest"], int(arrays["seed"]), texts.get("tied")), arrays


def relative_l2(found: Tensor, stored: Tensor) -> float:
    """Distance over the stored array's length, in float64."""
    assert found.shape == stored.shape, f"{tuple(found.shape)} is not {tuple(stored.shape)}"
    return float((found.double() - stored.double()).norm() / stored.double().norm())
