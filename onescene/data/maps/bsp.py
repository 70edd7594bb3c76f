"""Reads IBSP version 46, the map format of Quake III and its free descendants.

Owns the bytes: lumps, entities, faces, bezier patches. Positions stay in the
file's own units and axes (x forward, y left, z up); `world.load_map` converts
them. Textures, shaders and lightmap files are left to the other modules.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import partial

import numpy as np

LUMP_NAMES = (
    "entities textures planes nodes leafs leaffaces leafbrushes models brushes "
    "brushsides vertices meshverts effects faces lightmaps lightvols visdata"
).split()
HEADER_BYTES = 8 + 8 * len(LUMP_NAMES)
INTERNAL_LIGHTMAP_PX = 128
PATCH_STEPS = 6  # segments per quadratic piece of a bezier patch

POLYGON, PATCH, MESH = 1, 2, 3  # face types that carry triangles; 4 is a billboard

TEXTURE = np.dtype([("name", "S64"), ("flags", "<i4"), ("contents", "<i4")])
PLANE = np.dtype([("normal", "<f4", 3), ("distance", "<f4")])
NODE = np.dtype([("plane", "<i4"), ("children", "<i4", 2), ("bounds", "<i4", 6)])
LEAF = np.dtype([("cluster", "<i4"), ("area", "<i4"), ("bounds", "<i4", 6), ("lists", "<i4", 4)])
MODEL = np.dtype([("bounds", "<f4", 6), ("face", "<i4"), ("faces", "<i4"), ("brush", "<i4"), ("brushes", "<i4")])
VERTEX = np.dtype(
    [("position", "<f4", 3), ("uv", "<f4", 2), ("light_uv", "<f4", 2), ("normal", "<f4", 3), ("colour", "u1", 4)]
)
FACE = np.dtype(
    [
        ("texture", "<i4"),
        ("effect", "<i4"),
        ("kind", "<i4"),
        ("vertex", "<i4"),
        ("vertices", "<i4"),
        ("meshvert", "<i4"),
        ("meshverts", "<i4"),
        ("lightmap", "<i4"),
        ("light_rect", "<i4", 4),
        ("light_frame", "<f4", 9),
        ("normal", "<f4", 3),
        ("patch_size", "<i4", 2),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Bsp:
    """The lumps of one map as arrays, in the file's units and axes.

    Attributes:
        entities: Key-value pairs of every entity.
        textures, planes, nodes, leafs, models, vertices, faces: Structured arrays.
        meshverts: Vertex offsets of the triangles.
        lightmaps: Internal lightmaps [n, px, px, 3] uint8; none where they lie outside.
        uv_per_texel: Texture coordinates count texels: they are still to be divided by the texture's size.
        open_sky: There is no box of sky around the map: where nothing is met above the horizon, the sky is.
    """

    entities: list[dict[str, str]]
    textures: np.ndarray
    planes: np.ndarray
    nodes: np.ndarray
    leafs: np.ndarray
    models: np.ndarray
    vertices: np.ndarray
    faces: np.ndarray
    meshverts: np.ndarray
    lightmaps: np.ndarray
    uv_per_texel: bool = False
    open_sky: bool = False

    def texture_names(self) -> list[str]:
        """Surface names; what follows a name's first zero byte is waste of the map compiler."""
        return [raw.split(b"\0")[0].decode("latin-1") for raw in self.textures["name"].tolist()]


@dataclass(frozen=True, kw_only=True)
class Corners:
    """Triangles as loose corners: `[triangle, corner, ...]`, and the face each came from.

    Attributes:
        attributes: Position 3, texture uv 2, lightmap uv 2, normal 3, colour 4 (0 to 255).
        face: Index of the BSP face of each triangle.
    """

    attributes: np.ndarray
    face: np.ndarray


def parse_entities(text: str) -> list[dict[str, str]]:
    """Splits an entity lump into one dictionary per entity, keys in lower case."""
    blocks = re.findall(r"\{([^{}]*)\}", text)
    return [{k.lower(): v for k, v in re.findall(r'"([^"]*)"\s+"([^"]*)"', block)} for block in blocks]


