"""Reads the maps of UFO: Alien Invasion, a descendant of Quake II: modern houses, offices, streets and farms.

The file is IBSP version 78 or 79, its faces point into lists of edges. What comes out is the same `Bsp` that
`bsp.read_bsp` gives for Quake III: faces with their own corners, texture coordinates that still have to be divided by
the texture's size (`uv_per_texel`), and lightmaps packed into pages. The night's light is left alone.
"""

from __future__ import annotations

import struct
from functools import partial

import numpy as np

from onescene.data.maps.bsp import (
    FACE,
    LEAF,
    MODEL,
    NODE,
    PLANE,
    POLYGON,
    TEXTURE,
    VERTEX,
    Bsp,
    array_of,
    check_spans,
    parse_entities,
    split_lumps,
)
from onescene.data.maps.shaders import SURFACE_CUTOUT, SURFACE_NODRAW

VERSIONS = (78, 79)
LUMP_NAMES = (
    "entities planes vertices routing nodes textures faces light_night light_day leafs "
    "leafbrushes edges faceedges models brushes brushsides normals"
).split()
HEADER_BYTES = 8 + 8 * len(LUMP_NAMES)
LUXEL_BYTES = 6  # three of light, three of the direction it comes from
PAGE_PX = 512  # of a page of lightmaps; a larger face stays unlit
PREFIX = "textures/"

MAP_TEXTURE = np.dtype([("axes", "<f4", (2, 4)), ("flags", "<u4"), ("value", "<u4"), ("name", "S32")])
MAP_PLANE = np.dtype([("normal", "<f4", 3), ("distance", "<f4"), ("kind", "<i4")])
MAP_FACE = np.dtype(
    [
        ("plane", "<u2"),
        ("side", "<i2"),
        ("edge", "<i4"),
        ("edges", "<i2"),
        ("texture", "<i2"),
        ("light_night", "<i4"),
        ("light_day", "<i4"),
    ]
)
WATER, GLASS, NODRAW, ALPHA = 0x8, 0x10 | 0x20, 0x80, 0x2000000  # surface flags of this game
TOOLS = b"tex_common/"  # clips, triggers and other surfaces that nobody sees


class _Pages:
    """Shelves on which lightmaps are placed one beside the other."""

    def __init__(self) -> None:
        self.pages: list[np.ndarray] = []
        self._x = self._y = self._height = PAGE_PX

    def place(self, image: np.ndarray) -> tuple[int, int, int]:
        """Page, column and row of an image [h, w, 3]."""
        height, width = image.shape[:2]
        if self._x + width > PAGE_PX:
            self._x, self._y, self._height = 0, self._y + self._height, 0
        if self._y + height > PAGE_PX or not self.pages:
            self.pages.append(np.zeros((PAGE_PX, PAGE_PX, 3), np.uint8))
            self._x = self._y = self._height = 0
        x, y = self._x, self._y
        self.pages[-1][y : y + height, x : x + width] = image
        self._x, self._height = x + width, max(self._height, height)
        return len(self.pages) - 1, x, y


def is_ufo_bsp(data: bytes) -> bool:
    """Whether a file's first bytes are those of this format."""
    return len(data) >= HEADER_BYTES and data[:4] == b"IBSP" and struct.unpack_from("<i", data, 4)[0] in VERSIONS


