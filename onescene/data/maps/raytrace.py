"""Ray-traces maps: colour and exact distance, as panoramas and as posed perspective views.

Colour is averaged over 2 x 2 rays per pixel and exposed automatically; distance and sky
belong to the one ray through the pixel's centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8
from numpy import ndarray

from onescene.data.maps.shading import SKY, mark_passing, shade
from onescene.data.maps.world import WORLD_FROM_QUAKE, TracedWorld

MAX_LAYERS = 12  # surfaces a ray may pass through: cut-outs and backs
STEP_M = 1e-3  # how far a ray starts behind a surface it passes
SAMPLES = 2  # rays per pixel and axis
TARGET_MEAN = 0.42  # brightness the exposure aims at, of all that is not sky
GAIN_RANGE = (0.6, 8.0)
CONTRAST = 0.8  # exponent on exposed colour: baked light is harsher than a photo's
SHOULDER = 0.7  # brightness above which highlights are compressed instead of cut


@dataclass(frozen=True, kw_only=True)
class Hits:
    """First visible surface of each ray.

    Attributes:
        prim: Triangle, -1 = nothing.
        bary: Weights of the triangle's second and third corner [n, 2].
        distance: Along the ray [m]; inf where nothing was met.
        backs: Whether the ray went through the back of a one-sided surface.
    """

    prim: Int[ndarray, " n"]
    bary: Float[ndarray, "n 2"]
    distance: Float[ndarray, " n"]
    backs: Bool[ndarray, " n"]


@dataclass(frozen=True, kw_only=True)
class TracedView:
    """A perspective view with its geometry.

    Attributes:
        rgb: [h, w, 3] uint8.
        depth_z: Along the camera's z axis [m]; inf at the sky.
        distance: Along each ray [m]; inf at the sky.
        sky: Where the sky is seen.
    """

    rgb: UInt8[ndarray, "height width 3"]
    depth_z: Float32[ndarray, "height width"]
    distance: Float32[ndarray, "height width"]
    sky: Bool[ndarray, "height width"]


@dataclass(frozen=True, kw_only=True)
class TracedPanorama:
    """A panorama with its geometry.

    Attributes:
        rgb: [H, 2H, 3] uint8.
        distance: Euclidean, along each ray [m]; inf at the sky.
        sky: Where the sky is seen, or nothing at all.
        gain: Exposure factor, to give other views of the place the same brightness.
    """

    rgb: UInt8[ndarray, "height width 3"]
    distance: Float32[ndarray, "height width"]
    sky: Bool[ndarray, "height width"]
    gain: float


def panorama_directions(hw: tuple[int, int]) -> Float[ndarray, "height width 3"]:
    """Unit directions [H, W, 3] of the pixel centres; row 0 = zenith, centre = +z, right = +x, y down."""
    height, width = hw
    lon = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    lat = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    cos_lat = np.cos(lat)[:, None]
    parts = [np.sin(lon) * cos_lat, np.broadcast_to(-np.sin(lat)[:, None], (height, width)), np.cos(lon) * cos_lat]
    return np.stack(parts, -1)


def yaw_rotation(yaw_rad: float) -> Float[ndarray, "3 3"]:
    """Rotation [3, 3] that turns a panorama's forward axis to longitude `yaw_rad` of the map."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def cast(
    world: TracedWorld, origins: Float[ndarray, "*n 3"], directions: Float[ndarray, "n 3"], pixel_rad: float = 0.01
) -> Hits:
    """Finds the first visible surface along each ray, through cut-outs and backs of one-sided surfaces.

    Args:
        world: The map.
        origins: One point for all rays, or one for each [m].
        directions: Unit vectors [n, 3].
        pixel_rad: Angle between neighbouring rays, for the sharpness of cut-outs.
    """
    n = len(directions)
    prim, bary = np.full(n, -1, np.int64), np.zeros((n, 2))
    distance, backs = np.full(n, np.inf), np.zeros(n, bool)
    directions = np.ascontiguousarray(directions, dtype=np.float32)
    start = np.broadcast_to(origins, (n, 3)).astype(np.float32)
    travelled = np.zeros(n)
    active = np.arange(n)
    mesh = (world.kind, world.two_sided, world.normal, world.uv, world.texture, world.density)
    atlas = (world.atlas.pixels, world.atlas.offset, world.atlas.size)
    for _ in range(MAX_LAYERS):
        way = directions[active]
        hit = world.scene.run(np.ascontiguousarray(start[active]), way, query="INTERSECT", output=True)
        tri = hit["primID"].astype(np.int64)
        total = np.where(tri >= 0, travelled[active] + hit["tfar"], np.inf)
        weights = np.stack([hit["u"], hit["v"]], 1).astype(np.float64)
        passing = np.zeros(len(active), bool)
        mark_passing((tri, weights, total), way, pixel_rad, mesh, atlas, passing)
        prim[active], bary[active], distance[active] = tri, weights, total
        if not passing.any():
            break
        through = active[passing]
        back = (way[passing] * world.normal[tri[passing]]).sum(-1) > 0
        backs[through] |= back & ~world.two_sided[tri[passing]]
        step = hit["tfar"][passing] + STEP_M * (1.0 + 0.01 * travelled[through])
        start[through] += directions[through] * step[:, None].astype(np.float32)
        travelled[through] += step
        active = through
    return Hits(prim=prim, bary=bary, distance=distance, backs=backs)


