"""What a result was made from, as hashes: files, values, and the code of a step with everything it imports."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]


def digest_of_file(path: str | Path) -> str:
    """SHA-256 of a file; a file that did not change since it was last hashed in this process is not read again."""
    path = Path(path)
    stat = path.stat()
    return _digest_of_state(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


@cache
def _digest_of_state(path: Path, size: int, mtime_ns: int, inode: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_value(value: Any) -> str:
    """SHA-256 of a value made of dicts, lists, strings, numbers and None, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=list).encode()).hexdigest()


def digest_of_code(modules: Iterable[str]) -> str:
    """SHA-256 of the sources of modules of this package and of all modules of it that they import, at any depth.

    Files in an ``assets`` folder beside a module (the viewer's scripts) count as its source.
    """
    known: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in known and _source_of(name) is not None:
            known.add(name)
            waiting.extend(_imports_of(name))
    sources = {_source_of(name) for name in known}
    for folder in {path.parent / "assets" for path in sources}:
        sources |= {path for path in folder.rglob("*") if path.is_file()}
    return digest_of_value({path.relative_to(PACKAGE).as_posix(): digest_of_file(path) for path in sources})


def _source_of(module: str) -> Path | None:
    """The source file of a module of this package, or None (a name that a module defines, or a foreign module)."""
    parts = module.split(".")
    if parts[0] != PACKAGE.name:
        return None
    path = PACKAGE.joinpath(*parts[1:])
    candidates = (path.with_suffix(".py") if len(parts) > 1 else path, path / "__init__.py")
    return next((p for p in candidates if p.is_file()), None)


@cache
def _imports_of(module: str) -> tuple[str, ...]:
    """Modules of this package that a module imports, at its top or inside a function, and the packages around them."""
    source = _source_of(module)
    package = module if source.name == "__init__.py" else module.rpartition(".")[0]
    found = []
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            up = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(filter(None, (up, node.module)))
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    ours = [name for name in found if name.split(".")[0] == PACKAGE.name]
    return tuple({".".join(name.split(".")[: k + 1]) for name in ours for k in range(name.count(".") + 1)})
