"""Licences that a person has accepted by name: asked for once, remembered in a file of the user's own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from onescene.io.atomic import atomic_write_json
from onescene.stages.panorama_methods import METHODS, PanoramaMethod


def licences_file() -> Path:
    """Where accepted licences are remembered: ``$XDG_CONFIG_HOME/onescene``, else ``~/.config/onescene``."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(base) / "onescene" / "accepted-licences.json"


def accepted() -> tuple[str, ...]:
    """Names of the licences that were accepted; a file that is not readable counts as none."""
    try:
        names = json.loads(licences_file().read_text("utf-8"))["accepted"]
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    return tuple(n for n in names if isinstance(n, str)) if isinstance(names, list) else ()


def known() -> dict[str, str]:
    """Every licence that a method asks to accept, and what it says."""
    return {name: terms for row in METHODS.values() for name, terms in row.accept.items()}


def accept(names: Iterable[str]) -> None:
    """Remembers that licences were accepted.

    Raises:
        ValueError: a name that no method asks for.
        PermissionError: the file cannot be written.
    """
    names = tuple(names)
    for name in names:
        if name not in known():
            raise ValueError(f"--accept-license must be one of {', '.join(known()) or 'none'}, got {name!r}")
    if set(names) - set(accepted()):
        licences_file().parent.mkdir(parents=True, exist_ok=True)
        atomic_write_json(licences_file(), {"accepted": sorted({*accepted(), *names})})


def refuse_unaccepted(method: PanoramaMethod) -> None:
    """Refuses a method whose licences were not all accepted.

    Raises:
        ValueError: naming each licence that is open, what it says, and how to accept it.
    """
    have = accepted()
    missing = {name: terms for name, terms in method.accept.items() if name not in have}
    if missing:
        listed = "; ".join(f"{name} ({terms})" for name, terms in missing.items())
        flags = " ".join(f"--accept-license {name}" for name in missing)
        raise ValueError(f"method {method.name} asks to accept {listed}: read them, then give {flags} once")
