"""Which views are inpainted, in which order (W3 and W4 of the capabilities)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from onescene.geometry.perspective import intrinsics_from_fov
from onescene.geometry.rotations import matrix_from_yaw_pitch_roll
from onescene.stages.anchored.config import LARGEST_FOV_DEG, AnchoredConfig
from onescene.types import Cameras

Subject = Literal["scene", "sky", "ground"]
KEPT_OVERLAP = 0.25  # share of the overlap with the next view that a side view keeps
IN_SIGHT_DEG = 8.0  # an anchor outside the view, or a pixel of it, tells the engine nothing


@dataclass(frozen=True)
class View:
    """One thing to inpaint.

    Attributes:
        name: For figures and logs.
        subject: Whose prompt it gets.
        yaw_deg: To the right [degrees].
        pitch_deg: Upwards [degrees].
        fov_deg: Of a square view [degrees]; None: the whole panorama as one picture.
        keep_deg: Only this wide a strip in the view's middle is kept [degrees]; None: all of it.
        anchored: Whether the copy of the photo at the back is there.
    """

    name: str
    subject: Subject
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    fov_deg: float | None = None
    keep_deg: float | None = None
    anchored: bool = False


def view_order(config: AnchoredConfig, top_deg: float = 90.0, bottom_deg: float = -90.0) -> tuple[View, ...]:
    """The views of a heuristic, first to last.

    Args:
        config: Heuristic, number and fields of view.
        top_deg: Highest latitude of the photo [degrees]: where anchors are used, the view up is made wide enough to
            see ``IN_SIGHT_DEG`` of them, up to ``LARGEST_FOV_DEG``.
        bottom_deg: Its lowest latitude [degrees], for the view down.

    ``anchored``: sky and ground, with the photo's copy at the back in sight, then the sides without it.
    ``sequential``: the sides, then sky and ground. ``ad-hoc``: the whole panorama at once, as if it were any picture.

    Notes: the summary of the paper that we have only names the last two; what they do is our reading. Sides are taken
    right and left in turn, so that the circle closes at the back, far from the photo.
    """
    if config.heuristic == "ad-hoc":
        return (View("whole", "scene"),)
    step, count = 360 / config.side_views, config.side_views
    turns = [(k + 1) // 2 * (1 if k % 2 else -1) for k in range(1, count)]  # 1, -1, 2, -2, ...
    fov = config.side_fov_deg
    # the outer parts of a view are left to its neighbours: the last one then has room for what must meet
    keep = step + KEPT_OVERLAP * (fov - step)
    sides = [View("front", "scene", fov_deg=fov)]  # a narrow photo leaves room above and below it
    sides += [View(f"{k * step:+.0f}°", "scene", k * step, fov_deg=fov, keep_deg=keep) for k in turns]
    anchored = config.heuristic == "anchored"
    wide = [config.polar_fov_deg, config.polar_fov_deg]
    if anchored:
        wide = [
            min(max(w, 2 * (90 - rim + IN_SIGHT_DEG)), LARGEST_FOV_DEG)
            for w, rim in zip(wide, (top_deg, -bottom_deg), strict=True)
        ]
    poles = [
        View("sky", "sky", pitch_deg=90.0, fov_deg=wide[0], anchored=anchored),
        View("ground", "ground", pitch_deg=-90.0, fov_deg=wide[1], anchored=anchored),
    ]
    return tuple(poles + sides if anchored else sides + poles)


def view_cameras(views: Sequence[View], view_px: int = 64) -> Cameras:
    """Square cameras of views that have a field of view.

    Raises:
        ValueError: there is none.
    """
    shown = [v for v in views if v.fov_deg is not None]
    if not shown:
        raise ValueError("views must hold at least one with a field of view")
    angles = torch.tensor([(v.yaw_deg, v.pitch_deg, 0.0) for v in shown])
    world_from_cam = torch.eye(4).repeat(len(shown), 1, 1)
    world_from_cam[:, :3, :3] = matrix_from_yaw_pitch_roll(torch.deg2rad(angles))
    K = intrinsics_from_fov(torch.tensor([float(v.fov_deg) for v in shown]), (view_px, view_px))
    return Cameras(world_from_cam=world_from_cam, K=K, hw=(view_px, view_px))
