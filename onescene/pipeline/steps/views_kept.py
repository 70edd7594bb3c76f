"""Frames by diffusion, kept one by one while their step runs, so that a step that is stopped goes on behind them.

They lie beside the step's record, in ``views-<key>/NNN.npz``; frames made from anything else are no use any more.
"""

from __future__ import annotations

import logging
import shutil
import zipfile
from pathlib import Path

import numpy as np
import torch

from onescene.io.atomic import atomic_path
from onescene.models.seva.chunks import MadeFrame
from onescene.pipeline.workspace import STATE

logger = logging.getLogger(__name__)


class KeptFrames:
    """The frames of one step that are made.

    Args:
        out: The run's folder.
        key: Of everything the frames are made from.
        device: Where the networks are.
    """

    def __init__(self, out: Path, key: str, device: torch.device) -> None:
        self.folder, self.device = out / STATE / f"views-{key[:16]}", device
        for other in set(self.folder.parent.glob("views-*")) - {self.folder}:
            if other.is_dir():
                shutil.rmtree(other, ignore_errors=True)

    def stored(self, number: int) -> MadeFrame | None:
        """A frame that was made before; None if there is none that can be read."""
        path = self._path(number)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                latent, embedding, rgb = (torch.from_numpy(file[k]) for k in ("latent", "embedding", "rgb"))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            logger.warning("%s can not be read, its frame is made again", path)
            return None
        parts = {"latent": latent, "embedding": embedding, "rgb": rgb.float() / 255}
        return MadeFrame(number=number, **{k: v.to(self.device) for k, v in parts.items()})

    def keep(self, frame: MadeFrame) -> None:
        """Writes a frame, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays = {"latent": frame.latent, "embedding": frame.embedding, "rgb": (frame.rgb * 255).round().byte()}
        with atomic_path(self._path(frame.number)) as path, open(path, "wb") as file:
            np.savez(file, **{k: v.cpu().numpy() for k, v in arrays.items()})

    def remove(self) -> None:
        """The step is through."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.npz"
