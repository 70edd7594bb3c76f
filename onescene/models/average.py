"""The mean of several trainings' weights (model soups, Wortsman et al. 2022), of trainings with a common beginning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from onescene.models.loading import compare_shapes, read_metadata, read_state_dict


def average_weights(paths: Sequence[str | Path]) -> bytes:
    """The mean of weight files of one architecture, as the bytes of a safetensors file in the first one's types.

    Integer tensors (counters) are the first file's. What the files say beside their tensors is kept where they agree;
    where they do not, all of it is told, in their order.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: fewer than two files, an unreadable one, one with a NaN or an infinity, or one whose keys or
            shapes differ from the first one's.
    """
    if len(paths) < 2:
        raise ValueError(f"an average needs two weight files or more, got {len(paths)}")
    states = [read_state_dict(path) for path in paths]
    for path, state in zip(paths, states, strict=True):
        if bad := [key for key, value in state.items() if not bool(torch.isfinite(value).all())]:
            raise ValueError(f"{path}: {bad[0]} holds a NaN or an infinity")
    for path, state in zip(paths[1:], states[1:], strict=True):
        compare_shapes(states[0], state).refuse_misfit(str(paths[0]), path)
    said = [read_metadata(path) for path in paths]
    keys = dict.fromkeys(key for each in said for key in each)
    told = {key: list(dict.fromkeys(each.get(key, "not stated") for each in said)) for key in keys}
    metadata = {
        key: values[0] if len(values) == 1 else f"mean of {' and '.join(values)}" for key, values in told.items()
    }
    return save({key: _mean([state[key] for state in states]) for key in states[0]}, metadata=metadata)


def _mean(values: list[Tensor]) -> Tensor:
    if not values[0].is_floating_point():
        return values[0].contiguous()
    return torch.stack([value.float() for value in values]).mean(0).to(values[0].dtype).contiguous()
