"""The trajectory presets of SEVA, and the constants with which One2Scene's release runs them.

Every preset starts in the world's axes (z forward, y down) and is anchored to a point to look at, straight ahead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from onescene.geometry.rotations import compose, look_at, matrix_from_yaw_pitch_roll, rigid


@dataclass(frozen=True, kw_only=True)
class SevaConstants:
    """What the presets leave open.

    Attributes:
        look_at_z: Distance of the point to look at, straight ahead [world units].
        move_look_at_z: The same for the moves; the release has them look at a nearer point.
        move_length: Way of the moves and dollies [world units].
        orbit_factor: Radius of the orbit as a part of the distance to the point to look at.
        lemniscate_deg: Angle under which the lemniscate is seen from the point to look at [degrees].
        spiral_radii: Radii of the spiral along x, y, z [world units].
        zoom_in: Last field of view of zoom-in, as a part of the first.
        zoom_out: The same of zoom-out.
    """

    look_at_z: float
    move_look_at_z: float
    move_length: float
    orbit_factor: float
    lemniscate_deg: float
    spiral_radii: tuple[float, float, float]
    zoom_in: float
    zoom_out: float = 1.5


PAPER = SevaConstants(
    look_at_z=10.0,
    move_look_at_z=10.0,
    move_length=0.99,
    orbit_factor=1.0,
    lemniscate_deg=60.0,
    spiral_radii=(0.5, 0.5, 0.2),
    zoom_in=0.28,
)
RELEASE = SevaConstants(  # One2Scene's public demo
    look_at_z=1.0,
    move_look_at_z=0.8,
    move_length=0.8 * 0.8,
    orbit_factor=0.7,
    lemniscate_deg=40.0,
    spiral_radii=(0.3, 0.3, 0.1),
    zoom_in=0.4,
)

# LLFF's focus: disparities of 0.9 x the nearest and 5 x the farthest depth (1 and 5), mixed 1/4 to 3/4
_SPIRAL_FOCUS = 1 / (0.25 / 0.9 + 0.75 / 25.0)
_SPIRAL_TURNS, _SPIRAL_Z_RATE = 2, 0.5
_MOVES = {
    "forward": (0.0, 0.0, 1.0),
    "backward": (0.0, 0.0, -1.0),
    "up": (0.0, -1.0, 0.0),
    "down": (0.0, 1.0, 0.0),
    "left": (-1.0, 0.0, 0.0),
    "right": (1.0, 0.0, 0.0),
}
_FORWARDUP_Y = 0.01  # the release's drift per way


def _ramp(frames: int) -> Tensor:
    """0 to 1, both included."""
    return torch.linspace(0, 1, frames, dtype=torch.float64) if frames > 1 else torch.zeros(1, dtype=torch.float64)


def _turn(frames: int, turns: float = 1.0) -> Tensor:
    """0 to ``turns`` full turns [radians], the end left out: it is the start again."""
    return torch.arange(frames, dtype=torch.float64) / frames * (2 * math.pi * turns)


def _points(x: Tensor | float, y: Tensor | float, z: Tensor | float, like: Tensor) -> Tensor:
    return torch.stack([torch.as_tensor(c, dtype=like.dtype).expand_as(like) for c in (x, y, z)], dim=-1)


def _ahead(distance: float) -> Tensor:
    return torch.tensor((0.0, 0.0, distance), dtype=torch.float64)


def _orbit(frames: int, constants: SevaConstants) -> Tensor:
    angle, radius = _turn(frames), constants.look_at_z * constants.orbit_factor
    positions = _points(radius * angle.sin(), 0.0, constants.look_at_z - radius * angle.cos(), angle)
    return look_at(positions, _ahead(constants.look_at_z))


def _spiral(frames: int, constants: SevaConstants) -> Tensor:
    """Two turns that bob along z, in the frame of the first camera, looking at a fixed focus."""
    angle = _turn(frames, _SPIRAL_TURNS)
    radii = torch.tensor(constants.spiral_radii, dtype=torch.float64)
    positions = _points(angle.cos(), angle.sin(), (angle * _SPIRAL_Z_RATE).sin(), angle) * radii
    poses = look_at(positions, _ahead(_SPIRAL_FOCUS))
    return compose(torch.linalg.inv(poses[:1]), poses)


def _lemniscate(frames: int, constants: SevaConstants) -> Tensor:
    """Bernoulli's lemniscate across the view."""
    angle = _turn(frames) + math.pi / 2
    size = constants.look_at_z * math.tan(math.radians(constants.lemniscate_deg) / 2)
    reach = size / (1 + angle.sin() ** 2)
    positions = _points(reach * angle.cos(), reach * angle.cos() * angle.sin(), 0.0, angle)
    return look_at(positions, _ahead(constants.look_at_z))


