"""Measures one thing in a process of its own and prints it as JSON: the first call, or the memory of a call.

python benchmarks/fresh_process.py first
python benchmarks/fresh_process.py memory forward numba 5M 512
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from splatting_methods import METHODS, draw, draw_backward
from splatting_scene import FACE_PX, camera, room

MEBIBYTE = 2**20


def first_call() -> dict[str, float]:
    """Seconds (wall, and CPU of all threads) of the first forward and backward of this process.

    All that our renderer imports and compiles counts; what torch imports for its first backward does not.
    """
    gaussians, cameras = room(8), camera(64)
    torch.autograd.backward(torch.zeros(1, requires_grad=True) * 2, torch.ones(1))
    start, cpu = time.perf_counter(), time.process_time()
    draw_backward(METHODS["numba"], gaussians, cameras)
    wall, spent = time.perf_counter() - start, time.process_time() - cpu
    return {"seconds": wall, "cpu_seconds": spent}


def _status(name: str) -> float:
    """A line of this process's status [MiB]: VmRSS (memory now) or VmHWM (its peak)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(name))) / 1024


def memory(task: str, method: str, scene: str, px: int) -> dict[str, float]:
    """MiB that a call takes beyond what was there with its inputs, and the whole process at its peak."""
    call = METHODS[method]
    run = draw_backward if task == "f+b" else draw
    run(call, room(8), camera(64))  # code is loaded and compiled before anything is counted
    gaussians, cameras = room(FACE_PX[scene]), camera(px)
    gaussians = type(gaussians)(**{n: getattr(gaussians, n).clone() for n in gaussians.__dataclass_fields__})
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    run(call, gaussians, cameras)
    peak = _status("VmHWM")
    inputs = sum(getattr(gaussians, n).nbytes for n in gaussians.__dataclass_fields__) / MEBIBYTE
    return {"extra_mib": peak - before, "inputs_mib": inputs, "process_peak_mib": peak}


if __name__ == "__main__":
    torch.set_num_threads(2)
    what, *arguments = sys.argv[1:]
    if what == "first":
        print(json.dumps(first_call()))
    else:
        print(json.dumps(memory(arguments[0], arguments[1], arguments[2], int(arguments[3]))))
