"""Turns a map of a pack into triangles with texture and light, in the project's axes and in metres.

Quake's axes (x forward, y left, z up) become (x right, y down, z forward), and one unit
becomes 1/32 m: a player's eyes are then 1.56 m above the floor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray

from onescene.data.maps import bsp as bsp_format
from onescene.data.maps.exchange import exchange_images
from onescene.data.maps.pk3 import PackFiles
from onescene.data.maps.shaders import Surface, load_shaders, resolve_surface
from onescene.data.maps.shading import CUTOUT, FULLBRIGHT, SKY, SOLID, VERTEX_LIT
from onescene.data.maps.sky import Sky, load_sky
from onescene.data.maps.textures import Atlas, build_atlas, decode_image, read_image
from onescene.data.maps.ufo_bsp import is_ufo_bsp, read_ufo_bsp

METRES_PER_UNIT = 1.0 / 32.0
WORLD_FROM_QUAKE = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
KINDS = {"solid": SOLID, "cutout": CUTOUT, "sky": SKY}
DECAL_LIFT_M = 0.004  # cut-outs often lie in the very plane of the wall behind them
SLIVER_M2 = 1e-7  # smaller triangles have no usable normal
UPWARD = -0.5  # the y of a normal that points up
PLAIN_RGBA = (128, 128, 128, 255)  # stands in for an image that is in no pack


def world_from_quake(points: Float[ndarray, "*n 3"]) -> Float[ndarray, "*n 3"]:
    """Converts positions [..., 3] in units to metres in the project's axes."""
    return np.asarray(points, dtype=np.float64) @ WORLD_FROM_QUAKE.T * METRES_PER_UNIT


def quake_from_world(points_m: Float[ndarray, "*n 3"]) -> Float[ndarray, "*n 3"]:
    """Converts positions [..., 3] in metres to the map's units and axes."""
    return np.asarray(points_m, dtype=np.float64) @ WORLD_FROM_QUAKE / METRES_PER_UNIT


@dataclass(frozen=True, kw_only=True)
class TriangleLight:
    """Baked light of each triangle.

    Attributes:
        page: Index of its lightmap, or VERTEX_LIT or FULLBRIGHT.
        uv: Lightmap coordinates of the corners [t, 3, 2].
        colour: Colours of the corners [t, 3, 3], 0 to 255.
        lightmaps: [n, h, w, 3] uint8.
    """

    page: Int[ndarray, " t"]
    uv: Float[ndarray, "t 3 2"]
    colour: Float[ndarray, "t 3 3"]
    lightmaps: UInt8[ndarray, "n h w 3"]


@dataclass(frozen=True, kw_only=True)
class TracedWorld:
    """Triangles with texture and light, ready for ray tracing.

    Attributes:
        name: Of maps `<game>__<map>`.
        corners_m: Triangle corners [t, 3, 3].
        normal: Unit normals of the visible side [t, 3].
        kind: SOLID, CUTOUT or SKY.
        two_sided: Seen from both sides.
        uv: Texture coordinates of the corners [t, 3, 2].
        texture: Index into the atlas.
        glow: Index of the image that shines, or -1.
        density: Texels per metre at the finest level.
        light: Baked light.
        atlas: Images of the surfaces.
        sky: Images of the sky.
    """

    name: str
    corners_m: Float[ndarray, "t 3 3"]
    normal: Float[ndarray, "t 3"]
    kind: Int[ndarray, " t"]
    two_sided: Bool[ndarray, " t"]
    uv: Float[ndarray, "t 3 2"]
    texture: Int[ndarray, " t"]
    glow: Int[ndarray, " t"]
    density: Float[ndarray, " t"]
    light: TriangleLight
    atlas: Atlas
    sky: Sky

    @cached_property
    def scene(self) -> rtcore_scene.EmbreeScene:
        """The acceleration structure, built at first use."""
        scene = rtcore_scene.EmbreeScene()
        TriangleMesh(scene, np.ascontiguousarray(self.corners_m, dtype=np.float32))
        return scene


@dataclass(frozen=True, kw_only=True)
class QuakeMap(TracedWorld):
    """A map of a game.

    Attributes:
        bsp: The file's lumps, for entities and visibility clusters.
        missing: Share of the triangles whose image is in no pack.
    """

    bsp: bsp_format.Bsp = field(repr=False)
    missing: float


def _lightmaps(packs: PackFiles, name: str, bsp: bsp_format.Bsp) -> np.ndarray:
    """Internal lightmaps, else the images `maps/<name>/lm_0000` and up, all of one size."""
    count = int(bsp.faces["lightmap"].max(initial=-1)) + 1
    if len(bsp.lightmaps) >= count:
        return bsp.lightmaps if len(bsp.lightmaps) else np.full((1, 2, 2, 3), 255, np.uint8)
    pages: dict[int, np.ndarray] = {}
    for i in range(count):
        stored = packs.find_image(f"maps/{name}/lm_{i:04d}")
        image = decode_image(packs.read(stored)) if stored else None
        if image is not None:
            pages[i] = image[..., :3]
    if not pages:
        return np.full((max(count, 1), 2, 2, 3), 128, np.uint8)
    shape = next(iter(pages.values())).shape
    out = np.full((count, *shape), 128, np.uint8)
    for i, page in pages.items():
        if page.shape == shape:
            out[i] = page
    return out


