"""Novel views one at a time, from wherever the caller looks next; each remembers those made before it.

A trajectory is known beforehand (``views.run``); a person who flies through a scene decides at every view.
"""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from onescene.models.seva.chunks import MadeFrame
from onescene.models.seva.memory import forget_over
from onescene.stages.diffusion_views import Guide, synthesise
from onescene.stages.views import ViewsConfig, ViewsOutput, check_scene, view_of
from onescene.types import Cameras, Gaussians


class Walk:
    """A scene, what guides its views, and the frames made so far (``guide.config.capacity`` at most).

    ``walk.cameras`` are the cameras of the frames that are remembered, in the order in which they were made.
    """

    def __init__(self, gaussians: Gaussians, guide: Guide, config: ViewsConfig | None = None) -> None:
        """Nothing is made yet.

        Args:
            gaussians: The scaffold.
            guide: Networks and anchors.
            config: Backend and threshold of holes; its method is the guide's.

        Raises:
            ValueError: as :func:`onescene.stages.views.iterate`.
        """
        self._config = replace(config or ViewsConfig(), method=guide.config.method)
        check_scene(gaussians, self._config, guide)
        self._gaussians = gaussians
        self._guide = replace(guide, config=replace(guide.config, new=1))
        self.forget()

    def forget(self) -> None:
        """Begins anew: the next view remembers nothing."""
        self.cameras: Cameras | None = None
        self._frames: list[MadeFrame] = []

    def look(self, camera: Cameras) -> ViewsOutput:
        """The view of one camera.

        Raises:
            ValueError: not one camera, or its pictures have another size than those before.
        """
        if len(camera) != 1:
            raise ValueError(f"camera must be one camera, got {len(camera)}")
        if self.cameras is not None and camera.hw != self.cameras.hw:
            raise ValueError(f"views of a walk must have one size, got {camera.hw} after {self.cameras.hw}")
        cameras = camera if self.cameras is None else Cameras.cat([self.cameras, camera])
        stored = dict(enumerate(self._frames))
        guide = replace(self._guide, stored=stored.get, keep=lambda frame: None)
        *_, frame = synthesise(self._gaussians, cameras, guide, self._config.backend)
        self._remember(cameras, frame)
        return view_of(self._gaussians, camera, self._config, frame.rgb)

    def pictures(self, camera: Cameras) -> dict[str, Float[Tensor, "3 h w"]]:
        """:meth:`look` by name: what the scaffold shows over black, and the view that is made of it."""
        view = self.look(camera)
        return {"scaffold": view.rendered[0], f"made ({view.method})": view.rgb[0]}

    def _remember(self, cameras: Cameras, frame: MadeFrame) -> None:
        """Keeps the frame; of too many the one goes that is missed least."""
        frames, keep = [*self._frames, frame], list(range(len(cameras)))
        forget_over(keep, cameras.world_from_cam, self._guide.config.capacity)
        self.cameras = cameras[keep]
        self._frames = [replace(frames[old], number=new) for new, old in enumerate(keep)]
