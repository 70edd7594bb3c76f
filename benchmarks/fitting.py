"""What fitting brings and costs here: a scaffold fitted to 24 true views of its scene, seen from views held out.

    python benchmarks/fitting.py [--rooms 3] [--packs FOLDER --maps NAME ...] [--size full|quarter]

writes results/benchmarks/fitting.json, or fitting-quarter.json, after every scene. Drawing a scene takes longer than
fitting to it: ``--cache FOLDER`` keeps what was drawn for the next run.

The start is what the job would start from: the shipped network's own prediction of a panorama's distance, errors and
all, lifted to 300,000 Gaussians, a sheet behind them. Scenes are analytic rooms and, where a folder with pk3 packs of
free games is given, held-out maps ray traced by this package: both have true views from anywhere. Only the median
distance is brought to the truth's: one panorama has no scale.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: its idle threads would spin on the cores we use

import numpy as np
import torch
from torch import Tensor

from onescene.data.maps.pk3 import PackFiles, open_games
from onescene.data.maps.points import camera_points, is_clear
from onescene.data.maps.raytrace import trace_panorama, trace_view
from onescene.data.maps.world import load_map
from onescene.data.rooms import render_panorama, render_views, sample_room
from onescene.data.splits import split_of
from onescene.geometry.perspective import intrinsics_from_fov
from onescene.geometry.rotations import matrix_from_yaw_pitch_roll
from onescene.metrics import image_metrics
from onescene.models.loading import load_scaffold, shipped_scaffold_path
from onescene.splatting import render
from onescene.stages import refine
from onescene.stages.scaffold import ScaffoldConfig, lift_panorama
from onescene.stages.scaffold import run as run_scaffold
from onescene.stages.sheet import backing_sheet
from onescene.types import Cameras, Gaussians

FACE_PX = {"full": 232, "quarter": 116}  # with the sheet 300,000 or 75,000 Gaussians
VIEW_PX = {"full": 256, "quarter": 128}
PANORAMA_HEIGHT = {"full": 512, "quarter": 256}
EDGE_RAYS = {"full": 3, "quarter": 2}  # rays along the side of a pixel of a room's view where there is an edge
FITTED, HELD_OUT, FOV_DEG = 24, 8, 80.0
REACH = 0.25  # cameras stand at most this share of the median distance away from the panorama's centre
CLEARANCE_M = 0.25


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A panorama whose distance is known, and true views around it."""

    panorama: Tensor  # [3, H, 2H]
    distance: Tensor  # [H, 2H], along the ray [m]
    sky: Tensor  # [H, 2H]
    views_rgb: Tensor  # [V, 3, h, w]; the first 24 are fitted to
    cameras: Cameras


def draw_cameras(reach_m: float, is_free: Callable[[Tensor], bool], seed: int, view_px: int) -> Cameras:
    """Cameras at free places around the centre; those fitted to look evenly around, the others anywhere."""
    generator = torch.Generator().manual_seed(seed)
    poses = torch.eye(4).repeat(FITTED + HELD_OUT, 1, 1)
    for v in range(len(poses)):
        turn = v / FITTED if v < FITTED else float(torch.rand((), generator=generator))
        pitch = float(torch.rand((), generator=generator) - 0.5) * 0.8
        poses[v, :3, :3] = matrix_from_yaw_pitch_roll(torch.tensor([2 * math.pi * turn, pitch, 0.0]))
        while True:
            way = torch.randn(3, generator=generator) * torch.tensor([1.0, 0.4, 1.0])
            place = way / way.norm() * reach_m * torch.rand((), generator=generator)
            if is_free(place):
                break
        poses[v, :3, 3] = place
    K = intrinsics_from_fov(FOV_DEG, (view_px, view_px)).float().expand(len(poses), 3, 3)
    return Cameras(world_from_cam=poses, K=K.clone(), hw=(view_px, view_px))


def weights_sha256() -> str:
    """Which scaffold network the starts are from."""
    return load_scaffold(shipped_scaffold_path())[1].sha256


