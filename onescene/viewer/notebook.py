"""Views for notebooks: live in JupyterLab, a still picture where no one is watching.

A live view is an ``<iframe srcdoc>``: unlike widgets it survives export to HTML, but it carries its data, several
megabytes. When a notebook is executed by a program (papermill, nbconvert, pytest, ``onescene batch``), a JPEG of some
tens of kilobytes takes its place, so that executed notebooks stay small. :func:`is_interactive` decides; the
environment variable ``ONESCENE_BATCH`` overrules it (``1``: stills, ``0``: live).
"""

from __future__ import annotations

import html
import math
import os
from pathlib import PurePath
from typing import TYPE_CHECKING

import psutil
import torch
from IPython import get_ipython
from IPython.display import HTML, Image
from jaxtyping import Float
from torch import Tensor

from onescene.types import Cameras, Gaussians
from onescene.viewer.html import Besides, scene_html
from onescene.viewer.panorama import check_panorama, panorama_html
from onescene.viewer.pictures import jpeg_bytes

if TYPE_CHECKING:
    from onescene.splatting import RenderOutput

BATCH_PROGRAMS = frozenset(
    {"papermill", "jupyter-nbconvert", "nbconvert", "jupyter-execute", "jupyter-run", "nbclient"}
)
BATCH_PROGRAMS |= {"pytest", "py.test", "onescene"}
FOV_Y_DEG = 60.0  # the viewer's own default
STILL_WIDTH_PX = 640
STILL_QUALITY = 80  # JPEG; a committed notebook may hold 400 kB in all


def is_interactive() -> bool:
    """Whether a person is watching this notebook.

    ``ONESCENE_BATCH`` decides where it is set (``0`` or empty: yes, anything else: no). Otherwise a kernel that was
    started by papermill, nbconvert, pytest or ``onescene`` is not watched, and neither is a plain Python process.
    """
    batch = os.environ.get("ONESCENE_BATCH")
    if batch is not None:
        return batch in ("", "0")
    if not hasattr(get_ipython(), "kernel"):
        return False
    try:
        command = psutil.Process().parent().cmdline()
    except (psutil.Error, AttributeError):  # an orphan, or a process that we may not look at
        return True
    words = {PurePath(word).stem.lower() for word in command[:3]}
    return words.isdisjoint(BATCH_PROGRAMS)


def default_camera(hw: tuple[int, int]) -> Cameras:
    """The camera that the viewer starts with: at the origin, looking along z."""
    focal = 0.5 * hw[0] / math.tan(math.radians(FOV_Y_DEG) / 2)
    K = torch.tensor([[[focal, 0.0, hw[1] / 2], [0.0, focal, hw[0] / 2], [0.0, 0.0, 1.0]]])
    return Cameras(world_from_cam=torch.eye(4)[None], K=K, hw=hw)


def render_still(gaussians: Gaussians, camera: Cameras, backend: str = "auto") -> RenderOutput:
    """The scene from one camera, without gradients, rendered by ``onescene.splatting``."""
    from onescene.splatting import render  # imported late: compiles kernels

    with torch.no_grad():
        return render(gaussians, camera[0].to(gaussians.means), backend)


def still_jpeg(gaussians: Gaussians, camera: Cameras) -> bytes:
    """A JPEG file of the scene."""
    return jpeg_bytes(render_still(gaussians, camera).rgb[0], quality=STILL_QUALITY)


def _frame(page: str, height_px: int) -> HTML:
    """A page inside of the notebook. Wrapped, because IPython advises against a bare iframe."""
    attributes = f'width="100%" height="{int(height_px)}" style="border:0;border-radius:8px"'
    allow = 'allow="fullscreen; clipboard-write" loading="lazy"'
    return HTML(f'<div><iframe {attributes} {allow} srcdoc="{html.escape(page, quote=True)}"></iframe></div>')


def show_scene(
    gaussians: Gaussians,
    height_px: int = 480,
    *,
    cameras: Cameras | None = None,
    start_camera: Cameras | None = None,
    title: str = "",
    max_gaussians: int | None = 400_000,
    besides: Besides | None = None,
) -> HTML | Image:
    """The scene in a notebook: to walk through when someone is watching, else a still from the start camera.

    Args:
        gaussians: The scene.
        height_px: Height of the view [pixels].
        cameras: A trajectory to move along.
        start_camera: Where the view starts; default: the origin, looking along z.
        title: Shown over the picture.
        max_gaussians: Thins larger scenes, because the notebook carries them (17 to 20 bytes each).
        besides: Panorama and scaffold that the person can switch to, and the pictures of the cameras.

    Raises:
        ValueError: as :func:`onescene.viewer.scene_html`.
    """
    if not is_interactive():
        width = min(STILL_WIDTH_PX, round(height_px * 16 / 9))
        hw = (max(1, round(width * 9 / 16)), width)
        camera = default_camera(hw) if start_camera is None else start_camera[0]
        return Image(data=still_jpeg(gaussians, camera), format="jpeg", alt=title or "The scene from its start")
    shown = {"cameras": cameras, "start_camera": start_camera, "title": title, "besides": besides}
    return _frame(scene_html(gaussians, max_gaussians=max_gaussians, **shown), height_px)


def show_panorama(panorama: Float[Tensor, "3 height width"], height_px: int = 360, *, title: str = "") -> HTML | Image:
    """The panorama in a notebook: to look around in when someone is watching, else the whole picture, flat.

    Args:
        panorama: RGB in [0, 1], [3, H, 2 H].
        height_px: Height of the view [pixels].
        title: Name of the panorama.

    Raises:
        ValueError: the panorama is not 2:1.
    """
    check_panorama(panorama)
    if not is_interactive():
        jpeg = jpeg_bytes(panorama, max_width=STILL_WIDTH_PX, quality=STILL_QUALITY)
        return Image(data=jpeg, format="jpeg", alt=title or "The panorama")
    return _frame(panorama_html(panorama, title=title or "Panorama", max_width=2048), height_px)
