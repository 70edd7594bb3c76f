"""Do views of known cameras show one scene: the thresholded symmetric epipolar distance (TSED; Yu et al., ICCV 2023).

Matched points of two views must lie on each other's epipolar lines. A pair is consistent if it has enough matches and
their median symmetric epipolar distance is small; the metric is the share of consistent pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

MATCHES = 10  # a pair with fewer is not consistent
THRESHOLD_PX = 2.0  # of the median distance, at images of 256 pixels
_AT_PX = 256
_RATIO = 0.7  # Lowe's: a match must be this much nearer than the second nearest
_SAME_PLACE = 1e-6  # cameras closer than this have no epipolar lines [world units]


def fundamental_matrix(world_from_cam: Float[Tensor, "2 4 4"], K: Float[Tensor, "2 3 3"]) -> Float[Tensor, "3 3"]:
    """F of two cameras: x_b^T F x_a = 0 for pixels (x, y, 1) of one point.

    Raises:
        ValueError: the cameras stand at one place.
    """
    poses, K = world_from_cam.double(), K.double()
    b_from_a = torch.linalg.inv(poses[1]) @ poses[0]
    x, y, z = b_from_a[:3, 3].tolist()
    if max(abs(x), abs(y), abs(z)) < _SAME_PLACE:
        raise ValueError("cameras must stand at two places to have epipolar lines")
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.linalg.inv(K[1]).T @ cross @ b_from_a[:3, :3] @ torch.linalg.inv(K[0])


def symmetric_epipolar_distance(
    xy_a: Float[Tensor, "n 2"], xy_b: Float[Tensor, "n 2"], fundamental: Float[Tensor, "3 3"]
) -> Float[Tensor, " n"]:
    """Mean of a point's distance to its match's epipolar line and the other way round [pixels]."""
    a, b = (torch.nn.functional.pad(xy.double(), (0, 1), value=1.0) for xy in (xy_a, xy_b))
    lines_b, lines_a = a @ fundamental.double().T, b @ fundamental.double()
    off = (b * lines_b).sum(1).abs()
    return (off / lines_b[:, :2].norm(dim=1) + off / lines_a[:, :2].norm(dim=1)) / 2


def match_points(a: Float[Tensor, "3 h w"], b: Float[Tensor, "3 h w"]) -> tuple[Tensor, Tensor]:
    """Matched SIFT points of two images in [0, 1]: xy [n, 2] in each [pixels, corner at (0, 0)]."""
    sift = cv2.SIFT_create()
    grey = [cv2.cvtColor((x.permute(1, 2, 0) * 255).round().byte().cpu().numpy(), cv2.COLOR_RGB2GRAY) for x in (a, b)]
    (points_a, words_a), (points_b, words_b) = (sift.detectAndCompute(g, None) for g in grey)
    if words_a is None or words_b is None or len(words_b) < 2:
        return torch.zeros(0, 2), torch.zeros(0, 2)
    nearest = cv2.BFMatcher(cv2.NORM_L2).knnMatch(words_a, words_b, k=2)
    good = [m for m, second in nearest if m.distance < _RATIO * second.distance]
    chosen = [[points_a[m.queryIdx].pt for m in good], [points_b[m.trainIdx].pt for m in good]]
    xy_a, xy_b = (torch.from_numpy(np.array(c, np.float32).reshape(-1, 2)) + 0.5 for c in chosen)
    return xy_a, xy_b


def tsed(
    rgb: Float[Tensor, "v 3 h w"],
    world_from_cam: Float[Tensor, "v 4 4"],
    K: Float[Tensor, "v 3 3"],
    pairs: Sequence[tuple[int, int]] | None = None,
) -> dict[str, float]:
    """Share of consistent pairs.

    Args:
        rgb: Views in [0, 1].
        world_from_cam: Their cameras, OpenCV axes.
        K: Intrinsics [pixels].
        pairs: Which views to compare; neighbours if not given. Pairs whose cameras stand at one place are left out.

    Returns:
        ``tsed_2px_at_256`` in [0, 1] (NaN without a pair), ``tsed_pairs`` and ``tsed_matches`` (mean over pairs).

    Raises:
        ValueError: numbers of images and cameras differ.
    """
    if not len(rgb) == len(world_from_cam) == len(K):
        raise ValueError(
            f"rgb, world_from_cam and K must agree in number, got {len(rgb)}, {len(world_from_cam)}, {len(K)}"
        )
    limit = THRESHOLD_PX * max(rgb.shape[-2:]) / _AT_PX
    consistent, matches = [], []
    for i, j in pairs if pairs is not None else [(v, v + 1) for v in range(len(rgb) - 1)]:
        if float((world_from_cam[i, :3, 3] - world_from_cam[j, :3, 3]).abs().max()) < _SAME_PLACE:
            continue
        xy_a, xy_b = match_points(rgb[i], rgb[j])
        matches.append(len(xy_a))
        distance = symmetric_epipolar_distance(xy_a, xy_b, fundamental_matrix(world_from_cam[[i, j]], K[[i, j]]))
        consistent.append(len(xy_a) >= MATCHES and float(distance.median()) < limit)
    share = float(np.mean(consistent)) if consistent else float("nan")
    return {
        "tsed_2px_at_256": share,
        "tsed_pairs": float(len(consistent)),
        "tsed_matches": float(np.mean(matches or [0])),
    }
