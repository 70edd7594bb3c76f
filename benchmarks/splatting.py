"""How fast Gaussians are rendered here: the Numba backend against gsplat's torch code, our torch twin and plain C++.

    python benchmarks/splatting.py [--repeats 15] [--slow-repeats 3] [--out results/benchmarks/splatting.json]

The scene is what a scaffold looks like: one Gaussian per pixel of six cube faces, on the walls of a room with a few
spheres in it, seen from beside the centre. All methods run interleaved in one process; both backends through the public
``render`` with autograd, the C++ version directly. Trust the ratios, those of CPU time (all threads added up) most: the
milliseconds depend on the machine and on what else it does. Writes a JSON file and a table beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: its idle threads would spin on the cores we use

import torch
from splatting_methods import METHODS, TITLES, draw, draw_backward, missing
from splatting_report import table
from splatting_scene import FACE_PX, camera, room

TASKS = (
    ("forward", "50k", 512),
    ("forward", "300k", 512),
    ("forward", "1.5M", 512),
    ("f+b", "300k", 256),
    ("f+b", "300k", 512),
)
SLOW = ("torch", "gsplat")
NAMES = ("means", "quats", "scales", "opacities", "sh")


def measure(task: str, scene: str, px: int, repeats: dict[str, int]) -> dict:
    """Times one task with every method, interleaved, and how far the methods' results lie from gsplat's."""
    gaussians, cameras = room(FACE_PX[scene]), camera(px)
    run = draw_backward if task == "f+b" else draw
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in repeats}
    results = {name: run(METHODS[name], gaussians, cameras) for name in repeats}  # the first call is not timed
    for repeat in range(max(repeats.values())):
        for name, count in repeats.items():
            if repeat * count // max(repeats.values()) == (repeat - 1) * count // max(repeats.values()):
                continue
            start, cpu = time.perf_counter(), time.process_time()
            run(METHODS[name], gaussians, cameras)
            times[name].append((time.perf_counter() - start, time.process_time() - cpu))
    row = {"task": task, "scene": scene, "gaussians": len(gaussians), "px": px, "methods": {}}
    for name, values in times.items():
        wall, cpu = ([1e3 * v for v in column] for column in zip(*values, strict=True))
        row["methods"][name] = {
            "runs": len(wall),
            "wall_ms": {"median": round(statistics.median(wall), 2), "min": round(min(wall), 2)},
            "cpu_ms": {"median": round(statistics.median(cpu), 2), "min": round(min(cpu), 2)},
        }
    if "gsplat" in results:
        row["against_gsplat"] = {n: distance(results[n], results["gsplat"]) for n in results if n != "gsplat"}
    return row


def distance(ours: tuple, theirs: tuple) -> dict:
    """Pixels off by more than 1/255 in colour or alpha, worst difference, and relative L2 of each gradient."""
    (rgb, _, alpha), grads = ours
    (their_rgb, _, their_alpha), their_grads = theirs
    worst = torch.cat((rgb - their_rgb, (alpha - their_alpha)[:, None]), dim=1).abs().amax(1)
    found = {
        "pixels": worst.numel(),
        "pixels_off_by_1/255": int((worst > 1 / 255).sum()),
        "max_abs": float(worst.max()),
    }
    for name, mine, other in zip(NAMES, grads, their_grads, strict=bool(grads)):
        found[f"grad_{name}_relative_l2"] = float((mine - other).norm() / other.norm())
    return found


def same_bits() -> bool:
    """Whether image and gradients are the same bits for 1, 2, 3 and 5 threads."""
    gaussians, cameras = room(FACE_PX["50k"]), camera(200)
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 3, 5):
        torch.set_num_threads(threads)
        images, grads = draw_backward(METHODS["numba"], gaussians, cameras)
        results.append((*images, *grads))
    torch.set_num_threads(before)
    return all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def fresh(*arguments: str, cache: str | None = None) -> dict:
    """What ``fresh_process.py`` measures, with its own folder for compiled kernels if one is given."""
    environment = os.environ | ({"NUMBA_CACHE_DIR": cache} if cache else {})
    script = Path(__file__).with_name("fresh_process.py")
    command = [sys.executable, str(script), *arguments]
    out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return {name: round(value, 2) for name, value in json.loads(out.splitlines()[-1]).items()}


def processes(methods: list[str]) -> dict:
    """First and cached calls, and memory, each in processes of their own."""
    with tempfile.TemporaryDirectory() as cache:
        found = {"first_call": fresh("first", cache=cache), "cached_call": fresh("first", cache=cache)}
    found["memory_f+b_300k_512"] = {m: fresh("memory", "f+b", m, "300k", "512") for m in methods}
    found["memory_forward_5M_512"] = {"numba": fresh("memory", "forward", "numba", "5M", "512")}
    return found


def machine() -> dict:
    """The machine in words."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.is_file() else ""
    model = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), "")
    return {
        "processor": f"{os.cpu_count()} cores, {model or platform.machine()}" + (", AVX-512" * ("avx512f" in text)),
        "threads": torch.get_num_threads(),
        "load_average_before": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "niceness": os.nice(0) if hasattr(os, "nice") else 0,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--slow-repeats", type=int, default=3, help="of the torch methods")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/splatting.json"))
    arguments = parser.parse_args()
    methods = [m for m in METHODS if not missing(m)]
    report = {
        "command": f"python benchmarks/splatting.py --repeats {arguments.repeats} "
        f"--slow-repeats {arguments.slow_repeats}",
        "machine": machine(),
        "methods": {m: TITLES[m] + (f" (absent: {missing(m)})" if missing(m) else "") for m in METHODS},
        "rows": [],
    }
    for task in TASKS:
        repeats = {m: arguments.slow_repeats if m in SLOW else arguments.repeats for m in methods}
        report["rows"].append(measure(*task, repeats))
        print(table(report).splitlines()[-1] if len(report["rows"]) > 1 else table(report), flush=True)
    report["same_bits_for_1_2_3_5_threads"] = same_bits()
    report |= processes(methods)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    arguments.out.with_suffix(".md").write_text(table(report) + "\n")
    print(table(report))
    print(f"written to {arguments.out} and {arguments.out.with_suffix('.md')}")


if __name__ == "__main__":
    main()