def read_ufo_bsp(data: bytes, name: str = "map") -> Bsp:
    """Decodes the file.

    Args:
        data: The whole file.
        name: What error messages call it.

    Raises:
        ValueError: It is not of this format, ends before a lump does, or a face points outside a list.
    """
    if not is_ufo_bsp(data):
        raise ValueError(f"{name} must be an IBSP map of version 78 or 79, got {data[:8]!r}")
    lumps = split_lumps(data, LUMP_NAMES, name)
    array = partial(array_of, lumps)
    found = array("textures", MAP_TEXTURE)
    faces, corners = array("faces", MAP_FACE), array("vertices", "<f4")
    corners = corners[: len(corners) // 3 * 3].reshape(-1, 3)
    edges, order = array("edges", "<u2"), array("faceedges", "<i4")
    edges = edges[: len(edges) // 2 * 2].reshape(-1, 2)
    planes = array("planes", MAP_PLANE)
    _check_references(name, faces, found, planes, corners, edges, order)
    first = np.where(order >= 0, edges[np.abs(order), 0], edges[np.abs(order), 1]) if len(order) else order
    out_faces, vertices, meshverts, pages = _faces(faces, found, planes, corners[first], lumps["light_day"])
    models = np.zeros(1, MODEL)
    models["faces"] = len(out_faces)
    return Bsp(
        entities=parse_entities(lumps["entities"].decode("latin-1")),
        textures=_textures(found),
        planes=np.zeros(0, PLANE),
        nodes=np.zeros(0, NODE),
        leafs=np.zeros(0, LEAF),
        models=models,
        vertices=vertices,
        faces=out_faces,
        meshverts=meshverts,
        lightmaps=np.stack(pages) if pages else np.zeros((0, PAGE_PX, PAGE_PX, 3), np.uint8),
        uv_per_texel=True,
        open_sky=True,
    )


def _check_references(
    name: str,
    faces: np.ndarray,
    textures: np.ndarray,
    planes: np.ndarray,
    corners: np.ndarray,
    edges: np.ndarray,
    order: np.ndarray,
) -> None:
    """Raises ValueError where a lump points outside another one."""
    spans = {
        "surface of a face": (faces["texture"], 1, len(textures)),
        "plane of a face": (faces["plane"], 1, len(planes)),
        "edge of a face": (faces["edge"], faces["edges"], len(order)),
        "end of an edge": (edges, 1, len(corners)),
        "edge in the list": (np.abs(order.astype(np.int64)), 1, len(edges)),
    }
    check_spans(spans, name)


def _textures(found: np.ndarray) -> np.ndarray:
    """Surfaces with the names and flags of Quake III."""
    out = np.zeros(len(found), TEXTURE)
    names = [raw.split(b"\0")[0] for raw in found["name"].tolist()]
    out["name"] = [PREFIX.encode() + raw for raw in names]
    tools = np.array([raw.startswith(TOOLS) for raw in names], dtype=bool)
    flags = found["flags"]
    glass = (flags & GLASS != 0) & (flags & WATER == 0)
    out["flags"] = np.where((flags & NODRAW != 0) | tools | glass, SURFACE_NODRAW, 0)
    out["flags"] |= np.where(flags & ALPHA != 0, SURFACE_CUTOUT, 0)
    return out


def _faces(
    faces: np.ndarray, textures: np.ndarray, planes: np.ndarray, corners: np.ndarray, light: bytes
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
    """Faces with corners of their own, these, their triangles, and the pages of light."""
    luxel = float(1 << light[0]) if light else 16.0  # units per sample of light
    lit = np.frombuffer(light, np.uint8)
    pages, out = _Pages(), np.zeros(len(faces), FACE)
    vertices, triangles = np.zeros(int(faces["edges"].sum()), VERTEX), []
    at = 0
    for i, face in enumerate(faces):
        count, axes = int(face["edges"]), textures["axes"][face["texture"]]
        positions = corners[face["edge"] : face["edge"] + count]
        texels = positions @ axes[:, :3].T + axes[:, 3]
        own = vertices[at : at + count]
        own["position"], own["uv"], own["colour"] = positions, texels, 255
        own["normal"] = planes["normal"][face["plane"]] * (-1 if face["side"] else 1)
        out[i]["texture"], out[i]["kind"] = face["texture"], POLYGON
        out[i]["vertex"], out[i]["vertices"] = at, count
        out[i]["meshvert"], out[i]["meshverts"] = 3 * len(triangles), 3 * max(count - 2, 0)
        triangles += [(0, k, k + 1) for k in range(1, count - 1)]
        out[i]["lightmap"] = _place_light(pages, own, texels / luxel, lit, int(face["light_day"]))
        at += count
    return out, vertices, np.array(triangles, np.int32).reshape(-1), pages.pages


def _place_light(pages: _Pages, own: np.ndarray, luxels: np.ndarray, lit: np.ndarray, offset: int) -> int:
    """Copies a face's light to a page and writes its corners' coordinates there; -1 where there is none."""
    if offset < 0 or not len(luxels) or not np.isfinite(luxels).all():
        return -1
    low, high = np.floor(luxels.min(0)), np.ceil(luxels.max(0))
    width, height = (int(n) for n in high - low + 1)
    if max(width, height) > PAGE_PX or offset + width * height * LUXEL_BYTES > len(lit):
        return -1
    image = lit[offset : offset + width * height * LUXEL_BYTES].reshape(height, width, LUXEL_BYTES)[..., :3]
    page, x, y = pages.place(image)
    own["light_uv"] = (luxels - low + 0.5 + (x, y)) / PAGE_PX
    return page