def _radiance(
    world: TracedWorld, hits: Hits, directions: np.ndarray, pixel_rad: float
) -> tuple[np.ndarray, np.ndarray]:
    """Unexposed colour [n, 3] and sky mask [n] of traced rays."""
    out = np.zeros((len(directions), 3))
    sky = hits.prim < 0
    sky[~sky] = world.kind[hits.prim[~sky]] == SKY
    mesh = (world.kind, world.normal, world.uv, world.texture, world.glow, world.density)
    light = (world.light.page, world.light.uv, world.light.colour, world.light.lightmaps)
    atlas = (world.atlas.pixels, world.atlas.offset, world.atlas.size)
    found = (hits.prim, hits.bary, hits.distance)
    shade(found, directions.astype(np.float32), pixel_rad, mesh, light, atlas, out)
    if sky.any():
        out[sky] = world.sky.colour(directions[sky] @ WORLD_FROM_QUAKE)
    return out, sky


def tone(radiance: Float[ndarray, "*n"]) -> Float[ndarray, "*n"]:
    """Maps exposed colour to [0, 1): a power of CONTRAST up to SHOULDER, then approaching 1."""
    radiance = radiance**CONTRAST
    room = 1.0 - SHOULDER
    return np.where(radiance < SHOULDER, radiance, 1.0 - room * np.exp(-(radiance - SHOULDER) / room))


def auto_gain(radiance: Float[ndarray, "n 3"], weight: Float[ndarray, " n"]) -> float:
    """Exposure factor in GAIN_RANGE at which the weighted mean brightness after `tone` is TARGET_MEAN."""
    total = float(weight.sum())
    if total <= 0:
        return 1.0
    low, high = GAIN_RANGE
    for _ in range(16):
        middle = float(np.sqrt(low * high))
        mean = float((tone(radiance * middle).mean(-1) * weight).sum()) / total
        low, high = (middle, high) if mean < TARGET_MEAN else (low, middle)
    return float(np.sqrt(low * high))


def _expose(radiance: np.ndarray, sky: np.ndarray, gain: float, hw: tuple[int, int]) -> np.ndarray:
    """Tones the fine grid of rays, sky at its own brightness, and averages it to `hw` as uint8."""
    colour = np.where(sky[:, None], radiance, tone(radiance * gain))
    fine = colour.reshape(hw[0], SAMPLES, hw[1], SAMPLES, 3).mean((1, 3))
    return np.clip(np.rint(fine * 255.0), 0, 255).astype(np.uint8)


