"""A hole in a texture, filled from the texture around it: patches that fit together, coarse to fine.

Private to the panorama stage. Every patch that touches the hole looks for the most alike patch of what is known, and
the hole becomes the mean of what the found patches say about each pixel; both in turn, on a pyramid of sizes (Wexler,
Shechtman and Irani 2007). The search is PatchMatch (Barnes et al. 2009): a pixel tries what its neighbours found,
shifted by one, and random places around its own, ever closer.
"""

from __future__ import annotations

import cv2
import numpy as np

from onescene.splatting.numba_compile import helper, kernel

HALF = 3  # a patch reaches this far from its centre [pixels]
SMALLEST_PX = 40  # side of the coarsest level at least
FEWEST = 20  # patches of the known part that are needed
ROUNDS = (12, 8, 5, 3)  # of search and vote, from the coarsest level on
SWEEPS = 2  # over the picture per search; the first search of all takes five
FIRST_SWEEPS = 5
SOFTNESS = 0.3  # of the median error: how fast a patch that fits worse loses its say


@helper
def _difference(image, counted, y, x, v, u, limit):
    """Sum of squared differences of two patches where the first counts; given up once it is at least ``limit``."""
    total = 0.0
    for dy in range(-HALF, HALF + 1):
        for dx in range(-HALF, HALF + 1):
            if not counted[y + dy, x + dx]:
                continue
            for c in range(3):
                d = image[y + dy, x + dx, c] - image[v + dy, u + dx, c]
                total += d * d
        if total >= limit:
            return total
    return total


@kernel
def _search(sweeps, image, counted, wanted, usable, match, error, state):
    """Better matches for every wanted patch: forward and backward in turn."""
    height, width = wanted.shape
    for sweep in range(sweeps):
        step = 1 if sweep % 2 == 0 else -1
        for i in range(HALF, height - HALF):
            y = i if step > 0 else height - 1 - i
            for j in range(HALF, width - HALF):
                x = j if step > 0 else width - 1 - j
                if not wanted[y, x]:
                    continue
                v, u = match[y, x, 0], match[y, x, 1]
                best = error[y, x]
                for k in range(2):
                    ny, nx = (y - step, x) if k == 0 else (y, x - step)
                    if wanted[ny, nx]:
                        a, b = match[ny, nx, 0] + y - ny, match[ny, nx, 1] + x - nx
                        if 0 <= a < height and 0 <= b < width and usable[a, b]:
                            d = _difference(image, counted, y, x, a, b, best)
                            if d < best:
                                best, v, u = d, a, b
                reach = max(height, width)
                while reach >= 1:
                    state[0] = state[0] * 6364136223846793005 + 1442695040888963407  # Knuth's MMIX generator
                    a = v + ((state[0] >> 20) & 0xFFFFF) % (2 * reach + 1) - reach
                    b = u + ((state[0] >> 42) & 0xFFFFF) % (2 * reach + 1) - reach
                    if 0 <= a < height and 0 <= b < width and usable[a, b]:
                        d = _difference(image, counted, y, x, a, b, best)
                        if d < best:
                            best, v, u = d, a, b
                    reach //= 2
                error[y, x] = best
                match[y, x, 0], match[y, x, 1] = v, u


@kernel
def _measure(image, counted, wanted, match, error):
    """The error of every wanted patch's match."""
    height, width = wanted.shape
    for y in range(height):
        for x in range(width):
            if wanted[y, x]:
                error[y, x] = _difference(image, counted, y, x, match[y, x, 0], match[y, x, 1], np.inf)


@kernel
def _vote(image, hole, wanted, match, error, softness, out):
    """Every pixel of the hole from the patches that cover it, those that fit best first."""
    height, width = wanted.shape
    for y in range(height):
        for x in range(width):
            if not hole[y, x]:
                for c in range(3):
                    out[y, x, c] = image[y, x, c]
                continue
            total, red, green, blue = 1e-12, 0.0, 0.0, 0.0
            for dy in range(-HALF, HALF + 1):
                for dx in range(-HALF, HALF + 1):
                    ty, tx = y + dy, x + dx
                    if 0 <= ty < height and 0 <= tx < width and wanted[ty, tx]:
                        weight = np.exp(-error[ty, tx] / softness[0]) + 1e-9
                        v, u = match[ty, tx, 0] - dy, match[ty, tx, 1] - dx
                        red += weight * image[v, u, 0]
                        green += weight * image[v, u, 1]
                        blue += weight * image[v, u, 2]
                        total += weight
            out[y, x, 0], out[y, x, 1], out[y, x, 2] = red / total, green / total, blue / total


