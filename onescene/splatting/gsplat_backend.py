"""The CUDA backend: gsplat's own rasteriser behind our arguments. Imported only when CUDA tensors are rendered."""

from __future__ import annotations

import logging
from functools import lru_cache

from jaxtyping import Float
from torch import Tensor

from onescene.splatting.projection import BLUR_PX2
from onescene.types import Cameras, Gaussians

logger = logging.getLogger(__name__)

FARTHEST = 1e10  # gsplat's own default far plane


@lru_cache(maxsize=1)
def gsplat_works() -> bool:
    """True if gsplat's CUDA kernels can be loaded; the first look may compile them, which takes minutes."""
    try:
        from gsplat.cuda import _backend
    except Exception as error:  # a failing build raises whatever the compiler's wrapper stumbles on
        logger.warning("gsplat is of no use here: %s: %s", type(error).__name__, error)
        return False
    return _backend._C is not None


def rasterization_arguments(gaussians: Gaussians, cameras: Cameras, near: float, far: float) -> dict[str, object]:
    """What gsplat's ``rasterization`` and its torch twin take, under their names, for colour and depth_z."""
    return {
        "means": gaussians.means,
        "quats": gaussians.quats,
        "scales": gaussians.scales,
        "opacities": gaussians.opacities,
        "colors": gaussians.sh,
        "viewmats": cameras.cam_from_world,
        "Ks": cameras.K,
        "width": cameras.hw[1],
        "height": cameras.hw[0],
        "near_plane": near,
        "far_plane": min(far, FARTHEST),
        "sh_degree": gaussians.sh_degree,
        "render_mode": "RGB+D",
    }


def render_gsplat(
    gaussians: Gaussians, cameras: Cameras, near: float, far: float
) -> tuple[Float[Tensor, "v 3 h w"], Float[Tensor, "v h w"], Float[Tensor, "v h w"]]:
    """Renders every camera; see :func:`onescene.splatting.render`.

    Returns:
        RGB, depth_z and alpha.

    Raises:
        ValueError: gsplat is not installed or its kernels do not load.
    """
    if not gsplat_works():
        raise ValueError("backend 'gsplat' needs gsplat with its CUDA kernels, got none; use backend='torch'")
    from gsplat import rasterization

    if len(gaussians) == 0 or len(cameras) == 0:
        black = gaussians.means.new_zeros(len(cameras), 5, *cameras.hw)
        return black[:, :3], black[:, 3], black[:, 4]
    image, alpha, _ = rasterization(**rasterization_arguments(gaussians, cameras, near, far), eps2d=BLUR_PX2)
    return image[..., :3].permute(0, 3, 1, 2), image[..., 3], alpha[..., 0]
