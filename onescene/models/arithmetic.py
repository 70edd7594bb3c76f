"""In which precision a network computes on the processor that is there."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]

_FLAGS = {"avx512_bf16", "amx_bf16"}  # of Linux on x86


@functools.cache
def processor_has_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16 itself; False where that can not be told."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
    return not _FLAGS.isdisjoint(words)


def arithmetic(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager:
    """A network's products in that precision, its weights as they are."""
    return contextlib.nullcontext() if precision == "float32" else torch.autocast(device.type, torch.bfloat16)


def own_precision(device: torch.device) -> contextlib.AbstractContextManager:
    """Out of an ``autocast`` around it: products in the precision of the weights."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else contextlib.nullcontext()


def best_device() -> torch.device:
    """The GPU that torch sees, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def best_precision(device: torch.device) -> Precision:
    """Of large networks on that device: bfloat16 on a GPU that has it."""
    return "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported(False) else "float32"


def quick_arithmetic(device: torch.device) -> contextlib.AbstractContextManager:
    """Products in bfloat16 on a CPU that has it (half the time), and nothing changed elsewhere.

    For networks whose answer is a correction: an error of one in 256 of a correction is none of the picture's.
    """
    if device.type == "cpu" and processor_has_bfloat16():
        return arithmetic(device, "bfloat16")
    return contextlib.nullcontext()
