"""Gaussians as checked numpy arrays: the common ground of all file formats.

Owns the checks that every format shares, the opacity logits, and the turn between the world's OpenCV axes and the
axes of glTF and SPZ; the bytes belong to the format's module.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float, Float32, Integer
from scipy.special import expit, logit

from onescene.types import Gaussians

logger = logging.getLogger(__name__)

MAX_DEGREE = 3  # of the spherical harmonics that Gaussians here can have
# Shorter scales are raised to it: their square still is a normal float32, and 0 has no logarithm.
MIN_SCALE = 1e-18
# Longer lengths are not written: the square of a sum of three of them still is finite in float32. Twice that is read,
# because the exponential of a logarithm in float32 may come out longer.
MAX_LENGTH = 1e17
LOGIT_LIMIT = 20.0  # opacities 0 and 1 become -+20; sigmoid(20) is 1 in float32
# Sign of each spherical harmonic, degrees 0 to 3 in 3DGS order, when the y and the z axis are turned around:
# 1 | y z x | xy yz zz xz xx-yy | y(3xx-yy) xyz y(4zz-..) z(2zz-..) x(4zz-..) z(xx-yy) x(xx-3yy)
_SH_TURN_SIGNS = np.float32([1, -1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1])
_TURN_QUAT_SIGNS = np.float32([1, 1, -1, -1])
TURN_SIGNS = np.float32([1, -1, -1])  # of places, in the same turn


@dataclass(frozen=True, kw_only=True)
class GaussianArrays:
    """The fields of :class:`onescene.types.Gaussians` as float32 numpy arrays, activated values."""

    means: Float[np.ndarray, "n 3"]
    quats: Float[np.ndarray, "n 4"]
    scales: Float[np.ndarray, "n 3"]
    opacities: Float[np.ndarray, " n"]
    sh: Float[np.ndarray, "n k 3"]

    def __len__(self) -> int:
        return len(self.means)

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 3."""
        return int(self.sh.shape[1] ** 0.5) - 1


def arrays_from_gaussians(gaussians: Gaussians) -> GaussianArrays:
    """Gaussians ready to be written: checked, quaternions of unit length, scales of at least ``MIN_SCALE``.

    Raises:
        ValueError: no Gaussian, a NaN or an infinity, a negative scale, an opacity outside [0, 1], a quaternion of
            length zero.
    """
    tensors = {f.name: getattr(gaussians, f.name) for f in fields(GaussianArrays)}
    arrays = GaussianArrays(**{k: t.detach().to("cpu", torch.float32).numpy() for k, t in tensors.items()})
    return _checked(arrays, "gaussians", MAX_LENGTH)


def gaussians_from_arrays(arrays: GaussianArrays, source: str | os.PathLike) -> Gaussians:
    """Gaussians out of what a reader found in ``source``.

    Raises:
        ValueError: as :func:`arrays_from_gaussians`, with the file's name.
    """
    arrays = _checked(arrays, str(source), 2 * MAX_LENGTH)
    return Gaussians(
        **{f.name: torch.from_numpy(np.ascontiguousarray(getattr(arrays, f.name))) for f in fields(GaussianArrays)}
    )


def turned_about_x(arrays: GaussianArrays) -> GaussianArrays:
    """Half a turn about the x axis: OpenCV axes (y down, z forward) <-> glTF's and SPZ's (y up, z backward).

    Colours turn too: each spherical harmonic is odd or even in (y, z).
    """
    return GaussianArrays(
        means=arrays.means * TURN_SIGNS,
        quats=arrays.quats * _TURN_QUAT_SIGNS,
        scales=arrays.scales,
        opacities=arrays.opacities,
        sh=arrays.sh * _SH_TURN_SIGNS[: arrays.sh.shape[1], None],
    )