def start_of(scene: Scene, size: str) -> Gaussians:
    """The job's scaffold and sheet of the panorama, scaled to the true median distance [m]."""
    network, _ = load_scaffold(shipped_scaffold_path())
    config = ScaffoldConfig(face_px=FACE_PX[size])
    predicted = run_scaffold(scene.panorama, network, config)
    ground = ~scene.sky
    metres = float(scene.distance[ground].median() / predicted.distance[ground].median())
    lifted = lift_panorama(scene.panorama, predicted.distance * metres, predicted.sky, config)
    return Gaussians.cat([lifted.gaussians, backing_sheet(lifted.faces, lifted.distance, config.fov_deg)])


def room_scene(seed: int, size: str) -> Scene:
    """An analytic room, furnished; seeds from 900,000 on are no training data."""
    room, height = sample_room(seed), PANORAMA_HEIGHT[size]
    seen = render_panorama(room, (height, 2 * height), supersample=2)
    reach = REACH * float(seen.distance[~seen.sky].median())
    cameras = draw_cameras(reach, lambda p: bool(room.is_free(p, CLEARANCE_M)), seed, VIEW_PX[size])
    views = render_views(room, cameras, supersample=EDGE_RAYS[size]).rgb
    return Scene(panorama=seen.rgb, distance=seen.distance, sky=seen.sky, views_rgb=views, cameras=cameras)


def map_scene(packs: PackFiles, name: str, size: str) -> Scene:
    """A place of a map: its panorama, and views from around it."""
    world, height = load_map(packs, name), PANORAMA_HEIGHT[size]
    for seed, point in enumerate(camera_points(world, 8, np.random.default_rng(0))):
        panorama = trace_panorama(world, point, (height, 2 * height))
        sky = torch.from_numpy(panorama.sky)
        if sky.float().mean() > 0.4 or panorama.rgb.mean() < 40:
            continue
        distance = torch.from_numpy(panorama.distance)

        def is_free(place: Tensor, point: np.ndarray = point) -> bool:
            return bool(is_clear(world, (point + place.double().numpy())[None], CLEARANCE_M)[0])

        cameras = draw_cameras(REACH * float(distance[~sky].median()), is_free, seed, VIEW_PX[size])
        views = []
        for v in range(len(cameras)):
            pose = cameras.world_from_cam[v].double().numpy()
            pose[:3, 3] += point
            views.append(trace_view(world, pose, cameras.K[v].double().numpy(), cameras.hw, panorama.gain).rgb)
        rgb = torch.from_numpy(panorama.rgb).permute(2, 0, 1).float() / 255
        images = torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).float() / 255
        return Scene(panorama=rgb, distance=distance, sky=sky, views_rgb=images, cameras=cameras)
    raise ValueError(f"map {name} has no place that is bright and not mostly sky")


def kept(draw: Callable[[], Scene], name: str, cache: Path | None) -> Scene:
    """A scene out of the cache, or drawn and put there."""
    if cache is None:
        return draw()
    path = cache / f"{name.replace(' ', '_')}.pt"
    if not path.is_file():
        scene = draw()
        state = {key: getattr(scene, key) for key in ("panorama", "distance", "sky", "views_rgb")}
        cache.mkdir(parents=True, exist_ok=True)
        torch.save(state | {"pose": scene.cameras.world_from_cam, "K": scene.cameras.K}, path)
    state = torch.load(path, weights_only=True)
    hw = tuple(state["views_rgb"].shape[-2:])
    cameras = Cameras(world_from_cam=state.pop("pose"), K=state.pop("K"), hw=hw)
    return Scene(**state, cameras=cameras)


def scenes(arguments: argparse.Namespace) -> Iterator[tuple[str, Scene]]:
    """Maps, then rooms that no training has seen, by name."""
    size, cache = arguments.size, arguments.cache and arguments.cache / arguments.size
    games = open_games(arguments.packs) if arguments.packs else {}
    for map_name in arguments.maps:
        found = [pack for pack in games.values() if map_name in pack.maps()]
        if not found:
            raise SystemExit(f"--maps must name maps in the packs below --packs, got {map_name}")
        name = f"{split_of(map_name)} map {map_name}"
        yield name, kept(partial(map_scene, found[0], map_name, size), name, cache)
    for seed in range(900_001, 900_001 + arguments.rooms):
        name = f"room {seed}"
        yield name, kept(partial(room_scene, seed, size), name, cache)


