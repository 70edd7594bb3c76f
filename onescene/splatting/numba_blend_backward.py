"""Numba kernels that carry the gradient of the image back to the ellipses, tile by tile.

The gradient walks front to back as the image does. A pixel's rest R = <v, C> - sum_{j<=i} w_j <v, c_j> replaces the
usual walk from the back: dL/dalpha_i = T_i <v, c_i> - R_i / (1 - alpha_i). Each (ellipse, tile) pair has a row of its
own for what it collects, so there are no atomics and the bits do not depend on the number of threads.

The rows lie in the order in which ``numba_project_backward`` reads them, hence all over the memory for a tile: they are
asked for ahead, since a store that waits for its memory holds up all stores behind it. Sixteen pixels of a block add to
sixteen sums; only when an ellipse leaves the tile do these become one.
"""

from __future__ import annotations

import numpy as np

from onescene.splatting import numba_layout as at
from onescene.splatting.numba_blend import (
    falloff,
    fetch_records,
    fill,
    is_dark,
    let_through,
    list_work,
    new_ends,
    new_work,
    start_planes,
)
from onescene.splatting.numba_compile import helper, kernel
from onescene.splatting.numba_vectors import add_sixteens, fetch_ahead, on_stack

new_planes, new_sums = on_stack((at.PLANES_BACKWARD,), np.float32), on_stack((at.SUMS * at.BLOCK,), np.float32)
new_raw = on_stack((at.WORK * at.BLOCK * at.BLOCK,), np.float32)


@helper
def load_pixel(planes, p, image, grad, row, column):
    """Reads the gradient of a pixel, and its product with the finished image, into the planes."""
    rest = at.ZERO
    for channel in range(5):
        value = grad[channel, row, column]
        planes[np.uintp(at.GRAD + channel * at.AREA) + p] = value
        rest += value * image[channel, row, column] if value != at.ZERO else at.ZERO
    planes[np.uintp(at.REST) + p] = rest


@helper
def load_strip(planes, strip, images, corner):
    """Reads what belongs to the pixels of a strip; a row of it at once, unless the image ends there."""
    image, grad = images
    columns = np.uintp(max(min(at.STRIP, image.shape[2] - corner[0]), 0))
    rows = np.uintp(min(at.TILE, image.shape[1] - corner[1]))
    first = np.uintp(strip * at.STRIP_AREA)
    left, top = np.uintp(corner[0]), np.uintp(corner[1])
    for y in range(rows):
        p, row = first + y * np.uintp(at.STRIP), top + y
        if columns == at.STRIP:
            for x in range(np.uintp(at.STRIP)):
                load_pixel(planes, p + x, image, grad, row, left + x)
        else:
            for x in range(columns):
                load_pixel(planes, p + x, image, grad, row, left + x)


@helper
def list_alphas(planes, rec, work, count, raw):
    """Finds the alphas of all blocks listed, not yet clamped: none waits for another, which keeps the processor busy.

    Args:
        planes: Of the tile.
        rec: Records.
        work: Blocks listed.
        count: How many.
        raw: Filled with 16 alphas for each block.
    """
    for i in range(np.uintp(count)):
        r, first = np.uintp(work[i] >> 4), np.uintp(work[i] & 15) * np.uintp(at.BLOCK)
        x, y, xx, xy, yy, fade = (
            rec[r, at.X],
            rec[r, at.Y],
            rec[r, at.XX],
            rec[r, at.XY],
            rec[r, at.YY],
            rec[r, at.FADE],
        )
        for k in range(np.uintp(at.BLOCK)):
            dx, dy = planes[np.uintp(at.COLUMN) + first + k] - x, planes[np.uintp(at.ROW) + first + k] - y
            t = dx * (xx * dx + xy * dy) + (yy * dy * dy + fade)
            raw[i * np.uintp(at.BLOCK) + k] = falloff(t) if t <= at.FAINTEST else at.ZERO


@helper
def find_rows(lists, span, seen, tile, rows, targets):
    """Finds the row that belongs to each of some entries of a tile's list and asks for its memory.

    Args:
        lists: Records of all tiles.
        span: Which entries: first, and one past the last.
        seen: Boxes and first rows of the records.
        tile: Column and row of the tile.
        rows: [pairs, PAIR].
        targets: Filled with their rows.
    """
    boxes, base = seen
    for j in range(span[0], span[1]):
        r = np.uintp(lists[j])
        row = base[r] + (tile[1] - boxes[r, 1]) * (boxes[r, 2] - boxes[r, 0]) + tile[0] - boxes[r, 0]
        targets[j - span[0]] = row
        fetch_ahead(rows, row)


