"""Headers of PLY files, and the elements behind them, in memory bounded by the file's own size."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

_HEADER_BYTES = 1 << 20  # a Gaussian PLY's header takes 2 kB; comments may be longer
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}
_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "float32": "f4", "double": "f8", "float64": "f8"},
}


@dataclass(frozen=True, kw_only=True)
class PlyElement:
    """One element of a header: ``dtype`` is None when it holds lists, whose size is not known."""

    name: str
    count: int
    dtype: np.dtype | None


@dataclass(frozen=True, kw_only=True)
class PlyHeader:
    """What stands in front of the body.

    Attributes:
        source: The file, for sentences.
        elements: In the order of the body.
        body_offset: Where the body begins [bytes].
    """

    source: Path
    elements: tuple[PlyElement, ...]
    body_offset: int

    def element(self, name: str) -> PlyElement | None:
        """The element of that name, or None."""
        return next((e for e in self.elements if e.name == name), None)


def read_ply_header(file: BinaryIO, source: str | os.PathLike) -> PlyHeader:
    """Reads a header.

    Raises:
        ValueError: not a PLY, an ASCII body, a header without an end, an unknown or twice named property, a count
            that is no number.
    """
    start = file.read(_HEADER_BYTES)
    if start[:4] not in (b"ply\n", b"ply\r"):
        raise ValueError(f"{source} is not a PLY file: it does not begin with `ply`")
    mark = start.find(b"\nend_header")
    end = start.find(b"\n", mark + 1) + 1 if mark >= 0 else 0
    if not end:
        raise ValueError(f"{source} is not a whole PLY file: its header has no `end_header`")
    lines = start[:end].decode("ascii", "replace").splitlines()
    words = [w for w in (line.split() for line in lines[1:-1]) if w and w[0] not in ("comment", "obj_info")]
    if not words or words[0][0] != "format" or len(words[0]) < 2:
        raise ValueError(f"{source} is not a PLY file: its second line must be its format")
    if words[0][1] not in _ORDERS:
        raise ValueError(f"{source} must be a binary PLY, got format {words[0][1]}")
    elements = _elements(words[1:], _ORDERS[words[0][1]], source)
    return PlyHeader(source=Path(source), elements=elements, body_offset=end)


def read_ply_element(file: BinaryIO, header: PlyHeader, name: str) -> np.ndarray:
    """Reads one element as a structured array, once the file is known to be long enough for it.

    Raises:
        ValueError: no such element, lists in it or before it, or a body shorter than the header promises.
    """
    offset = header.body_offset
    for element in header.elements:
        if element.dtype is None:
            raise ValueError(f"{header.source}: the element {element.name} holds lists, expected plain numbers")
        if element.name == name:
            break
        offset += element.count * element.dtype.itemsize
    else:
        raise ValueError(f"{header.source} holds no element `{name}`, got {[e.name for e in header.elements]}")
    needed = element.count * element.dtype.itemsize
    there = max(0, file.seek(0, os.SEEK_END) - offset)
    if needed > there:
        raise ValueError(
            f"{header.source} is truncated or its header is wrong: "
            f"{element.count} x {element.dtype.itemsize} bytes of {name} promised, {there} bytes there"
        )
    file.seek(offset)
    return np.frombuffer(file.read(needed), element.dtype, count=element.count)


def _elements(lines: list[list[str]], order: str, source: str | os.PathLike) -> tuple[PlyElement, ...]:
    """Elements and their record types out of the header's lines."""
    found: list[tuple[str, int, list[tuple[str, str | None]]]] = []
    for words in lines:
        if words[0] == "element" and len(words) == 3 and words[2].isascii() and words[2].isdigit():
            found.append((words[1], int(words[2][:20]), []))
        elif words[0] == "property" and found and len(words) == 5 and words[1] == "list":
            found[-1][2].append((words[4], None))
        elif words[0] == "property" and found and len(words) == 3 and words[1] in _TYPES:
            found[-1][2].append((words[2], order + _TYPES[words[1]]))
        else:
            raise ValueError(f"{source} has a PLY header line that can not be read: `{' '.join(words)[:80]}`")
    names = [name for name, _, _ in found]
    for subject, listed in [("elements", names)] + [(f"properties of {n}", [p for p, _ in ps]) for n, _, ps in found]:
        twice = {n for n, count in Counter(listed).items() if count > 1}
        if twice:
            raise ValueError(f"{source} names {subject} twice: {', '.join(sorted(twice)[:4])}")
    return tuple(
        PlyElement(name=n, count=c, dtype=np.dtype(ps) if all(t for _, t in ps) else None) for n, c, ps in found
    )
