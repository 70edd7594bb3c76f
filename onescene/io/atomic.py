"""Files written whole or not at all.

Owns the temporary name, the flush to disk and the swap; what goes into a file is its writer's business. A temporary
file lies in the folder of its target (a rename across disks is no rename), starts with a dot and carries ``.partial``,
so that neither a listing nor a glob over ``*.png`` of finished files takes it for one.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MARKER = ".partial"
_NAME_LETTERS = 40  # of the target's name kept in the temporary one: file systems take 255 bytes
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary path to write to; on success it replaces ``path`` in one step, on any failure it is gone.

    The temporary name ends in the suffix of ``path``, for writers that choose a format by it. The file reaches the
    disk (fsync) before it takes the name.

    Args:
        path: The file to write; its folder has to exist.

    Raises:
        FileNotFoundError: the folder does not exist.
        IsADirectoryError: ``path`` is a folder.
        NotADirectoryError: the folder is a file.
        PermissionError: the folder can not be written.
        OSError: the disk is full (``errno`` ENOSPC), in a sentence that names ``path``.
    """
    target = Path(path)
    _check_target(target)
    name = f".{target.stem[:_NAME_LETTERS]}-{secrets.token_hex(4)}{MARKER}{target.suffix}"
    temporary = target.with_name(name)
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, target)
    except OSError as error:
        _remove(temporary)
        sentence = _in_a_sentence(error, temporary, target)
        if sentence is None:
            raise
        raise sentence from error
    except BaseException:  # Ctrl-C included: nothing half-written stays
        _remove(temporary)
        raise
    _flush_folder(target.parent)


@contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Gives an empty temporary folder to fill; on success it takes the place of ``path``, on any failure it is gone.

    What lay at ``path`` before is removed once the new folder stands there, and is back if that fails. The caller
    answers for what is replaced: see to it that it is not something else.

    Args:
        path: The folder to write; its parent has to exist.

    Raises:
        FileNotFoundError: the parent does not exist.
        NotADirectoryError: ``path`` or its parent is a file.
        PermissionError: the parent can not be written.
    """
    target = Path(path)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"{target} can not be written: it is a file, not a folder")
    check_parent(target)
    stem = f".{target.name[:_NAME_LETTERS]}-{secrets.token_hex(4)}"
    temporary, old = target.with_name(f"{stem}{MARKER}"), target.with_name(f"{stem}.old{MARKER}")
    try:
        temporary.mkdir()
        yield temporary
        if target.exists():
            os.rename(target, old)
        try:
            os.rename(temporary, target)
        except OSError:
            if old.exists():
                os.rename(old, target)
            raise
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        sentence = _in_a_sentence(error, temporary, target)
        if sentence is None:
            raise
        raise sentence from error
    except BaseException:  # Ctrl-C included: nothing half-written stays
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
    _flush_folder(target.parent)


def atomic_write_bytes(path: str | os.PathLike, data: bytes | bytearray | memoryview) -> Path:
    """Writes bytes whole or not at all; returns the path. Errors are those of :func:`atomic_path`."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(data)
    return Path(path)


def atomic_write_text(path: str | os.PathLike, text: str) -> Path:
    """Writes UTF-8 text with unix line ends whole or not at all; returns the path."""
    return atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: str | os.PathLike, value: Any, *, indent: int | None = 2) -> Path:
    """Writes strict JSON (no NaN, no infinity) whole or not at all; returns the path.

    Raises:
        ValueError: ``value`` holds a NaN or an infinity, which JSON does not know.
    """
    text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False)
    return atomic_write_text(path, text + "\n")


def remove_partials(folder: str | os.PathLike) -> list[Path]:
    """Removes what a killed process left in a folder and below it; returns what was removed.

    Call it only while nothing else writes there (a run holds its lock).
    """
    found = [p for p in sorted(Path(folder).rglob(f".*{MARKER}*")) if p.is_file() or p.is_dir()]
    for path in found:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else _remove(path)
    return found


def _check_target(target: Path) -> None:
    """Says what is wrong with a target before anything is written."""
    check_parent(target)
    if target.is_dir():
        raise IsADirectoryError(f"{target} can not be written: it is a folder")


def check_parent(target: Path) -> None:
    """Says what is wrong with the place of a target."""
    if not target.parent.exists():
        raise FileNotFoundError(f"the folder of {target} does not exist: make {target.parent} first")
    if not target.parent.is_dir():
        raise NotADirectoryError(f"{target} can not be written: {target.parent} is a file, not a folder")


def _in_a_sentence(error: OSError, temporary: Path, target: Path) -> OSError | None:
    """An error about the temporary name, said about the target; None for any other error."""
    if error.errno in _DISK_FULL:
        return OSError(error.errno, f"the disk is full: {target} was not written")
    if error.errno == errno.EFBIG:  # a file system such as FAT32, or the user's own limit
        return OSError(error.errno, f"the file would be larger than the system allows: {target} was not written")
    if isinstance(error, PermissionError) and str(temporary) in (str(error.filename), str(error.filename2)):
        return PermissionError(f"{target} can not be written: permission denied")
    return None


def _flush(temporary: Path) -> None:
    """Waits until the file's bytes are on the disk."""
    descriptor = os.open(temporary, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    """Waits until the new name is on the disk, where the system can do that to a folder (not on Windows)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems refuse; the file itself is safe
        pass
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Removes a file if it is there; a failure to do so must not hide the error that led here."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass
