"""In which precision a network computes on the processor that is there."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path

import torch

_FLAGS = {"avx512_bf16", "amx_bf16"}  # of Linux on x86


@functools.cache
def processor_has_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16 itself; False where that can not be told."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
    return not _FLAGS.isdisjoint(words)


def quick_arithmetic(device: torch.device) -> contextlib.AbstractContextManager:
    """Products in bfloat16 on a CPU that has it (half the time), and nothing changed elsewhere.

    For networks whose answer is a correction: an error of one in 256 of a correction is none of the picture's.
    """
    if device.type == "cpu" and processor_has_bfloat16():
        return torch.autocast("cpu", torch.bfloat16)
    return contextlib.nullcontext()
