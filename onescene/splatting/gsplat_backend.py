"""The CUDA backend: gsplat's own rasteriser behind our arguments. Imported only when CUDA tensors are rendered."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from onescene.splatting.projection import BLUR_PX2
from onescene.types import Cameras, Gaussians

FARTHEST = 1e10  # gsplat's own default far plane


def render_gsplat(
    gaussians: Gaussians, cameras: Cameras, near: float, far: float
) -> tuple[Float[Tensor, "v 3 h w"], Float[Tensor, "v h w"], Float[Tensor, "v h w"]]:
    """Renders every camera; see :func:`onescene.splatting.render`.

    Returns:
        RGB, depth_z and alpha.

    Raises:
        ValueError: gsplat is not installed.
    """
    try:
        from gsplat import rasterization
    except ImportError as error:
        raise ValueError(f"backend 'gsplat' needs the package gsplat, got {error}") from error
    height, width = cameras.hw
    if len(gaussians) == 0 or len(cameras) == 0:
        black = gaussians.means.new_zeros(len(cameras), 5, height, width)
        return black[:, :3], black[:, 3], black[:, 4]
    image, alpha, _ = rasterization(
        means=gaussians.means,
        quats=gaussians.quats,
        scales=gaussians.scales,
        opacities=gaussians.opacities,
        colors=gaussians.sh,
        viewmats=cameras.cam_from_world,
        Ks=cameras.K,
        width=width,
        height=height,
        near_plane=near,
        far_plane=min(far, FARTHEST),
        eps2d=BLUR_PX2,
        sh_degree=gaussians.sh_degree,
        render_mode="RGB+D",
    )
    return image[..., :3].permute(0, 3, 1, 2), image[..., 3], alpha[..., 0]