def trace_panorama(
    world: TracedWorld,
    point_m: Float[ndarray, "xyz=3"],
    hw: tuple[int, int],
    yaw_rad: float = 0.0,
    gain: float | None = None,
) -> TracedPanorama:
    """Ray-traces the whole sphere around a point.

    Args:
        world: The map.
        point_m: Position in the map [m], project axes.
        hw: Height and width, width = 2 height [pixels].
        yaw_rad: Longitude of the map the panorama's centre looks at.
        gain: Exposure factor; None = automatic.

    Raises:
        ValueError: `hw` is not 2:1.
    """
    if hw[0] < 2 or hw[1] != 2 * hw[0]:
        raise ValueError(f"hw must be a height >= 2 and twice that as width, got {hw}")
    turn = yaw_rotation(yaw_rad)
    point = np.asarray(point_m, dtype=np.float64)
    centre = panorama_directions(hw).reshape(-1, 3) @ turn.T
    fine_hw = (hw[0] * SAMPLES, hw[1] * SAMPLES)
    fine = panorama_directions(fine_hw).reshape(-1, 3) @ turn.T
    step = np.pi / fine_hw[0]
    radiance, fine_sky = _radiance(world, cast(world, point, fine, step), fine, step)
    if gain is None:
        latitude = np.arcsin(np.clip(fine[:, 1], -1, 1))
        gain = auto_gain(radiance, np.cos(latitude) * ~fine_sky)
    hits = cast(world, point, centre, 2 * step)
    sky = hits.prim < 0
    sky[~sky] = world.kind[hits.prim[~sky]] == SKY
    distance = np.where(sky, np.inf, hits.distance).astype(np.float32).reshape(hw)
    rgb = _expose(radiance, fine_sky, gain, hw)
    return TracedPanorama(rgb=rgb, distance=distance, sky=sky.reshape(hw), gain=gain)


def view_directions(
    world_from_cam: Float[ndarray, "4 4"], intrinsics: Float[ndarray, "3 3"], hw: tuple[int, int], samples: int = 1
) -> tuple[Float[ndarray, "n 3"], Float[ndarray, " n"]]:
    """Camera rays through a grid of `samples` x `samples` points per pixel.

    Returns:
        Unit directions in the map's frame [n, 3], and the cosine to the camera's z axis [n].
    """
    y, x = np.meshgrid(
        (np.arange(hw[0] * samples) + 0.5) / samples, (np.arange(hw[1] * samples) + 0.5) / samples, indexing="ij"
    )
    pixels = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3)
    rays = pixels @ np.linalg.inv(intrinsics).T
    length = np.linalg.norm(rays, axis=-1)
    return (rays / length[:, None]) @ world_from_cam[:3, :3].T, 1.0 / length


def trace_view(
    world: TracedWorld,
    world_from_cam: Float[ndarray, "4 4"],
    intrinsics: Float[ndarray, "3 3"],
    hw: tuple[int, int],
    gain: float | None = None,
) -> TracedView:
    """Ray-traces a pinhole camera (OpenCV axes).

    Args:
        world: The map.
        world_from_cam: Camera in the map's frame [4, 4] [m].
        intrinsics: K [3, 3] [pixels].
        hw: Height and width [pixels].
        gain: Exposure factor; None = automatic.
    """
    world_from_cam = np.asarray(world_from_cam, dtype=np.float64)
    intrinsics = np.asarray(intrinsics, dtype=np.float64)
    origin = world_from_cam[:3, 3]
    pixel_rad = 1.0 / float(intrinsics[0, 0])
    fine, _ = view_directions(world_from_cam, intrinsics, hw, SAMPLES)
    radiance, fine_sky = _radiance(world, cast(world, origin, fine, pixel_rad / SAMPLES), fine, pixel_rad / SAMPLES)
    if gain is None:
        gain = auto_gain(radiance, (~fine_sky).astype(np.float64))
    centre, cosine = view_directions(world_from_cam, intrinsics, hw)
    hits = cast(world, origin, centre, pixel_rad)
    sky = hits.prim < 0
    sky[~sky] = world.kind[hits.prim[~sky]] == SKY
    distance = np.where(sky, np.inf, hits.distance)
    return TracedView(
        rgb=_expose(radiance, fine_sky, gain, hw),
        depth_z=(distance * cosine).astype(np.float32).reshape(hw),
        distance=distance.astype(np.float32).reshape(hw),
        sky=sky.reshape(hw),
    )
