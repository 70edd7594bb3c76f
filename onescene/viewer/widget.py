"""The scene viewer as a notebook widget: fly in the browser, read and render the camera in Python, or the other way."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from onescene.types import Cameras, Gaussians
from onescene.viewer.cameras_json import cameras_from_json, json_from_cameras
from onescene.viewer.html import SCENE_SCRIPTS, Besides, bundle, look_from, meta_besides, read_asset, scene_meta
from onescene.viewer.notebook import default_camera, is_interactive, render_still, still_jpeg
from onescene.viewer.packing import pack, thin
from onescene.viewer.pictures import jpeg_bytes, still_bundle

STILL_HW = (360, 640)
MOVING_QUALITY, RESTING_QUALITY = 70, 88  # JPEG


def _to_json(cameras: Cameras | None, widget: SceneWidget) -> dict:
    """What came from the browser goes back as it came: rounding would look like a new camera and stop a drag."""
    heard, as_heard = widget._heard
    if cameras is not None and cameras is heard:
        return as_heard
    return {} if cameras is None else json_from_cameras(cameras)


def _from_json(value: dict, widget: SceneWidget) -> Cameras | None:
    cameras = cameras_from_json(value) if value.get("frames") else None
    widget._heard = (cameras, value)
    return cameras


class SceneWidget(anywidget.AnyWidget):
    """A live scene whose camera is shared with Python.

    ``widget.camera`` is the camera that the person flies, as :class:`onescene.types.Cameras` with one camera; its
    ``hw`` is the view's size in the browser. Assigning to it moves the view, and ``widget.observe(handler, "camera")``
    calls a handler on every change (at most ten times a second). ``widget.render()`` renders it here, on the
    processor; the key N makes the browser show such renders while the person drags.

    ``widget.path`` (:class:`Cameras` or None) is the trajectory that the view plays, None the one that it was made
    with; ``widget.keyframes`` are the keyframes that the person has set, as the dict that
    :func:`onescene.viewer.keyframes.keyframes_from_json` reads.

    As on a run's page, the keys 1, 2 and 3 change between panorama, scaffold and scene, and V shows the cameras with
    their pictures, where the widget was given them (``besides``).

    Where no one is watching (see :func:`onescene.viewer.notebook.is_interactive`) nothing is sent to a browser and the
    widget displays as a still picture from its camera.
    """

    _esm = bundle(SCENE_SCRIPTS) + "\nexport default { render: renderWidget };\n"
    _css = read_asset("scene.css")

    _heard: tuple[Cameras | None, dict] = (None, {})
    camera = traitlets.Instance(Cameras, help="Where the view stands").tag(
        sync=True, to_json=_to_json, from_json=_from_json
    )
    path = traitlets.Instance(Cameras, allow_none=True, help="The trajectory that is played").tag(
        sync=True, to_json=_to_json, from_json=_from_json
    )
    keyframes = traitlets.Dict(help="Keyframes, as their JSON").tag(sync=True)
    data = traitlets.Bytes(help="Deflated chunks, one after the other: the scene's, the scaffold's").tag(sync=True)
    images = traitlets.Dict(help="The panorama and the sheet of the cameras' pictures, as data URLs").tag(sync=True)
    meta = traitlets.Dict(help="Count, sizes of the chunks, height").tag(sync=True)

    def __init__(
        self,
        gaussians: Gaussians,
        *,
        cameras: Cameras | None = None,
        start_camera: Cameras | None = None,
        title: str = "",
        height_px: int = 480,
        max_gaussians: int | None = None,
        besides: Besides | None = None,
    ) -> None:
        """Packs the scene for the browser.

        Args:
            gaussians: The scene.
            cameras: A trajectory to move along.
            start_camera: Where the view starts; default: the origin, looking along z.
            title: Shown over the picture.
            height_px: Height of the view [pixels].
            max_gaussians: Thins a larger scene, and a larger scaffold, to this many.
            besides: Panorama and scaffold that the person can switch to, and the pictures of the cameras.

        Raises:
            ValueError: no Gaussians, NaN or inf in them, ``max_gaussians`` below 1, an image that is neither PNG nor
                JPEG, another number of pictures than of cameras.
        """
        self._live = is_interactive()
        besides, centre = besides or Besides(), look_from(start_camera)
        self._layers = {"scene": thin(gaussians, max_gaussians, centre)}
        if besides.scaffold is not None:
            self._layers["scaffold"] = thin(besides.scaffold, max_gaussians, centre)
        camera = default_camera(STILL_HW) if start_camera is None else start_camera[0]
        state: dict[str, Any] = {"camera": camera, "path": cameras}
        if self._live:
            packed = {name: pack(layer, centre) for name, layer in self._layers.items()}
            more, images = meta_besides(besides, packed, cameras)
            sizes = {name: [len(chunk) for chunk in layer.chunks] for name, layer in packed.items()}
            meta = scene_meta(packed["scene"], cameras, start_camera, title) | more
            meta |= {"chunk_bytes": sizes, "height_px": int(height_px)}
            data = b"".join(chunk for layer in packed.values() for chunk in layer.chunks)
            state |= {"data": data, "images": images, "meta": meta}
        super().__init__(**state)
        self.on_msg(self._answer)

    @property
    def _gaussians(self) -> Gaussians:
        return self._layers["scene"]

    def open(self) -> None:
        """Tells the browser about the widget, if there is one; otherwise no state is stored in the notebook."""
        if self._live:
            super().open()

    def render(self, hw: tuple[int, int] | None = None, backend: str = "numba"):
        """Renders the scene from the view's camera, in Python.

        Args:
            hw: Size of the picture [pixels]; default: the view's. The field of view across the shorter side stays.
            backend: As in :func:`onescene.splatting.render`.

        Returns:
            A ``RenderOutput`` of one view: rgb, depth_z, alpha.

        Raises:
            ValueError: ``hw`` is not two sizes >= 1, or an unknown backend.
        """
        return render_still(self._gaussians, self.camera if hw is None else reframed(self.camera, hw), backend)

    def still(self) -> bytes:
        """A JPEG file of the scene from the view's camera."""
        return still_jpeg(self._gaussians, self.camera)

    def _answer(self, widget: object, message: dict, buffers: list) -> None:
        """Renders what the browser asks for and sends it a JPEG file."""
        if message.get("kind") != "render":
            return
        resting = bool(message.get("resting"))
        layer = self._layers.get(message.get("layer"), self._gaussians)
        output = render_still(layer, cameras_from_json(message["camera"]), "numba")
        quality = RESTING_QUALITY if resting else MOVING_QUALITY
        picture = jpeg_bytes(output.rgb[0], quality=quality, optimize=resting)
        self.send({"kind": "picture", "resting": resting}, buffers=[picture])

    def _repr_mimebundle_(self, **kwargs: dict) -> tuple[dict, dict] | None:
        if self._live:
            return super()._repr_mimebundle_(**kwargs)
        return still_bundle(self.still(), f"SceneWidget of {len(self._gaussians)} Gaussians")


def reframed(camera: Cameras, hw: tuple[int, int]) -> Cameras:
    """A centred camera for a picture of another shape: the field of view across the shorter side stays.

    Args:
        camera: Cameras whose principal point is the middle of the picture.
        hw: The new size [pixels].

    Raises:
        ValueError: ``hw`` is not two sizes >= 1.
    """
    if len(hw) != 2 or min(hw) < 1:
        raise ValueError(f"hw must be two sizes >= 1, got {hw}")
    K = camera.K.clone()
    K[:, :2, :2] *= min(hw) / min(camera.hw)
    K[:, 0, 2], K[:, 1, 2] = hw[1] / 2, hw[0] / 2
    return Cameras(world_from_cam=camera.world_from_cam, K=K, hw=(int(hw[0]), int(hw[1])))
