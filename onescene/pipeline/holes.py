"""What the novel views keep of their holes beside their pictures: how much Gaussians covered, and how far away."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from onescene.io.sources import existing_file


def read_holes(path: Path, count: int) -> tuple[Float[Tensor, "v height width"], Float[Tensor, "v height width"]]:
    """Alpha [0, 1] and depth_z [world units] of each novel view, as step 04 wrote them.

    Args:
        path: The file.
        count: How many views there are.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, or of another number of views.
    """
    found = existing_file(path, "file of the novel views' holes")
    try:
        with np.load(found, allow_pickle=False) as stored:
            alpha, depth_z = (torch.from_numpy(stored[name].astype(np.float32)) for name in ("alpha", "depth_z"))
    except (
        ValueError,
        OSError,
        EOFError,
        KeyError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(f"{found} is damaged: make the novel views again") from error
    if alpha.ndim != 3 or alpha.shape != depth_z.shape or len(alpha) != count:
        shapes = f"{tuple(alpha.shape)} and {tuple(depth_z.shape)}"
        raise ValueError(f"{found} must hold {count} views, got {shapes}: make the novel views again")
    return alpha / 255, depth_z
