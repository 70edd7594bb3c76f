"""What every test shares: shapes are checked, figures need no screen, threads are few, golden data is found.

``ONESCENE_TYPECHECK=1`` (set by ``make test``) checks every jaxtyping annotation of the package at run time. The hook
has to stand before the first import of the package, so it stands here, at import.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

TYPECHECK = os.environ.get("ONESCENE_TYPECHECK") == "1"
if TYPECHECK:
    from jaxtyping import install_import_hook

    install_import_hook("onescene", "shape_checker.check")

import torch  # noqa: E402

torch.set_num_threads(min(2, os.cpu_count() or 1))

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def golden_file() -> Callable[[str], Path]:
    """Finds a golden file by the start of its name, in ``$ONESCENE_GOLDEN``, else beside the checkout; or skips."""
    folder = Path(os.environ.get("ONESCENE_GOLDEN") or ROOT.parent / "shared" / "golden")

    def find(prefix: str) -> Path:
        found = sorted(folder.glob(f"{prefix}*")) if folder.is_dir() else []
        if not found:
            pytest.skip(f"no golden file {prefix}* in $ONESCENE_GOLDEN or ../shared/golden")
        return found[0]

    return find


@pytest.fixture
def shapes_unchecked() -> Iterator[None]:
    """Turns the shape checker off for a test of the package's own sentence on a wrong shape."""
    from jaxtyping import config

    before = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", before)
