"""Light in a home: of windows and lamps by sampling their areas, and what surfaces pass on to each other.

Kept at the corners of triangles, as colour that multiplies the texture. Rays are cast against the triangles as they
are: leaves throw the shadow of their whole card.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from embreex import rtcore_scene

LIFT_M = 2e-3  # rays start this far off their surface
GATHER = 24  # rays per corner for light from other surfaces
BOUNCES = 5
PROBES, FREE_M = 6, 3.0  # rays that find the open side of a surface, and what counts as open there
FAR_M = 1e4
LEAST = 1e-5  # share of a light's radiance below which it is not looked at
SAME_M, SAME_PIECE_M = 0.002, 0.04  # corners nearer than this share their light: of walls, of furniture
EDGE = 0.3  # share of the way from a corner to its triangle's middle
CREASE = 0.75  # cosine between faces above which they are lit as one curved surface
GAMMA = 2.2  # textures are stored for the eye, light adds up before that
USUAL_LIGHT = 0.7  # mean light on walls, floor and ceiling
MIX = np.int64(0x27220A95FE4D4B2B)  # odd: a multiplication that mixes all bits into the upper ones
PART = 400_000  # rays cast at a time


@dataclass(frozen=True, kw_only=True)
class AreaLight:
    """A rectangle that shines to one side.

    Attributes:
        origin: A corner [3] [m].
        right: Edge from there [3] [m].
        down: The other edge [3] [m].
        normal: Unit vector to the side it shines to [3].
        colour: Radiance, RGB [3].
        ground: Radiance towards what lies higher than the light; a window shows the ground there. None = the same.
        samples: Points on each edge.
    """

    origin: np.ndarray
    right: np.ndarray
    down: np.ndarray
    normal: np.ndarray
    colour: np.ndarray
    ground: np.ndarray | None = None
    samples: int = 3


@dataclass(frozen=True, kw_only=True)
class Sun:
    """Parallel light.

    Attributes:
        towards: Unit vector to the sun [3].
        colour: Irradiance on a surface that faces it, RGB [3].
    """

    towards: np.ndarray
    colour: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Lighting:
    """All light of a home.

    Attributes:
        areas: Windows and lamps.
        sun: Or None.
        sky: Irradiance over pi on what lies outdoors, RGB [3].
    """

    areas: list[AreaLight]
    sun: Sun | None
    sky: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Surfaces:
    """What is lit: triangles of walls, then of furniture.

    Attributes:
        corners: [t, 3, 3] [m].
        normal: Unit normals [t, 3], of walls to the side that is seen.
        area: [t] [m2].
        albedo: Share of light that is given back [t, 3].
        outdoors: Lit by the open sky [t].
        walls: How many of them are of walls, floors, ceilings and what is built in.
    """

    corners: np.ndarray
    normal: np.ndarray
    area: np.ndarray
    albedo: np.ndarray
    outdoors: np.ndarray
    walls: int


def _run(scene: rtcore_scene.EmbreeScene, origins: np.ndarray, directions: np.ndarray, query: str) -> np.ndarray:
    """Answers of a ray query [n], a part of the rays at a time."""
    out = np.empty(len(origins))
    for i in range(0, len(origins), PART):
        part = slice(i, i + PART)
        way = np.ascontiguousarray(directions[part], dtype=np.float32)
        out[part] = scene.run(np.ascontiguousarray(origins[part], dtype=np.float32), way, query=query)
    return out


def blocked(
    scene: rtcore_scene.EmbreeScene, origins: np.ndarray, directions: np.ndarray, reach: np.ndarray
) -> np.ndarray:
    """Whether something lies nearer than ``reach`` [n] [m] along unit directions [n, 3]."""
    return _run(scene, origins, directions, "DISTANCE") < reach


def open_side(
    scene: rtcore_scene.EmbreeScene, points: np.ndarray, normals: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """To which side of its surface each point [n] looks: 1 = along its normal, -1 = against it.

    Models do not say which side is the front; inside of a cupboard or a wall the way is short.
    """
    free = [np.zeros(len(points)), np.zeros(len(points))]
    for i, side in enumerate((1.0, -1.0)):
        for _ in range(PROBES):
            reach = _cast(scene, points, side * normals, rng, "DISTANCE")
            free[i] += np.minimum(reach, FREE_M)
    return np.where(free[0] >= free[1], 1.0, -1.0)


def direct_light(
    scene: rtcore_scene.EmbreeScene,
    points: np.ndarray,
    normals: np.ndarray,
    lights: list[AreaLight],
    sun: Sun | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """Irradiance over pi [n, 3] that points [n, 3] with unit normals [n, 3] get from lights."""
    out = np.zeros((len(points), 3))
    for light in lights:
        area = float(np.linalg.norm(np.cross(light.right, light.down)))
        step = 1.0 / light.samples
        corners = light.origin + np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) @ np.stack([light.right, light.down])
        above = [((c - points) * normals).sum(1) > 0 for c in corners]  # some of it lies on the lit side
        before = (points - light.origin) @ light.normal > 0
        some = np.flatnonzero(np.logical_or.reduce(above) & before)
        at, up = points[some], normals[some]
        for i in range(light.samples):
            for j in range(light.samples):
                u, v = (np.array([[i], [j]]) + rng.random((2, len(at)))) * step
                way = light.origin + u[:, None] * light.right + v[:, None] * light.down - at
                reach = np.linalg.norm(way, axis=1)
                way /= np.maximum(reach, 1e-6)[:, None]
                share = (
                    (way * up).sum(1) * -(way @ light.normal) / np.maximum(reach, 0.05) ** 2 * area * step**2 / np.pi
                )
                seen = np.flatnonzero(share > LEAST)
                start = at[seen] + up[seen] * LIFT_M
                seen = seen[~blocked(scene, start, way[seen], reach[seen] - 2 * LIFT_M)]
                colour = np.broadcast_to(light.colour, (len(seen), 3))
                if light.ground is not None:
                    colour = np.where(way[seen, 1:2] > 0, light.ground, colour)
                out[some[seen]] += share[seen, None] * colour
    if sun is not None:
        here = normals @ sun.towards
        seen = np.flatnonzero(here > 0)
        way = np.broadcast_to(sun.towards, (len(seen), 3))
        start = points[seen] + normals[seen] * LIFT_M
        seen = seen[~blocked(scene, start, way, np.full(len(seen), FAR_M))]
        out[seen] += here[seen, None] * sun.colour
    return out


def passed_on(
    scene: rtcore_scene.EmbreeScene,
    points: np.ndarray,
    normals: np.ndarray,
    corner: np.ndarray,
    albedo: np.ndarray,
    direct: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Light that reaches points directly and by way of other surfaces [n, 3].

    Args:
        scene: The triangles.
        points: [n, 3] [m].
        normals: Unit vectors [n, 3].
        corner: Which point each triangle's corners are [t, 3].
        albedo: Share of light that each triangle gives back [t, 3].
        direct: What `direct_light` found [n, 3].
        rng: Randomness.
    """
    hits = np.stack([_cast(scene, points, normals, rng, "INTERSECT") for _ in range(GATHER)], 1).astype(np.int64)
    met = np.maximum(hits, 0)
    light = direct
    for _ in range(BOUNCES):
        glow = albedo * light[corner].mean(1)
        gathered = np.zeros_like(direct)
        for k in range(GATHER):
            gathered += np.where(hits[:, k : k + 1] >= 0, glow[met[:, k]], 0)
        light = direct + gathered / GATHER
    return light


