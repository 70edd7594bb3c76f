"""Numba kernels that walk the tiles: blending front to back, and its gradient.

The gradient walks front to back too. A pixel's rest R = <v, C> - sum_{j<=i} w_j <v, c_j> replaces the usual walk from
the back: dL/dalpha_i = T_i <v, c_i> - R_i / (1 - alpha_i). Each (ellipse, tile) pair has a row of its own for what it
collects, so there are no atomics and the bits do not depend on the number of threads.

What LLVM needs to turn the pixel loops into vector code: all planes of a tile in ONE flat float32 array at constant
offsets, unsigned loop variables, float32 constants, no branches.
"""

from __future__ import annotations

import numpy as np

from onescene.splatting import numba_layout as at
from onescene.splatting.numba_compile import kernel


@kernel
def new_planes(count):
    """Planes for one tile at a time; the first two hold the pixel centres within the tile."""
    planes = np.empty(count, np.float32)
    for p in range(at.AREA):
        planes[at.COLUMN + p] = np.float32(p % at.TILE) + at.HALF
        planes[at.ROW + p] = np.float32(p // at.TILE) + at.HALF
    return planes


@kernel
def rows_of(y, half_y):
    """The pixels of the tile's rows that an ellipse at height y touches, as a range of the flat plane."""
    low = np.int64(min(max(np.ceil(y - half_y - at.HALF), at.ZERO), np.float32(at.TILE)))
    high = np.int64(min(max(np.floor(y + half_y + at.HALF), at.ZERO), np.float32(at.TILE)))
    return low * at.TILE, max(high, low) * at.TILE


@kernel
def falloff(t):
    """exp(-8 t), exact to float32 for t <= ln(255) / 8 and anything beyond."""
    e = at.E0 + t * (at.E1 + t * (at.E2 + t * (at.E3 + t * (at.E4 + t * (at.E5 + t * at.E6)))))
    e = e * e
    e = e * e
    return e * e


@kernel
def blend_one(planes, rec, r, x, y):
    """Adds ellipse r, centred at (x, y) in the tile, to the tile's planes.

    A finished pixel keeps its light with a minus sign: no further ellipse passes the test against LIGHT_MIN.
    """
    low, high = rows_of(y, rec[r, at.HALF_Y])
    xx, xy, yy = rec[r, at.XX] * at.HALF * at.EIGHTH, rec[r, at.XY] * at.EIGHTH, rec[r, at.YY] * at.HALF * at.EIGHTH
    opacity, limit = rec[r, at.OPACITY], rec[r, at.LIMIT] * at.EIGHTH
    red, green, blue, depth = rec[r, at.RED], rec[r, at.GREEN], rec[r, at.BLUE], rec[r, at.DEPTH]
    for p in range(np.uintp(low), np.uintp(high)):
        dx = planes[np.uintp(at.COLUMN) + p] - x
        dy = planes[np.uintp(at.ROW) + p] - y
        t = xx * dx * dx + yy * dy * dy + xy * dx * dy
        alpha = min(opacity * falloff(t), at.ALPHA_MAX)
        alpha = alpha if t <= limit else at.ZERO
        light = planes[np.uintp(at.LIGHT) + p]
        weight = alpha * light
        left = light - weight
        stop = left <= at.LIGHT_MIN
        weight = at.ZERO if stop else weight
        planes[np.uintp(at.LIGHT) + p] = -abs(light) if stop else left
        planes[np.uintp(at.OUT) + p] += weight * red
        planes[np.uintp(at.OUT + at.AREA) + p] += weight * green
        planes[np.uintp(at.OUT + 2 * at.AREA) + p] += weight * blue
        planes[np.uintp(at.OUT + 3 * at.AREA) + p] += weight * depth


@kernel
def is_dark(planes):
    """True if every pixel of the tile is finished."""
    for p in range(at.AREA):
        if planes[at.LIGHT + p] > at.ZERO:
            return False
    return True


@kernel
def blend(first, last, tiles_x, offsets, lists, records, image):
    """Blends tiles first..last-1 into the image [5, H, W]: red, green, blue, depth_z, alpha."""
    planes = new_planes(at.PLANES)
    height, width = image.shape[1], image.shape[2]
    for tile in range(first, last):
        planes[at.LIGHT : at.OUT] = at.ONE
        planes[at.OUT :] = at.ZERO
        left, top = (tile % tiles_x) * at.TILE, (tile // tiles_x) * at.TILE
        for j in range(offsets[tile], offsets[tile + 1]):
            r = lists[j]
            blend_one(planes, records, r, records[r, at.X] - np.float32(left), records[r, at.Y] - np.float32(top))
            if (j & 15) == 15 and is_dark(planes):
                break
        for y in range(min(at.TILE, height - top)):
            for x in range(min(at.TILE, width - left)):
                p = y * at.TILE + x
                for channel in range(4):
                    image[channel, top + y, left + x] = planes[at.OUT + channel * at.AREA + p]
                image[4, top + y, left + x] = at.ONE - abs(planes[at.LIGHT + p])


@kernel
def start_planes_backward(planes, image, grad, left, top):
    """Loads a tile: full light, the gradients, and their product with the finished image."""
    height, width = image.shape[1], image.shape[2]
    for p in range(at.AREA):
        column, row = p % at.TILE, p // at.TILE
        planes[at.LIGHT + p] = at.ONE
        rest = at.ZERO
        inside = left + column < width and top + row < height
        for channel in range(5):
            value = grad[channel, top + row, left + column] if inside else at.ZERO
            planes[at.GRAD + channel * at.AREA + p] = value
            if inside:
                rest += value * image[channel, top + row, left + column]
        planes[at.REST + p] = rest


@kernel
def blend_one_backward(planes, rec, r, x, y, rows, row):
    """Passes ellipse r through the tile as ``blend_one`` does and writes what it collects into its row."""
    low, high = rows_of(y, rec[r, at.HALF_Y])
    xx, xy, yy = rec[r, at.XX] * at.SIXTEENTH, rec[r, at.XY] * at.SIXTEENTH, rec[r, at.YY] * at.SIXTEENTH
    opacity, limit = rec[r, at.OPACITY], rec[r, at.LIMIT] * at.EIGHTH
    red, green, blue, depth = rec[r, at.RED], rec[r, at.GREEN], rec[r, at.BLUE], rec[r, at.DEPTH]
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = at.ZERO
    for p in range(np.uintp(low), np.uintp(high)):
        dx = planes[np.uintp(at.COLUMN) + p] - x
        dy = planes[np.uintp(at.ROW) + p] - y
        u, v = xx * dx + xy * dy, xy * dx + yy * dy  # conic times offset, a sixteenth of it
        t = dx * u + dy * v
        raw = opacity * falloff(t)
        alpha = min(raw, at.ALPHA_MAX)
        alpha = alpha if t <= limit else at.ZERO
        light = planes[np.uintp(at.LIGHT) + p]
        weight = alpha * light
        left = light - weight
        stop = left <= at.LIGHT_MIN
        weight = at.ZERO if stop else weight
        planes[np.uintp(at.LIGHT) + p] = -abs(light) if stop else left
        grad_red, grad_green = planes[np.uintp(at.GRAD) + p], planes[np.uintp(at.GRAD + at.AREA) + p]
        grad_blue, grad_depth = planes[np.uintp(at.GRAD + 2 * at.AREA) + p], planes[np.uintp(at.GRAD + 3 * at.AREA) + p]
        value = red * grad_red + green * grad_green + blue * grad_blue + depth * grad_depth
        value += planes[np.uintp(at.GRAD + 4 * at.AREA) + p]
        rest = planes[np.uintp(at.REST) + p] - weight * value
        planes[np.uintp(at.REST) + p] = rest
        grad_raw = light * value - rest / (at.ONE - alpha)
        grad_raw = grad_raw if weight > at.ZERO else at.ZERO
        grad_raw = grad_raw if raw <= at.ALPHA_MAX else at.ZERO
        grad_sigma = -grad_raw * alpha  # alpha is raw wherever the gradient is not 0
        gu, gv = grad_sigma * u, grad_sigma * v
        s0 += gu
        s1 += gv
        s2 += gu * u
        s3 += gu * v
        s4 += gv * v
        s5 -= grad_sigma
        s6 += weight * grad_red
        s7 += weight * grad_green
        s8 += weight * grad_blue
        s9 += weight * grad_depth
    rows[row, 0], rows[row, 1] = s0 * at.SIXTEEN, s1 * at.SIXTEEN
    rows[row, 2], rows[row, 3], rows[row, 4] = s2 * at.SIXTEEN**2, s3 * at.SIXTEEN**2, s4 * at.SIXTEEN**2
    rows[row, 5], rows[row, 6], rows[row, 7], rows[row, 8], rows[row, 9] = s5 / opacity, s6, s7, s8, s9


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
        rows: [pairs, SUMS], filled.
    """
    offsets, lists = bins
    records, boxes, base = seen
    image, grad = images
    planes = new_planes(at.PLANES_BACKWARD)
    for tile in range(first, last):
        tile_x, tile_y = tile % tiles_x, tile // tiles_x
        left, top = tile_x * at.TILE, tile_y * at.TILE
        start_planes_backward(planes, image, grad, left, top)
        dark = False
        for j in range(offsets[tile], offsets[tile + 1]):
            r = lists[j]
            row = base[r] + (tile_y - boxes[r, 1]) * (boxes[r, 2] - boxes[r, 0]) + tile_x - boxes[r, 0]
            if dark:
                for k in range(at.SUMS):
                    rows[row, k] = at.ZERO
                continue
            x, y = records[r, at.X] - np.float32(left), records[r, at.Y] - np.float32(top)
            blend_one_backward(planes, records, r, x, y, rows, row)
            if (j & 15) == 15:
                dark = is_dark(planes)