def read_bsp(data: bytes, name: str = "map") -> Bsp:
    """Decodes an IBSP 46 file.

    Args:
        data: The whole file.
        name: What error messages call it.

    Raises:
        ValueError: It is not IBSP 46, or it ends before a lump does.
    """
    if len(data) < HEADER_BYTES or data[:4] != b"IBSP":
        raise ValueError(f"{name} must be an IBSP map of at least {HEADER_BYTES} bytes, got {data[:4]!r}, {len(data)}")
    version = struct.unpack_from("<i", data, 4)[0]
    if version != 46:
        raise ValueError(f"{name} must have IBSP version 46, got {version}")
    lumps = split_lumps(data, LUMP_NAMES, name)
    array = partial(array_of, lumps)
    px = INTERNAL_LIGHTMAP_PX
    bsp = Bsp(
        entities=parse_entities(lumps["entities"].decode("latin-1")),
        textures=array("textures", TEXTURE),
        planes=array("planes", PLANE),
        nodes=array("nodes", NODE),
        leafs=array("leafs", LEAF),
        models=array("models", MODEL),
        vertices=array("vertices", VERTEX),
        faces=array("faces", FACE),
        meshverts=array("meshverts", "<i4"),
        lightmaps=array("lightmaps", "u1")[: len(lumps["lightmaps"]) // (px * px * 3) * px * px * 3].reshape(
            -1, px, px, 3
        ),
    )
    _check_references(bsp, name)
    return bsp


def split_lumps(data: bytes, names: list[str], name: str) -> dict[str, bytes]:
    """The parts of an IBSP file by their names, in the order of its table.

    Raises:
        ValueError: The file ends before a lump does.
    """
    table = struct.unpack_from(f"<{2 * len(names)}i", data, 8)
    lumps = {}
    for lump, start, size in zip(names, table[::2], table[1::2], strict=True):
        if start < 0 or size < 0 or start + size > len(data):
            raise ValueError(f"{name} is truncated: lump {lump} needs bytes {start} to {start + size} of {len(data)}")
        lumps[lump] = data[start : start + size]
    return lumps


