"""Makes packed sets of panoramas from maps: interruptible, resumable, several processes at once.

The layout of the result and its reader are `onescene.data.panoramas`.
"""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from onescene.data.maps.pk3 import PackFiles, open_games
from onescene.data.maps.points import camera_points, is_clear
from onescene.data.maps.raytrace import TracedPanorama, cast, trace_panorama, trace_view, yaw_rotation
from onescene.data.maps.world import TracedWorld, load_map
from onescene.data.packing import Progress, pack
from onescene.data.panoramas import check_out_dir, encode_distance, write_arrays
from onescene.data.splits import Split, check_split, maps_of

VERSION = 2  # grows when the same parameters would give other pictures
MIN_BRIGHTNESS = 0.12  # mean of what is not sky; darker panoramas teach nothing
VIEW_CLEARANCE_M = 0.2
VIEW_TRIES = 24

IsClear = Callable[[TracedWorld, np.ndarray, float], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class PlacesConfig:
    """What to render of each place.

    Attributes:
        split: Which maps, or whose furniture.
        hw: Panorama height and width [pixels].
        views_per_point: Displaced perspective views per panorama.
        view_px: Height and width of a view [pixels].
        view_fov_deg: Its field of view [degrees].
        view_shift: Displacement as a share of the panorama's median distance, from and to.
        seed: Seed of points, yaws and the order of maps.
        workers: Processes; 1 = this one.
    """

    split: Split = "train"
    hw: tuple[int, int] = (192, 384)
    views_per_point: int = 0
    view_px: int = 192
    view_fov_deg: float = 80.0
    view_shift: tuple[float, float] = (0.05, 0.25)
    seed: int = 0
    workers: int = 2

    def __post_init__(self) -> None:
        check_split(self.split)
        if len(self.hw) != 2 or self.hw[0] < 16 or self.hw[1] != 2 * self.hw[0]:
            raise ValueError(f"hw must be a height >= 16 and twice that as width, got {self.hw}")
        self._at_least(views_per_point=0, view_px=8, workers=1)
        if not 10 < self.view_fov_deg < 170:
            raise ValueError(f"view_fov_deg must lie in (10, 170), got {self.view_fov_deg}")

    def parameters(self) -> dict:
        """What the pictures depend on, as it is stored beside them."""
        values = {k: v for k, v in asdict(self).items() if k not in ("workers", "split")}
        return json.loads(json.dumps({"version": VERSION, **values}))

    def _at_least(self, **least: int) -> None:
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"{name} must be at least {value}, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class MapsConfig(PlacesConfig):
    """What to render of maps.

    Attributes:
        points_per_map: Panoramas per map at most.
        other_images: Whether the walls show images of other walls of the game (`exchange`).
    """

    points_per_map: int = 26
    other_images: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(points_per_map=1)

    def parameters(self) -> dict:
        values = super().parameters()
        if not self.other_images:  # as in sets from before there was a choice
            del values["other_images"]
        return values


def _views(
    world: TracedWorld,
    pano: TracedPanorama,
    pose: np.ndarray,
    config: PlacesConfig,
    is_clear: IsClear,
    rng: np.random.Generator,
) -> dict[str, np.ndarray] | None:
    """Displaced views of a place (`pose` = world_from_panorama), or None where there is no room for them."""
    median = float(np.median(pano.distance[~pano.sky]))
    focal = config.view_px / 2 / np.tan(np.radians(config.view_fov_deg) / 2)
    intrinsics = np.array([[focal, 0, config.view_px / 2], [0, focal, config.view_px / 2], [0, 0, 1.0]])
    out: dict[str, list[np.ndarray]] = {"rgb": [], "depth_z": [], "world_from_cam": []}
    for _ in range(VIEW_TRIES):
        if len(out["rgb"]) == config.views_per_point:
            break
        way = rng.normal(size=3) * np.array([1.0, 0.5, 1.0])
        way /= np.linalg.norm(way)
        shift = median * rng.uniform(*config.view_shift)
        local = np.eye(4)
        pitch = rng.uniform(-0.35, 0.35)
        tilt = np.array(
            [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]], dtype=np.float64
        )
        local[:3, :3] = yaw_rotation(rng.uniform(-np.pi, np.pi)) @ tilt
        local[:3, 3] = way * shift
        camera = pose @ local
        free = cast(world, pose[:3, 3], (pose[:3, :3] @ way)[None]).distance[0]
        if free < shift + VIEW_CLEARANCE_M or not is_clear(world, camera[None, :3, 3], VIEW_CLEARANCE_M)[0]:
            continue
        view = trace_view(world, camera, intrinsics, (config.view_px, config.view_px), pano.gain)
        if view.sky.mean() > 0.9:
            continue
        out["rgb"].append(view.rgb)
        out["depth_z"].append(view.depth_z)
        out["world_from_cam"].append(local.astype(np.float32))
    if len(out["rgb"]) < config.views_per_point:
        return None
    out["K"] = [intrinsics.astype(np.float32)] * config.views_per_point
    return {f"view_{k}": np.stack(v) for k, v in out.items()}


