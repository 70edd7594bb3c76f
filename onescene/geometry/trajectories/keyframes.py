"""A smooth camera path through given cameras: Catmull-Rom for positions, squad for rotations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onescene.geometry.rotations import (
    axis_angle_from_quaternion,
    matrix_from_quaternion,
    quaternion_conjugate,
    quaternion_from_axis_angle,
    quaternion_from_matrix,
    quaternion_multiply,
    rigid,
    slerp,
)
from onescene.types import Cameras

_FINE = 64  # samples per segment from which the length of the path is taken
_FASTEST_TURN = 4.0  # turning per frame at a constant speed, at most this many times the path's mean


def _catmull_rom(values: Tensor, segment: Tensor, t: Tensor, closed: bool) -> Tensor:
    """Values [n, c] at ``segment + t`` on a C1 cubic through all of them."""
    if closed:
        padded = torch.cat((values[-1:], values, values[:2]))
    else:  # the ends continue in a straight line
        padded = torch.cat((2 * values[:1] - values[1:2], values, 2 * values[-1:] - values[-2:-1]))
    p0, p1, p2, p3 = (padded[segment + i] for i in range(4))
    t = t[:, None]
    slope_1, slope_2 = (p2 - p0) / 2, (p3 - p1) / 2
    t2, t3 = t * t, t * t * t
    return (2 * t3 - 3 * t2 + 1) * p1 + (t3 - 2 * t2 + t) * slope_1 + (3 * t2 - 2 * t3) * p2 + (t3 - t2) * slope_2


def _squad(quats: Tensor, segment: Tensor, t: Tensor, closed: bool) -> Tensor:
    """Quaternions (wxyz) [n, 4] at ``segment + t`` on Shoemake's C1 spline through all of them."""
    if closed:
        before, after = quats.roll(1, 0), quats.roll(-1, 0)
    else:  # an end is its own outer neighbour's mirror image: its control point is itself
        before, after = torch.cat((quats[:1], quats[:-1])), torch.cat((quats[1:], quats[-1:]))
    back = axis_angle_from_quaternion(quaternion_multiply(quaternion_conjugate(quats), before))
    ahead = axis_angle_from_quaternion(quaternion_multiply(quaternion_conjugate(quats), after))
    bend = (back + ahead) * -0.25
    if not closed:
        bend = torch.cat((torch.zeros_like(bend[:1]), bend[1:-1], torch.zeros_like(bend[:1])))
    control = quaternion_multiply(quats, quaternion_from_axis_angle(bend))
    following = (segment + 1) % len(quats)
    outer = slerp(quats[segment], quats[following], t)
    inner = slerp(control[segment], control[following], t)
    return slerp(outer, inner, 2 * t * (1 - t))


def _at(keys: Tensor, quats: Tensor, u: Tensor, closed: bool) -> tuple[Tensor, Tensor]:
    """Positions [m, 3] and quaternions [m, 4] at path parameters ``u``, a whole number at every key."""
    segments = len(keys) if closed else len(keys) - 1
    segment = u.floor().long().clamp(0, segments - 1)
    return _catmull_rom(keys, segment, u - segment, closed), _squad(quats, segment, u - segment, closed)


def _even_speed(keys: Tensor, quats: Tensor, frames: int, closed: bool) -> Tensor:
    """Path parameters [frames] between which the camera covers equal ways.

    Where it turns more than four times as much per way as on average, the turning sets the pace instead.
    """
    segments = len(keys) if closed else len(keys) - 1
    u = torch.linspace(0, segments, segments * _FINE + 1, dtype=keys.dtype)
    positions, rotations = _at(keys, quats, u, closed)
    way = (positions[1:] - positions[:-1]).norm(dim=-1)
    turn = axis_angle_from_quaternion(quaternion_multiply(quaternion_conjugate(rotations[:-1]), rotations[1:])).norm(
        dim=-1
    )
    if way.sum() > 0 and turn.sum() > 0:
        turn = turn * (way.sum() / turn.sum() / _FASTEST_TURN)
    passed = torch.cat((torch.zeros(1, dtype=u.dtype), torch.maximum(way, turn).cumsum(0)))
    if passed[-1] == 0:
        return torch.zeros(frames, dtype=u.dtype)
    wanted = _steps(frames, closed) * passed[-1]
    right = torch.searchsorted(passed, wanted, right=True).clamp(1, len(passed) - 1)
    low, high = passed[right - 1], passed[right]
    inside = ((wanted - low) / torch.where(high > low, high - low, torch.ones_like(low))).clamp(0, 1)
    return u[right - 1] + inside * (u[right] - u[right - 1])


def _steps(frames: int, closed: bool) -> Tensor:
    """0 to 1; a closed path leaves the end out, which is its start."""
    if closed or frames == 1:
        return torch.arange(frames, dtype=torch.float64) / frames
    return torch.linspace(0, 1, frames, dtype=torch.float64)


def keyframe_trajectory(keys: Cameras, frames: int, *, constant_speed: bool = True, closed: bool = False) -> Cameras:
    """A smooth path through every key camera: positions, rotations and intrinsics.

    Args:
        keys: One camera or more; their intrinsics are blended along the way.
        frames: Number of cameras to return, >= 1.
        constant_speed: True: equal ways between frames (slower where the camera turns almost on the spot).
            False: equal time between keys, so that every key is a frame if ``frames - 1`` is a multiple of the
            number of segments.
        closed: Returns to the first key; the last frame stops one step before it.

    Raises:
        ValueError: ``frames`` is below 1, there is no key, or a key is not finite.
    """
    if not 1 <= frames < math.inf or int(frames) != frames:
        raise ValueError(f"frames must be a whole number >= 1, got {frames}")
    if len(keys) < 1:
        raise ValueError("keys must hold at least one camera, got none")
    if not bool(torch.isfinite(keys.world_from_cam).all() and torch.isfinite(keys.K).all()):
        raise ValueError("keys must be finite, got a NaN or an infinity in a pose or an intrinsic matrix")
    frames = int(frames)
    if len(keys) == 1:
        return keys[[0] * frames]
    poses = keys.world_from_cam.detach().to("cpu", torch.float64)
    positions, quats = poses[:, :3, 3], quaternion_from_matrix(poses[:, :3, :3])
    segments = len(keys) if closed else len(keys) - 1
    u = _even_speed(positions, quats, frames, closed) if constant_speed else _steps(frames, closed) * segments
    position, rotation = _at(positions, quats, u, closed)
    segment = u.floor().long().clamp(0, segments - 1)
    K = keys.K.detach().to("cpu", torch.float64)
    blend = (u - segment)[:, None, None]
    K = K[segment] * (1 - blend) + K[(segment + 1) % len(keys)] * blend
    world_from_cam = rigid(matrix_from_quaternion(rotation), position)
    return Cameras(world_from_cam=world_from_cam.to(keys.world_from_cam), K=K.to(keys.K), hw=keys.hw)
