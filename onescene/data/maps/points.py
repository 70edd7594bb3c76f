"""Chooses camera points: where players can stand, clear of walls, spread over the map."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from onescene.data.maps.bsp import clusters_at, parse_vector
from onescene.data.maps.raytrace import cast
from onescene.data.maps.shading import SKY
from onescene.data.maps.world import METRES_PER_UNIT, QuakeMap, quake_from_world, world_from_quake

EYE_M = 50 * METRES_PER_UNIT  # a player's eyes above the floor
EYE_SPREAD_M = (-0.35, 0.9)  # how far below and above that a camera may be
CLEARANCE_M = 0.4
PROBES = 512  # rays that test a point's surroundings
MAX_BAD = 0.02  # share of the sphere that may show backs or nothing
MAX_SKY, MAX_OPEN_SKY = 0.75, 0.45  # the latter where there is no box of sky: outdoors, only near buildings
HORIZON = 0.15  # sine of the angle below level that a map without a box of sky may end at
MIN_MEDIAN_M = 1.0
FALL_M = 8.0  # how deep the floor may lie under a walker
SEEDS = (
    "info_player",
    "info_team",
    "info_human",
    "info_alien",
    "info_civilian",
    "item_",
    "weapon_",
    "ammo_",
    "holdable_",
    "team_ctf",
    "misc_teleporter_dest",
)
DOWN = np.array([0.0, 1.0, 0.0])


def sphere_directions(count: int) -> Float[ndarray, "count 3"]:
    """Unit directions [count, 3] spread evenly (Fibonacci lattice)."""
    i = np.arange(count) + 0.5
    y = 1 - 2 * i / count
    radius, angle = np.sqrt(1 - y**2), np.pi * (1 + 5**0.5) * i
    return np.stack([radius * np.cos(angle), y, radius * np.sin(angle)], 1)


def seed_points(world: QuakeMap) -> Float[ndarray, "n 3"]:
    """Positions [n, 3] [m] of player starts and of things to pick up."""
    entities = [e for e in world.bsp.entities if e.get("classname", "").lower().startswith(SEEDS)]
    origins = [parse_vector(e.get("origin", "")) for e in entities]
    found = [o for o in origins if o is not None]
    return world_from_quake(np.array(found).reshape(-1, 3))


def clear_distance(
    world: QuakeMap, points_m: Float[ndarray, "n 3"], directions: Float[ndarray, "n 3"]
) -> Float[ndarray, " n"]:
    """Distance [m] to the first surface along one ray per point; inf = none."""
    return cast(world, points_m, directions).distance


def raise_to_eyes(world: QuakeMap, points_m: Float[ndarray, "n 3"], rng: np.random.Generator) -> Float[ndarray, "n 3"]:
    """Moves points to eye height above the floor under them; those without a floor stay where they are."""
    fall = clear_distance(world, points_m, np.tile(DOWN, (len(points_m), 1)))
    height = EYE_M + rng.uniform(*EYE_SPREAD_M, size=len(points_m))
    return points_m + DOWN * np.where(fall < FALL_M, fall - height, 0.0)[:, None]


def is_clear(world: QuakeMap, points_m: Float[ndarray, "n 3"], clearance_m: float = CLEARANCE_M) -> Bool[ndarray, " n"]:
    """Which points lie in open space of the map.

    A point is refused in solids and outside the map, nearer than `clearance_m` to a surface,
    and where more than MAX_BAD of its sphere shows backs of surfaces or nothing at all.
    Where the map has no box of sky, nothing at all is the sky, unless it lies below the HORIZON.
    """
    good = clusters_at(world.bsp, quake_from_world(points_m)) >= 0
    probes = sphere_directions(PROBES)
    for start in range(0, len(points_m), 256):
        part = np.flatnonzero(good[start : start + 256]) + start
        if not len(part):
            continue
        origins = np.repeat(points_m[part], PROBES, axis=0)
        hits = cast(world, origins, np.tile(probes, (len(part), 1)), 0.05)
        prim = hits.prim.reshape(-1, PROBES)
        sky = np.where(prim >= 0, world.kind[prim] == SKY, world.bsp.open_sky)
        void = (prim < 0) & (probes[:, 1] > HORIZON) if world.bsp.open_sky else prim < 0
        bad = void | hits.backs.reshape(-1, PROBES)
        distance = np.where(sky, np.inf, hits.distance.reshape(-1, PROBES))
        good[part] = (
            (distance.min(1) >= clearance_m)
            & (bad.mean(1) <= MAX_BAD)
            & (sky.mean(1) <= (MAX_OPEN_SKY if world.bsp.open_sky else MAX_SKY))
            & (np.median(distance, 1) >= MIN_MEDIAN_M)
        )
    return good


def walk(world: QuakeMap, points_m: Float[ndarray, "n 3"], rng: np.random.Generator) -> Float[ndarray, "n 3"]:
    """One random step from each point: level, at most 70 % of the way to the next surface, then to eye height."""
    angle = rng.uniform(0, 2 * np.pi, len(points_m))
    way = np.stack([np.sin(angle), rng.uniform(-0.1, 0.1, len(points_m)), np.cos(angle)], 1)
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    free = np.minimum(clear_distance(world, points_m, way), 20.0)
    moved = points_m + way * (free * rng.uniform(0.2, 0.7, len(points_m)))[:, None]
    return raise_to_eyes(world, moved, rng)


def farthest_points(points: Float[ndarray, "n 3"], count: int, first: int) -> Int[ndarray, " chosen"]:
    """Indices of `count` points, each the farthest from those before it."""
    chosen = [first]
    nearest = np.linalg.norm(points - points[first], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.array(chosen)


def camera_points(world: QuakeMap, count: int, rng: np.random.Generator, walks: int = 3) -> Float[ndarray, "n 3"]:
    """Camera points spread over the places players can reach.

    Starts from player starts and items at eye height, walks from them at random, keeps what
    `is_clear`, and picks a subset by farthest-point choice, which drops near-duplicates.

    Args:
        world: The map.
        count: How many points at most.
        rng: Randomness.
        walks: Steps away from the starts.

    Returns:
        Points [n, 3] [m], n <= count; empty where no place is clear.
    """
    seeds = seed_points(world)
    if not len(seeds):
        return np.zeros((0, 3))
    # lifted a little: some origins touch the floor
    current = raise_to_eyes(world, seeds - DOWN * 0.3, rng)
    pool = [current[is_clear(world, current)]]
    for _ in range(walks):
        start = pool[-1] if len(pool[-1]) else pool[0]
        if not len(start):
            break
        start = start[rng.integers(len(start), size=min(max(2 * count, 48), 128))]
        moved = walk(world, start, rng)
        pool.append(moved[is_clear(world, moved)])
    candidates = np.concatenate(pool)
    if not len(candidates):
        return np.zeros((0, 3))
    # farthest-point choice among a random part, so that not every point is an extreme corner of the map
    few = rng.permutation(len(candidates))[: 3 * count]
    candidates = candidates[few]
    return candidates[farthest_points(candidates, count, first=0)]
