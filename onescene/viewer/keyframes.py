"""Keyframes: cameras that a person has set, how a trajectory is made from them, and the file that keeps both.

The file is a nerfstudio ``transforms.json`` with one frame per keyframe, which every reader of such files opens; what
is ours stands under ``keyframes``. The viewer's page writes and reads the same.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from onescene.geometry.trajectories import keyframe_trajectory
from onescene.geometry.trajectories.smoothing import smooth_cameras
from onescene.io.atomic import atomic_write_text
from onescene.io.sources import existing_file
from onescene.io.transforms_json import read_json_object
from onescene.types import Cameras
from onescene.viewer.cameras_json import cameras_from_json, json_from_cameras

DEFAULT_FRAMES = 48
MOST_FRAMES = 10_000  # of a trajectory: seven minutes of film; a file that asks for more is damaged
_KINDS = {"frames": int, "closed": bool, "smoothing": float, "constant_speed": bool}


@dataclass(frozen=True, kw_only=True)
class Keyframes:
    """Keyframes and the way through them.

    Attributes:
        cameras: One per keyframe, in their order.
        frames: Cameras of the trajectory, >= 1.
        closed: The way returns to the first keyframe.
        smoothing: 0: the way passes through every keyframe; more: it cuts their corners, see ``smooth_cameras``.
        constant_speed: Equal ways between frames; otherwise equal times between keyframes.
    """

    cameras: Cameras
    frames: int = DEFAULT_FRAMES
    closed: bool = False
    smoothing: float = 0.0
    constant_speed: bool = True

    def trajectory(self) -> Cameras:
        """The cameras along the way.

        Raises:
            ValueError: no keyframe, ``frames`` below 1, ``smoothing`` below 0.
        """
        smooth = smooth_cameras(self.cameras, self.smoothing, closed=self.closed)
        return keyframe_trajectory(smooth, self.frames, constant_speed=self.constant_speed, closed=self.closed)


def json_from_keyframes(keyframes: Keyframes) -> dict:
    """Keyframes as the dict that the viewer speaks and the file holds."""
    settings = {name: getattr(keyframes, name) for name in _KINDS}
    return {**json_from_cameras(keyframes.cameras), "keyframes": settings}


def keyframes_from_json(value: dict) -> Keyframes:
    """Keyframes of the viewer's dict, of a keyframes file, or of any ``transforms.json``.

    Raises:
        ValueError: as :func:`cameras_from_json`, or a setting of another kind or out of range.
    """
    settings = value.get("keyframes", {}) if isinstance(value, dict) else {}
    if not isinstance(settings, dict):
        raise ValueError(f"keyframes must be an object with settings, got {settings!r:.60}")
    known = {name: settings[name] for name in _KINDS if name in settings}
    for name, setting in known.items():
        if not _fits(setting, _KINDS[name]):
            raise ValueError(f"keyframes.{name} must be of type {_KINDS[name].__name__}, got {setting!r}")
    if not 1 <= known.get("frames", DEFAULT_FRAMES) <= MOST_FRAMES:
        raise ValueError(f"keyframes.frames must be 1 to {MOST_FRAMES}, got {known['frames']}")
    if known.get("smoothing", 0.0) < 0:
        raise ValueError(f"keyframes.smoothing must be >= 0, got {known['smoothing']}")
    return Keyframes(cameras=cameras_from_json(value), **known)


def _fits(setting: object, kind: type) -> bool:
    if kind is bool or isinstance(setting, bool):
        return kind is bool and isinstance(setting, bool)
    return isinstance(setting, int) or (kind is float and isinstance(setting, float) and math.isfinite(setting))


def load_keyframes(path: str | Path) -> Keyframes:
    """Reads a keyframes file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON object, far too large, or as :func:`keyframes_from_json`.
    """
    found = existing_file(path, "keyframes file")
    value = read_json_object(found)
    try:
        return keyframes_from_json(value)
    except ValueError as error:
        raise ValueError(f"{found}: {error}") from error


def save_keyframes(keyframes: Keyframes, path: str | Path) -> None:
    """Writes a keyframes file, whole or not at all."""
    atomic_write_text(Path(path), json.dumps(json_from_keyframes(keyframes), indent=1))
