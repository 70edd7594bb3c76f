"""What every test shares: shapes are checked, figures need no screen, threads are few.

``ONESCENE_TYPECHECK=1`` (set by ``make test``) checks every jaxtyping annotation of the package at run time. The hook
has to stand before the first import of the package, so it stands here, at import.
"""

from __future__ import annotations

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

TYPECHECK = os.environ.get("ONESCENE_TYPECHECK") == "1"
if TYPECHECK:
    from jaxtyping import install_import_hook

    install_import_hook("onescene", "beartype.beartype")

import torch  # noqa: E402

torch.set_num_threads(min(2, os.cpu_count() or 1))