def array_of(lumps: dict[str, bytes], lump: str, dtype: np.dtype | str) -> np.ndarray:
    """A lump's whole entries."""
    dtype = np.dtype(dtype)
    return np.frombuffer(lumps[lump], dtype, count=len(lumps[lump]) // dtype.itemsize)


def check_spans(spans: dict[str, tuple], name: str) -> None:
    """Raises ValueError where one of (first, count, size of the list) begins before its list or ends behind it."""
    for what, (first, count, size) in spans.items():
        if np.size(first) and (min(np.min(first), np.min(count)) < 0 or np.max(np.int64(first) + count) > size):
            raise ValueError(f"{name} is damaged: a {what} lies outside its list of {size}")


def _check_references(bsp: Bsp, name: str) -> None:
    """Raises ValueError where a lump points outside another one."""
    faces = bsp.faces
    drawn = np.isin(faces["kind"], (POLYGON, MESH))
    patches = faces[faces["kind"] == PATCH]
    spans = {
        "surface of a face": (faces["texture"], 1, len(bsp.textures)),
        "corner of a face": (faces["vertex"][drawn], faces["vertices"][drawn], len(bsp.vertices)),
        "triangle list of a face": (faces["meshvert"][drawn], faces["meshverts"][drawn], len(bsp.meshverts)),
        "control point of a patch": (patches["vertex"], patches["patch_size"].prod(1), len(bsp.vertices)),
        "plane of a node": (bsp.nodes["plane"], 1, len(bsp.planes)),
        "child of a node": (bsp.nodes["children"].max(1, initial=0), 1, len(bsp.nodes) + (len(bsp.nodes) == 0)),
        "leaf of a node": (-1 - bsp.nodes["children"].min(1, initial=-1), 1, len(bsp.leafs)),
    }
    check_spans(spans, name)


def clusters_at(bsp: Bsp, points: np.ndarray) -> np.ndarray:
    """Visibility cluster of each point [n, 3]; negative inside solids and outside the map."""
    leaf = np.full(len(points), -1 if len(bsp.nodes) == 0 else 0, dtype=np.int64)
    for _ in range(len(bsp.nodes) + 1):
        inner = leaf >= 0
        if not inner.any():
            break
        node = bsp.nodes[leaf[inner]]
        plane = bsp.planes[node["plane"]]
        behind = (points[inner] * plane["normal"]).sum(-1) < plane["distance"]
        leaf[inner] = np.where(behind, node["children"][:, 1], node["children"][:, 0])
    if len(bsp.leafs) == 0:
        return np.zeros(len(points), dtype=np.int64)
    return bsp.leafs["cluster"][-leaf - 1].astype(np.int64)


def _attributes(bsp: Bsp) -> np.ndarray:
    v = bsp.vertices
    parts = [v["position"], v["uv"], v["light_uv"], v["normal"], v["colour"].astype(np.float32)]
    return np.concatenate(parts, axis=1)


def _face_offsets(bsp: Bsp) -> tuple[np.ndarray, np.ndarray]:
    """Faces to draw and how far [units] each is moved: the world and the brush entities."""
    used, offsets = [], []
    for entity in bsp.entities or [{"classname": "worldspawn"}]:
        kind, model = entity.get("classname", ""), entity.get("model", "")
        if kind == "worldspawn":
            index = 0
        elif kind.startswith("func_") and re.fullmatch(r"\*\d+", model):
            index = int(model[1:])
        else:
            continue  # triggers and point entities draw nothing
        if index >= len(bsp.models):
            continue
        first, count = int(bsp.models["face"][index]), int(bsp.models["faces"][index])
        used.append(np.arange(first, min(first + count, len(bsp.faces))))
        offset = parse_vector(entity.get("origin", "")) if index else None
        offsets.append(np.tile(np.zeros(3) if offset is None else offset, (len(used[-1]), 1)))
    if not used:
        return np.zeros(0, dtype=np.int64), np.zeros((0, 3))
    return np.concatenate(used), np.concatenate(offsets)


def parse_vector(text: str) -> np.ndarray | None:
    """Three numbers of an entity's value, or None where the text holds something else."""
    try:
        values = [float(t) for t in text.split()]
    except ValueError:
        return None
    return np.array(values) if len(values) == 3 and np.isfinite(values).all() else None


def tessellate_patch(control: np.ndarray, size: tuple[int, int], steps: int = PATCH_STEPS) -> np.ndarray:
    """Triangles `[t, 3, attributes]` of a grid of biquadratic bezier pieces.

    Args:
        control: Control points [rows * columns, attributes], row by row.
        size: Columns and rows, both odd and >= 3.
        steps: Segments per piece.
    """
    columns, rows = size
    grid = control.reshape(rows, columns, -1)
    t = np.linspace(0.0, 1.0, steps + 1)
    basis = np.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2], axis=1)
    out = []
    for r in range(0, rows - 2, 2):
        for c in range(0, columns - 2, 2):
            piece = np.einsum("ai,bj,ijk->abk", basis, basis, grid[r : r + 3, c : c + 3])
            p00, p01, p10, p11 = piece[:-1, :-1], piece[:-1, 1:], piece[1:, :-1], piece[1:, 1:]
            quads = np.stack([np.stack([p00, p10, p01], 2), np.stack([p01, p10, p11], 2)], 2)
            out.append(quads.reshape(-1, 3, grid.shape[-1]))
    return np.concatenate(out)


def triangulate(bsp: Bsp, keep_texture: np.ndarray) -> Corners:
    """All triangles of the world and of brush entities (`func_*`; triggers draw nothing).

    Args:
        bsp: The map.
        keep_texture: Boolean per texture; faces of the others are left out.
    """
    attributes = _attributes(bsp)
    faces, offsets = _face_offsets(bsp)
    corners, owner = [], []
    for index, offset in zip(faces, offsets, strict=True):
        face = bsp.faces[index]
        if not keep_texture[face["texture"]]:
            continue
        first = int(face["vertex"])
        if face["kind"] in (POLYGON, MESH):
            order = bsp.meshverts[face["meshvert"] : face["meshvert"] + face["meshverts"]]
            order = np.clip(order, 0, max(int(face["vertices"]) - 1, 0))
            block = attributes[first + order[: len(order) // 3 * 3]].reshape(-1, 3, attributes.shape[1])
        elif face["kind"] == PATCH and min(face["patch_size"]) >= 3:
            columns, rows = (int(s) for s in face["patch_size"])
            block = tessellate_patch(attributes[first : first + columns * rows], (columns, rows))
        else:
            continue
        if offset.any():
            block = block.copy()
            block[..., :3] += offset
        corners.append(block)
        owner.append(np.full(len(block), index))
    if not corners:
        return Corners(attributes=np.zeros((0, 3, attributes.shape[1])), face=np.zeros(0, dtype=np.int64))
    return Corners(attributes=np.concatenate(corners).astype(np.float32), face=np.concatenate(owner))
