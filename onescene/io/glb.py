"""Gaussians as binary glTF with the extension KHR_gaussian_splatting (ratified by Khronos in 2026).

Activated values: linear scales, opacities in [0, 1], rotations xyzw, one attribute per spherical harmonic (same order
and signs as 3DGS), colours of images as they are (``srgb_rec709_display``). glTF's y axis points up and its cameras
look along -z, so the scene is turned half around x. Viewers without the extension show a point cloud, coloured by
``COLOR_0``. Written in float32; read in every component type of the extension's table.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from onescene.io.arrays import MAX_DEGREE, GaussianArrays, note_cut_degree, turned_about_x
from onescene.io.gltf import DAMAGES, POINTS, Glb, GlbWriter, read_glb_file
from onescene.io.gltf_nodes import moved_by_node
from onescene.types import SH_C0

EXTENSION = "KHR_gaussian_splatting"
# Component types of the extension's table; positions as the base format and KHR_mesh_quantization have them.
_POSITION_KINDS = ("f4", "i1", "i1n", "u1", "u1n", "i2", "i2n", "u2", "u2n")
_ROTATION_KINDS = ("f4", "i1n", "i2n")
_SCALE_KINDS = ("f4", "u1", "u1n", "u2", "u2n")
_OPACITY_KINDS = ("f4", "u1n", "u2n")


def write_glb(arrays: GaussianArrays, path: str | os.PathLike) -> Path:
    """Writes one primitive of points with KHR_gaussian_splatting; returns the path."""
    arrays = turned_about_x(arrays)
    values = {
        "POSITION": arrays.means,
        "COLOR_0": _fallback_colour(arrays),
        f"{EXTENSION}:ROTATION": np.roll(arrays.quats, -1, axis=1),
        f"{EXTENSION}:SCALE": arrays.scales,
        f"{EXTENSION}:OPACITY": arrays.opacities,
    }
    for i, name in enumerate(_sh_names(arrays.sh_degree)):
        values[name] = arrays.sh[:, i]
    file = GlbWriter()
    attributes = {name: file.add_array(rows, bounds=name == "POSITION") for name, rows in values.items()}
    meaning = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
    meaning |= {"sortingMethod": "cameraDistance", "projection": "perspective"}
    content = {
        "extensionsUsed": [EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": attributes, "mode": POINTS, "extensions": {EXTENSION: meaning}}]}],
    }
    return file.write(content, path)


def read_glb(path: Path) -> GaussianArrays:
    """Reads the one primitive of Gaussians of a GLB file, in the place and size that its node gives it.

    Harmonics above degree 3, which the extension does not know, are left out with a note in the log.

    Raises:
        ValueError: not a GLB, truncated, no or several primitives of Gaussians, a degree that is not complete, sparse
            attributes or component types that the extension does not allow, a node that stretches or mirrors, a
            colour space or kernel other than the usual.
    """
    file = read_glb_file(path)
    try:
        mesh, primitive = _the_primitive(file)
        named = primitive["attributes"]
        count = file.content["accessors"][named["POSITION"]]["count"]

        def attribute(name: str, width: int, kinds: tuple[str, ...]) -> np.ndarray:
            return file.array(named[name], name, width, kinds, count)

        degree = _complete_degree(set(named), path)
        arrays = GaussianArrays(
            means=attribute("POSITION", 3, _POSITION_KINDS),
            quats=np.roll(attribute(f"{EXTENSION}:ROTATION", 4, _ROTATION_KINDS), 1, axis=1),
            scales=attribute(f"{EXTENSION}:SCALE", 3, _SCALE_KINDS),
            opacities=attribute(f"{EXTENSION}:OPACITY", 1, _OPACITY_KINDS)[:, 0],
            sh=np.stack([attribute(name, 3, ("f4",)) for name in _sh_names(degree)], axis=1),
        )
        arrays = moved_by_node(arrays, file, mesh)
    except DAMAGES as error:
        raise ValueError(f"{path} is not a whole glTF file of Gaussians: {error!r}") from error
    return turned_about_x(arrays)


def _sh_names(degree: int) -> list[str]:
    """Attribute names up to a degree, in 3DGS order."""
    return [f"{EXTENSION}:SH_DEGREE_{d}_COEF_{i}" for d in range(degree + 1) for i in range(2 * d + 1)]


def _complete_degree(names: set[str], path: Path) -> int:
    """The degree of the harmonics, at most 3, which must be complete up to it."""
    found = {name for name in names if name.startswith(f"{EXTENSION}:SH_DEGREE_")}
    degree = next((d for d in range(9) if found == set(_sh_names(d))), None)
    if degree is None:
        raise ValueError(f"{path} must hold the harmonics of each degree whole (1, 4, 9 or 16), got {len(found)}")
    if degree > MAX_DEGREE:
        note_cut_degree(path, degree)
    return min(degree, MAX_DEGREE)


def _fallback_colour(arrays: GaussianArrays) -> np.ndarray:
    """Linear RGB and opacity in 8 bits: glTF's vertex colours are linear, ours those of images (sRGB)."""
    rgb = np.clip(0.5 + SH_C0 * arrays.sh[:, 0], 0, 1)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
    return np.round(np.concatenate([linear, arrays.opacities[:, None]], axis=1) * 255).astype(np.uint8)


def _the_primitive(file: Glb) -> tuple[int, dict[str, Any]]:
    """The one primitive of Gaussians and the number of its mesh, if nothing reinterprets it."""
    meshes = file.content.get("meshes", [])
    found = [
        (m, p) for m, mesh in enumerate(meshes) for p in mesh["primitives"] if EXTENSION in p.get("extensions", {})
    ]
    if len(found) != 1:
        raise ValueError(f"{file.source} must hold one primitive with {EXTENSION}, got {len(found)}")
    mesh, primitive = found[0]
    if primitive.get("mode", 4) != POINTS:
        raise ValueError(
            f"{file.source} must hold its Gaussians as points (mode 0), got mode {primitive.get('mode', 4)}"
        )
    meaning = primitive["extensions"][EXTENSION]
    got = (meaning.get("kernel", "ellipse"), meaning.get("colorSpace", "srgb_rec709_display"))
    if got != ("ellipse", "srgb_rec709_display") or meaning.get("extensions"):
        raise ValueError(f"{file.source} must hold plain ellipses in srgb_rec709_display, got {got}")
    return mesh, primitive
