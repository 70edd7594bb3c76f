"""How fast Gaussians are rendered here: the Numba backend against the torch twin, forward and with gradients.

    python benchmarks/splatting.py [--repeats 15] [--out results/benchmarks/splatting.json]

The scene is what a scaffold looks like: one Gaussian per pixel of six cube faces, on the walls of a room with a few
spheres in it, seen from beside the centre. Both backends run interleaved in one process, through the public ``render``;
trust the ratios, the milliseconds depend on the machine and on what else it does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: its idle threads would spin on the cores we use

import torch

from onescene.geometry.cubemap import face_directions
from onescene.splatting import render
from onescene.types import SH_C0, Cameras, Gaussians

SPHERES = (((1.0, 0.6, 1.5), 0.5), ((-1.2, 0.8, -1.0), 0.6), ((0.3, 0.9, 2.2), 0.35))  # centre, radius
FACE_PX = {"50k": 91, "300k": 224}


def room(face_px: int) -> Gaussians:
    """One Gaussian per face pixel, as wide as the pixel's footprint and thin along the ray."""
    generator = torch.Generator().manual_seed(0)
    rays = face_directions(face_px, 90.0).reshape(-1, 3)
    distance = (torch.tensor([2.5, 1.3, 3.0]) / rays.abs().clamp_min(1e-6)).amin(-1)
    for centre, radius in SPHERES:
        middle = torch.tensor(centre)
        along = rays @ middle
        inside = along**2 - middle.square().sum() + radius**2
        hit = along - inside.clamp_min(0).sqrt()
        distance = torch.where((inside > 0) & (along > 0) & (hit < distance), hit, distance)
    n = len(rays)
    distance = distance * (1 + 0.004 * torch.randn(n, generator=generator))
    means = rays * distance[:, None]
    scales = (1.4 / face_px * distance)[:, None] * torch.exp(0.3 * torch.randn(n, 3, generator=generator))
    half_way = rays + torch.tensor([0.0, 0.0, 1.0])  # the half turn about it takes z to the ray
    quats = torch.cat((torch.zeros(n, 1), half_way), dim=-1) * (0.5 + torch.rand(n, 1, generator=generator))
    waves = torch.stack([torch.sin(3 * means[:, i]) * torch.cos(2 * means[:, (i + 1) % 3]) for i in range(3)], dim=-1)
    return Gaussians(
        means=means,
        quats=quats,
        scales=scales * torch.tensor([1.0, 1.0, 0.2]),
        opacities=torch.sigmoid(1.2 + 1.5 * torch.randn(n, generator=generator)),
        sh=(0.4 * waves / SH_C0)[:, None],
    )


def camera(px: int, fov_deg: float = 90.0) -> Cameras:
    """One camera 0.72 units beside the centre."""
    f_px = px / 2 / torch.tan(torch.deg2rad(torch.tensor(fov_deg)) / 2)
    world_from_cam = torch.eye(4)
    world_from_cam[:3, 3] = torch.tensor([0.43, -0.1, 0.56])
    K = torch.tensor([[f_px, 0, px / 2], [0, f_px, px / 2], [0, 0, 1]])
    return Cameras(world_from_cam=world_from_cam[None], K=K[None], hw=(px, px))


def interleaved_ms(tasks: dict[str, Callable[[], None]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of every call; the slow task runs a fifth as often."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for repeat in range(-1, repeats):
        for name, task in tasks.items():
            if name == "torch" and repeat % 5:
                continue
            start = time.perf_counter()
            task()
            if repeat >= 0:  # the first call compiles or loads the kernels
                times[name].append(1e3 * (time.perf_counter() - start))
    return times


def forward(gaussians: Gaussians, cameras: Cameras, backend: str) -> Callable[[], None]:
    """A render without gradients."""

    def task() -> None:
        with torch.no_grad():
            render(gaussians, cameras, backend)

    return task


def forward_backward(gaussians: Gaussians, cameras: Cameras, backend: str) -> Callable[[], None]:
    """A render, a loss on all three outputs, and the gradients of all five tensors."""
    free = {n: getattr(gaussians, n).clone().requires_grad_() for n in gaussians.__dataclass_fields__}

    def task() -> None:
        out = render(Gaussians(**free), cameras, backend)
        (out.rgb.square().mean() + out.depth_z.mean() + out.alpha.mean()).backward()
        for tensor in free.values():
            tensor.grad = None

    return task


def agreement(gaussians: Gaussians, cameras: Cameras) -> dict[str, float]:
    """PSNR and worst pixels between the two backends."""
    ours, twin = render(gaussians, cameras, "numba").rgb, render(gaussians, cameras, "torch").rgb
    difference = (ours - twin).abs()
    return {
        "psnr_db": float(-10 * difference.double().square().mean().log10()),
        "max_abs": float(difference.max()),
        "values_off_by_1e-4": int((difference > 1e-4).sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/splatting.json"))
    arguments = parser.parse_args()
    rows = []
    print(f"{'scene':6} {'task':9} {'px':>4}  {'numba ms':>9} {'(min)':>8} {'torch ms':>9} {'(min)':>8} {'ratio':>6}")
    for scene, face_px in FACE_PX.items():
        gaussians = room(face_px)
        for name, make, px in (
            ("forward", forward, 512),
            ("f+b", forward_backward, 512),
            ("f+b", forward_backward, 256),
        ):
            cameras = camera(px)
            times = interleaved_ms({b: make(gaussians, cameras, b) for b in ("numba", "torch")}, arguments.repeats)
            row = {"scene": scene, "gaussians": len(gaussians), "task": name, "px": px}
            for backend, values in times.items():
                row[f"{backend}_ms_median"] = round(statistics.median(values), 2)
                row[f"{backend}_ms_min"] = round(min(values), 2)
            row["ratio_of_medians"] = round(row["torch_ms_median"] / row["numba_ms_median"], 1)
            if name == "forward":
                row |= agreement(gaussians, cameras)
            rows.append(row)
            print(
                f"{scene:6} {name:9} {px:4}  {row['numba_ms_median']:9.1f} {row['numba_ms_min']:8.1f} "
                f"{row['torch_ms_median']:9.1f} {row['torch_ms_min']:8.1f} {row['ratio_of_medians']:6.1f}"
            )
    report = {
        "command": "python benchmarks/splatting.py",
        "machine": {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "torch": torch.__version__,
        "rows": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