def _cast(
    scene: rtcore_scene.EmbreeScene, points: np.ndarray, normals: np.ndarray, rng: np.random.Generator, query: str
) -> np.ndarray:
    """The triangle met along one cosine-weighted way from each point [n], -1 = none; or how far away [m]."""
    way = rng.normal(size=normals.shape)
    way = normals + way / np.linalg.norm(way, axis=1, keepdims=True)
    way /= np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-6)
    return _run(scene, points + normals * LIFT_M, way, query)


def smoothed(corner: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Light averaged over the triangles around each point: takes out the grain of sampling."""
    mean = np.repeat(light[corner].mean(1), 3, axis=0)
    count = np.bincount(corner.ravel(), minlength=len(light))
    sums = [np.bincount(corner.ravel(), mean[:, c], minlength=len(light)) for c in range(3)]
    return np.stack(sums, 1) / np.maximum(count, 1)[:, None]


def light_at_corners(
    scene: rtcore_scene.EmbreeScene, surfaces: Surfaces, lighting: Lighting, rng: np.random.Generator
) -> np.ndarray:
    """Light at the corners of all triangles [t, 3, 3], for the eye: 1 shows a texture as it is stored.

    Its mean on walls, floors and ceilings is brought to USUAL_LIGHT. ``scene`` holds the triangles of ``surfaces``.
    """
    corners, walls = surfaces.corners, surfaces.walls
    smooth = _corner_normals(corners, surfaces.normal, walls)
    fine = np.repeat(np.arange(len(corners)) < walls, 3)[:, None]
    places = corners.reshape(-1, 3) / np.where(fine, SAME_M, SAME_PIECE_M)
    first, corner = _distinct(np.concatenate([places, smooth.reshape(-1, 3) * 2, fine], 1))
    corner = corner.reshape(-1, 3)
    points, normals = corners.reshape(-1, 3)[first], smooth.reshape(-1, 3)[first]
    # walls' edges lie in the plane of the next wall: look from a little within
    inner = corners[:walls] + EDGE * (corners[:walls].mean(1, keepdims=True) - corners[:walls])
    count = np.bincount(corner[:walls].ravel(), minlength=len(points))
    of_walls = count > 0
    for axis in range(3):
        sums = np.bincount(corner[:walls].ravel(), inner[..., axis].ravel(), minlength=len(points))
        points[of_walls, axis] = sums[of_walls] / count[of_walls]
    # walls face the room as they are built; of models nobody knows
    normals[~of_walls] *= open_side(scene, points[~of_walls], normals[~of_walls], rng)[:, None]
    direct = direct_light(scene, points, normals, lighting.areas, lighting.sun, rng)
    outside = corner[surfaces.outdoors]
    direct[outside] += lighting.sky * np.where(normals[outside][..., 1:2] < -0.5, 1.0, 0.5)
    given = np.where(surfaces.outdoors[:, None], 0.0, surfaces.albedo)  # what comes in from there is the windows' light
    light = passed_on(scene, points, normals, corner, given, direct, rng)
    light = smoothed(corner, smoothed(corner, light))
    usual = np.average(light[corner[:walls]].mean((1, 2)), weights=surfaces.area[:walls])
    return (light / max(usual, 1e-6) * USUAL_LIGHT)[corner] ** (1 / GAMMA)


def _corner_normals(corners: np.ndarray, normal: np.ndarray, walls: int) -> np.ndarray:
    """Normals [t, 3, 3] at corners: of furniture averaged over faces that meet at a small angle."""
    out = np.repeat(normal[:, None], 3, axis=1)
    if walls == len(corners):
        return out
    _, place = _distinct(corners[walls:].reshape(-1, 3) * 1000)
    sums = np.stack([np.bincount(place, np.repeat(normal[walls:, c], 3)) for c in range(3)], 1)
    mean = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-6)
    mean = mean[place].reshape(-1, 3, 3)
    close = (mean * normal[walls:, None]).sum(-1, keepdims=True) > CREASE
    out[walls:] = np.where(close, mean, out[walls:])
    return out


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows [n, k] that differ when rounded: the first of each, and which of them each row is [n]."""
    mixed = np.zeros(len(rows), np.int64)
    for column in np.rint(rows).astype(np.int64).T:
        mixed = (mixed ^ column) * MIX
        mixed ^= mixed >> 29
    _, first, which = np.unique(mixed, return_index=True, return_inverse=True)
    return first, which.ravel()
