"""What every camera file has to hold: rigid motions and pinholes, in one set of sentences."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.checks import check_pinholes, check_poses
from onescene.geometry.rotations import matrix_from_quaternion
from onescene.io.arrays import MAX_LENGTH
from onescene.types import Cameras

MAX_SIDE_PX = 1 << 20
Pinhole = tuple[float, float, float, float]  # fx, fy, cx, cy [px]
# Camera axes with y up and z backward (OpenGL, nerfstudio) <-> y down and z forward (OpenCV); the world stays.
OPENGL_FROM_OPENCV = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))


@dataclass(frozen=True, kw_only=True)
class CameraFile:
    """What a camera file holds.

    Attributes:
        cameras: The cameras, in the order of the file.
        names: The image of each camera as the file names it, or None where it names none.
    """

    cameras: Cameras
    names: tuple[str | None, ...]


def checked_cameras(
    world_from_cam: Float[Tensor, "v 4 4"],
    pinholes: Sequence[Pinhole],
    hw: tuple[int, int],
    source: str | os.PathLike,
) -> Cameras:
    """Cameras out of what a reader found in ``source``, as float32.

    Raises:
        ValueError: no camera, a NaN or an infinity, a matrix that is no rigid motion, a focal length that is not
            positive, a size that can not be.
    """
    if len(world_from_cam) == 0:
        raise ValueError(f"{source} must hold at least one camera, got none")

    def told(index: int) -> str:
        return f"{source}: camera {index}"

    check_poses(world_from_cam.double(), told, longest=MAX_LENGTH)
    check_pinholes(torch.tensor(pinholes, dtype=torch.float64), told, longest=MAX_LENGTH)
    if not all(1 <= side <= MAX_SIDE_PX for side in hw):
        raise ValueError(f"{source}: image sides must be 1 to {MAX_SIDE_PX} pixels, got {hw[0]} x {hw[1]}")
    K = torch.tensor([[[fx, 0, cx], [0, fy, cy], [0, 0, 1]] for fx, fy, cx, cy in pinholes], dtype=torch.float32)
    return Cameras(world_from_cam=world_from_cam.float(), K=K, hw=hw)


def matrices_and_pinholes(cameras: Cameras) -> tuple[Float[Tensor, "v 4 4"], list[Pinhole]]:
    """Checked camera-to-world matrices and intrinsics, in double precision, ready to be written.

    Raises:
        ValueError: as :func:`checked_cameras`, or intrinsics with skew.
    """
    world_from_cam = cameras.world_from_cam.detach().cpu().double()
    K = cameras.K.detach().cpu().double()
    pinholes = [(k[0][0], k[1][1], k[0][2], k[1][2]) for k in K.tolist()]
    checked_cameras(world_from_cam, pinholes, cameras.hw, "cameras")
    others = K[:, [0, 1, 2, 2, 2], [1, 0, 0, 1, 2]] - torch.tensor([0, 0, 0, 0, 1])
    if others.abs().max() > 1e-6:
        raise ValueError("cameras must be pinholes without skew, with K = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]")
    return world_from_cam, pinholes


def rotations_from_quats(
    quats: Float[Tensor, "v 4"], source: str | os.PathLike, *, order: str = "wxyz"
) -> Float[Tensor, "v 3 3"]:
    """Rotation matrices of the quaternions found in ``source``, in the order given.

    Raises:
        ValueError: a quaternion that is not finite, or whose length is not 1 within 1 %.
    """
    bad = (~((quats.norm(dim=1) - 1).abs() < 1e-2)).nonzero()[:, 0].tolist()
    if bad:
        got = quats[bad[0]].tolist()
        raise ValueError(f"{source}: camera {bad[0]} must have a quaternion of length 1, got {order} {got}")
    return matrix_from_quaternion(quats[:, [order.index(letter) for letter in "wxyz"]])
