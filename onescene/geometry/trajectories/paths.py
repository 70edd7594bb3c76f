"""Trajectories made for walking in a scene: a loop forward and back, and a turn in place."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onescene.geometry.rotations import matrix_from_yaw_pitch_roll, rigid

# the walk, for a free radius of 1: how far ahead, how far aside, and how far the head turns with the way
_WALK_AHEAD, _WALK_ASIDE, _WALK_YAW_DEG = 0.9, 0.25, 15.0
_LOOK_PITCH_DEG = 8.0
_EGG = 0.75 * math.sqrt(3.0)  # largest value of sin(a) (1 - cos(a))


def walk_poses(frames: int) -> Tensor:
    """A smooth walk forward and back, ``world_from_cam`` [frames, 4, 4], float64, within a radius of 1.

    The way is a narrow egg: out on the right, back on the left, eased at both ends. The camera looks ahead and turns
    a little with the way. The first frame and, with more than one, the last are the identity.
    """
    u = torch.linspace(0, 1, frames, dtype=torch.float64) if frames > 1 else torch.zeros(1, dtype=torch.float64)
    angle = 2 * math.pi * u
    aside = _WALK_ASIDE * angle.sin() * (1 - angle.cos()) / _EGG
    ahead = _WALK_AHEAD * (1 - angle.cos()) / 2
    zero = torch.zeros_like(angle)
    yaw = math.radians(_WALK_YAW_DEG) * angle.sin()
    rotation = matrix_from_yaw_pitch_roll(torch.stack((yaw, zero, zero), dim=-1))
    return rigid(rotation, torch.stack((aside, zero, ahead), dim=-1))


def look_around_poses(frames: int) -> Tensor:
    """A full turn to the right in place, ``world_from_cam`` [frames, 4, 4], float64.

    The view rises gently in the first half and sinks in the second; the frame after the last would be the first.
    """
    yaw = torch.arange(frames, dtype=torch.float64) / frames * (2 * math.pi)
    pitch = math.radians(_LOOK_PITCH_DEG) * yaw.sin()
    rotation = matrix_from_yaw_pitch_roll(torch.stack((yaw, pitch, torch.zeros_like(yaw)), dim=-1))
    return rigid(rotation, torch.zeros(frames, 3, dtype=torch.float64))