def _atlas_of(
    surfaces: list[Surface], packs: PackFiles
) -> tuple[Atlas, dict[str | None, int], set[str | None], np.ndarray]:
    """The atlas, where an image is in it, images that are in no pack, and width and height as stored [images, 2]."""
    names = {s.image for s in surfaces if s.kind in ("solid", "cutout")} | {s.glow for s in surfaces if s.glow}
    images: list[np.ndarray] = [np.full((1, 1, 4), PLAIN_RGBA, np.uint8)]
    index: dict[str | None, int] = {}
    missing: set[str | None] = {None}
    for name in sorted(n for n in names if n):
        image = read_image(packs, name)
        if image is None:
            missing.add(name)
            continue
        index[name] = len(images)
        images.append(image)
    return build_atlas(images), index, missing, np.array([image.shape[1::-1] for image in images], np.float32)


def _geometry(corners: np.ndarray, vertex_normals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit normals turned to the side of the vertex normals, areas, and where that side is unknown."""
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(cross, axis=-1)
    normal = cross / np.maximum(length, 1e-12)[:, None]
    side = (normal * vertex_normals.mean(1)).sum(-1)
    normal[side < 0] *= -1
    return normal, length / 2, np.abs(side) < 1e-3


def uv_density(uv: np.ndarray, area: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Texels per metre [t] of triangles with texture coordinates [t, 3, 2], area [t] and image height, width [t, 2]."""
    edge_a, edge_b = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    uv_area = np.abs(edge_a[:, 0] * edge_b[:, 1] - edge_a[:, 1] * edge_b[:, 0]) / 2
    texels = uv_area * size[:, 0] * size[:, 1]
    return np.sqrt(texels / np.maximum(area, 1e-9)).astype(np.float32)


def _column(surfaces: list[Surface], value: Callable[[Surface], float | bool], owner: np.ndarray) -> np.ndarray:
    """A value of each triangle's surface."""
    return np.array([value(s) for s in surfaces])[owner]


def _lift_cutouts(positions: np.ndarray, normal: np.ndarray, cutout: np.ndarray) -> None:
    positions[cutout] += DECAL_LIFT_M * normal[cutout, None]


def _triangle_light(bsp: bsp_format.Bsp, corners: bsp_format.Corners, lightmaps: np.ndarray) -> TriangleLight:
    page = bsp.faces["lightmap"][corners.face].astype(np.int64)
    models = bsp.faces["kind"][corners.face] == bsp_format.MESH
    page[page < 0] = np.where(models[page < 0], VERTEX_LIT, FULLBRIGHT)
    return TriangleLight(
        page=np.where(page < len(lightmaps), page, FULLBRIGHT),
        uv=np.ascontiguousarray(corners.attributes[..., 5:7]),
        colour=np.ascontiguousarray(corners.attributes[..., 10:13]),
        lightmaps=np.ascontiguousarray(lightmaps),
    )


def _ceilings(bsp: bsp_format.Bsp, normal: np.ndarray) -> np.ndarray:
    """Floors and roofs that are seen from below too: a game that is watched from above has no ceilings of its own."""
    return bsp.open_sky & (normal[:, 1] < UPWARD)


def load_map(packs: PackFiles, name: str, other_images: np.random.Generator | None = None) -> QuakeMap:
    """Reads a map with its surfaces, light and sky.

    Args:
        packs: One game's packs (`open_games`).
        name: The map's name as `packs.maps()` lists it.
        other_images: Randomness that exchanges the images of its walls for others (`exchange`); None = its own.

    Raises:
        FileNotFoundError: No pack holds the map.
        ValueError: The file is damaged or draws no triangle.
    """
    data = packs.read(f"maps/{name}.bsp")
    bsp = read_ufo_bsp(data, name) if is_ufo_bsp(data) else bsp_format.read_bsp(data, name)
    shaders = load_shaders(packs)
    named = zip(bsp.texture_names(), bsp.textures["flags"].tolist(), strict=True)
    surfaces = [resolve_surface(surface, flags, shaders, packs) for surface, flags in named]
    if other_images is not None:
        surfaces = exchange_images(surfaces, packs, other_images)
    corners = bsp_format.triangulate(bsp, np.array([s.kind != "hidden" for s in surfaces], dtype=bool))
    positions = world_from_quake(corners.attributes[..., :3])
    normal, area, unsure = _geometry(positions, corners.attributes[..., 7:10] @ WORLD_FROM_QUAKE.T)
    keep = area > SLIVER_M2
    if not keep.any():
        raise ValueError(f"{name} must draw at least one triangle, got none")
    corners = bsp_format.Corners(attributes=corners.attributes[keep], face=corners.face[keep])
    owner = bsp.faces["texture"][corners.face]
    positions, normal = positions[keep], normal[keep]
    kind = _column(surfaces, lambda s: KINDS.get(s.kind, SOLID), owner)
    _lift_cutouts(positions, normal, kind == CUTOUT)
    atlas, index, missing, stored = _atlas_of(surfaces, packs)
    texture = _column(surfaces, lambda s: index.get(s.image, 0), owner)
    uv = np.ascontiguousarray(corners.attributes[..., 3:5])
    if bsp.uv_per_texel:
        uv = uv / stored[texture][:, None]
    return QuakeMap(
        name=f"{packs.game}__{name}",
        corners_m=positions.astype(np.float32),
        normal=np.ascontiguousarray(normal, dtype=np.float32),
        kind=kind,
        two_sided=_column(surfaces, lambda s: s.two_sided, owner) | unsure[keep] | _ceilings(bsp, normal),
        uv=uv,
        texture=texture,
        glow=_column(surfaces, lambda s: index.get(s.glow, -1) if s.glow else -1, owner),
        density=uv_density(uv, area[keep], atlas.size[texture, 0]),
        light=_triangle_light(bsp, corners, _lightmaps(packs, name, bsp)),
        atlas=atlas,
        sky=load_sky(packs, next((s for s in surfaces if s.kind == "sky"), None)),
        bsp=bsp,
        missing=float(_column(surfaces, lambda s: s.kind != "sky" and s.image in missing, owner).mean()),
    )
