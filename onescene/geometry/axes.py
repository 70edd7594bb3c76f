"""Axes of other programs, and Gaussians moved into them: turned, mirrored where a hand differs, scaled.

Ours are OpenCV's: x right, y down, z forward, right-handed. A file of Gaussians or points does not say which axes its
numbers follow; a preset writes them in those of the program that will take them as they are. For a left-handed program
the numbers are a mirror image, so that what the program shows is not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.harmonics import check_orthogonal, rotate_sh
from onescene.geometry.rotations import quaternion_from_matrix, quaternion_multiply
from onescene.types import Gaussians


@dataclass(frozen=True)
class Axes:
    """Axes of a program.

    Attributes:
        name: As callers name them.
        meaning: Where its axes point, its hand, its unit.
        rows: What its x, y and z are in ours: ``theirs = rows @ ours``, before the unit.
        unit: Its units to one of the world's.
    """

    name: str
    meaning: str
    rows: tuple[tuple[int, int, int], ...]
    unit: float = 1.0

    @property
    def matrix(self) -> Float[Tensor, "3 3"]:
        """``rows`` as a matrix: a rotation, or a mirror image of one where the program is left-handed."""
        return torch.tensor(self.rows, dtype=torch.float64)


_ALL = (
    Axes("opencv", "x right, y down, z forward, right-handed: the world's own", ((1, 0, 0), (0, 1, 0), (0, 0, 1))),
    Axes("blender", "x right, y forward, z up, right-handed", ((1, 0, 0), (0, 0, 1), (0, -1, 0))),
    Axes("unity", "x right, y up, z forward, left-handed", ((1, 0, 0), (0, -1, 0), (0, 0, 1))),
    Axes(
        "unreal",
        "x forward, y right, z up, left-handed, 100 units to one of the world's (centimetres to a metre)",
        ((0, 0, 1), (1, 0, 0), (0, -1, 0)),
        100.0,
    ),
)
AXES = MappingProxyType({axes.name: axes for axes in _ALL})


def axes_named(name: str) -> Axes:
    """The preset of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in AXES:
        raise ValueError(f"axes must be one of {', '.join(AXES)}, got {name!r}")
    return AXES[name]


def move_points(points: Float[Tensor, "*n 3"], axes: Axes) -> Float[Tensor, "*n 3"]:
    """Points of our world in a program's axes and unit."""
    return points @ (axes.matrix.T * axes.unit).to(points)


def move_gaussians(gaussians: Gaussians, axes: Axes) -> Gaussians:
    """Gaussians of our world in a program's axes and unit, with their view-dependent colours."""
    return transform_gaussians(gaussians, axes.matrix, axes.unit)


def transform_gaussians(
    gaussians: Gaussians,
    matrix: Float[Tensor, "3 3"],
    scale: float = 1.0,
    shift: Float[Tensor, " 3"] | None = None,
) -> Gaussians:
    """The scene turned or mirrored by ``matrix``, made ``scale`` times as large, then shifted: seen alike by a camera
    that is moved with it (by a mirrored one, where ``matrix`` mirrors).

    Args:
        gaussians: The scene.
        matrix: A rotation, or a mirror image of one (orthogonal).
        scale: Factor of all lengths, > 0.
        shift: Added to the centres at last [units after scaling]; None = nothing.

    Raises:
        ValueError: a matrix that is not orthogonal, a scale that is not finite and positive.
    """
    matrix = check_orthogonal(matrix)
    if not 0 < scale < float("inf"):
        raise ValueError(f"scale must be finite and > 0, got {scale}")
    # an ellipsoid equals its point reflection: a mirror image is turned by the rotation that is left
    rotation = matrix if torch.linalg.det(matrix) > 0 else -matrix
    means = gaussians.means @ (matrix.T * scale).to(gaussians.means)
    return replace(
        gaussians,
        means=means if shift is None else means + shift.to(means),
        quats=quaternion_multiply(quaternion_from_matrix(rotation).to(gaussians.quats), gaussians.quats),
        scales=gaussians.scales * scale,
        sh=rotate_sh(gaussians.sh, matrix),
    )
