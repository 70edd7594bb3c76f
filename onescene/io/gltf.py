"""Binary glTF 2.0 (``.glb``) as a container: its two chunks, and arrays in its buffer, checked before they are read.

Owns the bytes; what a mesh or a cloud of Gaussians means by them belongs to ``glb`` and ``mesh_glb``. Everything a file
refers to has to lie in the file itself.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from onescene.io.atomic import atomic_write_bytes
from onescene.io.sources import bytes_beginning_with

ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
POINTS, TRIANGLES = 0, 4
FLOAT = 5126
_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", FLOAT: "<f4"}
_CODES = {np.dtype(name): code for code, name in _COMPONENTS.items()}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_TYPES = {width: name for name, width in _WIDTHS.items()}
_MAGIC, _JSON_CHUNK, _BINARY_CHUNK = b"glTF", b"JSON", b"BIN\0"
_MAX_JSON_BYTES = 16 << 20  # parsed, it takes several times as much; ours hold 10 kB
DAMAGES = (
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    OverflowError,
)  # of reading JSON that is not as it should be


@dataclass
class GlbWriter:
    """A file in the making: arrays and bytes go in, and come out as accessors and buffer views."""

    accessors: list[dict[str, Any]] = field(default_factory=list)
    views: list[dict[str, Any]] = field(default_factory=list)
    blobs: list[bytes] = field(default_factory=list)
    size: int = 0

    def add_bytes(self, data: bytes, target: int | None = None) -> int:
        """Adds bytes, at a multiple of four; returns the number of their buffer view."""
        view = {"buffer": 0, "byteOffset": self.size, "byteLength": len(data)}
        self.views.append(view | ({} if target is None else {"target": target}))
        padded = data + bytes(-len(data) % 4)
        self.blobs.append(padded)
        self.size += len(padded)
        return len(self.views) - 1

    def add_array(self, values: np.ndarray, target: int = ARRAY_BUFFER, *, bounds: bool = False) -> int:
        """Adds rows of float32, or of bytes that stand for [0, 1], or a list of uint32 indices.

        Args:
            values: [N, width] or [N].
            target: What the buffer is for.
            bounds: Whether to write the smallest and the largest values, as glTF wants them of positions.

        Returns:
            The number of the accessor.
        """
        values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        width = 1 if values.ndim == 1 else values.shape[1]
        accessor = {"bufferView": self.add_bytes(values.tobytes(), target), "componentType": _CODES[values.dtype]}
        accessor |= {"count": len(values), "type": _TYPES[width]}
        if values.dtype == np.uint8:
            accessor["normalized"] = True
        if bounds:
            accessor |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def write(self, content: dict[str, Any], path: str | os.PathLike) -> Path:
        """Writes the file: ``content`` is the glTF object without accessors, buffer views and buffers.

        Raises:
            ValueError: 4 GiB or more, which the container can not hold.
        """
        parts = {"accessors": self.accessors, "bufferViews": self.views, "buffers": [{"byteLength": self.size}]}
        text = json.dumps({"asset": {"version": "2.0", "generator": "onescene"}} | content | parts, allow_nan=False)
        data = text.encode("ascii")
        data += b" " * (-len(data) % 4)
        total = 12 + 8 + len(data) + 8 + self.size
        if total >= 1 << 32:
            raise ValueError(f"a GLB file holds less than 4 GiB, {Path(path).name} would take {total} bytes")
        header = [_MAGIC, struct.pack("<II", 2, total), struct.pack("<I", len(data)), _JSON_CHUNK, data]
        return atomic_write_bytes(path, b"".join([*header, struct.pack("<I", self.size), _BINARY_CHUNK, *self.blobs]))


@dataclass(frozen=True, kw_only=True)
class Glb:
    """A file as it was read: its JSON object and the bytes of its buffer."""

    source: Path
    content: dict[str, Any]
    body: bytes

    def array(self, index: int, subject: str, width: int, kinds: tuple[str, ...], count: int | None = None):
        """An accessor as [count, width], once it is known to lie inside the file.

        Args:
            index: Of the accessor.
            subject: What it is, for sentences.
            width: Numbers to a row.
            kinds: Component types that it may have: "f4", "u1", "i2n", ...; n = stands for [0, 1] or [-1, 1].
            count: How many rows it must have; None = any number.

        Returns:
            float32, or the integers of an index.

        Raises:
            ValueError: another type or size, sparse, outside the file.
        """
        subject = f"{self.source}: {subject}"
        accessor = self.content["accessors"][index]
        count = accessor["count"] if count is None else count
        kind = np.dtype(_COMPONENTS.get(accessor["componentType"], "V1"))
        normalised = accessor.get("normalized", False) is True
        name = kind.str[1:] + ("n" if normalised else "")
        if name not in kinds or "sparse" in accessor:
            raise ValueError(f"{subject} must be of type {' or '.join(kinds)}, got {name}")
        if (accessor["count"], _WIDTHS.get(accessor["type"])) != (count, width):
            raise ValueError(f"{subject} must be {count} x {width}, got {accessor['count']} of {accessor['type']}")
        values = self._rows(accessor, kind, count, width, subject)
        if name in ("u4", "u2", "u1") and width == 1:
            return values
        values = values.astype(np.float32)
        return np.maximum(values / np.iinfo(kind).max, -1) if normalised else values

    def bytes_of(self, index: int, subject: str) -> bytes:
        """The bytes of a buffer view.

        Raises:
            ValueError: they do not lie in the file.
        """
        view = self._view(index, f"{self.source}: {subject}")
        start, size = view.get("byteOffset", 0), view["byteLength"]
        if start < 0 or size < 0 or start + size > len(self.body):
            raise ValueError(f"{self.source}: {subject} is truncated: {size} bytes promised")
        return self.body[start : start + size]

    def _view(self, index: int, subject: str) -> dict[str, Any]:
        view = self.content["bufferViews"][index]
        if view["buffer"] != 0 or "uri" in self.content["buffers"][0]:
            raise ValueError(f"{subject} must lie in the file itself")
        return view

    def _rows(self, accessor: dict[str, Any], kind: np.dtype, count: int, width: int, subject: str) -> np.ndarray:
        """Rows of an accessor, which may stand apart by a stride."""
        view = self._view(accessor["bufferView"], subject)
        row = width * kind.itemsize
        stride = view.get("byteStride", row)
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        size = stride * (count - 1) + row if count > 0 else 0
        if min(start, count, stride - row) < 0 or start + size > len(self.body):
            there = max(0, len(self.body) - start)
            raise ValueError(f"{subject} is truncated: {size} bytes promised, {there} bytes there")
        rows = np.ndarray((count, width), kind, self.body, start, (stride, kind.itemsize))
        return rows.astype(kind.newbyteorder("="))


def read_glb_file(path: Path) -> Glb:
    """Reads the JSON and the binary chunk.

    Raises:
        ValueError: not a GLB, another version, truncated, JSON that can not be read or is far too long.
    """
    data = bytes_beginning_with(path, _MAGIC)
    if len(data) < 20 or data[:4] != _MAGIC or data[16:20] != _JSON_CHUNK:
        raise ValueError(f"{path} is not a GLB file: it does not begin as one")
    version, total, length = struct.unpack_from("<III", data, 4)
    if version != 2:
        raise ValueError(f"{path} must be glTF 2, got version {version}")
    if total > len(data) or 20 + length > len(data):
        raise ValueError(f"{path} is truncated: {total} bytes promised, {len(data)} there")
    if length > _MAX_JSON_BYTES:
        raise ValueError(f"{path} has {length} bytes of JSON, which must be at most {_MAX_JSON_BYTES >> 20} MiB")
    try:
        content = json.loads(data[20 : 20 + length])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: its JSON can not be read") from error
    body = data[20 + length :]
    if len(body) < 8 or body[4:8] != _BINARY_CHUNK:
        raise ValueError(f"{path} holds no binary chunk")
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a glTF file: its JSON must be an object, got {type(content).__name__}")
    return Glb(source=path, content=content, body=body[8 : 8 + struct.unpack_from("<I", body)[0]])
