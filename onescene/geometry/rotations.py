"""Rotations and rigid transforms: matrices, quaternions (wxyz), rotation vectors, look-at, slerp.

Every function takes any batch shape, keeps dtype and device, and has a finite gradient everywhere, also at the
identity, at half turns and where a direction is undefined.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

WORLD_UP = (0.0, -1.0, 0.0)  # OpenCV axes: y points down
_SMALL_SQUARED = 1e-4  # below, a series of three terms is exact to 1e-13 and its gradient finite


def _safe_norm(vector: Tensor) -> Tensor:
    """Length along the last axis; the gradient at zero is zero."""
    squared = (vector * vector).sum(-1)
    zero = squared == 0
    return torch.where(zero, torch.zeros_like(squared), torch.where(zero, torch.ones_like(squared), squared).sqrt())


def _unit(vector: Tensor, fallback: tuple[float, ...]) -> Tensor:
    """``vector`` at length one; ``fallback`` where it is zero."""
    length = _safe_norm(vector)[..., None]
    other = torch.tensor(fallback, device=vector.device, dtype=vector.dtype).expand_as(vector)
    return torch.where(length == 0, other, vector / torch.where(length == 0, torch.ones_like(length), length))


def normalise_quaternion(quats: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions (wxyz); the zero quaternion becomes the identity."""
    return _unit(quats, (1.0, 0.0, 0.0, 0.0))


