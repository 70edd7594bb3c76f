"""Gaussians as binary glTF with the extension KHR_gaussian_splatting (ratified by Khronos in 2026).

Activated values in float32: linear scales, opacities in [0, 1], rotations xyzw, one attribute per spherical harmonic
(same order and signs as 3DGS), colours of images as they are (``srgb_rec709_display``). glTF's y axis points up and its
cameras look along -z, so the scene is turned half around x. Viewers without the extension show a point cloud, coloured
by ``COLOR_0``.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np

from onescene.io.arrays import GaussianArrays, turned_about_x
from onescene.io.atomic import atomic_write_bytes
from onescene.types import SH_C0

EXTENSION = "KHR_gaussian_splatting"
_FLOAT, _UNSIGNED_BYTE, _POINTS, _ARRAY_BUFFER = 5126, 5121, 0, 34962
_MAGIC, _JSON_CHUNK, _BINARY_CHUNK = b"glTF", b"JSON", b"BIN\0"
_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
_TYPES = {width: name for name, width in _WIDTHS.items()}
_DEGREES = {1: 0, 4: 1, 9: 2, 16: 3}  # coefficients -> degree
_TURNS = ("matrix", "translation", "rotation", "scale")


def write_glb(arrays: GaussianArrays, path: str | os.PathLike) -> Path:
    """Writes one primitive of points with KHR_gaussian_splatting; returns the path."""
    arrays = turned_about_x(arrays)
    attributes = {
        "POSITION": arrays.means,
        "COLOR_0": _fallback_colour(arrays),
        f"{EXTENSION}:ROTATION": np.roll(arrays.quats, -1, axis=1),
        f"{EXTENSION}:SCALE": arrays.scales,
        f"{EXTENSION}:OPACITY": arrays.opacities[:, None],
    }
    for i, name in enumerate(_sh_names(arrays.sh.shape[1])):
        attributes[name] = arrays.sh[:, i]
    views, accessors, blobs, offset = [], [], [], 0
    for name, values in attributes.items():
        blob = np.ascontiguousarray(values, "u1" if values.dtype == np.uint8 else "<f4").tobytes()
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": len(blob), "target": _ARRAY_BUFFER})
        accessors.append(_accessor(len(views) - 1, values, with_bounds=name == "POSITION"))
        blobs.append(blob)
        offset += len(blob)
    content = {
        "asset": {"version": "2.0", "generator": "onescene"},
        "extensionsUsed": [EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [_primitive(list(attributes))]}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": offset}],
    }
    text = json.dumps(content, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 4)
    chunks = [struct.pack("<I", len(text)), _JSON_CHUNK, text, struct.pack("<I", offset), _BINARY_CHUNK, *blobs]
    total = 12 + sum(map(len, chunks))
    if total >= 1 << 32:
        raise ValueError(f"a GLB file holds less than 4 GiB, {len(arrays)} Gaussians take {total} bytes")
    return atomic_write_bytes(path, b"".join([_MAGIC, struct.pack("<II", 2, total), *chunks]))


def read_glb(path: Path) -> GaussianArrays:
    """Reads the one primitive of Gaussians of a GLB file, stored as float32 without a node transform.

    Raises:
        ValueError: not a GLB, truncated, no or several primitives of Gaussians, quantised or sparse attributes, a
            transformed node, a colour space or kernel other than the usual.
    """
    content, body = _chunks(path)
    try:
        primitive = _the_primitive(content, path)
        named = primitive["attributes"]
        count = content["accessors"][named["POSITION"]]["count"]

        def attribute(name: str, width: int) -> np.ndarray:
            return _values(content, body, named[name], (count, width), f"{path}: {name}")

        coefficients = sum(1 for name in named if name.startswith(f"{EXTENSION}:SH_DEGREE_"))
        if coefficients not in _DEGREES:
            raise ValueError(f"{path} must hold 1, 4, 9 or 16 spherical harmonics, got {coefficients}")
        sh_names = _sh_names(coefficients)
        arrays = GaussianArrays(
            means=attribute("POSITION", 3),
            quats=np.roll(attribute(f"{EXTENSION}:ROTATION", 4), 1, axis=1),
            scales=attribute(f"{EXTENSION}:SCALE", 3),
            opacities=attribute(f"{EXTENSION}:OPACITY", 1)[:, 0],
            sh=np.stack([attribute(name, 3) for name in sh_names], axis=1),
        )
    except (KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path} is not a whole glTF file of Gaussians: {error!r}") from error
    return turned_about_x(arrays)


def _sh_names(coefficients: int) -> list[str]:
    """Attribute names of so many coefficients, in 3DGS order."""
    return [
        f"{EXTENSION}:SH_DEGREE_{degree}_COEF_{i}"
        for degree in range(_DEGREES[coefficients] + 1)
        for i in range(2 * degree + 1)
    ]


def _fallback_colour(arrays: GaussianArrays) -> np.ndarray:
    """Linear RGB and opacity in 8 bits: glTF's vertex colours are linear, ours those of images (sRGB)."""
    rgb = np.clip(0.5 + SH_C0 * arrays.sh[:, 0], 0, 1)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
    return np.round(np.concatenate([linear, arrays.opacities[:, None]], axis=1) * 255).astype(np.uint8)


