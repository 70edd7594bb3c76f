"""How kernels are compiled and where the machine code is kept.

The cache lies in the user's cache folder, one folder per version of the kernels' sources: it works when the package
itself is read-only, several processes may fill it at once (Numba replaces its files atomically), and a kernel
never meets a stale copy of a function it calls from another file.
"""

from __future__ import annotations

import gc
import hashlib
import inspect
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numba
from numba.core.compiler import Compiler

logger = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """A writable folder for this version of the kernels, or None if there is none.

    The base is ``$NUMBA_CACHE_DIR``, else ``$XDG_CACHE_HOME/onescene``, else ``~/.cache/onescene``, else the system's
    folder for temporary files.
    """
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in (*sorted(folder.glob("numba_*.py")), folder / "projection.py", folder / "sh.py"):  # what kernels read
        digest.update(path.read_bytes())
    bases = [os.environ.get("NUMBA_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME"), os.path.expanduser("~/.cache")]
    bases.append(os.path.join(tempfile.gettempdir(), f"onescene-{os.getuid() if hasattr(os, 'getuid') else 'user'}"))
    for base in filter(None, bases):
        folder = Path(base) / "onescene" / "kernels" / digest.hexdigest()[:16]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    logger.warning("no writable folder for compiled kernels: every process compiles them anew")
    return None


@lru_cache(maxsize=1)
def announce_compilation() -> None:
    """Warns, before the first render of a process, if the kernels still have to be compiled."""
    folder = cache_folder()
    if folder is None or not any(folder.rglob("*.nbi")):
        logger.warning("compiling the CPU renderer: some seconds, once per machine (kept in %s)", folder)


def kernel(function: Callable) -> Callable:
    """Compiles a function for this machine on its first call from Python: no GIL, fast float arithmetic, cached."""
    folder = cache_folder()
    previous = numba.config.CACHE_DIR
    if folder is not None:
        numba.config.CACHE_DIR = str(folder)  # read when the kernel is declared, put back at once
    try:
        dispatcher = _jit(function, cache=folder is not None)
    finally:
        numba.config.CACHE_DIR = previous
    dispatcher.compile = uncollected()(dispatcher.compile)
    return dispatcher


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection meanwhile: a compiler's millions of objects all live, looking them over takes a tenth."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class _Apart(Compiler):
    """Tells LLVM that the arrays a function is given do not overlap, which spares its loops the question."""

    def __init__(self, typingctx, targetctx, library, args, return_type, flags, locals):
        flags.noalias = True
        super().__init__(typingctx, targetctx, library, args, return_type, flags, locals)


def helper(function: Callable) -> Callable:
    """Compiles a function that becomes a part of the kernels that call it; a way in from Python would take longer.

    No two of its arrays may overlap.
    """
    return _jit(function, no_cpython_wrapper=True, pipeline_class=_Apart)


def _jit(function: Callable, **options: bool) -> Callable:
    function = inspect.unwrap(function)  # shape checking may have wrapped it; Numba needs the function itself
    return numba.njit(nogil=True, fastmath=True, error_model="numpy", no_cfunc_wrapper=True, **options)(function)
