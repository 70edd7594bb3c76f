"""What every reader asks of a path before it opens it, in one set of sentences."""

from __future__ import annotations

import os
from pathlib import Path


def existing_file(path: str | os.PathLike, what: str) -> Path:
    """Returns ``path`` if it is a file that holds something.

    Args:
        path: The path a caller gave.
        what: The kind of file, for the sentence: "photo", "camera file".

    Raises:
        FileNotFoundError: nothing is there.
        IsADirectoryError: a folder is there.
        ValueError: the file is empty or no regular file (a pipe, a device).
    """
    found = Path(path)
    if not found.exists():
        raise FileNotFoundError(f"{what} not found: {found}")
    if found.is_dir():
        raise IsADirectoryError(f"{what} must be a file, got a folder: {found}")
    if not found.is_file():
        raise ValueError(f"{what} must be a regular file, got a pipe or a device: {found}")
    if found.stat().st_size == 0:
        raise ValueError(f"{what} is empty: {found}")
    return found


def bytes_beginning_with(path: Path, *beginnings: bytes) -> bytes:
    """All bytes of a file that begins with one of ``beginnings``; of any other, which may be huge, the first 64."""
    with open(path, "rb") as file:
        first = file.read(64)
        return first + file.read() if first.startswith(beginnings) else first


def suffix_of(path: str | os.PathLike) -> str:
    """The suffix that names a format, in lower case; ``.compressed.ply`` is one."""
    name = Path(path).name.lower()
    return ".compressed.ply" if name.endswith(".compressed.ply") else Path(name).suffix
