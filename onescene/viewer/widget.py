"""The scene viewer as a notebook widget: fly in the browser, read the camera in Python, or the other way round."""

from __future__ import annotations

import base64

import anywidget
import traitlets

from onescene.types import Cameras, Gaussians
from onescene.viewer.cameras_json import cameras_from_json, json_from_cameras
from onescene.viewer.html import SCENE_SCRIPTS, bundle, look_from, read_asset, scene_meta
from onescene.viewer.notebook import default_camera, is_interactive, still_jpeg
from onescene.viewer.packing import pack, thin

STILL_HW = (360, 640)


class SceneWidget(anywidget.AnyWidget):
    """A live scene whose camera is shared with Python.

    ``widget.cameras`` is the camera that the person flies, as :class:`onescene.types.Cameras`; assigning to it moves
    the view. ``widget.observe(handler, "camera")`` calls a handler on every change (at most ten times a second).

    Where no one is watching (see :func:`onescene.viewer.notebook.is_interactive`) nothing is sent to a browser and the
    widget displays as a still picture from its camera.
    """

    _esm = bundle(SCENE_SCRIPTS) + "\nexport default { render: renderWidget };\n"
    _css = read_asset("scene.css")

    camera = traitlets.Dict(help="The camera as a transforms.json dict").tag(sync=True)
    data = traitlets.Bytes(help="Deflated chunks, one after the other").tag(sync=True)
    meta = traitlets.Dict(help="Count, sizes of the chunks, trajectory").tag(sync=True)

    def __init__(
        self,
        gaussians: Gaussians,
        *,
        cameras: Cameras | None = None,
        start_camera: Cameras | None = None,
        title: str = "",
        height_px: int = 480,
        max_gaussians: int | None = None,
    ) -> None:
        """Packs the scene for the browser.

        Args:
            gaussians: The scene.
            cameras: A trajectory to move along.
            start_camera: Where the view starts; default: the origin, looking along z.
            title: Shown over the picture.
            height_px: Height of the view [pixels].
            max_gaussians: Thins larger scenes to this many.

        Raises:
            ValueError: no Gaussians, NaN or inf in them, ``max_gaussians`` below 1.
        """
        self._live = is_interactive()
        centre = look_from(start_camera)
        if max_gaussians is not None:
            gaussians = thin(gaussians, max_gaussians, centre)
        self._gaussians = gaussians
        camera = json_from_cameras(default_camera(STILL_HW) if start_camera is None else start_camera[0])
        if not self._live:
            super().__init__(camera=camera)
            return
        packed = pack(gaussians, centre)
        meta = scene_meta(packed, cameras, start_camera, title)
        meta |= {"chunk_bytes": [len(chunk) for chunk in packed.chunks], "height_px": int(height_px)}
        super().__init__(camera=camera, data=b"".join(packed.chunks), meta=meta)

    def open(self) -> None:
        """Tells the browser about the widget, if there is one; otherwise no state is stored in the notebook."""
        if self._live:
            super().open()

    @property
    def cameras(self) -> Cameras:
        """The camera of the view; its ``hw`` is the view's size in the browser [pixels]."""
        return cameras_from_json(self.camera)

    @cameras.setter
    def cameras(self, value: Cameras) -> None:
        self.camera = json_from_cameras(value[0])

    def still(self) -> bytes:
        """A JPEG file of the scene from the view's camera, rendered by ``onescene.splatting``."""
        return still_jpeg(self._gaussians, self.cameras)

    def _repr_mimebundle_(self, **kwargs: dict) -> tuple[dict, dict] | None:
        if self._live:
            return super()._repr_mimebundle_(**kwargs)
        text = f"SceneWidget of {len(self._gaussians)} Gaussians"
        return {"image/jpeg": base64.b64encode(self.still()).decode("ascii"), "text/plain": text}, {}
