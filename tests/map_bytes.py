"""Writes a tiny IBSP 46 map, a box-shaped room, into a pack: what the map tests read.

The room reaches from (-8, -6, 0) to (8, 6, 8) m in Quake's axes (x forward, y left, z up); the
camera of most tests stands at `EYE_WORLD_M`. Its six sides are single polygons facing inwards.
"""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

LOW_M, HIGH_M = np.array([-8.0, -6.0, 0.0]), np.array([8.0, 6.0, 8.0])
UNITS_PER_METRE = 32.0
EYE_QUAKE_M = np.array([1.0, 2.0, 1.5])
EYE_WORLD_M = np.array([-2.0, -1.5, 1.0])  # x right = -left, y down = -up, z forward = forward

# side: (axis, sign of the side); colours of their images; the ceiling is sky
SIDES = {
    "forward": (0, 1, (200, 40, 40)),
    "back": (0, -1, (40, 40, 200)),
    "left": (1, 1, (40, 200, 40)),
    "right": (1, -1, (200, 200, 40)),
    "floor": (2, -1, (120, 120, 120)),
    "ceiling": (2, 1, (0, 0, 0)),
}
SKY_SHADER = "textures/box/ceiling\n{\n\tsurfaceparm sky // a comment\n\tskyparms - 512 -\n}\n"


def image_bytes(rgb: tuple[int, int, int] | np.ndarray, kind: str = "TGA") -> bytes:
    """An image file: one colour, or an array [h, w, 3 or 4]."""
    array = np.full((8, 8, 3), rgb, np.uint8) if isinstance(rgb, tuple) else rgb
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind)
    return stream.getvalue()


def quad(axis: int, sign: int, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners [4, 3] of one side of a box and its inward normal."""
    first, second = [a for a in range(3) if a != axis]
    corners = np.zeros((4, 3))
    corners[:, axis] = high[axis] if sign > 0 else low[axis]
    corners[:, first] = [low[first], high[first], high[first], low[first]]
    corners[:, second] = [low[second], low[second], high[second], high[second]]
    normal = np.zeros(3)
    normal[axis] = -sign
    return corners, normal


def _face(texture: int, vertex: int, normal: np.ndarray) -> bytes:
    head = struct.pack("<12i", texture, -1, 1, vertex, 4, 0, 6, -2, 0, 0, 0, 0)
    return head + struct.pack("<12f", *([0.0] * 9), *normal) + struct.pack("<2i", 0, 0)


def box_map(extra: list[tuple[str, np.ndarray, np.ndarray]] | None = None, entities: str | None = None) -> bytes:
    """The bytes of the map.

    Args:
        extra: More polygons: surface name, corners [4, 3] in metres (Quake's axes), normal.
        entities: The entity lump; the default has three starting places.
    """
    polygons = [(f"textures/box/{n}", *quad(axis, sign, LOW_M, HIGH_M)) for n, (axis, sign, _) in SIDES.items()]
    polygons += extra or []
    names = sorted({name for name, _, _ in polygons})
    spots = ((32, 64, 24), (-160, -100, 24), (180, 100, 24))
    spawn = "".join('{"classname" "info_player_deathmatch" "origin" "%d %d %d"}\n' % s for s in spots)  # noqa: UP031
    entities = '{"classname" "worldspawn"}\n' + spawn if entities is None else entities
    flags = [0x4 if name.endswith("ceiling") else 0 for name in names]
    vertices, faces = [], []
    for name, corners, normal in polygons:
        faces.append(_face(names.index(name), len(vertices), normal))
        for corner, uv in zip(corners * UNITS_PER_METRE, ((0, 0), (1, 0), (1, 1), (0, 1)), strict=True):
            vertices.append(struct.pack("<10f4B", *corner, *uv, 0, 0, *normal, 255, 255, 255, 255))
    lumps = [b""] * 17
    lumps[0] = entities.encode() + b"\0"
    # compilers leave waste behind a name's end
    lumps[1] = b"".join(struct.pack("<64sii", n.encode() + b"\0waste", f, 1) for n, f in zip(names, flags, strict=True))
    lumps[7] = struct.pack("<6f4i", *(LOW_M * 32), *(HIGH_M * 32), 0, len(faces), 0, 0)
    lumps[10], lumps[13] = b"".join(vertices), b"".join(faces)
    lumps[11] = struct.pack("<6i", 0, 1, 2, 0, 2, 3)
    table, start = b"", 8 + 8 * 17
    for lump in lumps:
        table += struct.pack("<2i", start, len(lump))
        start += len(lump)
    return b"IBSP" + struct.pack("<i", 46) + table + b"".join(lumps)


def write_pack(folder: Path, maps: dict[str, bytes], files: dict[str, bytes] | None = None) -> Path:
    """Writes `<folder>/tinygame/base/pak0.pk3` with maps, the room's images and other files; returns `folder`."""
    target = folder / "tinygame" / "base"
    target.mkdir(parents=True, exist_ok=True)
    content = {f"maps/{name}.bsp": data for name, data in maps.items()}
    content |= {f"textures/box/{n}.tga": image_bytes(rgb) for n, (_, _, rgb) in SIDES.items() if n != "ceiling"}
    content |= {"scripts/box.shader": SKY_SHADER.encode()} | (files or {})
    with zipfile.ZipFile(target / "pak0.pk3", "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return folder


def distance_to_box(origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Where rays from inside leave the room, by the slab method; everything in Quake's axes [m]."""
    with np.errstate(divide="ignore"):
        ahead = np.where(directions > 0, (HIGH_M - origin) / directions, (LOW_M - origin) / directions)
    return np.where(directions == 0, np.inf, ahead).min(-1)
