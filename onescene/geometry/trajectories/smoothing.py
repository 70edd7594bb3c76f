"""Smoothing of camera paths: a discrete smoothing spline through shaky cameras or too lively keyframes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onescene.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix, rigid
from onescene.types import Cameras


def smooth_cameras(cameras: Cameras, strength: float, *, closed: bool = False) -> Cameras:
    """Cameras at the same steps of time on a smoother way: a Whittaker smoother of second order.

    Positions, rotations and intrinsics minimise ``sum |x - given|^2 + strength * sum |second difference of x|^2``.

    Args:
        cameras: The path, one camera or more.
        strength: Weight of the second differences, >= 0; 0 changes nothing. Bends shorter than about
            ``6 * strength ** 0.25`` cameras disappear.
        closed: The path goes on from its last camera to the first. Otherwise both ends stay where they are.

    Raises:
        ValueError: ``strength`` is negative or not finite, or a camera is not finite.

    Notes: Eilers, "A perfect smoother", Analytical Chemistry 75 (2003). Rotations are smoothed as quaternions of
    one sign and made unit length again; neighbours must be less than 180 degrees apart.
    """
    if not 0 <= strength < math.inf:
        raise ValueError(f"strength must be >= 0 and finite, got {strength}")
    if not bool(torch.isfinite(cameras.world_from_cam).all() and torch.isfinite(cameras.K).all()):
        raise ValueError("cameras must be finite, got a NaN or an infinity in a pose or an intrinsic matrix")
    if strength == 0 or len(cameras) < 3:
        return cameras
    poses = cameras.world_from_cam.detach().to("cpu", torch.float64)
    quats = _of_one_sign(quaternion_from_matrix(poses[:, :3, :3]))
    other = torch.cat((poses[:, :3, 3], cameras.K.detach().to("cpu", torch.float64).flatten(1)), dim=1)
    # A full turn ends on the other quaternion of the rotation it began with: the loop joins -q.
    turned = -1.0 if float((quats[0] * quats[-1]).sum()) < 0 else 1.0
    other = _whittaker(other, strength, 1.0 if closed else None)
    quats = torch.nn.functional.normalize(_whittaker(quats, strength, turned if closed else None), dim=1)
    world_from_cam = rigid(matrix_from_quaternion(quats), other[:, :3])
    return Cameras(
        world_from_cam=world_from_cam.to(cameras.world_from_cam),
        K=other[:, 3:].reshape(-1, 3, 3).to(cameras.K),
        hw=cameras.hw,
    )


def _of_one_sign(quats: Tensor) -> Tensor:
    """The same rotations, each quaternion on its predecessor's side."""
    out = quats.clone()
    for k in range(1, len(out)):
        if float((out[k] * out[k - 1]).sum()) < 0:
            out[k] = -out[k]
    return out


def _whittaker(values: Tensor, strength: float, wrap: float | None) -> Tensor:
    """Solves ``(I + strength * D'D) x = values``; D takes second differences.

    ``wrap`` None: an open path, whose ends are held; else the factor with which a loop goes on at its beginning.
    """
    n = len(values)
    eye = torch.eye(n, dtype=values.dtype)
    if wrap is not None:
        after, before = torch.roll(eye, -1, 0), torch.roll(eye, 1, 0)
        after[-1] *= wrap
        before[0] *= wrap
        second = after - 2 * eye + before
        return torch.linalg.solve(eye + strength * second.T @ second, values)
    second = eye[:-2] - 2 * eye[1:-1] + eye[2:]
    penalty = strength * second.T @ second
    inner, ends = slice(1, n - 1), [0, n - 1]
    right = values[inner] - penalty[inner][:, ends] @ values[ends]
    out = values.clone()
    out[inner] = torch.linalg.solve(eye[inner, inner] + penalty[inner, inner], right)
    return out