@helper
def pair_backward(planes, rec, r, work, span, raw, sums):
    """Passes an ellipse through its blocks as ``blend_block`` does and adds up what it collects.

    Args:
        planes: Of the tile.
        rec: Records.
        r: Which record.
        work: Blocks listed.
        span: Which of them are the ellipse's: first, and one past the last.
        raw: Their alphas.
        sums: Filled with SUMS times 16 sums.
    """
    x, y = rec[r, at.X], rec[r, at.Y]
    xx, xy, yy = rec[r, at.XX], rec[r, at.XY] * at.HALF, rec[r, at.YY]
    red, green, blue, depth = rec[r, at.RED], rec[r, at.GREEN], rec[r, at.BLUE], rec[r, at.DEPTH]
    for k in range(np.uintp(at.SUMS * at.BLOCK)):
        sums[k] = at.ZERO
    for i in range(np.uintp(span[0]), np.uintp(span[1])):
        first = np.uintp(work[i] & 15) * np.uintp(at.BLOCK)
        for k in range(np.uintp(at.BLOCK)):
            p = first + k
            dx, dy = planes[np.uintp(at.COLUMN) + p] - x, planes[np.uintp(at.ROW) + p] - y
            u, v = xx * dx + xy * dy, xy * dx + yy * dy  # conic times offset, a sixteenth of it
            found = raw[i * np.uintp(at.BLOCK) + k]
            alpha = min(found, at.ALPHA_MAX)
            light, weight = let_through(planes, p, alpha)
            grad_red, grad_green = planes[np.uintp(at.GRAD) + p], planes[np.uintp(at.GRAD + at.AREA) + p]
            grad_blue = planes[np.uintp(at.GRAD + 2 * at.AREA) + p]
            grad_depth = planes[np.uintp(at.GRAD + 3 * at.AREA) + p]
            value = red * grad_red + green * grad_green + blue * grad_blue + depth * grad_depth
            value += planes[np.uintp(at.GRAD + 4 * at.AREA) + p]
            rest = planes[np.uintp(at.REST) + p] - weight * value
            planes[np.uintp(at.REST) + p] = rest
            grad_raw = light * value - rest / (at.ONE - alpha)
            grad_raw = grad_raw if weight > at.ZERO else at.ZERO
            grad_raw = grad_raw if found <= at.ALPHA_MAX else at.ZERO
            grad_sigma = -grad_raw * alpha  # alpha is found wherever the gradient is not 0
            gu, gv = grad_sigma * u, grad_sigma * v
            sums[k] += gu
            sums[np.uintp(at.BLOCK) + k] += gv
            sums[np.uintp(2 * at.BLOCK) + k] += gu * u
            sums[np.uintp(3 * at.BLOCK) + k] += gu * v
            sums[np.uintp(4 * at.BLOCK) + k] += gv * v
            sums[np.uintp(5 * at.BLOCK) + k] -= grad_sigma
            sums[np.uintp(6 * at.BLOCK) + k] += weight * grad_red
            sums[np.uintp(7 * at.BLOCK) + k] += weight * grad_green
            sums[np.uintp(8 * at.BLOCK) + k] += weight * grad_blue
            sums[np.uintp(9 * at.BLOCK) + k] += weight * grad_depth


@kernel
def blend_backward(first, last, tiles_x, bins, seen, images, rows):
    """Fills the rows of every pair of tiles first..last-1.

    Args:
        first: First tile.
        last: One past the last tile.
        tiles_x: Tiles side by side in the image.
        bins: First list entry of each tile, and the records in the lists.
        seen: Records, their boxes, and their first rows.
        images: The finished image and its gradient, [5, H, W].
        rows: [pairs, PAIR], filled.
    """
    offsets, lists = bins
    records, boxes, base = seen
    planes, sums, raw = new_planes(), new_sums(), new_raw()
    work, ends, targets = new_work(), new_ends(), new_ends()
    for tile in range(first, last):
        tile_x, tile_y = tile % tiles_x, tile // tiles_x
        left, top = tile_x * at.TILE, tile_y * at.TILE
        start_planes(planes, left, top)
        fill(planes, at.REST, at.PLANES_BACKWARD, at.ZERO)
        for strip in range(at.TILE // at.STRIP):
            load_strip(planes, strip, images, (left + strip * at.STRIP, top))
        dark = False
        for j in range(offsets[tile], offsets[tile + 1], at.WORK):
            span = j, min(j + at.WORK, offsets[tile + 1])
            fetch_records(records, lists, span[1], min(span[1] + at.WORK, offsets[last]))
            find_rows(lists, span, (boxes, base), (tile_x, tile_y), rows, targets)
            dark = dark or is_dark(planes)
            if dark:  # the rest of the list collects nothing
                fill(ends, 0, at.WORK, 0)
            else:
                count = list_work(records, lists, span, np.float32(left), np.float32(top), work, ends)
                list_alphas(planes, records, work, count, raw)
            begin = np.int64(0)
            for m in range(span[1] - span[0]):
                pair_backward(planes, records, np.uintp(lists[j + m]), work, (begin, ends[m]), raw, sums)
                add_sixteens(sums, rows, targets[m])
                begin = ends[m]