def render_place(
    world: TracedWorld, point: np.ndarray, config: PlacesConfig, is_clear: IsClear, rng: np.random.Generator
) -> dict[str, np.ndarray] | None:
    """One panorama, with its views if asked for, as a row of the arrays of a file.

    Args:
        world: Where.
        point: Where in it [3] [m].
        config: What to render.
        is_clear: Which of points [n, 3] lie in open space, so far [m] from all surfaces.
        rng: Randomness.

    Returns:
        The arrays, or None where it is too dark or has no room for views.
    """
    yaw = float(rng.uniform(-np.pi, np.pi))
    pano = trace_panorama(world, point, config.hw, yaw)
    if pano.sky.all() or pano.rgb[~pano.sky].mean() < MIN_BRIGHTNESS * 255:
        return None
    row = {"rgb": pano.rgb, "log_distance": encode_distance(pano.distance)}
    row |= {"points_m": point.astype(np.float32), "yaw_rad": np.float32(yaw), "gain": np.float32(pano.gain)}
    if config.views_per_point:
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = yaw_rotation(yaw), point
        views = _views(world, pano, pose, config, is_clear, rng)
        if views is None:
            return None
        row |= views
    return row


def render_map(packs: PackFiles, name: str, config: MapsConfig) -> dict[str, np.ndarray]:
    """Renders one map's panoramas, and views if asked for.

    Returns:
        The arrays `onescene.data.panoramas` describes; with N = 0 where the map has no clear place.
    """
    clothes = np.random.default_rng([config.seed, zlib.crc32(name.encode())]) if config.other_images else None
    world = load_map(packs, name, clothes)
    rng = np.random.default_rng([config.seed, zlib.crc32(world.name.encode())])
    points = camera_points(world, config.points_per_map, rng)
    rows = [row for row in (render_place(world, p, config, is_clear, rng) for p in points) if row is not None]
    stacked = {key: np.stack([row[key] for row in rows]) for key in rows[0]} if rows else {}
    return stacked | {"missing": np.float32(world.missing)}


_open_once = functools.cache(open_games)  # in a worker, archives stay open from one map to the next


def _render_to_file(packs_dir: str, game: str, name: str, out: str, config: MapsConfig) -> dict:
    """Runs in a worker: renders one map and writes its file; returns its entry of the index."""
    try:
        arrays = render_map(_open_once(packs_dir)[game], name, config)
    except ValueError as error:
        return {"panoramas": 0, "error": str(error)}
    entry = {"panoramas": len(arrays.get("rgb", ())), "missing": round(float(arrays.pop("missing")), 5)}
    if entry["panoramas"]:
        write_arrays(Path(out) / f"{key_of(game, name)}.npz", arrays)
    return entry


def key_of(game: str, name: str) -> str:
    """A map's name in the index and of its file."""
    return f"{game}__{name.replace('/', '.')}"


def generate_dataset(
    packs_dir: str | Path, out_dir: str | Path, config: MapsConfig, progress: Progress | None = None
) -> dict:
    """Renders a split's maps into a folder of packed panoramas.

    Maps come in an order shuffled by the seed, so that an unfinished set is already varied. A map
    that is there with the same parameters is skipped; interrupting loses at most the maps under way.

    Args:
        packs_dir: A folder with pk3 files anywhere below it.
        out_dir: Folder to write to.
        config: What to render.
        progress: Called with the last map's name, how many maps are done, and how many there are.

    Returns:
        The index as written to `index.json`.

    Raises:
        FileNotFoundError: `packs_dir` is no folder.
        ValueError: No packs, or none of their maps is in the split; or `out_dir` is a file.
    """
    out = check_out_dir(out_dir)
    games = open_games(packs_dir)
    todo = [(game, name) for game in sorted(games) for name in maps_of(games[game].maps(), config.split)]
    if not todo:
        raise ValueError(f"packs_dir must hold maps of the split {config.split}, found none in {packs_dir}")
    order = np.random.default_rng(config.seed).permutation(len(todo))
    tasks = {key_of(*todo[i]): (str(packs_dir), *todo[i], str(out), config) for i in order}
    sources = {game: [p.name for p in packs.paths] for game, packs in games.items()}
    return pack(out, tasks, _render_to_file, config.parameters(), config.split, sources, config.workers, progress)
