"""The page of a run's folder: its scene, with the scaffold, the panorama and the pictures of the cameras beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from onescene.io.cameras import load_cameras
from onescene.io.gaussians import load_gaussians
from onescene.io.images import load_image, load_panorama
from onescene.viewer.html import Besides, scene_html
from onescene.viewer.panorama import panorama_html
from onescene.viewer.pictures import jpeg_bytes

PANORAMA_MAX_PX = 2048  # across; enough for a screen, half a megabyte


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """Where the parts of a run lie; None for what it lacks.

    Attributes:
        scene: Gaussians fitted to anchors and views.
        scaffold: Gaussians of the scaffold.
        panorama: The panorama.
        cameras: The cameras of the novel views.
        images: The novel views, one per camera.
    """

    scene: Path | None = None
    scaffold: Path | None = None
    panorama: Path | None = None
    cameras: Path | None = None
    images: tuple[Path, ...] = ()


class _Pictures(Sequence):
    """Image files, each read when it is asked for."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Tensor:
        return load_image(self._paths[index])


def run_page(files: RunFiles, *, title: str, max_gaussians: int | None = None) -> str:
    """A page of whatever a run has made so far: one file, no network.

    Args:
        files: The parts. Without a fitted scene the scaffold is shown; without both, the panorama alone.
        title: Name of the run.
        max_gaussians: Thins larger scenes to this many; default: all are kept.

    Raises:
        ValueError: there is neither a scene nor a scaffold nor a panorama.
        FileNotFoundError, ...: as the readers of the files.
    """
    source = files.scene or files.scaffold
    panorama = None if files.panorama is None else load_panorama(files.panorama)
    if source is None:
        if panorama is None:
            raise ValueError("files must name a scene, a scaffold or a panorama, got none of them")
        return panorama_html(panorama, title=title)
    cameras = None if files.cameras is None else load_cameras(files.cameras)
    besides = Besides(
        panorama_png=None if panorama is None else jpeg_bytes(panorama, max_width=PANORAMA_MAX_PX),
        scaffold=load_gaussians(files.scaffold) if files.scene and files.scaffold else None,
        images=_Pictures(files.images) if cameras is not None and len(files.images) == len(cameras) else (),
    )
    start = None if cameras is None else cameras[0]
    return scene_html(
        load_gaussians(source),
        cameras=cameras,
        start_camera=start,
        title=title,
        max_gaussians=max_gaussians,
        besides=besides,
    )
