"""What it brings to spread the scaffold's Gaussians as a picture needs them: sharpness at the same number.

    python benchmarks/density.py PANORAMA ... [--out results/benchmarks/density.md]

Each panorama is lifted with the shipped scaffold's distance: one Gaussian per pixel of faces of 256 and of 512 pixels,
and at most so many on the latter. ``centre``: PSNR [dB] of the six anchors of 512 pixels, rendered, against themselves.
``aside``: of six faces an eighth of the median distance away, against one Gaussian per pixel of 512: what is left.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: its idle threads would spin on the cores we use

import torch

from onescene.geometry.cubemap import face_cameras
from onescene.io.atomic import atomic_write_text
from onescene.io.images import load_panorama
from onescene.metrics import psnr
from onescene.models.scaffolds import open_scaffold
from onescene.pipeline.layout import PANORAMA_MAX_PX
from onescene.splatting import render
from onescene.stages.scaffold import ScaffoldConfig, lift_panorama
from onescene.stages.scaffold import run as make_scaffold
from onescene.types import Cameras

OUT = Path(__file__).resolve().parents[1] / "results" / "benchmarks" / "density.md"
FINE = ScaffoldConfig(face_px=512)
KINDS = {
    "256 px, each": ScaffoldConfig(face_px=256),
    "512 px, 300,000": ScaffoldConfig(face_px=512, most_gaussians=300_000),
    "512 px, 500,000 (the default)": ScaffoldConfig(face_px=512, most_gaussians=500_000),
    "512 px, each": FINE,
}
ASIDE = (0.15, -0.05, 0.2)  # of a scene whose median distance is 2


def faces_at(place: tuple[float, float, float]) -> Cameras:
    """Six faces of 512 pixels seen from a place."""
    cameras = face_cameras(FINE.face_px, FINE.fov_deg)
    poses = cameras.world_from_cam.clone()
    poses[:, :3, 3] = torch.tensor(place)
    return Cameras(world_from_cam=poses, K=cameras.K, hw=cameras.hw)


def rows_of(panorama: Path) -> list[str]:
    """Lines of the table."""
    rgb = load_panorama(panorama, max_height_px=PANORAMA_MAX_PX)
    seen = make_scaffold(rgb, open_scaffold(None)[0])
    fine = lift_panorama(rgb, seen.distance, seen.sky, FINE)
    aside = render(fine.gaussians, faces_at(ASIDE)).rgb
    lines = []
    for name, config in KINDS.items():
        start = time.perf_counter()
        made = lift_panorama(rgb, seen.distance, seen.sky, config).gaussians
        seconds = time.perf_counter() - start
        centre = psnr(render(made, faces_at((0, 0, 0))).rgb, fine.faces).mean().item()
        left = f"{psnr(render(made, faces_at(ASIDE)).rgb, aside).mean().item():.1f}" if config != FINE else ""
        lines.append(f"| {panorama.stem} | {name} | {len(made):,} | {centre:.1f} | {left} | {seconds:.1f} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("panoramas", nargs="+", type=Path, metavar="PANORAMA")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    head = ["| panorama | lifted | Gaussians | centre | aside | s |", "| --- | --- | --- | --- | --- | --- |"]
    lines = [line for panorama in args.panoramas for line in rows_of(panorama)]
    command = f"python benchmarks/density.py {' '.join(map(str, args.panoramas))}"
    title = f"# Gaussians where the picture needs them\n\n`{command}` (what the columns are: its first lines)"
    atomic_write_text(args.out, "\n".join([title, "", *head, *lines]) + "\n")


if __name__ == "__main__":
    main()
