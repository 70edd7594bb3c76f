"""Scenes and panoramas in a browser: self-contained pages, notebook views and a widget whose camera Python reads.

The drawing itself is WebGL2 written here (``assets/``); nothing is loaded from the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onescene.viewer.html import Besides, scene_html
from onescene.viewer.panorama import panorama_html
from onescene.viewer.run_page import RunFiles, run_page

if TYPE_CHECKING:
    from onescene.viewer.keyframes import Keyframes, load_keyframes, save_keyframes
    from onescene.viewer.notebook import is_interactive, show_panorama, show_scene
    from onescene.viewer.trajectory_editor import TrajectoryEditor
    from onescene.viewer.view_maker import ViewMaker
    from onescene.viewer.widget import SceneWidget

__all__ = [
    "Besides",
    "Keyframes",
    "RunFiles",
    "SceneWidget",
    "TrajectoryEditor",
    "ViewMaker",
    "is_interactive",
    "load_keyframes",
    "panorama_html",
    "run_page",
    "save_keyframes",
    "scene_html",
    "show_panorama",
    "show_scene",
]

_LATE = {
    **dict.fromkeys(("Keyframes", "load_keyframes", "save_keyframes"), "keyframes"),
    **dict.fromkeys(("is_interactive", "show_panorama", "show_scene"), "notebook"),
    "SceneWidget": "widget",
    "TrajectoryEditor": "trajectory_editor",
    "ViewMaker": "view_maker",
}


def __getattr__(name: str):
    """Imports IPython and anywidget when they are asked for: the command line does without."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"onescene.viewer.{_LATE[name]}"), name)
