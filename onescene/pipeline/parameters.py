"""Parameters of notebooks: what a tagged cell defines, read without running it, and what a params file may say.

papermill accepts a misspelt parameter with a log line; here it is refused.
"""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TAG = "parameters"
OUT_KEY = "results"  # the parameter that names the folder a run writes its metrics.json into


@dataclass(frozen=True)
class Notebook:
    """A notebook as `onescene batch` sees it.

    Attributes:
        path: The file.
        defaults: Values of its ``parameters`` cell.
        modules: Modules of this package that its cells import.
    """

    path: Path
    defaults: dict[str, Any]
    modules: tuple[str, ...]


def read_notebook(path: str | Path) -> Notebook:
    """Reads a notebook's parameters.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a notebook, or not exactly one cell tagged ``parameters``, or a value that is no literal.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"notebook not found: {path}")
    try:
        cells = [c for c in json.loads(path.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"not a notebook: {path}") from error
    sources = ["".join(c["source"]) for c in cells]
    tagged = [s for s, c in zip(sources, cells, strict=True) if TAG in c.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(f"{path.name} must have exactly one cell tagged {TAG!r}, got {len(tagged)}")
    return Notebook(path, _literals(tagged[0], path.name), _modules(sources))


def _literals(source: str, name: str) -> dict[str, Any]:
    """The assignments of a parameters cell."""
    values: dict[str, Any] = {}
    try:
        lines = ast.parse(source).body
    except SyntaxError as error:
        raise ValueError(f"{name}: line {error.lineno} of the {TAG} cell is no Python: {error.msg}") from error
    for node in lines:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if not isinstance(node, ast.Assign | ast.AnnAssign) or not all(isinstance(t, ast.Name) for t in targets):
            raise ValueError(f"{name}: line {node.lineno} of the {TAG} cell must assign a literal to a name")
        try:
            values |= {t.id: ast.literal_eval(node.value) for t in targets}
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name}: the parameter {targets[0].id} must be a literal") from error
    return values


def _modules(sources: list[str]) -> tuple[str, ...]:
    """Modules of this package that code cells import; lines that are no Python (magics) are passed over."""
    found: set[str] = set()
    for source in sources:
        try:
            nodes = list(ast.walk(ast.parse(source)))
        except SyntaxError:
            plain = "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))
            nodes = list(ast.walk(_parsed(plain)))
        for node in nodes:
            if isinstance(node, ast.Import):
                found |= {a.name for a in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
    return tuple(sorted(m for m in found if m.split(".")[0] == "onescene"))


def _parsed(source: str) -> ast.Module:
    """A cell without its magics; nothing where even that is no Python, such as a cell in another language."""
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.Module(body=[], type_ignores=[])


def read_params(path: str | Path) -> dict[str, Any]:
    """Reads a params file: YAML, ``key: value`` lines.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML, or not a mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"params file not found: {path}")
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"params file is not YAML: {path}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(k, str) for k in content):
        raise ValueError(f"params file must hold `key: value` lines: {path}")
    return content


def check_params(params: dict[str, Any], defaults: dict[str, Any], where: str) -> dict[str, Any]:
    """The defaults with the params over them.

    Args:
        params: What a params file says.
        defaults: Every key there is, with its usual value.
        where: Name of the params file, for the sentence.

    Raises:
        ValueError: a key is unknown (the sentence names the nearest ones) or a value is of another type.
    """
    check_keys(params, defaults, where)
    for key, value in params.items():
        usual = defaults[key]
        if not _same_kind(value, usual):
            wanted, got = type(usual).__name__, type(value).__name__
            raise ValueError(f"{where}: {key} must be of type {wanted} (such as {usual!r}), got {got} {value!r}")
    return defaults | params


def check_keys(params: Collection[str], known: Collection[str], where: str) -> None:
    """Refuses a key that there is not.

    Raises:
        ValueError: it names the nearest ones.
    """
    for key in params:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known keys: {', '.join(known)}"
            raise ValueError(f"{where}: unknown key {key!r}; {hint}")


def _same_kind(value: Any, usual: Any) -> bool:
    if usual is None:
        return True
    if isinstance(usual, bool) or isinstance(value, bool):
        return isinstance(usual, bool) and isinstance(value, bool)
    if isinstance(usual, float):
        return isinstance(value, int | float)
    if isinstance(usual, list | tuple):
        return isinstance(value, list | tuple)
    return isinstance(value, type(usual))
