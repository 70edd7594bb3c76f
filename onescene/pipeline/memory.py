"""How much memory a stage took at most."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")  # "5" resets the peak that the kernel keeps (Linux >= 4.0)


class PeakMemory:
    """Peak resident memory of this process [MB = 10^6 bytes], and of the GPU where one was used."""

    def __init__(self) -> None:
        self.cpu_mb = 0.0
        self.gpu_mb: float | None = None


@contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Measures the peak inside the block; where the kernel cannot reset it, the peak since the process began."""
    peak = PeakMemory()
    try:
        _RESET.write_text("5")
    except OSError:
        pass
    cuda = _cuda()
    if cuda:
        cuda.reset_peak_memory_stats()
    try:
        yield peak
    finally:
        peak.cpu_mb = round(_peak_bytes() / 1e6, 1)
        if cuda and cuda.max_memory_allocated():
            peak.gpu_mb = round(cuda.max_memory_allocated() / 1e6, 1)


def _peak_bytes() -> float:
    try:
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return float(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return float(psutil.Process().memory_info().rss)


def _cuda():
    """torch.cuda if torch is loaded and has used a GPU."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized() else None
