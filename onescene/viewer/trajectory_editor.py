"""The trajectory editor: presets, keyframes set in the viewer, a plan from above, files in and out.

Everything here works without a browser; the buttons and sliders around it are in ``trajectory_panel``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.trajectories import fit_trajectory_scale, make_trajectory
from onescene.geometry.trajectories.free_space import Clearance, path_clearance
from onescene.io.cameras import load_cameras, save_cameras
from onescene.io.sources import existing_file
from onescene.io.transforms_json import read_json_object
from onescene.types import Cameras, Gaussians
from onescene.viewer.keyframes import (
    Keyframes,
    json_from_keyframes,
    keyframes_from_json,
    load_keyframes,
    save_keyframes,
)
from onescene.viewer.notebook import is_interactive
from onescene.viewer.pictures import figure_jpeg, still_bundle
from onescene.viewer.widget import SceneWidget, reframed

PLAN_DPI = 72
PRESET_KEYS = 6  # keyframes that a path is turned into
LARGEST_SCALE = 3.0  # of a preset that is fitted into the free space
_KEPT = 1e-4  # the viewer's numbers differ from ours by less


class TrajectoryEditor:
    """Makes a camera path in a scene, by a preset or through keyframes.

    ``editor.cameras`` is the path at any time, ``editor.keyframes`` what it was made from (None for a preset or an
    imported path), ``editor.clearance`` how it fares in the scene, ``editor.viewer`` the scene with the path in it.
    Shown in a notebook it has buttons, sliders and its plan; where no one is watching, it shows its plan alone.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        distance: Float[Tensor, "height width"],
        *,
        plan: Callable[..., Any] | None = None,
        hw: tuple[int, int] = (288, 512),
        frames: int = 48,
        fov_deg: float = 75.0,
    ) -> None:
        """Starts with the preset ``walk``, fitted into the free space.

        Args:
            gaussians: The scaffold, or the scene.
            distance: Distance panorama of the scaffold [world units].
            plan: Called with ``(gaussians, distance, cameras, keyframes=..., margin_world=...)``; gives a matplotlib
                figure (``onescene.plots.plan.plan_view_figure``). Default: no plan.
            hw: Size of the path's pictures [pixels].
            frames: Cameras of the path.
            fov_deg: Horizontal field of view of presets [degrees].

        Raises:
            ValueError: as the viewer and the trajectories.
        """
        self._gaussians, self._distance, self._plan, self.hw = gaussians, distance, plan, hw
        self.margin_world = 0.25  # less room than this is marked on the plan
        self.keyframes: Keyframes | None = None
        self.changed: list[Callable[[], None]] = []  # called after every change of the path
        self.viewer = SceneWidget(gaussians, height_px=420)
        self.use_preset("walk", frames=frames, fov_deg=fov_deg)
        self.viewer.observe(self._keys_came, "keyframes")

    # ---- what makes a path

    def use_preset(
        self, name: str, *, frames: int = 48, fov_deg: float = 75.0, scale_world: float | None = None
    ) -> Cameras:
        """A named trajectory; without a scale it is fitted into the free space.

        Raises:
            ValueError: an unknown name, or a number out of range.
        """
        made = {"hw": self.hw, "fov_deg": fov_deg, "convention": "release"}
        if scale_world is None:
            places = make_trajectory(name, frames, **made).world_from_cam[:, :3, 3]
            scale_world = fit_trajectory_scale(places, self._distance, requested=LARGEST_SCALE)
        return self._use(make_trajectory(name, frames, scale_world=scale_world, **made), None)

    def use_keyframes(self, keyframes: Keyframes) -> Cameras:
        """A path through keyframes, which the viewer lists.

        Raises:
            ValueError: as :meth:`onescene.viewer.keyframes.Keyframes.trajectory`.
        """
        cameras = self._use(keyframes.trajectory(), keyframes)
        self.viewer.keyframes = json_from_keyframes(keyframes)
        return cameras

    def to_keyframes(self, count: int = PRESET_KEYS) -> Keyframes:
        """Turns the path into keyframes at equal steps, to be moved, removed and joined by others.

        Raises:
            ValueError: ``count`` is below 2.
        """
        if count < 2:
            raise ValueError(f"count must be >= 2, got {count}")
        chosen = torch.linspace(0, len(self.cameras) - 1, min(count, len(self.cameras))).round().long()
        keyframes = Keyframes(cameras=self.cameras[chosen], frames=len(self.cameras))
        self.use_keyframes(keyframes)
        return keyframes

    def change(self, **settings: Any) -> Cameras:
        """Changes ``frames``, ``smoothing``, ``closed`` or ``constant_speed`` of the keyframes.

        Raises:
            ValueError: there are no keyframes, or a setting is out of range.
        """
        return self.use_keyframes(replace(self._keyframes(), **settings))

    def fit(self, margin: float = 0.6) -> Cameras:
        """Draws the path towards the panorama's centre until it keeps to the free space; a path that does stays.

        Args:
            margin: Part of the free way that may be used, in (0, 1].

        Raises:
            ValueError: as ``fit_trajectory_scale``.
        """
        factor = fit_trajectory_scale(self.cameras.world_from_cam[:, :3, 3], self._distance, margin)
        source = self.cameras if self.keyframes is None else self.keyframes.cameras
        moved = source.world_from_cam.clone()
        moved[:, :3, 3] *= factor
        smaller = replace(source, world_from_cam=moved)
        if self.keyframes is None:
            return self._use(smaller, None)
        return self.use_keyframes(replace(self.keyframes, cameras=smaller))

    # ---- files

    def export(self, path: str | Path) -> None:
        """Writes the path as a camera file, by its suffix: a ``transforms.json`` for ``.json``."""
        save_cameras(self.cameras, path)

    def export_keyframes(self, path: str | Path) -> None:
        """Writes the keyframes.

        Raises:
            ValueError: there are none.
        """
        save_keyframes(self._keyframes(), path)

    def load(self, path: str | Path) -> Cameras:
        """Takes up a keyframes file, or any camera file as a path.

        Raises:
            FileNotFoundError, ValueError: as the readers.
        """
        if Path(path).suffix == ".json" and "keyframes" in read_json_object(existing_file(path, "camera file")):
            return self.use_keyframes(load_keyframes(path))
        return self._use(load_cameras(path), None)

    # ---- what follows from a path

    @property
    def clearance(self) -> Clearance:
        """Whether each camera of the path is in free space, and how much room it has."""
        return path_clearance(self.cameras.world_from_cam[:, :3, 3], self._distance)

    def plan_figure(self) -> Any:
        """The plan as a matplotlib figure.

        Raises:
            ValueError: the editor was made without a plan.
        """
        if self._plan is None:
            raise ValueError("the editor was made without a plan: give it plan=plan_view_figure")
        keys = None if self.keyframes is None else self.keyframes.cameras
        margin = self.margin_world
        return self._plan(self._gaussians, self._distance, self.cameras, keyframes=keys, margin_world=margin)

    def plan_jpeg(self) -> bytes:
        """The plan as a JPEG file, small enough for a notebook; nothing without a plan."""
        return b"" if self._plan is None else figure_jpeg(self.plan_figure(), PLAN_DPI)

    def _keyframes(self) -> Keyframes:
        if self.keyframes is None:
            raise ValueError("the path was not made from keyframes: turn it into keyframes first")
        return self.keyframes

    def _use(self, cameras: Cameras, keyframes: Keyframes | None) -> Cameras:
        self.cameras, self.keyframes = cameras, keyframes
        self.viewer.path = cameras
        for tell in self.changed:
            tell()
        return cameras

    def _keys_came(self, change: dict) -> None:
        """Keyframes were set, moved or removed in the viewer, or their settings changed."""
        if not change["new"].get("frames"):
            return
        came = keyframes_from_json(change["new"])
        known = self.keyframes or Keyframes(cameras=came.cameras)
        hw = self.hw if self.keyframes is None else known.cameras.hw
        cameras = came.cameras if came.cameras.hw == hw else reframed(came.cameras, hw)
        same = self.keyframes is not None and _same(cameras, known.cameras)
        if same and (came.frames, came.closed) == (known.frames, known.closed):
            return  # our own, come back
        keyframes = replace(known, cameras=cameras, frames=came.frames, closed=came.closed)
        self._use(keyframes.trajectory(), keyframes)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if is_interactive():
            from onescene.viewer.trajectory_panel import TrajectoryPanel

            return TrajectoryPanel(self)._repr_mimebundle_(**kwargs)
        if self._plan is None:
            return self.viewer._repr_mimebundle_(**kwargs)
        return still_bundle(self.plan_jpeg(), f"TrajectoryEditor with a path of {len(self.cameras)} cameras")


def _same(a: Cameras, b: Cameras) -> bool:
    return len(a) == len(b) and bool((a.world_from_cam - b.world_from_cam).abs().max() < _KEPT)
