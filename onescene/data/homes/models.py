"""Models of furniture: Wavefront OBJ with materials, brought to their size in metres and the project's axes."""

from __future__ import annotations

import functools
import posixpath
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onescene.data.homes.library import SMALL_M, Piece
from onescene.data.maps.textures import decode_image

MAX_TRIANGLES, MAX_SMALL = 64_000, 16_000  # finer models are left out; the latter of what stands on other things
GLASS = 0.6  # materials less opaque than this are left out: a ray goes through
LONGEST_M = 0.3  # edges are cut to this, because light is kept at corners
GREY = (0.6, 0.6, 0.6)
_KEPT_MODELS = 512


@dataclass(frozen=True, kw_only=True)
class Model:
    """Triangles of a piece standing at the origin, its back towards -z, y down.

    Attributes:
        corners_m: Triangle corners [t, 3, 3] [m].
        uv: Texture coordinates [t, 3, 2], v down.
        material: Index into ``images`` [t].
        images: RGBA uint8 [h, w, 4] of each material; one pixel where it is a plain colour.
    """

    corners_m: np.ndarray
    uv: np.ndarray
    material: np.ndarray
    images: list[np.ndarray]


@functools.lru_cache(maxsize=_KEPT_MODELS)
def _load(library: Path, model: str, most: int) -> Model | None:
    with zipfile.ZipFile(library) as archive:
        try:
            text = archive.read(model).decode("latin-1")
        except KeyError:
            return None
        corners, uv, names, files = parse_obj(text)
        if not 0 < len(corners) <= most:
            return None
        materials = {}
        for file in files:
            path = posixpath.join(posixpath.dirname(model), file)
            if path in archive.namelist():
                materials |= _materials(archive, path)
    clear = {name for name, (_, opacity) in materials.items() if opacity < GLASS}
    kept = np.array([name not in clear for name in names])
    if not kept.any():
        return None
    names = [name for name, keep in zip(names, kept, strict=True) if keep]
    index = {name: i for i, name in enumerate(dict.fromkeys(names))}
    images = [materials[name][0] if name in materials else _plain(GREY) for name in index]
    uv = uv[kept] * [1, -1]
    return Model(
        corners_m=corners[kept].astype(np.float32),
        uv=uv.astype(np.float32),
        material=np.array([index[n] for n in names]),
        images=images,
    )


def load_model(piece: Piece) -> Model | None:
    """The model of a piece at its size, or None where it is missing, has nothing to show or is too fine."""
    stored = _load(piece.library, piece.model, MAX_SMALL if max(piece.size_m) <= SMALL_M else MAX_TRIANGLES)
    if stored is None:
        return None
    corners = stored.corners_m @ piece.rotation.T
    low, high = corners.min((0, 1)), corners.max((0, 1))
    scale = np.array(piece.size_m) / np.maximum(high - low, 1e-6)
    middle = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    metres = (corners - middle) * scale * [1, -1, 1]  # OBJ's y is up
    return Model(corners_m=metres[:, ::-1], uv=stored.uv[:, ::-1], material=stored.material, images=stored.images)


def parse_obj(text: str) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """Triangles of an OBJ file: corners [t, 3, 3], texture coordinates [t, 3, 2], materials' names, material files."""
    points: list[list[float]] = []
    textures: list[list[float]] = [[0.0, 0.0]]
    faces: list[tuple[int, int]] = []
    names: list[str] = []
    files: list[str] = []
    material = ""
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "v":
            points.append([float(v) for v in rest.split()[:3]])
        elif word == "vt":
            textures.append([float(v) for v in rest.split()[:2]])
        elif word == "f":
            corners = [_corner(c, len(points), len(textures)) for c in rest.split()]
            for i in range(1, len(corners) - 1):
                faces += [corners[0], corners[i], corners[i + 1]]
                names.append(material)
        elif word == "usemtl":
            material = rest.strip()
        elif word == "mtllib":
            files.append(rest.strip())
    if not faces:
        return np.zeros((0, 3, 3)), np.zeros((0, 3, 2)), [], files
    index = np.array(faces).reshape(-1, 3, 2)
    return np.array(points)[index[..., 0]], np.array(textures)[index[..., 1]], names, files


def _corner(text: str, points: int, textures: int) -> tuple[int, int]:
    """Indices of a corner's point and texture coordinate; the latter 0 where it has none."""
    parts = text.split("/")
    point = int(parts[0])
    texture = int(parts[1]) if len(parts) > 1 and parts[1] else 0
    return point - 1 if point > 0 else points + point, texture if texture >= 0 else textures + texture


def _plain(rgb: tuple[float, ...]) -> np.ndarray:
    return np.array([[[*(np.clip(rgb, 0, 1) * 255).round(), 255]]], np.uint8)


def _materials(archive: zipfile.ZipFile, path: str) -> dict[str, tuple[np.ndarray, float]]:
    """Image and opacity of each material of an MTL file."""
    found: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in archive.read(path).decode("latin-1").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "newmtl":
            current = found.setdefault(rest.strip(), {})
        elif word in ("Kd", "d", "map_Kd"):
            current[word] = rest.strip()
    names = set(archive.namelist())
    out = {}
    for name, material in found.items():
        image = None
        if "map_Kd" in material:
            stored = posixpath.join(posixpath.dirname(path), material["map_Kd"].split()[-1])
            image = decode_image(archive.read(stored)) if stored in names else None
        if image is None:
            image = _plain(tuple(float(v) for v in material.get("Kd", "").split()[:3]) or GREY)
        out[name] = (image, float(material.get("d", "1").split()[-1]))
    return out


def cut_long(corners: np.ndarray, uv: np.ndarray, material: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triangles cut at the middle of their longest edge until none is longer than LONGEST_M."""
    for _ in range(10):
        edges = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=-1)
        long = edges.max(1) > LONGEST_M
        if not long.any():
            break
        first = edges[long].argmax(1)
        order = (first[:, None] + np.arange(3)) % 3
        c, u = (np.take_along_axis(a[long], order[..., None], axis=1) for a in (corners, uv))
        halves = []
        for a in (c, u):
            middle = (a[:, 0] + a[:, 1]) / 2
            halves.append(
                np.concatenate([np.stack([a[:, 0], middle, a[:, 2]], 1), np.stack([middle, a[:, 1], a[:, 2]], 1)])
            )
        corners, uv = np.concatenate([corners[~long], halves[0]]), np.concatenate([uv[~long], halves[1]])
        material = np.concatenate([material[~long], np.tile(material[long], 2)])
    return corners, uv, material