def _roll(frames: int, constants: SevaConstants) -> Tensor:
    angle = _turn(frames)
    rotation = matrix_from_yaw_pitch_roll(_points(0.0, 0.0, angle, angle))
    return rigid(rotation, torch.zeros(frames, 3, dtype=torch.float64))


def _move(direction: str) -> Callable[[int, SevaConstants], Tensor]:
    def poses(frames: int, constants: SevaConstants) -> Tensor:
        way = _ramp(frames)[:, None] * constants.move_length
        positions = way * torch.tensor(_MOVES[direction], dtype=torch.float64)
        return look_at(positions, _ahead(constants.move_look_at_z))

    return poses


def _move_forwardup(frames: int, constants: SevaConstants) -> Tensor:
    """The release's extra preset. Despite its name it drifts down by a hundredth of the way."""
    direction = torch.nn.functional.normalize(torch.tensor((0.0, _FORWARDUP_Y, 1.0), dtype=torch.float64), dim=0)
    positions = _ramp(frames)[:, None] * constants.move_length * direction
    return look_at(positions, _ahead(constants.move_look_at_z))


def _still(frames: int, constants: SevaConstants) -> Tensor:
    return torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1)


_POSES: dict[str, Callable[[int, SevaConstants], Tensor]] = {
    "orbit": _orbit,
    "spiral": _spiral,
    "lemniscate": _lemniscate,
    "zoom-in": _still,
    "zoom-out": _still,
    "dolly zoom-in": _move("backward"),
    "dolly zoom-out": _move("forward"),
    **{f"move-{direction}": _move(direction) for direction in _MOVES},
    "roll": _roll,
    "move-forwardup": _move_forwardup,
}
SEVA_PRESETS = tuple(_POSES)


def seva_poses(name: str, frames: int, constants: SevaConstants = PAPER) -> Tensor:
    """``world_from_cam`` [frames, 4, 4] of a preset, float64."""
    return _POSES[name](frames, constants)


def seva_fov_factor(name: str, frames: int, constants: SevaConstants = PAPER) -> Tensor:
    """Field of view of every frame as a part of the first's [frames], float64."""
    last = 1.0
    if name.endswith("zoom-in"):
        last = constants.zoom_in
    elif name.endswith("zoom-out"):
        last = constants.zoom_out
    return 1 + _ramp(frames) * (last - 1)


DEMO = ("orbit", "move-left", "lemniscate", "move-forward")  # the release's demo, 40 frames each


def demo_poses(frames: int) -> Tensor:
    """One2Scene's demo [frames, 4, 4]: four presets in equal parts, each from the last pose of the one before.

    Where ``frames`` does not divide by four, the first parts get one frame more.
    """
    end, parts = torch.eye(4, dtype=torch.float64), []
    for index, name in enumerate(DEMO):
        count = frames // len(DEMO) + (index < frames % len(DEMO))
        if count:
            parts.append(end @ seva_poses(name, count, RELEASE))
            end = parts[-1][-1]
    return torch.cat(parts)
