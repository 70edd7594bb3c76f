"""Novel views: what the scaffold shows from new cameras, made whole.

Gaussians, cameras -> render over black, alpha -> colour / alpha where covered
    -> holes continued from the farther side of their rim (``fill``) -> depth at every pixel
       colour: the same (``baseline``), or frames by diffusion (``anchors-only | concat | dual-lora``: diffusion_views)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.splatting import BACKENDS, Backend
from onescene.stages.diffusion_views import Guide, check_guide, cut_square, synthesise
from onescene.stages.fill import ALPHA_THRESHOLD, seen_whole
from onescene.types import Cameras, Gaussians

Method = Literal["baseline", "anchors-only", "concat", "dual-lora"]


@dataclass(frozen=True)
class ViewsConfig:
    """How novel views are made."""

    method: Method = "baseline"  # renders with holes filled by a classical inpainter; the others need a guide
    backend: Backend = "auto"  # of the renderer
    alpha_threshold: float = ALPHA_THRESHOLD  # a pixel covered less than this is a hole


@dataclass(frozen=True)
class ViewsOutput:
    """Novel views.

    Attributes:
        rgb: The views, in [0, 1], whole.
        rendered: What the Gaussians show, over black.
        alpha: How far the Gaussians cover each pixel, in [0, 1].
        depth_z: Along the camera's axis, > 0 everywhere; in holes that of the background [world units].
        holes: Which pixels the Gaussians do not cover.
        method: How.
    """

    rgb: Float[Tensor, "v 3 h w"]
    rendered: Float[Tensor, "v 3 h w"]
    alpha: Float[Tensor, "v h w"]
    depth_z: Float[Tensor, "v h w"]
    holes: Bool[Tensor, "v h w"]
    method: str

    @property
    def hole_share(self) -> float:
        """Share of all pixels that the Gaussians do not cover, in [0, 1]."""
        return float(self.holes.float().mean()) if self.holes.numel() else 0.0


def check_config(config: ViewsConfig) -> None:
    """Refuses settings that are out of range.

    Raises:
        ValueError: naming the setting, what it is and what it may be.
    """
    if config.method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, got {config.method!r}")
    if config.backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {config.backend!r}")
    if not 0 < config.alpha_threshold < 1:
        raise ValueError(f"alpha_threshold must be in (0, 1), got {config.alpha_threshold}")


def check_scene(gaussians: Gaussians, config: ViewsConfig, guide: Guide | None) -> None:
    """Refuses what no view can be made of.

    Raises:
        ValueError: a setting is out of range, there is no Gaussian, the guide is missing or can not do the method.
    """
    check_config(config)
    if len(gaussians) == 0:
        raise ValueError("gaussians must hold at least one Gaussian, got none")
    if config.method != "baseline":
        if guide is None or guide.config.method != config.method:
            got = "none" if guide is None else f"one for {guide.config.method}"
            raise ValueError(f"method {config.method} needs a guide for it (networks and anchors), got {got}")
        check_guide(guide)


def iterate(
    gaussians: Gaussians, cameras: Cameras, config: ViewsConfig = ViewsConfig(), guide: Guide | None = None
) -> Iterator[ViewsOutput]:
    """Makes novel views one at a time, in the order of the cameras, so that memory does not grow with their number.

    Args:
        gaussians: The scaffold.
        cameras: Where to look from.
        config: Method and options.
        guide: Networks and anchors, for every method but ``baseline``; its own method has to be the same.

    Yields:
        One view each (v = 1). With ``baseline`` a view depends on its own camera alone: any subset gives the same
        pictures. By diffusion it depends on the frames before it too.

    Raises:
        ValueError: a setting is out of range, there is no Gaussian, the guide is missing or can not do the method, or
            what ``render`` refuses.
    """
    check_scene(gaussians, config, guide)
    return _iterate(gaussians, cameras, config, guide if config.method != "baseline" else None)


def _iterate(gaussians: Gaussians, cameras: Cameras, config: ViewsConfig, guide: Guide | None) -> Iterator[ViewsOutput]:
    made = synthesise(gaussians, cameras, guide, config.backend) if guide and len(cameras) else None
    for v in range(len(cameras)):
        yield view_of(gaussians, cameras[v], config, next(made).rgb if made is not None else None)


@torch.no_grad()
def view_of(
    gaussians: Gaussians, camera: Cameras, config: ViewsConfig, frame: Float[Tensor, "3 px px"] | None = None
) -> ViewsOutput:
    """One view: what the Gaussians show, made whole, and in its place the square frame that was made of it, if any."""
    out, rgb, depth_z, holes = seen_whole(gaussians, camera, config.backend, config.alpha_threshold)
    if frame is not None:
        rgb = cut_square(frame.to(rgb), camera.hw)
    return ViewsOutput(
        rgb=rgb[None],
        rendered=out.rgb,
        alpha=out.alpha,
        depth_z=depth_z[None],
        holes=holes[None],
        method=config.method,
    )


def run(
    gaussians: Gaussians,
    cameras: Cameras,
    config: ViewsConfig = ViewsConfig(),
    progress: Callable[[float], None] | None = None,
    guide: Guide | None = None,
) -> ViewsOutput:
    """Makes all novel views at once.

    Args:
        gaussians: The scaffold.
        cameras: Where to look from.
        config: Method and options.
        progress: Called with the share that is done, in [0, 1].
        guide: As :func:`iterate`.

    Raises:
        ValueError: there is no camera, or as :func:`iterate`.
    """
    if len(cameras) == 0:
        raise ValueError("cameras must hold at least one camera, got none")
    views = []
    for done, view in enumerate(iterate(gaussians, cameras, config, guide)):
        views.append(view)
        if progress:
            progress((done + 1) / len(cameras))
    names = ("rgb", "rendered", "alpha", "depth_z", "holes")
    return ViewsOutput(**{n: torch.cat([getattr(v, n) for v in views]) for n in names}, method=config.method)