def quats_from_three(
    others: Float[np.ndarray, "n 3"], largest: Integer[np.ndarray, " n"]
) -> Float32[np.ndarray, "n 4"]:
    """Unit quaternions out of three components, in order, and the place of the fourth, the largest, which is > 0."""
    quats = np.empty((len(others), 4), np.float32)
    kept = np.arange(4) != largest[:, None]
    quats[kept] = others.reshape(-1)
    quats[~kept] = np.sqrt(np.maximum(0, 1 - (others**2).sum(axis=1)))
    return quats


def note_cut_degree(source: str | os.PathLike, degree: int) -> None:
    """Notes in the log that a file's colours have a higher degree than is kept."""
    logger.warning("%s: spherical harmonics of degree %d cut to %d", source, degree, MAX_DEGREE)


def logits_from_opacities(opacities: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Finite logits, within +-20."""
    return np.clip(logit(opacities.astype(np.float64)), -LOGIT_LIMIT, LOGIT_LIMIT).astype(np.float32)


def opacities_from_logits(logits: Float[np.ndarray, " n"], source: str | os.PathLike) -> Float[np.ndarray, " n"]:
    """Opacities in [0, 1] of the logits found in ``source``.

    Raises:
        ValueError: a logit is NaN or infinite (an infinite one would pass for a fine opacity).
    """
    _refuse_infinite(logits, "opacity", source)
    return expit(logits.astype(np.float64)).astype(np.float32)


def scales_from_logs(logs: Float[np.ndarray, "n 3"], source: str | os.PathLike) -> Float[np.ndarray, "n 3"]:
    """Scales of their natural logarithms found in ``source``; what is too large for a float becomes infinite.

    Raises:
        ValueError: a logarithm is NaN or infinite (minus infinity would pass for the smallest scale).
    """
    _refuse_infinite(logs, "scale", source)
    with np.errstate(over="ignore"):
        return np.exp(logs.astype(np.float64)).astype(np.float32)


def _refuse_infinite(values: np.ndarray, name: str, source: str | os.PathLike) -> None:
    """Raises a sentence about the first value that is NaN or infinite."""
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        where = tuple(bad[0])
        raise ValueError(f"{source}: every value must be finite, got {name} {values[where]} in Gaussian {where[0]}")


def _checked(arrays: GaussianArrays, subject: str, longest: float) -> GaussianArrays:
    """The arrays if every value is one that can be rendered, or a sentence about the first that is not."""
    if len(arrays) == 0:
        raise ValueError(f"{subject} must hold at least one Gaussian, got none")
    for field in fields(arrays):
        _refuse(~np.isfinite(getattr(arrays, field.name)), arrays, field.name, subject, "every value must be finite")
    lengths = np.linalg.norm(arrays.quats.astype(np.float64), axis=1, keepdims=True)
    _refuse(lengths[:, 0] == 0, arrays, "quats", subject, "a quaternion must not be zero")
    _refuse(arrays.scales < 0, arrays, "scales", subject, "scales must be positive")
    _refuse(arrays.scales > longest, arrays, "scales", subject, f"scales must be at most {longest:g}")
    _refuse(np.abs(arrays.means) > longest, arrays, "means", subject, f"means must be at most {longest:g}")
    outside = (arrays.opacities < 0) | (arrays.opacities > 1)
    _refuse(outside, arrays, "opacities", subject, "opacities must be in [0, 1]")
    return GaussianArrays(
        means=arrays.means,
        quats=(arrays.quats / lengths).astype(np.float32),
        scales=np.maximum(arrays.scales, np.float32(MIN_SCALE)),
        opacities=arrays.opacities,
        sh=arrays.sh,
    )


def _refuse(bad: np.ndarray, arrays: GaussianArrays, name: str, subject: str, wanted: str) -> None:
    """Raises a sentence that names the first Gaussian whose value is bad."""
    if not bad.any():
        return
    first = int(np.flatnonzero(bad.reshape(len(arrays), -1).any(axis=1))[0])
    got = np.array2string(getattr(arrays, name)[first].reshape(-1)[:4], precision=6, separator=", ")
    raise ValueError(f"{subject}: {wanted}, got {name} {got} in Gaussian {first}")
