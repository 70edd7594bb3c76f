"""The views that Gaussians are fitted to, and which of them only judge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.types import Cameras


@dataclass(frozen=True, kw_only=True)
class Supervision:
    """What may be known of the views beside their colours, in their order.

    Attributes:
        weights: How much each view counts, >= 0; None = all alike.
        depth_z: Depth of their pixels [world units], one tensor [v, h, w] per group of views; what is not finite and
            positive is unknown. None = none is known.
        may_judge: Which views may be held out to judge the others' fit; None = all.
    """

    weights: Float[Tensor, " v"] | None = None
    depth_z: Float[Tensor, "v h w"] | Sequence[Float[Tensor, "_v _h _w"]] | None = None
    may_judge: Sequence[bool] | None = None


@dataclass(frozen=True, kw_only=True)
class FitView:
    """One view.

    Attributes:
        image: RGB in [0, 1].
        camera: Exactly one.
        weight: How much it counts, 1 in the mean over all views.
        depth_z: Depth to be reached, or None.
        may_judge: Whether it may be held out.
    """

    image: Float[Tensor, "1 3 h w"]
    camera: Cameras
    weight: float = 1.0
    depth_z: Float[Tensor, "1 h w"] | None = None
    may_judge: bool = True


def list_views(
    views_rgb: Tensor | Sequence[Tensor], cameras: Cameras | Sequence[Cameras], extras: Supervision | None = None
) -> list[FitView]:
    """One :class:`FitView` per view.

    Raises:
        ValueError: groups, shapes or weights do not match, or an image holds NaN.
    """
    extras = extras or Supervision()
    groups = [views_rgb] if isinstance(views_rgb, Tensor) else list(views_rgb)
    camera_groups = [cameras] if isinstance(cameras, Cameras) else list(cameras)
    if len(groups) != len(camera_groups):
        raise ValueError(f"cameras must hold as many groups as views_rgb, got {len(camera_groups)} for {len(groups)}")
    depths = _depth_groups(extras.depth_z, groups)
    count = sum(len(group) for group in camera_groups)
    weights = _weights(extras.weights, count)
    may_judge = [True] * count if extras.may_judge is None else list(extras.may_judge)
    if len(may_judge) != count:
        raise ValueError(f"may_judge must hold one value per view, {count}, got {len(may_judge)}")
    views: list[FitView] = []
    for images, group, depth_z in zip(groups, camera_groups, depths, strict=True):
        wanted = (len(group), 3, *group.hw)
        if tuple(images.shape) != wanted:
            raise ValueError(f"views_rgb must have shape {wanted} to match cameras, got {tuple(images.shape)}")
        if not torch.isfinite(images).all():
            raise ValueError("views_rgb must be finite, got NaN or inf")
        for i in range(len(group)):
            depth = None if depth_z is None else depth_z[i : i + 1]
            of_view = {"weight": weights[len(views)], "depth_z": depth, "may_judge": may_judge[len(views)]}
            views.append(FitView(image=images[i : i + 1], camera=group[i], **of_view))
    if not views:
        raise ValueError("views_rgb must hold at least one view, got none")
    return views


def _depth_groups(depth_z: Tensor | Sequence[Tensor] | None, groups: Sequence[Tensor]) -> list[Tensor | None]:
    if depth_z is None:
        return [None] * len(groups)
    depths = [depth_z] if isinstance(depth_z, Tensor) else list(depth_z)
    wanted = [(len(g), *g.shape[-2:]) for g in groups]
    got = [tuple(d.shape) for d in depths]
    if got != wanted:
        raise ValueError(f"depth_z must have the shapes {wanted} to match views_rgb, got {got}")
    return depths


def _weights(weights: Tensor | None, count: int) -> list[float]:
    """Weights whose mean is 1."""
    if weights is None:
        return [1.0] * count
    if tuple(weights.shape) != (count,):
        raise ValueError(f"weights must hold one number per view, {count}, got shape {tuple(weights.shape)}")
    if not (torch.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise ValueError("weights must be finite, >= 0 and not all 0")
    return (weights.double() / weights.double().mean()).tolist()


def split_views(views: Sequence[FitView], share: float) -> tuple[list[FitView], list[FitView]]:
    """Views to fit to, and views to judge by: about ``share`` of those that may, spread evenly; all views at 0.

    Raises:
        ValueError: no view may judge, or none is left to fit to.
    """
    if share == 0:
        return list(views), list(views)
    able = [i for i, view in enumerate(views) if view.may_judge]
    count = max(1, round(share * len(able)))
    if not able:
        raise ValueError(f"hold_out needs a view that may judge, got {share} of none")
    if count >= len(views):
        raise ValueError(f"hold_out must leave a view to fit to, got {share} of {len(views)} views")
    held_out = {able[int((k + 0.5) * len(able) / count)] for k in range(count)}
    fitted = [view for i, view in enumerate(views) if i not in held_out]
    return fitted, [view for i, view in enumerate(views) if i in held_out]


def shuffled(count: int, steps: int, seed: int) -> Iterator[int]:
    """Views in random order, each as often as the others."""
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    for _ in range(steps):
        if not order:
            order = torch.randperm(count, generator=generator).tolist()
        yield order.pop()


def scene_extent(views: Sequence[FitView], means: Float[Tensor, "n 3"]) -> float:
    """Size of the scene that thresholds are measured in [world units].

    Notes: 3DGS takes 1.1 times the farthest camera's distance from the cameras' mean, for cameras that stand around a
    thing. Ours stand within the scene and look out, often all in one place: the median distance of the Gaussians from
    the cameras' mean counts where it is larger.
    """
    places = torch.cat([view.camera.world_from_cam[:, :3, 3] for view in views])
    centre = places.mean(0)
    radius = 1.1 * float((places - centre).norm(dim=-1).max())
    around = float((means - centre).norm(dim=-1).median()) if len(means) else 0.0
    return max(radius, around, 1e-12)
