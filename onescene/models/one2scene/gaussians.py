"""From raw channels to Gaussians: activations and ranges by name, and the placement mu = K^-1 u d + Delta (Sec. 3.2).

Raw channels of a face pixel, in this order: offset 3, opacity 1, scale 3, quaternion wxyz 4, colour 3 K (K
coefficients per colour), sky 1 where there is one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.cubemap import face_directions, world_from_face
from onescene.geometry.harmonics import rotate_sh
from onescene.geometry.rotations import normalise_quaternion, quaternion_from_matrix, quaternion_multiply
from onescene.types import SH_C0, Gaussians

Convention = Literal["pixelsplat", "noposplat"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
"""How raw scales become standard deviations, and in which frame colours are predicted.

``pixelsplat`` (MVSplat's and the release's, too): (0.5 + 14.5 sigmoid) pixels x distance x 0.1 x the footprint of a
pixel along both axes; colours are of the camera frame and are turned into the world.
``noposplat`` (AnySplat's, too): 0.001 softplus, at most 0.3 world units; colours count as of the world.
Both: opacity sigmoid, quaternion over its length, colour of degree l >= 1 times 0.1 / 4^l.
"""
_SCALE_PX, _SCALE_FACTOR = (0.5, 15.0), 0.1  # pixelSplat's
_SOFTPLUS_FACTOR, _LARGEST_SCALE = 0.001, 0.3  # NoPoSplat's
SIZES = {"offset": 3, "opacity": 1, "scale": 3, "quaternion": 4}  # before colour and sky


def raw_channels(sh_degree: int, sky: bool) -> int:
    """Raw channels of a face pixel."""
    return sum(SIZES.values()) + 3 * (sh_degree + 1) ** 2 + sky


@dataclass(frozen=True)
class FaceGaussians:
    """One Gaussian per face pixel, in the camera frame of its face (OpenCV axes).

    Attributes:
        offset: Delta, added to the end of the pixel's ray [scene units].
        opacities: In [0, 1].
        scales: Standard deviations along the Gaussian's own axes [scene units].
        quats: Unit quaternions, wxyz.
        sh: Colour coefficients; in which frame is a matter of the convention.
    """

    offset: Float[Tensor, "batch 6 face face 3"]
    opacities: Float[Tensor, "batch 6 face face"]
    scales: Float[Tensor, "batch 6 face face 3"]
    quats: Float[Tensor, "batch 6 face face 4"]
    sh: Float[Tensor, "batch 6 face face k 3"]


def activate_scale(
    raw: Float[Tensor, "*batch 3"], distance: Float[Tensor, "*batch"], f_px: float, convention: Convention
) -> Float[Tensor, "*batch 3"]:
    """Standard deviations [scene units] of raw scales.

    Args:
        raw: Any numbers.
        distance: Along the pixel's ray [scene units].
        f_px: Focal length [pixels].
        convention: One of ``CONVENTIONS``.
    """
    if convention == "noposplat":
        return (_SOFTPLUS_FACTOR * F.softplus(raw)).clamp_max(_LARGEST_SCALE)
    low, high = _SCALE_PX
    footprint = 2 / f_px  # of a pixel at distance 1, along both axes together
    return (low + (high - low) * raw.sigmoid()) * distance[..., None] * (_SCALE_FACTOR * footprint)


def sh_damping(coefficients: int, like: Tensor) -> Float[Tensor, " k"]:
    """1 at degree 0, 0.1 / 4^l at degree l: colours change little with the direction at first."""
    degrees = [math.isqrt(i) for i in range(coefficients)]
    return torch.tensor([0.1 * 0.25**degree if degree else 1.0 for degree in degrees]).to(like)


def activate(
    raw: Float[Tensor, "batch 6 face face c"],
    distance: Float[Tensor, "batch 6 face face"],
    f_px: float,
    convention: Convention,
    sh_degree: int,
) -> FaceGaussians:
    """Every raw channel but the sky's, activated.

    Args:
        raw: In the order of this module's head line.
        distance: Along each pixel's ray [scene units].
        f_px: Focal length of the faces [pixels].
        convention: One of ``CONVENTIONS``.
        sh_degree: Of the colours, 0 to 3.
    """
    k = (sh_degree + 1) ** 2
    offset, opacity, scale, quaternion, colour = raw[..., : raw_channels(sh_degree, sky=False)].split(
        (*SIZES.values(), 3 * k), dim=-1
    )
    return FaceGaussians(
        offset=offset,
        opacities=opacity[..., 0].sigmoid(),
        scales=activate_scale(scale, distance, f_px, convention),
        quats=normalise_quaternion(quaternion),
        sh=(colour.unflatten(-1, (3, k)) * sh_damping(k, colour)).mT,
    )


def add_colour(found: FaceGaussians, faces: Float[Tensor, "batch 6 3 face face"]) -> FaceGaussians:
    """The same with the pixel's own colour added: the network then predicts what the pixel does not say."""
    own = ((faces - 0.5) / SH_C0).movedim(2, -1)[..., None, :]
    return replace(found, sh=torch.cat((found.sh[..., :1, :] + own, found.sh[..., 1:, :]), dim=-2))


def means(
    found: FaceGaussians, distance: Float[Tensor, "batch 6 face face"], fov_deg: float
) -> Float[Tensor, "batch 6 face face 3"]:
    """mu = K^-1 u d + Delta, turned into the world: the ray's end and the offset [scene units]."""
    rays = face_directions(distance.shape[-1], fov_deg, device=distance.device, dtype=distance.dtype)
    rotation = world_from_face(device=distance.device, dtype=distance.dtype)
    return distance[..., None] * rays + torch.einsum("fij,bfhwj->bfhwi", rotation, found.offset)


def as_gaussians(
    found: FaceGaussians,
    distance: Float[Tensor, "batch 6 face face"],
    fov_deg: float,
    convention: Convention,
    item: int = 0,
) -> Gaussians:
    """The Gaussians of one scene of the batch in this kit's convention: world frame, order face, row, column."""
    rotation = world_from_face(device=distance.device, dtype=distance.dtype)
    sh = found.sh[item]
    if convention == "pixelsplat" and sh.shape[-2] > 1:
        sh = torch.stack([rotate_sh(one, turn) for one, turn in zip(sh, rotation, strict=True)])
    turn = quaternion_from_matrix(rotation)[:, None, None]
    return Gaussians(
        means=means(found, distance, fov_deg)[item].flatten(0, 2),
        quats=quaternion_multiply(turn, found.quats[item]).flatten(0, 2),
        scales=found.scales[item].flatten(0, 2),
        opacities=found.opacities[item].flatten(),
        sh=sh.flatten(0, 2),
    )