def whole_patches(mask: np.ndarray) -> np.ndarray:
    """True at the centres of patches that lie wholly in the mask."""
    return cv2.erode(mask.astype(np.uint8), np.ones((2 * HALF + 1,) * 2, np.uint8), borderValue=0) > 0


def touching_patches(mask: np.ndarray) -> np.ndarray:
    """True at the centres of patches that touch the mask and lie wholly in the picture."""
    touching = cv2.dilate(mask.astype(np.uint8), np.ones((2 * HALF + 1,) * 2, np.uint8)) > 0
    return touching & whole_patches(np.ones_like(touching))


def fill_from_patches(
    image: np.ndarray, hole: np.ndarray, source: np.ndarray, rng: np.random.Generator
) -> np.ndarray | None:
    """Fills the hole with patches of the source.

    Args:
        image: RGB [n, n, 3], float32; in the hole what the coarsest level starts from.
        hole: What to fill [n, n]; at least ``HALF`` pixels from the border.
        source: Where patches are taken from [n, n], outside the hole; what is neither is not looked at.
        rng: For where the search begins.

    Returns:
        RGB [n, n, 3], as it was outside the hole; None where the source is too small.
    """
    levels = [(np.ascontiguousarray(image, dtype=np.float32), hole, source)]
    while levels[-1][0].shape[0] >= 2 * SMALLEST_PX and len(levels) < len(ROUNDS) + 1:
        finer = levels[-1]
        coarser = _halved(finer[0]), _halved(finer[1]) > 0, _halved(finer[2]) > 0.999
        if whole_patches(coarser[2]).sum() < FEWEST:
            break
        levels.append(coarser)
    if whole_patches(source).sum() < FEWEST:
        return None
    state, match = rng.integers(1 << 62, size=1), None
    for k, (start, hole, source) in enumerate(levels[::-1]):
        usable, wanted, counted = whole_patches(source), touching_patches(hole), hole | source
        places = np.argwhere(usable)
        match = _enlarged(match, usable, places[rng.integers(len(places), size=hole.shape)])
        error, softness, now = np.zeros(hole.shape), np.ones(1), start.copy()
        if k > 0:  # what the coarser level found, said with this one's pixels
            _vote.bind(start, hole, wanted, match, error, softness, now)()
        for turn in range(ROUNDS[min(k, len(ROUNDS) - 1)]):
            _measure.bind(now, counted, wanted, match, error)()
            _search.bind(now, counted, wanted, usable, match, error, state)(FIRST_SWEEPS if k == turn == 0 else SWEEPS)
            softness[0] = max(SOFTNESS * np.median(error[wanted]), 1e-6)
            before = now.copy()
            _vote.bind(before, hole, wanted, match, error, softness, now)()
    return now


def _halved(x: np.ndarray) -> np.ndarray:
    n = x.shape[0] // 2
    return cv2.resize(np.ascontiguousarray(x, dtype=np.float32), (n, n), interpolation=cv2.INTER_AREA)


def _enlarged(match: np.ndarray | None, usable: np.ndarray, random: np.ndarray) -> np.ndarray:
    """A coarser level's matches at twice its size; random ones where there are none or they are not usable."""
    if match is None:
        return np.ascontiguousarray(random, dtype=np.int64)
    rows, columns = (np.arange(n) for n in usable.shape)
    coarse = [np.minimum(k // 2, n - 1) for k, n in zip((rows, columns), match.shape, strict=False)]
    found = 2 * match[np.ix_(*coarse)] + np.stack(np.meshgrid(rows % 2, columns % 2, indexing="ij"), axis=-1)
    inside = (found < usable.shape).all(axis=-1)
    found = np.where(inside[..., None], found, 0)
    good = inside & usable[found[..., 0], found[..., 1]]
    return np.ascontiguousarray(np.where(good[..., None], found, random), dtype=np.int64)
