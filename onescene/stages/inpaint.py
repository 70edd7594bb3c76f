"""A classical inpainter for the holes of rendered views, which continues the background and not the foreground.

Private to the novel-view stage; one image at a time, NumPy.

What a moved camera uncovers lies between an object and what stood behind it. From every hole pixel 16 rays run to the
first known pixel; of two opposite ones at different depths the nearer is the object that moved away, and is dropped.
The rest is averaged with mean value weights (the angle of a ray over its length, exact where the surroundings are a
linear ramp), then smoothed inside the hole only, more the deeper inside.
"""

from __future__ import annotations

import cv2
import numpy as np

from onescene.splatting.numba_compile import helper, kernel
from onescene.splatting.numba_vectors import on_stack

# Eight directions and their opposites, (dx, dy) in pixels per step; a finer fan leaves less of a star in round holes.
_HALF = [(1, 0), (2, 1), (1, 1), (1, 2), (0, 1), (-1, 2), (-1, 1), (-2, 1)]
STEPS = np.array(_HALF + [(-x, -y) for x, y in _HALF], dtype=np.int64)
_AXIS, _KNIGHT, _DIAGONAL = np.arctan(0.5), np.pi / 8, np.pi / 4 - np.arctan(0.5)  # the angle that each stands for
ANGLES = np.array([_AXIS, _KNIGHT, _DIAGONAL, _KNIGHT] * 4)
DEPTH_RATIO = 1.15  # farther than this many times the opposite depth is another surface
INWARD_PX = 2  # colours are read this far behind the rim, where splats of both surfaces mix
SMOOTHING = 0.35  # standard deviation of the smoothing per pixel of distance from the rim
SMOOTHING_LEVELS_PX = (1.5, 4.0, 10.0)


_RAYS = len(STEPS)
_new_ends = on_stack((_RAYS, 2), np.int64)
_new_weights = on_stack((_RAYS,), np.float64)


@helper
def _look(known, depth, start, step):
    """Walks from a hole pixel to a known one and a bit on: row, column, closeness (0 if none), depth at the rim."""
    height, width = known.shape
    dx, dy = step[0], step[1]
    y, x, away = start[0] + dy, start[1] + dx, 1
    while 0 <= y < height and 0 <= x < width and not known[y, x]:
        y, x, away = y + dy, x + dx, away + 1
    if not (0 <= y < height and 0 <= x < width):
        return 0, 0, 0.0, 1.0
    rim = depth[y, x]
    for _ in range(INWARD_PX):
        if not (0 <= y + dy < height and 0 <= x + dx < width and known[y + dy, x + dx]):
            break
        change = depth[y + dy, x + dx] / rim
        if change > DEPTH_RATIO or change * DEPTH_RATIO < 1:
            break
        y, x, away = y + dy, x + dx, away + 1
    return y, x, 1.0 / (away * np.sqrt(dx * dx + dy * dy)), rim


@helper
def _weigh(weight, depth):
    """Drops the nearer of two opposite rays that end on different surfaces, and all others that end as near."""
    half = weight.shape[0] // 2
    near, far, contests = 0.0, 0.0, 0
    for k in range(half):
        m = k + half
        if weight[k] > 0 and weight[m] > 0 and max(depth[k], depth[m]) > DEPTH_RATIO * min(depth[k], depth[m]):
            near += np.log(min(depth[k], depth[m]))
            far += np.log(max(depth[k], depth[m]))
            contests += 1
            if depth[k] > depth[m]:
                weight[m] = 0
            else:
                weight[k] = 0
    if contests > 0:
        between = np.exp((near + far) / (2 * contests))
        rest = 0.0
        for k in range(2 * half):
            rest += weight[k] if depth[k] >= between else 0.0
        if rest > 0:
            for k in range(2 * half):
                if depth[k] < between:
                    weight[k] = 0


@kernel
def _fill(known, rgb, depth, holes_yx, out):
    """Colour and disparity of every hole pixel in the rows of ``out`` [n, 4]; disparity 0 where no ray ends."""
    ends, weight, end_depth = _new_ends(), _new_weights(), _new_weights()
    for i in range(holes_yx.shape[0]):
        for k in range(_RAYS):
            y, x, w, d = _look(known, depth, holes_yx[i], STEPS[k])
            ends[k, 0], ends[k, 1], weight[k], end_depth[k] = y, x, w * ANGLES[k], d
        _weigh(weight, end_depth)
        total = 0.0
        for k in range(_RAYS):
            total += weight[k]
        if total == 0:
            continue
        for k in range(_RAYS):
            share = weight[k] / total
            for c in range(3):
                out[i, c] += share * rgb[ends[k, 0], ends[k, 1], c]
            out[i, 3] += share / end_depth[k]


def _smooth_inside(values: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Blurs inside the holes, from hole pixels alone, more the farther from their rim."""
    sigma = SMOOTHING * cv2.distanceTransform(holes.astype(np.uint8), cv2.DIST_L2, 3)
    inside = holes.astype(np.float32)
    out, lower, low = values, values, 0.0
    for high in SMOOTHING_LEVELS_PX:
        if sigma.max() <= low:
            break
        weight = cv2.GaussianBlur(inside, (0, 0), high)[..., None]
        upper = cv2.GaussianBlur(values * inside[..., None], (0, 0), high) / np.maximum(weight, 1e-6)
        share = np.clip((sigma - low) / (high - low), 0, 1)[..., None]
        out = np.where(sigma[..., None] > low, lower + (upper - lower) * share, out)
        lower, low = upper, high
    return out


def inpaint(
    rgb: np.ndarray, depth_z: np.ndarray, known: np.ndarray, fallback_depth: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fills what is not known of one view, colour and depth, from the farther side of each hole's rim.

    Args:
        rgb: Colour [height, width, 3], float32; read where known.
        depth_z: Along the camera's axis [height, width], float32, > 0 where known [world units].
        known: Which pixels are given [height, width].
        fallback_depth: Depth of a pixel that sees no known one in any direction [world units].

    Returns:
        Colour and depth, the given values where known; black where nothing at all is known.
    """
    holes = ~known
    if not holes.any():
        return rgb.copy(), depth_z.copy()
    source_rgb = np.ascontiguousarray(rgb, dtype=np.float32)
    source_depth = np.ascontiguousarray(depth_z, dtype=np.float32)
    filled = np.zeros((int(holes.sum()), 4), dtype=np.float32)
    where = np.ascontiguousarray(np.argwhere(holes))
    _fill.bind(np.ascontiguousarray(known), source_rgb, source_depth, where, filled)()
    lost = filled[:, 3] == 0
    if lost.any():
        filled[lost, :3] = source_rgb[known].mean(axis=0) if known.any() else 0.0
        filled[lost, 3] = 1 / fallback_depth
    values = np.zeros((*known.shape, 4), dtype=np.float32)
    values[holes] = filled
    values = _smooth_inside(values, holes)
    out_rgb, out_depth = source_rgb.copy(), source_depth.copy()
    out_rgb[holes] = values[holes, :3]
    out_depth[holes] = 1 / values[holes, 3]
    return out_rgb, out_depth
