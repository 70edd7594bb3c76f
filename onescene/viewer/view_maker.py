"""Fly in a scene, press a button, and a view is made where you stand; what makes it is the caller's function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets
from jaxtyping import Float
from torch import Tensor

from onescene.types import Cameras, Gaussians
from onescene.viewer.notebook import is_interactive
from onescene.viewer.pictures import figure_jpeg, still_bundle
from onescene.viewer.widget import SceneWidget, reframed

STILL_DPI, LIVE_DPI = 80, 120
_NOTE = "Fly in the scene, then press Make a view."

Pictures = Mapping[str, Float[Tensor, "3 h w"]]


class ViewMaker:
    """The scene to fly in, and the views that were made in it.

    ``maker.make()`` does what the button does; ``maker.cameras`` and ``maker.views`` hold what was made, the last one
    last; ``maker.viewer.camera`` is where the person stands, and may be set. Shown where no one is watching, it is the
    picture of the last view.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        look: Callable[[Cameras], Pictures],
        draw: Callable[[Pictures], Any],
        *,
        forget: Callable[[], None] = lambda: None,
        hw: tuple[int, int] = (288, 384),
        start_camera: Cameras | None = None,
    ) -> None:
        """Makes nothing yet.

        Args:
            gaussians: The scene to fly in.
            look: Called with one camera of size ``hw``; gives pictures by name, such as the render and what was made.
            draw: Called with what ``look`` gave; gives a matplotlib figure.
            forget: Called when the person begins anew.
            hw: Size of the views [pixels].
            start_camera: Where the person begins; default: the origin, looking along z.

        Raises:
            ValueError: as the viewer.
        """
        self._look, self._draw, self._forget, self.hw = look, draw, forget, hw
        self.viewer = SceneWidget(gaussians, height_px=420, start_camera=start_camera)
        self.cameras: list[Cameras] = []
        self.views: list[Pictures] = []

    def make(self) -> Pictures:
        """Makes the view from where the person stands.

        Raises:
            ValueError: as ``look``.
        """
        camera = reframed(self.viewer.camera, self.hw)
        pictures = self._look(camera)
        self.cameras.append(camera)
        self.views.append(pictures)
        return pictures

    def begin_anew(self) -> None:
        """Forgets the views, and tells the caller."""
        self._forget()
        self.cameras.clear()
        self.views.clear()

    def jpeg(self, dpi: int = STILL_DPI) -> bytes:
        """The last view as a JPEG file of so many pixels per inch of the figure; nothing where none is made."""
        return figure_jpeg(self._draw(self.views[-1]), dpi) if self.views else b""

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if is_interactive():
            return ViewPanel(self)._repr_mimebundle_(**kwargs)
        if not self.views:
            return self.viewer._repr_mimebundle_(**kwargs)
        return still_bundle(self.jpeg(), f"ViewMaker with {len(self.views)} views")


class ViewPanel(ipywidgets.VBox):
    """The maker's viewer, buttons and last view; what they do is done by the maker's methods."""

    def __init__(self, maker: ViewMaker) -> None:
        self.maker = maker
        self.button = ipywidgets.Button(description="Make a view", button_style="primary")
        self.anew = ipywidgets.Button(description="Begin anew")
        self.note = ipywidgets.Label(_NOTE)
        own_size = ipywidgets.Layout(align_self="flex-start", max_width="100%")
        self.picture = ipywidgets.Image(format="jpeg", value=maker.jpeg(LIVE_DPI), layout=own_size)
        self.button.on_click(lambda _: self.make())
        self.anew.on_click(lambda _: self.begin_anew())
        super().__init__([maker.viewer, ipywidgets.HBox([self.button, self.anew, self.note]), self.picture])

    def make(self) -> None:
        """Makes a view and shows it; says a mistake beside the buttons."""
        self.button.disabled, self.note.value = True, "Making a view ..."
        try:
            self.maker.make()
            self.picture.value = self.maker.jpeg(LIVE_DPI)
            self.note.value = f"{len(self.maker.views)} made. {_NOTE}"
        except (ValueError, OSError) as error:
            self.note.value = str(error)
        finally:
            self.button.disabled = False

    def begin_anew(self) -> None:
        """An empty memory."""
        self.maker.begin_anew()
        self.picture.value, self.note.value = b"", _NOTE
