"""Where the machine code of kernels is kept, and how it comes back into a process.

One file per kernel and signature, one folder per version of everything that the code depends on: the kernels' sources,
Numba and LLVM with their settings, and this processor. It lies in the user's cache folder, so that it works when the
package itself is read-only, and a kernel never meets a stale copy of a function that it calls from another file. Files
are put in place whole, so several processes may fill the folder at once; a damaged one is compiled anew. What is loaded
is run, hence the folder has to be the user's own, with no one else allowed to write there.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from functools import lru_cache
from importlib.metadata import version
from itertools import count
from pathlib import Path

import llvmlite.binding as llvm

logger = logging.getLogger(__name__)

_loaded = []  # whatever LLVM loaded stays loaded
_numbers = count()


def _digest() -> str:
    """Names everything that machine code depends on, the kernel's own file aside."""
    digest = hashlib.sha256(version("numba").encode())
    settings = sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith("NUMBA_") and k != "NUMBA_CACHE_DIR")
    system = (llvm.llvm_version_info, llvm.get_process_triple(), llvm.get_host_cpu_name(), settings)
    digest.update(f"{system} {llvm.get_host_cpu_features().flatten()}".encode())
    folder = Path(__file__).parent
    for path in (*sorted(folder.glob("numba_*.py")), folder / "projection.py", folder / "sh.py"):  # what kernels read
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _is_own(folder: Path) -> bool:
    """Whether a folder belongs to this user and nobody else may write to it (asked where there are such rights)."""
    status = folder.stat()
    return not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o022)


@lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """A writable folder for this version of the kernels, or None if there is none.

    The base is ``$NUMBA_CACHE_DIR``, else ``$XDG_CACHE_HOME/onescene``, else ``~/.cache/onescene``, else the system's
    folder for temporary files.
    """
    bases = [os.environ.get("NUMBA_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME"), os.path.expanduser("~/.cache")]
    bases.append(os.path.join(tempfile.gettempdir(), f"onescene-{os.getuid() if hasattr(os, 'getuid') else 'user'}"))
    for base in filter(None, bases):
        folder = Path(base) / "onescene" / "kernels" / _digest()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                if _is_own(folder):
                    return folder
        except OSError:
            continue
    logger.warning("no writable folder for compiled kernels: every process compiles them anew")
    return None


def load_kept(name: str) -> int | None:
    """Loads what ``keep`` put under a name; returns its address, or None if there is nothing, or nothing of use."""
    folder = cache_folder()
    if folder is None or not (folder / name).is_file():
        return None
    try:
        checksum, _, content = (folder / name).read_bytes().partition(b"\n")
        if checksum != hashlib.sha256(content).hexdigest().encode():
            raise RuntimeError("its checksum is that of another file")
        symbol, _, code = content.partition(b"\n")
        return load(symbol.decode(), code)
    except (OSError, RuntimeError) as error:
        logger.warning("%s is made anew: %s", folder / name, error)
        return None


def keep(name: str, symbol: str, code: bytes) -> None:
    """Puts an object file into the cache, whole or not at all, behind its checksum and the name of its function."""
    folder = cache_folder()
    if folder is None:
        return
    content = symbol.encode() + b"\n" + code
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix="part-", delete=False) as file:
            file.write(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        os.replace(file.name, folder / name)
    except OSError as error:
        logger.warning("%s is not kept in %s: %s", name, folder, error)


@lru_cache(maxsize=1)
def _loader() -> llvm.orcjit.LLJIT:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.create_lljit_compiler(suppress_errors=True)


def load(symbol: str, code: bytes) -> int:
    """Loads an object file into this process; returns the address of one of its functions.

    Raises:
        RuntimeError: it is no object file of this system, or asks for functions that the process does not have.
    """
    library = llvm.JITLibraryBuilder().add_object_img(code).add_current_process().export_symbol(symbol)
    found = library.link(_loader(), f"kernel {next(_numbers)}")
    _loaded.append(found)
    return found[symbol]
