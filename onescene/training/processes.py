"""Training by several processes, one per GPU: torch's own data parallelism.

``torchrun`` and ``accelerate launch`` start such processes and say in the environment who they are; one process that
was started by itself needs nothing of this. Each process takes its part of every batch; gradients are averaged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn


@contextmanager
def processes(device: torch.device) -> Iterator[torch.device]:
    """Joins the other processes where a launcher started several; gives this one's device.

    Args:
        device: ``cuda`` = the GPU of this process's local rank, by NCCL; ``cpu`` = by gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
        # gloo's threads outlive the group: one that still lets go of a tensor when Python ends aborts the process
        dist.barrier()
    finally:
        dist.destroy_process_group()


def is_first_process() -> bool:
    """Whether this process is the one that writes and reports, by what its launcher says; alone, it is."""
    return int(os.environ.get("RANK", "0")) == 0


def rank_and_count() -> tuple[int, int]:
    """Which process this is, of how many; (0, 1) alone."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def shared(network: nn.Module) -> nn.Module:
    """The network to call in a step: its gradients are the mean over all processes."""
    if not dist.is_initialized():
        return network
    # a head that no loss reads gets no gradient
    return nn.parallel.DistributedDataParallel(network, find_unused_parameters=True)


def mean_over_processes(values: dict[str, Tensor]) -> dict[str, float]:
    """Numbers of this process's part of the batch as those of the whole batch."""
    stacked = torch.stack([value.detach().float() for value in values.values()])
    if dist.is_initialized():
        dist.all_reduce(stacked)
        stacked = stacked / dist.get_world_size()
    return dict(zip(values, stacked.tolist(), strict=True))
