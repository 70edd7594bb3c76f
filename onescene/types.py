"""The types every room shares, and the one convention they follow.

Convention
----------
* World and camera axes are OpenCV's: x right, y down, z forward. The world's
  origin is the panorama's centre; z points at longitude 0.
* Images: the corner of the image is (0, 0), the centre of its first pixel is
  (0.5, 0.5). Sizes are ``hw``, points are ``xy``. Colour is RGB, float in
  [0, 1], channel first.
* Panoramas are equirectangular, ``W = 2 H``. Row 0 is the zenith; the centre of
  column ``j`` has longitude ``((j + 0.5) / W - 0.5) * 360`` degrees, 0 = forward,
  growing to the right; latitude grows upward.
* Quaternions are ``wxyz``. ``world_from_cam`` maps camera points to the world.
* ``depth_z`` is measured along the camera's z axis, ``distance`` along the ray,
  ``disparity`` is the inverse of a depth: three names for three things.

A foreign convention (OpenGL axes, xyzw, normalised intrinsics, logits) is
converted at the border: in ``io`` or in ``models/loading.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

SH_C0 = 0.28209479177387814  # Y_0^0 = 1 / (2 sqrt(pi))


@dataclass(frozen=True, kw_only=True)
class Gaussians:
    """A set of 3D Gaussians with activated values (Sec. 3.2 of One2Scene).

    Attributes:
        means: Centres in the world [world units].
        quats: Rotations ``world_from_gaussian``, wxyz; need not be unit length.
        scales: Standard deviations along the local axes [world units], > 0.
        opacities: Peak opacities in [0, 1].
        sh: Spherical-harmonics coefficients, ``K = (degree + 1)**2``, degree 0 to 3.
            At degree 0 the colour is ``0.5 + 0.2820948 * sh[:, 0]``.
    """

    means: Float[Tensor, "n 3"]
    quats: Float[Tensor, "n 4"]
    scales: Float[Tensor, "n 3"]
    opacities: Float[Tensor, " n"]
    sh: Float[Tensor, "n k 3"]

    def __post_init__(self) -> None:
        n = self.means.shape[0]
        wanted = {"means": (n, 3), "quats": (n, 4), "scales": (n, 3), "opacities": (n,)}
        for name, shape in wanted.items():
            got = tuple(getattr(self, name).shape)
            if got != shape:
                raise ValueError(f"{name} must have shape {shape}, got {got}")
        sh_shape = tuple(self.sh.shape)
        if len(sh_shape) != 3 or sh_shape[0] != n or sh_shape[2] != 3:
            raise ValueError(f"sh must have shape ({n}, K, 3), got {sh_shape}")
        if sh_shape[1] not in (1, 4, 9, 16):
            raise ValueError(f"sh must hold 1, 4, 9 or 16 coefficients, got {sh_shape[1]}")

    def __len__(self) -> int:
        return self.means.shape[0]

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 3."""
        return int(self.sh.shape[1] ** 0.5) - 1

    @property
    def rgb(self) -> Float[Tensor, "n 3"]:
        """The view-independent part of the colour, not clamped."""
        return 0.5 + SH_C0 * self.sh[:, 0]

    def to(self, *args, **kwargs) -> Gaussians:
        """Moves every tensor as ``Tensor.to`` does."""
        return replace(self, **{f.name: getattr(self, f.name).to(*args, **kwargs) for f in fields(self)})

    def select(self, index: Tensor) -> Gaussians:
        """Keeps the Gaussians that a boolean mask or an index tensor names."""
        return replace(self, **{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @staticmethod
    def cat(parts: Sequence[Gaussians]) -> Gaussians:
        """Joins sets in the given order; colours of a lower SH degree gain coefficients of 0 up to the highest."""
        if not parts:
            raise ValueError("parts must hold at least one set of Gaussians, got none")
        most = max(p.sh.shape[1] for p in parts)
        columns = {f.name: [getattr(p, f.name) for p in parts] for f in fields(Gaussians)}
        columns["sh"] = [torch.nn.functional.pad(sh, (0, 0, 0, most - sh.shape[1])) for sh in columns["sh"]]
        return Gaussians(**{name: torch.cat(tensors) for name, tensors in columns.items()})


@dataclass(frozen=True, kw_only=True)
class Cameras:
    """Pinhole cameras that share one image size, in OpenCV axes.

    Attributes:
        world_from_cam: Camera-to-world matrices.
        K: Intrinsics [pixels]; the corner of the image is (0, 0).
        hw: Image height and width [pixels].
    """

    world_from_cam: Float[Tensor, "v 4 4"]
    K: Float[Tensor, "v 3 3"]
    hw: tuple[int, int]

    def __post_init__(self) -> None:
        v = self.world_from_cam.shape[0]
        for name, shape in (("world_from_cam", (v, 4, 4)), ("K", (v, 3, 3))):
            got = tuple(getattr(self, name).shape)
            if got != shape:
                raise ValueError(f"{name} must have shape {shape}, got {got}")
        if len(self.hw) != 2 or min(self.hw) < 1:
            raise ValueError(f"hw must be two sizes >= 1, got {self.hw}")

    def __len__(self) -> int:
        return self.world_from_cam.shape[0]

    def __getitem__(self, index) -> Cameras:
        """Selects cameras; an integer keeps the batch axis."""
        if isinstance(index, int):
            index = [index]
        return replace(self, world_from_cam=self.world_from_cam[index], K=self.K[index])

    @property
    def cam_from_world(self) -> Float[Tensor, "v 4 4"]:
        """World-to-camera matrices (the inverse of a rigid transform)."""
        rotation = self.world_from_cam[:, :3, :3].transpose(1, 2)
        out = torch.zeros_like(self.world_from_cam)
        out[:, :3, :3] = rotation
        out[:, :3, 3] = -(rotation @ self.world_from_cam[:, :3, 3:])[..., 0]
        out[:, 3, 3] = 1.0
        return out

    def to(self, *args, **kwargs) -> Cameras:
        """Moves both matrices as ``Tensor.to`` does."""
        return replace(self, world_from_cam=self.world_from_cam.to(*args, **kwargs), K=self.K.to(*args, **kwargs))

    def resized(self, hw: tuple[int, int]) -> Cameras:
        """The same cameras for images of another size [pixels]."""
        factor = torch.tensor([hw[1] / self.hw[1], hw[0] / self.hw[0], 1.0]).to(self.K)
        return replace(self, K=self.K * factor[:, None], hw=(int(hw[0]), int(hw[1])))

    @staticmethod
    def cat(parts: Sequence[Cameras]) -> Cameras:
        """Joins cameras of one image size, in the given order."""
        if len({p.hw for p in parts}) != 1:
            raise ValueError(f"cameras must share one hw, got {sorted({p.hw for p in parts})}")
        return Cameras(
            world_from_cam=torch.cat([p.world_from_cam for p in parts]),
            K=torch.cat([p.K for p in parts]),
            hw=parts[0].hw,
        )
