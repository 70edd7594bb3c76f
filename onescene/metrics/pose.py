"""Camera-pose metrics: RotErr, TransErr and CamMC (A.1 of One2Scene), and how trajectories are brought together first.

No paper that prints these numbers says everything about scale and alignment, and the numbers change with both; so
alignment and reduction are named options and part of every key.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.checks import check_poses

POSE_ALIGNS = ("none", "first", "first_scale", "furthest_scale", "similarity")
_COLLINEAR = 1e-6  # second over first singular value of the camera centres
_WORLDSCORE_CAPS = (15.0, 0.5)  # [degrees], [units of the estimate], camera_error_metrics of WorldScore


class Similarity(NamedTuple):
    """The map x -> scale * rotation @ x + translation."""

    scale: Tensor
    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, " 3"]


def _check_poses(poses: Tensor, name: str) -> Tensor:
    if poses.ndim != 3 or tuple(poses.shape[1:]) != (4, 4) or len(poses) < 1:
        raise ValueError(f"{name} must have shape [N, 4, 4] with N >= 1, got {tuple(poses.shape)}")
    poses = poses.detach().double()
    check_poses(poses, lambda frame: f"{name}[{frame}]")
    return poses


def umeyama(points: Float[Tensor, "n 3"], target: Float[Tensor, "n 3"], *, with_scale: bool = True) -> Similarity:
    """Least-squares similarity that takes points to a target (Umeyama 1991, Eq. 40 to 42).

    Args:
        points: Points to move.
        target: Where they should go.
        with_scale: Whether the scale is free; 1 otherwise.

    Raises:
        ValueError: shapes differ, or the points do not fix a rotation: fewer than three, or all on one line.
    """
    if points.shape != target.shape or points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(
            f"points and target must both have shape [N, 3], got {tuple(points.shape)} and {tuple(target.shape)}"
        )
    if len(points) < 3:
        raise ValueError(f"points must be at least 3 to fix a similarity, got {len(points)}")
    centre, centre_target = points.mean(0), target.mean(0)
    p, q = points - centre, target - centre_target
    for name, x in (("points", p), ("target", q)):
        singular = torch.linalg.svdvals(x)
        if singular[1] <= _COLLINEAR * singular[0]:
            raise ValueError(f"{name} must not lie on one line: the rotation about it is free")
    u, d, vt = torch.linalg.svd(q.T @ p / len(p))
    sign = torch.ones_like(d)
    sign[2] = torch.sign(torch.linalg.det(u) * torch.linalg.det(vt))
    rotation = (u * sign) @ vt
    scale = (d * sign).sum() / p.square().sum(1).mean() if with_scale else torch.ones_like(d[0])
    return Similarity(scale, rotation, centre_target - scale * rotation @ centre)


def _relative_to_first(poses: Tensor) -> Tensor:
    return torch.linalg.inv(poses[:1]) @ poses


def _with_centres(poses: Tensor, centres: Tensor) -> Tensor:
    out = poses.clone()
    out[:, :3, 3] = centres
    return out


def _reach(poses: Tensor, name: str) -> Tensor:
    """Distance of the frame furthest from the first one."""
    reach = poses[:, :3, 3].norm(dim=1).max()
    if reach <= 1e-9:
        raise ValueError(f"{name} must move for its scale to be known, but all its centres coincide")
    return reach


def _align(estimated: Tensor, true: Tensor, align: str) -> tuple[Tensor, Tensor]:
    if align == "none":
        return estimated, true
    if align == "similarity":
        try:
            move = umeyama(estimated[:, :3, 3], true[:, :3, 3])
        except ValueError as error:
            raise ValueError(
                f"align='similarity' needs camera centres off one line ({error}); try 'first_scale'"
            ) from error
        moved = estimated.clone()
        moved[:, :3, :3] = move.rotation @ estimated[:, :3, :3]
        return _with_centres(moved, move.scale * estimated[:, :3, 3] @ move.rotation.T + move.translation), true
    estimated, true = _relative_to_first(estimated), _relative_to_first(true)
    p, g = estimated[:, :3, 3], true[:, :3, 3]
    if align == "first_scale":
        _reach(estimated, "estimated")
        return _with_centres(estimated, p * ((p * g).sum() / p.square().sum())), true
    if align == "furthest_scale":
        p, g = p / _reach(estimated, "estimated"), g / _reach(true, "true")
        return _with_centres(estimated, p), _with_centres(true, g)
    return estimated, true  # "first"


def _rotation_angle(a: Tensor, b: Tensor) -> Tensor:
    """Angle of a b^T [radians]: arccos((tr - 1) / 2), written so that small angles keep their digits."""
    r = a @ b.transpose(-1, -2)
    axis = torch.stack((r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]), dim=-1)
    return torch.atan2(axis.norm(dim=-1), r.diagonal(dim1=-2, dim2=-1).sum(-1) - 1)


def pose_errors(
    estimated: Float[Tensor, "n 4 4"],
    true: Float[Tensor, "n 4 4"],
    align: str = "none",
    *,
    reduce: str = "mean",
    every: int = 1,
) -> dict[str, float]:
    """RotErr, TransErr and CamMC of a trajectory (A.1 of One2Scene).

    Args:
        estimated: Estimated ``world_from_cam``.
        true: True ``world_from_cam``.
        align: ``none``: as they are. ``first``: both relative to their first frame. ``first_scale``: so, and the
            estimated centres scaled by least squares. ``furthest_scale``: relative to the first frame, and each
            trajectory divided by the distance of its own furthest frame (SpatialCrafter, A.2). ``similarity``: the
            estimate moved by the least-squares similarity of the camera centres (Umeyama).
        reduce: ``mean`` over frames (One2Scene) or ``sum`` (SpatialCrafter's R_dist and T_dist).
        every: Keep each ``every``-th frame; One2Scene evaluates every tenth.

    Returns:
        ``rot_err_rad_{reduce}_{align}`` and the same in degrees, ``rot_err_deg_...``; ``trans_err_{reduce}_{align}``
        in the truth's units (units of the reach for ``furthest_scale``); ``cam_mc_{reduce}_{align}``, the Frobenius
        norm of the difference of the 3x4 matrices.

    Raises:
        ValueError: shapes differ, a matrix is no pose, an option is unknown, or the trajectory does not fix the
            alignment (no motion, or centres on one line for ``similarity``).

    Notes: A.1 does not say how the estimated scale is fixed; ``first`` is its formulas and no more.
    """
    if align not in POSE_ALIGNS:
        raise ValueError(f"align must be one of {', '.join(POSE_ALIGNS)}, got {align!r}")
    if reduce not in ("mean", "sum"):
        raise ValueError(f"reduce must be 'mean' or 'sum', got {reduce!r}")
    if not 1 <= every < math.inf or int(every) != every:
        raise ValueError(f"every must be a whole number >= 1, got {every}")
    if estimated.shape != true.shape:
        raise ValueError(
            f"estimated and true must have one shape, got {tuple(estimated.shape)} and {tuple(true.shape)}"
        )
    estimated, true = (_check_poses(x, n)[:: int(every)] for x, n in ((estimated, "estimated"), (true, "true")))
    estimated, true = _align(estimated, true, align)
    angle = _rotation_angle(estimated[:, :3, :3], true[:, :3, :3])
    per_frame = {
        "rot_err_rad": angle,
        "rot_err_deg": torch.rad2deg(angle),
        "trans_err": (estimated[:, :3, 3] - true[:, :3, 3]).norm(dim=1),
        "cam_mc": (estimated[:, :3] - true[:, :3]).flatten(1).norm(dim=1),
    }
    return {f"{key}_{reduce}_{align}": getattr(value, reduce)().item() for key, value in per_frame.items()}


def _least_distance_scale(points: Tensor, target: Tensor) -> float:
    """The c that minimises sum_i |target_i - c points_i|: convex in c, found by golden-section search."""
    moving = points.norm(dim=1) > 1e-9
    p, g = points[moving], target[moving]
    each = (p * g).sum(1) / p.square().sum(1)  # every frame's own best c; the common one lies between them
    low, high = each.min().item(), each.max().item()
    golden = (math.sqrt(5) - 1) / 2

    def cost(c: float) -> float:
        return (g - c * p).norm(dim=1).sum().item()

    while high - low > 1e-12 * max(abs(high), abs(low), 1e-12):
        a, b = high - golden * (high - low), low + golden * (high - low)
        if not low < a < b < high:
            break  # the interval has come down to neighbouring floats
        if cost(a) <= cost(b):
            high = b
        else:
            low = a
    return (low + high) / 2


def worldscore_camera_errors(estimated: Float[Tensor, "n 4 4"], true: Float[Tensor, "n 4 4"]) -> dict[str, float]:
    """WorldScore's camera controllability: errors in its units and the score it makes of them.

    Poses are taken relative to their first frame; c minimises the sum of |true - c estimated| over the centres, and
    the true centres are divided by c, so the translation error is in the estimate's units.

    Args:
        estimated: Estimated ``world_from_cam``.
        true: True ``world_from_cam``.

    Returns:
        ``rot_err_deg_mean_worldscore``, ``trans_err_mean_worldscore``, ``camera_score_worldscore`` in [0, 1]:
        sqrt((1 - rot/15) (1 - trans/0.5)), each error capped there.

    Raises:
        ValueError: shapes differ, a matrix is no pose, or the scale can not be fixed.
    """
    if estimated.shape != true.shape:
        raise ValueError(
            f"estimated and true must have one shape, got {tuple(estimated.shape)} and {tuple(true.shape)}"
        )
    e = _relative_to_first(_check_poses(estimated, "estimated"))
    t = _relative_to_first(_check_poses(true, "true"))
    _reach(e, "estimated")
    scale = _least_distance_scale(e[:, :3, 3], t[:, :3, 3])
    if scale <= 0:
        raise ValueError(f"estimated must move with the truth for WorldScore's scale to be > 0, got {scale:g}")
    rot = torch.rad2deg(_rotation_angle(e[:, :3, :3], t[:, :3, :3])).mean().item()
    trans = (t[:, :3, 3] / scale - e[:, :3, 3]).norm(dim=1).mean().item()
    parts = [1 - min(value / cap, 1.0) for value, cap in zip((rot, trans), _WORLDSCORE_CAPS, strict=True)]
    return {
        "rot_err_deg_mean_worldscore": rot,
        "trans_err_mean_worldscore": trans,
        "camera_score_worldscore": math.sqrt(parts[0] * parts[1]),
    }