def psnr_db(gaussians: Gaussians, scene: Scene, index: slice) -> float:
    """PSNR over some of the scene's views."""
    rgb = torch.cat([render(gaussians, camera).rgb for camera in list(scene.cameras)[index]])
    return image_metrics(rgb.clamp(0, 1), scene.views_rgb[index])["psnr_db"]


def measure(start: Gaussians, scene: Scene, config: refine.RefineConfig) -> dict:
    """One fit: what it took, and what is seen before and after."""
    fitted, held_out = slice(0, FITTED), slice(FITTED, None)
    cameras = replace(scene.cameras, world_from_cam=scene.cameras.world_from_cam[fitted], K=scene.cameras.K[fitted])
    render(start, cameras[0])  # compiles or loads the kernels
    wall, cpu = time.perf_counter(), time.process_time()
    out = refine.run(start, scene.views_rgb[fitted], cameras, config)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    row = {"gaussians": len(start), "seconds": seconds, "cpu_seconds": cpu_seconds}
    for name, index in (("fitted", fitted), ("held_out", held_out)):
        row[f"{name}_start_db"] = psnr_db(start, scene, index)
        row[f"{name}_end_db"] = psnr_db(out.gaussians, scene, index)
    row["gain_db"] = row["held_out_end_db"] - row["held_out_start_db"]
    return {k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}


def report_of(arguments: argparse.Namespace, config: refine.RefineConfig, rows: list[dict]) -> dict:
    """Everything that the numbers depend on, and the numbers."""
    maps = f" --packs FOLDER --maps {' '.join(arguments.maps)}" if arguments.maps else ""
    options = f"--size {arguments.size} --rooms {arguments.rooms} --recipe {arguments.recipe} --steps {arguments.steps}"
    processor = platform.processor() or platform.machine()
    return {
        "command": f"python benchmarks/fitting.py {options}{maps}",
        "machine": {
            "processor": processor,
            "threads": torch.get_num_threads(),
            "load_1min": round(os.getloadavg()[0], 1),
        },
        "torch": torch.__version__,
        "scaffold_sha256": weights_sha256(),
        "views": {"fitted": FITTED, "held_out": HELD_OUT, "px": VIEW_PX[arguments.size], "fov_deg": FOV_DEG},
        "config": asdict(config),
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rooms", type=int, default=3)
    parser.add_argument("--packs", type=Path, help="folder with pk3 packs anywhere below it")
    parser.add_argument("--maps", nargs="*", default=[], help="maps in the packs, by name")
    parser.add_argument("--size", default="full", choices=sorted(FACE_PX))
    parser.add_argument("--recipe", default="true-views", choices=sorted(refine.RECIPES))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--cache", type=Path, help="folder that keeps the scenes")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    config = replace(refine.RECIPES[arguments.recipe], steps=arguments.steps, check_every=max(arguments.steps, 1))
    path = arguments.out / ("fitting.json" if arguments.size == "full" else f"fitting-{arguments.size}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict] = []
    print(f"{'scene':20} {'Gaussians':>9} {'s':>7} {'CPU s':>7} {'held out':>8} {'after':>6} {'gain dB':>7}")
    for name, scene in scenes(arguments):
        row = {"scene": name} | measure(start_of(scene, arguments.size), scene, config)
        rows.append(row)
        print(
            f"{row['scene']:20} {row['gaussians']:9,} {row['seconds']:7.1f} {row['cpu_seconds']:7.1f} "
            f"{row['held_out_start_db']:8.2f} {row['held_out_end_db']:6.2f} {row['gain_db']:+7.2f}",
            flush=True,
        )
        path.write_text(json.dumps(report_of(arguments, config, rows), indent=2) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