def _accessor(view: int, values: np.ndarray, *, with_bounds: bool) -> dict[str, Any]:
    """How a buffer view is read; glTF wants the bounds of positions."""
    is_byte = values.dtype == np.uint8
    accessor = {"bufferView": view, "componentType": _UNSIGNED_BYTE if is_byte else _FLOAT, "count": len(values)}
    accessor["type"] = _TYPES[values.shape[1]]
    if is_byte:
        accessor["normalized"] = True
    if with_bounds:
        accessor |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
    return accessor


def _primitive(names: list[str]) -> dict[str, Any]:
    """The primitive of points whose attributes are the accessors in order."""
    meaning = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
    meaning |= {"sortingMethod": "cameraDistance", "projection": "perspective"}
    return {
        "attributes": {name: i for i, name in enumerate(names)},
        "mode": _POINTS,
        "extensions": {EXTENSION: meaning},
    }


def _chunks(path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON and the binary chunk of a GLB file."""
    data = path.read_bytes()
    if len(data) < 20 or data[:4] != _MAGIC or data[16:20] != _JSON_CHUNK:
        raise ValueError(f"{path} is not a GLB file: it does not begin as one")
    version, total, length = struct.unpack_from("<III", data, 4)
    if version != 2:
        raise ValueError(f"{path} must be glTF 2, got version {version}")
    if total > len(data) or 20 + length > len(data):
        raise ValueError(f"{path} is truncated: {total} bytes promised, {len(data)} there")
    try:
        content = json.loads(data[20 : 20 + length])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: its JSON can not be read") from error
    body = data[20 + length :]
    if len(body) < 8 or body[4:8] != _BINARY_CHUNK:
        raise ValueError(f"{path} holds no binary chunk")
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a glTF file: its JSON must be an object, got {type(content).__name__}")
    return content, body[8 : 8 + struct.unpack_from("<I", body)[0]]


def _the_primitive(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The one primitive of Gaussians, if nothing moves or reinterprets it."""
    found = [p for m in content.get("meshes", []) for p in m["primitives"] if EXTENSION in p.get("extensions", {})]
    if len(found) != 1:
        raise ValueError(f"{path} must hold one primitive with {EXTENSION}, got {len(found)}")
    if any(turn in node for node in content.get("nodes", []) for turn in _TURNS):
        raise ValueError(f"{path} moves its nodes (matrix, translation, rotation or scale), which is not supported")
    meaning = found[0]["extensions"][EXTENSION]
    got = (meaning.get("kernel", "ellipse"), meaning.get("colorSpace", "srgb_rec709_display"))
    if got != ("ellipse", "srgb_rec709_display") or meaning.get("extensions"):
        raise ValueError(f"{path} must hold plain ellipses in srgb_rec709_display, got {got}")
    return found[0]


def _values(content: dict[str, Any], body: bytes, index: int, shape: tuple[int, int], subject: str) -> np.ndarray:
    """A tightly packed float32 accessor, once it is known to lie inside the binary chunk."""
    accessor = content["accessors"][index]
    view = content["bufferViews"][accessor["bufferView"]]
    count, width = shape
    size = 4 * count * width
    if accessor["componentType"] != _FLOAT or "sparse" in accessor or view.get("byteStride", 4 * width) != 4 * width:
        raise ValueError(f"{subject} must be packed float32")
    if (accessor["count"], _WIDTHS.get(accessor["type"])) != (count, width):
        raise ValueError(f"{subject} must be {count} x {width}, got {accessor['count']} of {accessor['type']}")
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    if view["buffer"] != 0 or "uri" in content["buffers"][0]:
        raise ValueError(f"{subject} must lie in the file itself")
    if start < 0 or count < 0 or start + size > len(body):
        raise ValueError(f"{subject} is truncated: {size} bytes promised, {max(0, len(body) - start)} there")
    return np.frombuffer(body, "<f4", count=count * width, offset=start).reshape(count, width).astype(np.float32)
