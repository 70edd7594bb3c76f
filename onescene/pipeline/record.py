"""``run.json``: what was run, on what, with which weights, and what it took."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from onescene import __version__
from onescene.io.atomic import atomic_write_json
from onescene.pipeline.digests import PACKAGE
from onescene.pipeline.settings import RunSettings
from onescene.pipeline.step import StepRecord

LIBRARIES = ("torch", "numpy", "scipy", "numba", "opencv-python-headless", "pillow", "safetensors")
FILE = "run.json"


def write_run_json(
    out: Path,
    *,
    command: str,
    settings: RunSettings,
    records: list[StepRecord],
    fresh: set[str],
    inputs: dict[str, dict[str, str]],
) -> Path:
    """Writes the record of a run.

    Args:
        out: The run's folder.
        command: As it was called.
        settings: All of them, seed included.
        records: One per step that has a result, in order.
        fresh: Names of the steps that ran now; the others were up to date.
        inputs: Files the run began with: name, sha256.
    """
    weights = {w["sha256"]: w for r in records for w in r.facts.get("weights", [])}
    content: dict[str, Any] = {
        "command": command,
        "parameters": asdict(settings),
        "seed": settings.seed,
        "inputs": inputs,
        "versions": versions(),
        "commit": commit(),
        "weights": list(weights.values()),
        "stages": [_stage(r, r.name in fresh) for r in records],
        "seconds": round(sum(r.seconds for r in records), 3),
        "peak_memory_mb": max((r.peak_memory_mb for r in records), default=0.0),
    }
    return atomic_write_json(out / FILE, content)


def _stage(record: StepRecord, ran: bool) -> dict[str, Any]:
    facts = {k: v for k, v in record.facts.items() if k != "weights"}
    gpu = {} if record.peak_gpu_mb is None else {"peak_gpu_mb": record.peak_gpu_mb}
    return {
        "name": record.name,
        "ran_now": ran,
        "seconds": record.seconds,
        "peak_memory_mb": record.peak_memory_mb,
        **gpu,
        **facts,
        "files": len(record.outputs),
    }


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the libraries that shape a result."""
    found = {"python": platform.python_version(), "onescene": __version__, "system": platform.system()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit of the checkout that the package runs from, ``+changes`` if it differs; None outside of one."""
    folder = PACKAGE.parent
    if not (folder / ".git").exists():
        return None
    try:
        head = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", PACKAGE.name)
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}+changes" if changed else head


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
