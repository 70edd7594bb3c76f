"""Makes packed panoramas of furnished homes, in the same files as the maps: ``homes__<split>_<seed>_<number>.npz``."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onescene.data.homes.arrange import Placed, on_floor
from onescene.data.homes.home import Home, draw_home
from onescene.data.homes.library import open_libraries
from onescene.data.homes.looks import read_textures
from onescene.data.maps.generate import PlacesConfig, render_place
from onescene.data.maps.points import PROBES, farthest_points, sphere_directions
from onescene.data.maps.raytrace import cast
from onescene.data.maps.world import TracedWorld
from onescene.data.packing import Progress, pack
from onescene.data.panoramas import check_out_dir, write_arrays
from onescene.data.splits import Split

EYES_M = (0.9, 1.8)
CLEARANCE_M = 0.3
NEIGHBOUR_SHARE = 0.3  # of the places, in rooms that adjoin the main one
CANDIDATES = 6  # places tried for each one that is kept
SEEDS = {"train": 0, "validation": 1, "heldout": 2}


@dataclass(frozen=True, kw_only=True)
class HomesConfig(PlacesConfig):
    """What to render of homes.

    Attributes:
        furniture: Folder with ``.sh3f`` libraries anywhere below it.
        textures: Folder with photographs of surfaces, or None.
        count: Homes.
        points: Panoramas per home at most.
    """

    furniture: str
    textures: str | None = None
    count: int = 64
    points: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(count=1, points=1)

    def parameters(self) -> dict:
        """What each home's pictures depend on, wherever its sources lie and however many others there are."""
        return {k: v for k, v in super().parameters().items() if k not in ("furniture", "textures", "count")}


def _inside(point: np.ndarray, placed: list[Placed]) -> bool:
    """Whether a point lies in or right above the box around a piece."""
    for item in placed:
        local = np.abs(on_floor(item.angle).T @ (point - item.at_m)[[0, 2]])
        width, height, depth = item.piece.size_m
        if (local < np.array([width, depth]) / 2 + 0.05).all() and -point[1] < -item.at_m[1] + height + 0.2:
            return True
    return False


def _is_clear(world: TracedWorld, points_m: np.ndarray, clearance_m: float) -> np.ndarray:
    """Which points [n, 3] are nowhere nearer to a surface than ``clearance_m``."""
    probes = sphere_directions(PROBES)
    return np.array([cast(world, point, probes, 0.05).distance.min() >= clearance_m for point in points_m], dtype=bool)


def home_points(home: Home, count: int, rng: np.random.Generator) -> np.ndarray:
    """Places [n, 3] [m] to look from, n <= count: in the air of its rooms, spread, near nothing."""
    found = []
    for _ in range(count * CANDIDATES):
        k = 0 if len(home.rooms) == 1 or rng.random() > NEIGHBOUR_SHARE else int(rng.integers(1, len(home.rooms)))
        room = home.rooms[k]
        low, high = np.array(room.low) + CLEARANCE_M, np.array(room.high) - CLEARANCE_M
        x, z = rng.uniform(low, high)
        point = np.array([x, -min(rng.uniform(*EYES_M), room.height - CLEARANCE_M), z])
        if _inside(point, home.placed[k]):
            continue
        if _is_clear(home.world, point[None], CLEARANCE_M)[0]:
            found.append(point)
    if not found:
        return np.zeros((0, 3))
    points = np.array(found)
    return points[farthest_points(points, count, first=0)]


@functools.cache
def _stock(furniture: str, textures: str | None, split: Split) -> tuple:
    return open_libraries(furniture, split), read_textures(textures)


def render_home(number: int, config: HomesConfig) -> dict[str, np.ndarray]:
    """Draws one home and renders its panoramas: the arrays of `onescene.data.panoramas`, none where it is too full."""
    pieces, textures = _stock(config.furniture, config.textures, config.split)
    rng = np.random.default_rng([SEEDS[config.split], config.seed, number])
    home = draw_home(home_name(number, config), pieces, textures, rng)
    points = home_points(home, config.points, rng)
    rows = [row for row in (render_place(home.world, p, config, _is_clear, rng) for p in points) if row is not None]
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]} if rows else {}


def home_name(number: int, config: HomesConfig) -> str:
    """A home's name in the index and of its file."""
    return f"homes__{config.split}_{config.seed}_{number:05d}_{config.hw[0]}"


def _render_to_file(number: int, out: str, config: HomesConfig) -> dict:
    arrays = render_home(number, config)
    if arrays:
        write_arrays(Path(out) / f"{home_name(number, config)}.npz", arrays)
    return {"panoramas": len(arrays.get("rgb", ()))}


def generate_homes(out_dir: str | Path, config: HomesConfig, progress: Progress | None = None) -> dict:
    """Renders homes into a folder of packed panoramas; a home that is there with the same parameters is kept.

    Args:
        out_dir: Folder to write to.
        config: What to render.
        progress: Called with the last home's name, how many homes are done, and how many there are.

    Returns:
        The index as written to ``index.json``.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: there is no furniture of the split; or ``out_dir`` is a file.
    """
    out = check_out_dir(out_dir)
    pieces, textures = _stock(config.furniture, config.textures, config.split)
    stock = {
        "pieces": len(pieces),
        "surfaces": sum(map(len, textures.by_role.values())),
        "pictures": len(textures.pictures),
    }
    tasks = {home_name(n, config): (n, str(out), config) for n in range(config.count)}
    sources = {"libraries": sorted({piece.library.name for piece in pieces})}
    parameters = config.parameters() | stock
    return pack(out, tasks, _render_to_file, parameters, config.split, sources, config.workers, progress)