def matrix_from_quaternion(quats: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of quaternions (wxyz) of any length; zero gives the identity."""
    w, x, y, z = normalise_quaternion(quats).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def quaternion_from_matrix(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions (wxyz, w >= 0) of rotation matrices.

    Notes: the entries of a rotation give the matrix 4 q q^T; we take its longest row, whose diagonal is at least 1,
    so no square root of a small number appears and half turns are as exact as any other.
    """
    m = [[rotation[..., i, j] for j in range(3)] for i in range(3)]
    wx, wy, wz = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xy, xz, yz = m[0][1] + m[1][0], m[0][2] + m[2][0], m[1][2] + m[2][1]
    ww = 1 + m[0][0] + m[1][1] + m[2][2]
    xx = 1 + m[0][0] - m[1][1] - m[2][2]
    yy = 1 - m[0][0] + m[1][1] - m[2][2]
    zz = 1 - m[0][0] - m[1][1] + m[2][2]
    table = ((ww, wx, wy, wz), (wx, xx, xy, xz), (wy, xy, yy, yz), (wz, xz, yz, zz))
    outer = torch.stack([torch.stack(row, dim=-1) for row in table], dim=-2)  # [*, 4, 4] = 4 q q^T
    longest = torch.stack((ww, xx, yy, zz), dim=-1).argmax(-1)
    row = torch.gather(outer, -2, longest[..., None, None].expand(*longest.shape, 1, 4))[..., 0, :]
    quats = row / _safe_norm(row)[..., None]
    return torch.where(quats[..., :1] < 0, -quats, quats)


def quaternion_multiply(a: Float[Tensor, "*#batch 4"], b: Float[Tensor, "*#batch 4"]) -> Float[Tensor, "*#batch 4"]:
    """The product ``a b`` of quaternions (wxyz): first the rotation ``b``, then ``a``."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    product = (
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    )
    return torch.stack(product, dim=-1)


def quaternion_conjugate(quats: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """The inverse of unit quaternions (wxyz)."""
    return quats * torch.tensor((1.0, -1.0, -1.0, -1.0), device=quats.device, dtype=quats.dtype)


def quaternion_from_axis_angle(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions (wxyz) of rotation vectors, axis times angle [radians]."""
    half_squared = (axis_angle * axis_angle).sum(-1) / 4
    small = half_squared < _SMALL_SQUARED
    half = torch.where(small, torch.ones_like(half_squared), half_squared).sqrt()
    sinc = torch.where(small, 1 - half_squared / 6 + half_squared**2 / 120, half.sin() / half)
    cos = torch.where(small, 1 - half_squared / 2 + half_squared**2 / 24 - half_squared**3 / 720, half.cos())
    return torch.cat((cos[..., None], axis_angle * (sinc / 2)[..., None]), dim=-1)


def axis_angle_from_quaternion(quats: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3"]:
    """Rotation vectors [radians] of at most half a turn, of quaternions (wxyz) of any length."""
    quats = normalise_quaternion(quats)
    quats = torch.where(quats[..., :1] < 0, -quats, quats)
    w, xyz = quats[..., 0], quats[..., 1:]
    sin_squared = (xyz * xyz).sum(-1)
    small = sin_squared < _SMALL_SQUARED
    sin = torch.where(small, torch.ones_like(sin_squared), sin_squared).sqrt()
    # angle / sin(angle/2): 2 asin(s)/s for small s, with w = sqrt(1 - s^2)
    series = 2 + sin_squared / 3 + 3 * sin_squared**2 / 20 + 5 * sin_squared**3 / 56
    return xyz * torch.where(small, series, 2 * torch.atan2(sin, w) / sin)[..., None]


def matrix_from_axis_angle(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of rotation vectors, axis times angle [radians]."""
    return matrix_from_quaternion(quaternion_from_axis_angle(axis_angle))


def axis_angle_from_matrix(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Rotation vectors [radians] of at most half a turn, of rotation matrices."""
    return axis_angle_from_quaternion(quaternion_from_matrix(rotation))


def rotation_angle(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """Angles of rotation matrices, in [0, pi] radians; exact to rounding also near 0 and pi."""
    quats = quaternion_from_matrix(rotation)
    return 2 * torch.atan2(_safe_norm(quats[..., 1:]), quats[..., 0])


def slerp(
    start: Float[Tensor, "*#batch 4"], end: Float[Tensor, "*#batch 4"], t: Float[Tensor, "*#batch"] | float
) -> Float[Tensor, "*#batch 4"]:
    """Quaternions (wxyz) on the shorter great arc from ``start`` (t = 0) to ``end`` (t = 1)."""
    start, end = normalise_quaternion(start), normalise_quaternion(end)
    turn = axis_angle_from_quaternion(quaternion_multiply(quaternion_conjugate(start), end))
    t = torch.as_tensor(t, device=turn.device, dtype=turn.dtype)
    return quaternion_multiply(start, quaternion_from_axis_angle(turn * t[..., None]))


def matrix_from_yaw_pitch_roll(angles_rad: Float[Tensor, "*batch ypr=3"]) -> Float[Tensor, "*batch 3 3"]:
    """``world_from_cam`` rotations of a camera turned by yaw (right), pitch (up) and roll (clockwise), in radians.

    The order is R_yaw R_pitch R_roll: the camera first rolls about its view axis, then tilts, then turns.
    """
    zero = torch.zeros_like(angles_rad[..., 0])
    yaw, pitch, roll = angles_rad.unbind(-1)
    about_y = matrix_from_axis_angle(torch.stack((zero, yaw, zero), dim=-1))
    about_x = matrix_from_axis_angle(torch.stack((pitch, zero, zero), dim=-1))
    about_z = matrix_from_axis_angle(torch.stack((zero, zero, roll), dim=-1))
    return about_y @ about_x @ about_z


def rigid(
    rotation: Float[Tensor, "*#batch 3 3"], translation: Float[Tensor, "*#batch 3"]
) -> Float[Tensor, "*#batch 4 4"]:
    """Rigid transforms [R t; 0 1]."""
    batch = torch.broadcast_shapes(rotation.shape[:-2], translation.shape[:-1])
    rotation, translation = rotation.expand(*batch, 3, 3), translation.expand(*batch, 3)
    last = torch.tensor((0.0, 0.0, 0.0, 1.0), device=rotation.device, dtype=rotation.dtype).expand(*batch, 1, 4)
    return torch.cat((torch.cat((rotation, translation[..., None]), dim=-1), last), dim=-2)


def invert_rigid(transform: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Inverses of rigid transforms."""
    rotation = transform[..., :3, :3].transpose(-1, -2)
    return rigid(rotation, -(rotation @ transform[..., :3, 3:])[..., 0])


def compose(*transforms: Float[Tensor, "*#batch n n"]) -> Float[Tensor, "*#batch n n"]:
    """``a_from_b @ b_from_c @ ...``: the product of transforms, broadcast over batches.

    Raises:
        ValueError: no transform is given.
    """
    if not transforms:
        raise ValueError("compose needs at least one transform, got none")
    out = transforms[0]
    for transform in transforms[1:]:
        out = out @ transform
    return out


def look_at(
    position: Float[Tensor, "*#batch 3"],
    target: Float[Tensor, "*#batch 3"],
    up: Float[Tensor, "*#batch 3"] | None = None,
) -> Float[Tensor, "*#batch 4 4"]:
    """``world_from_cam`` of cameras at ``position`` whose z axis points at ``target`` (OpenCV axes).

    Args:
        position: Camera centres [world units].
        target: Points in the centre of the image [world units]; equal to ``position`` means looking along world z.
        up: World direction that points up in the image; the world's up, -y, if not given.

    Notes: looking along ``up`` leaves the roll open. We then continue the tilt from world z, as a camera does that
        leans back: its image-up is world -z looking up and +z looking down (world +x if ``up`` is along z itself).
    """
    if up is None:
        up = torch.tensor(WORLD_UP, device=position.device, dtype=position.dtype)
    forward = _unit(target - position, (0.0, 0.0, 1.0))
    up, forward = torch.broadcast_tensors(_unit(up, WORLD_UP), forward)
    side = torch.linalg.cross(forward, up)
    tiny = 1e3 * torch.finfo(forward.dtype).eps  # a sine: below, the roll is rounding noise
    degenerate = ((side * side).sum(-1, keepdim=True)) < tiny**2
    along_z = forward[..., 2:].abs() > 0.9
    other = torch.where(along_z, forward.new_tensor((1.0, 0.0, 0.0)), forward.new_tensor((0.0, 0.0, 1.0)))
    other = torch.where((forward * up).sum(-1, keepdim=True) > 0, -other, other)
    right = _unit(torch.where(degenerate, torch.linalg.cross(forward, other), side), (1.0, 0.0, 0.0))
    down = torch.linalg.cross(forward, right)
    return rigid(torch.stack((right, down, forward), dim=-1), position.expand_as(forward))
