"""The folder of a run: checked, locked against a second run, and left as it was found if nothing came of it.

``.onescene/`` inside it holds the lock, a record per step, and the folder in which a step builds its files.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onescene.pipeline.layout import FOLDERS

logger = logging.getLogger(__name__)

STATE = ".onescene"


class FolderBusyError(ValueError):
    """Another run is writing into the folder."""


def refuse_steps_folder(target: Path) -> None:
    """Refuses to write where a run keeps what its steps made.

    Raises:
        ValueError: the target is such a folder, or lies in one.
    """
    for place in (target.resolve(), *target.resolve().parents):
        if place.name in FOLDERS and (place.parent / STATE).is_dir():
            raise ValueError(f"{target} lies where a run keeps what it made ({place.name}): give another --out")


@contextmanager
def open_workspace(out: str | Path) -> Iterator[Path]:
    """Makes the folder of a run if need be, and holds its lock; folders made for nothing are removed again.

    The lock is the kernel's own (flock): it ends with the process that holds it, however that ends.

    Raises:
        NotADirectoryError: ``out`` or a part of its path is a file.
        PermissionError: ``out`` cannot be written.
        FolderBusyError: another run holds the folder.
    """
    out = Path(out)
    made = _make_folders(out)
    lock = None
    try:
        lock = _lock(out)
        for left in (out / STATE).glob("partial-*"):  # of a run that was killed; we hold the lock
            shutil.rmtree(left, ignore_errors=True)
        yield out
    finally:
        if lock is not None:
            if not any(p.name != "lock" for p in (out / STATE).iterdir()):  # no step was done
                shutil.rmtree(out / STATE, ignore_errors=True)
            os.close(lock)
        _take_away(made)


def _take_away(made: list[Path]) -> None:
    """Removes folders made for nothing, the deepest first; one that holds something stays."""
    for folder in made:
        try:
            folder.rmdir()
        except OSError:
            break


def _make_folders(out: Path) -> list[Path]:
    """Makes ``out`` with its parents; returns what was made, the deepest first."""
    missing = [p for p in (out, *out.parents) if not p.exists()]
    base = next((p for p in (out, *out.parents) if p.exists()), Path())
    if not base.is_dir():
        raise NotADirectoryError(f"--out must be a folder, but {base} is a file")
    made: list[Path] = []
    try:
        for folder in reversed(missing):
            try:
                folder.mkdir(parents=True)  # a parent that was there may have been another run's to take away
            except FileExistsError:
                if not folder.is_dir():
                    raise
            else:  # otherwise another run has made it meanwhile: it is not ours to take away
                made.insert(0, folder)
    except OSError as error:
        _take_away(made)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise PermissionError(f"--out cannot be written: {out} ({error.strerror})") from error
    return made


def _lock(out: Path) -> int:
    """Opens and locks the lock file; its text names the process, for people."""
    try:
        import fcntl
    except ImportError:  # Windows
        logger.warning("this system has no flock: a second run into %s is not kept out", out)
        return os.open(os.devnull, os.O_RDONLY)
    path = out / STATE / "lock"
    while True:
        handle = _open_lock(path, out)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            message = f"another run is writing into {out} (process {holder}); wait for it to end"
            raise FolderBusyError(message) from error
        except OSError as error:
            logger.warning("%s cannot be locked (%s): a second run is not kept out", out, error.strerror)
        if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
            break
        os.close(handle)  # a run that ended in between took its lock file away: this one is nobody's
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
    except OSError:  # a full disk: the lock holds without its text, and the run will say what is wrong
        pass
    return handle


def _open_lock(path: Path, out: Path) -> int:
    try:
        path.parent.mkdir(exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise PermissionError(f"--out cannot be written: {out} ({error.strerror})") from error
