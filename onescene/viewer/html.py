"""One self-contained HTML file that shows a scene and needs no network.

Owns the page: template, scripts and data in one string. The layout of the data lives in ``packing``; files are written
by the caller.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType

import numpy as np
from jaxtyping import Float
from torch import Tensor

from onescene.types import Cameras, Gaussians
from onescene.viewer.cameras_json import json_from_cameras
from onescene.viewer.packing import PackedScene, pack, thin
from onescene.viewer.pictures import Sheet, data_url, evenly, make_sheet

SCENE_SCRIPTS = (
    *("gl.js", "dom.js"),
    *("sorter.js", "splats.js", "layer.js", "panorama.js", "layers.js"),
    *("camera.js", "path.js", "frusta.js", "marks.js"),
    *("pace.js", "drawing.js"),
    *("overlay.js", "timeline.js", "keyframes.js", "remote.js"),
    *("commands.js", "travel.js", "scene.js"),
    "start.js",
)
PANORAMA_SCRIPTS = ("gl.js", "panorama.js")
_NOTHING: Mapping[str, str] = MappingProxyType({})


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
        meta |= {"path": json_from_cameras(cameras), "marked": evenly(len(cameras))}
    return meta


@dataclass(frozen=True, kw_only=True)
class Besides:
    """What a page can show besides its scene.

    Attributes:
        panorama_png: A PNG or JPEG file (2:1), seen from the world's origin.
        scaffold: The Gaussians that the scene was made from, in the same world.
        images: What each camera of the trajectory has seen, RGB in [0, 1], one size.
    """

    panorama_png: bytes | None = None
    scaffold: Gaussians | None = None
    images: Sequence[Float[Tensor, "3 h w"]] = ()


def scene_html(
    gaussians: Gaussians,
    *,
    cameras: Cameras | None = None,
    start_camera: Cameras | None = None,
    title: str = "A scene from one photo",
    max_gaussians: int | None = None,
    besides: Besides | None = None,
) -> str:
    """A page that shows the scene to walk through: one file, no network.

    Args:
        gaussians: The scene.
        cameras: A trajectory to move along (two cameras or more).
        start_camera: Where the person starts; its first camera counts. Default: the origin, looking along z.
        title: Shown in the browser's tab and over the picture.
        max_gaussians: Thins larger scenes, and a larger scaffold, to this many; default: all are kept.
        besides: Panorama and scaffold that the person can switch to, and the pictures of the cameras.

    Returns:
        The HTML text: 17 to 20 bytes per Gaussian.

    Raises:
        ValueError: no Gaussians, NaN or inf in them, ``max_gaussians`` below 1, an image that is neither PNG nor JPEG,
            another number of pictures than of cameras.

    Notes: colours of higher spherical harmonics are those seen from the start. The page forbids itself every network
    request by its content security policy.
    """
    besides, centre = besides or Besides(), look_from(start_camera)
    packed = {"scene": pack(thin(gaussians, max_gaussians, centre), centre)}
    if besides.scaffold is not None:
        packed["scaffold"] = pack(thin(besides.scaffold, max_gaussians, centre), centre)
    meta = scene_meta(packed["scene"], cameras, start_camera, title)
    more, images = meta_besides(besides, packed, cameras)
    chunks = {
        f"{name}-{k}": base64.b64encode(chunk).decode("ascii")
        for name, scene in packed.items()
        for k, chunk in enumerate(scene.chunks)
    }
    return page(title, "scene", SCENE_SCRIPTS, {"meta": script_json(meta | more), **images}, chunks)


def meta_besides(
    besides: Besides, packed: Mapping[str, PackedScene], cameras: Cameras | None
) -> tuple[dict, dict[str, str]]:
    """What the viewer has to know of what can be shown besides the scene, and the pictures among it as URLs.

    Raises:
        ValueError: an image that is neither PNG nor JPEG, another number of pictures than of cameras.
    """
    meta: dict = {}
    images: dict[str, str] = {}
    if "scaffold" in packed:
        meta["scaffold"] = {"count": packed["scaffold"].count, "chunks": len(packed["scaffold"].chunks)}
    if besides.panorama_png is not None:
        images["panorama"] = data_url(besides.panorama_png)
    if len(besides.images):
        sheet = _sheet_of(besides.images, cameras)
        meta["sheet"] = {"columns": sheet.columns, "rows": sheet.rows}
        images["sheet"] = data_url(sheet.jpeg)
    return meta, images


def page(
    title: str, name: str, scripts: tuple[str, ...], data: Mapping[str, str], chunks: Mapping[str, str] = _NOTHING
) -> str:
    """The page that runs ``start<Name>`` of the scripts, styled by ``<name>.css``; it forbids itself every request.

    Args:
        title: Shown in the browser's tab.
        name: ``scene`` or ``panorama``.
        scripts: Modules in ``assets``, each after those that it imports.
        data: Texts that the script finds under these ids when it starts; none holds a ``<``.
        chunks: Texts that come in while it runs.
    """

    def elements(texts: Mapping[str, str]) -> str:
        return "\n".join(f'<script type="text/plain" id="{key}">{text}</script>' for key, text in texts.items())

    values = {
        "title": html.escape(title),
        "css": read_asset(f"{name}.css"),
        "script": bundle(scripts),
        "start": f"start{name.capitalize()}",
        "data": elements(data),
        "chunks": elements(chunks),
    }
    return fill(read_asset("page.html"), values)


def _sheet_of(images: Sequence[Tensor], cameras: Cameras | None) -> Sheet:
    count = 0 if cameras is None else len(cameras)
    if len(images) != count:
        raise ValueError(f"images must hold one picture per camera, got {len(images)} for {count} cameras")
    return make_sheet(images)
