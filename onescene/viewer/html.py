"""One self-contained HTML file that shows a scene and needs no network.

Owns the page: template, scripts and data in one string. The layout of the data lives in ``packing``; files are written
by the caller.
"""

from __future__ import annotations

import base64
import html
import json
import re
from functools import lru_cache
from importlib.resources import files

import numpy as np

from onescene.types import Cameras, Gaussians
from onescene.viewer.cameras_json import json_from_cameras
from onescene.viewer.packing import PackedScene, pack, thin

SCENE_SCRIPTS = (
    "gl.js",
    "sorter.js",
    "splats.js",
    "panorama.js",
    "camera.js",
    "overlay.js",
    "pace.js",
    "scene.js",
    "start.js",
)
PANORAMA_SCRIPTS = ("gl.js", "panorama.js")


@lru_cache(maxsize=16)
def read_asset(name: str) -> str:
    """Text of a file in ``viewer/assets``."""
    return files("onescene.viewer").joinpath("assets", name).read_text(encoding="utf-8")


@lru_cache(maxsize=4)
def bundle(names: tuple[str, ...]) -> str:
    """The named modules as one script, each after those that it imports: import lines and ``export`` words removed."""
    text = "\n".join(read_asset(name) for name in names)
    return re.sub(
        r"^export (?=(async )?(function|class|const)\b)", "", re.sub(r"^import .*\n", "", text, flags=re.M), flags=re.M
    )


def fill(template: str, values: dict[str, str]) -> str:
    """Puts values in place of ``{{name}}``, in one pass: what is put in is not searched again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def script_json(value: object) -> str:
    """JSON that cannot close the script element it is put in."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def look_from(start_camera: Cameras | None) -> np.ndarray:
    """Position of the start camera; the origin without one [world units]."""
    if start_camera is None or len(start_camera) == 0:
        return np.zeros(3, np.float32)
    return start_camera.world_from_cam[0, :3, 3].detach().cpu().float().numpy()


def scene_meta(
    packed: PackedScene, cameras: Cameras | None = None, start_camera: Cameras | None = None, title: str = ""
) -> dict:
    """What the viewer has to know besides the Gaussians, ready for JSON."""
    meta = {"count": packed.count, "chunks": len(packed.chunks), "radius": packed.radius_world, "title": title}
    if start_camera is not None and len(start_camera):
        meta["start"] = json_from_cameras(start_camera[0])
    if cameras is not None and len(cameras) > 1:
        meta["path"] = json_from_cameras(cameras)
    return meta


def data_url(image: bytes, name: str = "panorama_png") -> str:
    """A PNG or JPEG file as a ``data:`` URL.

    Raises:
        ValueError: the bytes are neither.
    """
    kinds = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg"}
    for magic, kind in kinds.items():
        if image.startswith(magic):
            return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"
    raise ValueError(f"{name} must be the bytes of a PNG or JPEG file, got {image[:8]!r}...")


def scene_html(
    gaussians: Gaussians,
    *,
    cameras: Cameras | None = None,
    start_camera: Cameras | None = None,
    title: str = "A scene from one photo",
    max_gaussians: int | None = None,
    panorama_png: bytes | None = None,
) -> str:
    """A page that shows the scene to walk through: one file, no network.

    Args:
        gaussians: The scene.
        cameras: A trajectory to move along (two cameras or more).
        start_camera: Where the person starts; its first camera counts. Default: the origin, looking along z.
        title: Shown in the browser's tab and over the picture.
        max_gaussians: Thins larger scenes to this many; default: all are kept.
        panorama_png: A PNG or JPEG file (2:1) that the person can switch to for comparison.

    Returns:
        The HTML text: 17 to 20 bytes per Gaussian.

    Raises:
        ValueError: no Gaussians, NaN or inf in them, ``max_gaussians`` below 1, an image that is neither PNG nor JPEG.

    Notes: colours of higher spherical harmonics are those seen from the start. The page forbids itself every network
    request by its content security policy.
    """
    centre = look_from(start_camera)
    if max_gaussians is not None:
        gaussians = thin(gaussians, max_gaussians, centre)
    packed = pack(gaussians, centre)
    chunks = (base64.b64encode(chunk).decode("ascii") for chunk in packed.chunks)
    image = "" if panorama_png is None else data_url(panorama_png)
    values = {
        "title": html.escape(title),
        "css": read_asset("scene.css"),
        "script": bundle(SCENE_SCRIPTS),
        "meta": script_json(scene_meta(packed, cameras, start_camera, title)),
        "panorama": f'<script type="text/plain" id="panorama">{image}</script>' if image else "",
        "chunks": "\n".join(
            f'<script type="text/plain" id="chunk-{k}">{text}</script>' for k, text in enumerate(chunks)
        ),
    }
    return fill(read_asset("scene_template.html"), values)
