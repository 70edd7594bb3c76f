"""Nodes of a glTF file: where the one that shows a mesh puts it, and Gaussians moved there."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import torch

from onescene.geometry.axes import transform_gaussians
from onescene.geometry.rotations import matrix_from_quaternion
from onescene.io.arrays import GaussianArrays
from onescene.io.gltf import Glb
from onescene.types import Gaussians

_STRETCH_TOLERANCE = 1e-4


def moved_by_node(arrays: GaussianArrays, file: Glb, mesh: int) -> GaussianArrays:
    """Gaussians where the node that shows their mesh puts them.

    Raises:
        ValueError: several nodes show the mesh, or the node mirrors it or stretches it by different factors, which
            harmonics can not follow.
    """
    matrix = _global_matrix(file, mesh)
    if np.array_equal(matrix, np.eye(4)):
        return arrays
    scale = float(np.linalg.norm(matrix[:3, :3], axis=0).mean())
    turn = torch.from_numpy(matrix[:3, :3] / scale) if 0 < scale < np.inf else torch.full((3, 3), torch.nan)
    error = float((turn @ turn.T - torch.eye(3, dtype=torch.float64)).abs().max())
    if not error < _STRETCH_TOLERANCE or torch.linalg.det(turn) < 0:
        raise ValueError(f"{file.source} stretches or mirrors its Gaussians by a node, which is not supported")
    names = [f.name for f in fields(GaussianArrays)]
    scene = Gaussians(**{n: torch.from_numpy(np.ascontiguousarray(getattr(arrays, n))) for n in names})
    moved = transform_gaussians(scene, turn, scale, torch.from_numpy(matrix[:3, 3]))
    return GaussianArrays(**{n: getattr(moved, n).numpy() for n in names})


def _global_matrix(file: Glb, mesh: int) -> np.ndarray:
    """The product of the matrices from the root of the tree of nodes down to the one that shows a mesh."""
    nodes = file.content.get("nodes", [])
    showing = [i for i, node in enumerate(nodes) if node.get("mesh") == mesh]
    if len(showing) > 1:
        raise ValueError(f"{file.source} must show its Gaussians by one node, got {len(showing)}")
    parents = {child: i for i, node in enumerate(nodes) for child in node.get("children", [])}
    matrix = np.eye(4)
    at = showing[0] if showing else None
    for _ in nodes:
        if at is None:
            break
        matrix = _local_matrix(nodes[at], f"{file.source}: node {at}") @ matrix
        at = parents.get(at)
    if at is not None:
        raise ValueError(f"{file.source} is damaged: its nodes hang from each other in a circle")
    return matrix


def _local_matrix(node: dict[str, Any], subject: str) -> np.ndarray:
    """A node's own matrix, given whole (column by column) or as translation, rotation (xyzw) and scale."""
    if "matrix" in node:
        return _numbers(node["matrix"], 16, subject).reshape(4, 4).T
    matrix = np.eye(4)
    quat = _numbers(node.get("rotation", (0, 0, 0, 1)), 4, subject)
    turn = matrix_from_quaternion(torch.from_numpy(np.roll(quat, 1))).numpy()
    matrix[:3, :3] = turn * _numbers(node.get("scale", (1, 1, 1)), 3, subject)
    matrix[:3, 3] = _numbers(node.get("translation", (0, 0, 0)), 3, subject)
    return matrix


def _numbers(values: Any, count: int, subject: str) -> np.ndarray:
    """So many finite numbers."""
    array = np.array(values, np.float64)
    if array.shape != (count,) or not np.isfinite(array).all():
        raise ValueError(f"{subject} must have {count} finite numbers, got {str(values)[:80]}")
    return array
