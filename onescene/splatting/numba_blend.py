"""Numba kernels that walk the tiles: blending front to back, and its gradient.

The gradient walks front to back too. A pixel's rest R = <v, C> - sum_{j<=i} w_j <v, c_j> replaces the usual walk from
the back: dL/dalpha_i = T_i <v, c_i> - R_i / (1 - alpha_i). Each (ellipse, tile) pair has a row of its own for what it
collects, so there are no atomics and the bits do not depend on the number of threads.

A tile's ellipses are first turned into a list of blocks of pixels, which a single loop without branches then walks: a
loop over the rows of each ellipse would mispredict its end every time.

What LLVM needs to turn the pixel loops into vector code: all planes of a tile in ONE flat float32 array at constant
offsets, unsigned loop variables, float32 constants, no branches.
"""

from __future__ import annotations

import numpy as np

from onescene.splatting import numba_layout as at
from onescene.splatting.numba_compile import helper, kernel


@helper
def rows_of(rec, r, x, y):
    """The rows that ellipse r, centred at (x, y), touches in a strip from (0, 0) on: first, and one past the last."""
    left, right = at.HALF - x, np.float32(at.STRIP - 0.5) - x
    low_x, high_x = min(max(-rec[r, at.TOP], left), right), min(max(rec[r, at.TOP], left), right)
    low_square = rec[r, at.CAP] - rec[r, at.BEND] * low_x * low_x
    high_square = rec[r, at.CAP] - rec[r, at.BEND] * high_x * high_x
    slack = at.SLACK_PX + at.SLACK * abs(y)
    low = y + rec[r, at.SLOPE] * low_x - np.sqrt(max(low_square, at.ZERO)) - slack
    high = y + rec[r, at.SLOPE] * high_x + np.sqrt(max(high_square, at.ZERO)) + slack
    first = min(max(np.int64(np.ceil(min(max(low, -at.ONE), np.float32(at.TILE)) - at.HALF)), 0), at.TILE)
    last = min(np.int64(np.floor(min(max(high, -at.ONE), np.float32(at.TILE)) + at.HALF)), at.TILE)
    return first, max(last, first) if max(low_square, high_square) >= at.ZERO else first


@helper
def falloff(t):
    """exp(-8 t), exact to float32 for t <= ln(255) / 8 and anything beyond."""
    square = t * t
    e = (at.E0 + t * at.E1) + square * ((at.E2 + t * at.E3) + square * (at.E4 + t * at.E5))
    e = e * e
    e = e * e
    return e * e


@helper
def blocks_of(rec, r, left, top, strip):
    """The blocks of a tile that ellipse r touches in one of its strips: first, and one past the last.

    Args:
        rec: Records.
        r: Which record.
        left: First column of the tile.
        top: Its first row.
        strip: Which strip.
    """
    low, high = rows_of(rec, r, rec[r, at.X] - left - np.float32(strip * at.STRIP), rec[r, at.Y] - top)
    first = strip * at.BLOCKS + (low >> 1)
    return first, strip * at.BLOCKS + ((high + 1) >> 1) if high > low else first


@helper
def list_work(rec, members, left, top, work):
    """Lists the blocks of a tile that some ellipses touch, ellipse by ellipse; returns their number.

    Args:
        rec: Records.
        members: Which records.
        left: First column of the tile.
        top: Its first row.
        work: Filled; for every strip 8 entries are written and as many kept as count, which saves a branch.
    """
    count = 0
    for j in range(len(members)):
        r = members[j]
        for strip in range(at.TILE // at.STRIP):
            first, last = blocks_of(rec, r, left, top, strip)
            entry = np.int64(r) * at.BLOCK + first
            for k in range(np.uintp(at.BLOCKS)):
                work[np.uintp(count) + k] = entry + np.int64(k)
            count += last - first
    return count


@helper
def let_through(planes, p, alpha):
    """Takes an ellipse's share of a pixel's light: the light that falls on it, and its weight in the pixel.

    A finished pixel keeps its light with a minus sign: no further ellipse passes the test against LIGHT_MIN.
    """
    light = planes[np.uintp(at.LIGHT) + p]
    weight = alpha * light
    left = light - weight
    stop = left <= at.LIGHT_MIN
    planes[np.uintp(at.LIGHT) + p] = -abs(light) if stop else left
    return light, at.ZERO if stop else weight


@helper
def blend_block(planes, rec, r, first):
    """Adds ellipse r to the 16 pixels of the planes from ``first`` on."""
    x, y, xx, xy, yy = rec[r, at.X], rec[r, at.Y], rec[r, at.XX], rec[r, at.XY], rec[r, at.YY]
    red, green, blue, depth = rec[r, at.RED], rec[r, at.GREEN], rec[r, at.BLUE], rec[r, at.DEPTH]
    fade = rec[r, at.FADE]
    for k in range(np.uintp(at.BLOCK)):
        p = first + k
        dx, dy = planes[np.uintp(at.COLUMN) + p] - x, planes[np.uintp(at.ROW) + p] - y
        t = dx * (xx * dx + xy * dy) + (yy * dy * dy + fade)
        alpha = min(falloff(t), at.ALPHA_MAX)
        alpha = alpha if t <= at.FAINTEST else at.ZERO
        _, weight = let_through(planes, p, alpha)
        planes[np.uintp(at.OUT) + p] += weight * red
        planes[np.uintp(at.OUT + at.AREA) + p] += weight * green
        planes[np.uintp(at.OUT + 2 * at.AREA) + p] += weight * blue
        planes[np.uintp(at.OUT + 3 * at.AREA) + p] += weight * depth


@helper
def is_dark(planes):
    """True if every pixel of the tile is finished."""
    brightest = at.ZERO
    for p in range(np.uintp(at.AREA)):
        brightest = max(brightest, planes[np.uintp(at.LIGHT) + p])
    return brightest <= at.ZERO


@helper
def start_planes(planes, left, top):
    """Places an empty tile: pixel centres strip by strip, full light."""
    for p in range(at.AREA):
        column = p % at.STRIP + p // at.STRIP_AREA * at.STRIP
        planes[at.COLUMN + p] = np.float32(left + column) + at.HALF
        planes[at.ROW + p] = np.float32(top + p % at.STRIP_AREA // at.STRIP) + at.HALF
    planes[at.LIGHT : at.OUT] = at.ONE


@helper
def store_strip(planes, first, image, left, top, columns, rows):
    """Writes a strip of the planes into the image."""
    for y in range(rows):
        for x in range(columns):
            p = first + y * np.uintp(at.STRIP) + x
            image[0, top + y, left + x] = planes[np.uintp(at.OUT) + p]
            image[1, top + y, left + x] = planes[np.uintp(at.OUT + at.AREA) + p]
            image[2, top + y, left + x] = planes[np.uintp(at.OUT + 2 * at.AREA) + p]
            image[3, top + y, left + x] = planes[np.uintp(at.OUT + 3 * at.AREA) + p]
            image[4, top + y, left + x] = at.ONE - abs(planes[np.uintp(at.LIGHT) + p])


@kernel
def blend(first, last, tiles_x, offsets, lists, records, image):
    """Blends tiles first..last-1 into the image [5, H, W]: red, green, blue, depth_z, alpha."""
    planes = np.empty(at.PLANES, np.float32)
    work = np.empty(at.WORK * at.BLOCK + at.BLOCKS, np.int64)
    height, width = image.shape[1], image.shape[2]
    for tile in range(first, last):
        left, top = (tile % tiles_x) * at.TILE, (tile // tiles_x) * at.TILE
        start_planes(planes, left, top)
        planes[at.OUT : at.PLANES] = at.ZERO
        for j in range(offsets[tile], offsets[tile + 1], at.WORK):
            members = lists[j : min(j + at.WORK, offsets[tile + 1])]
            for i in range(list_work(records, members, np.float32(left), np.float32(top), work)):
                entry = work[i]
                blend_block(planes, records, entry >> 4, np.uintp(entry & 15) * np.uintp(at.BLOCK))
            if is_dark(planes):
                break
        rows = np.uintp(min(at.TILE, height - top))
        for strip in range(at.TILE // at.STRIP):
            x = left + strip * at.STRIP
            columns = np.uintp(max(min(at.STRIP, width - x), 0))
            store_strip(planes, np.uintp(strip * at.STRIP_AREA), image, np.uintp(x), np.uintp(top), columns, rows)


@helper
def start_planes_backward(planes, image, grad, left, top):
    """Places a tile with the gradients of its pixels and their product with the finished image."""
    height, width = image.shape[1], image.shape[2]
    start_planes(planes, left, top)
    for p in range(at.AREA):
        column, row = np.int64(planes[at.COLUMN + p]), np.int64(planes[at.ROW + p])
        rest = at.ZERO
        for channel in range(5):
            value = grad[channel, row, column] if column < width and row < height else at.ZERO
            planes[at.GRAD + channel * at.AREA + p] = value
            if value != at.ZERO:
                rest += value * image[channel, row, column]
        planes[at.REST + p] = rest


@helper
def list_spans(rec, members, left, top, spans):
    """The pixels of the planes that some ellipses touch in each strip, found ahead so that no loop waits for them."""
    for j in range(len(members)):
        for strip in range(at.TILE // at.STRIP):
            first, last = blocks_of(rec, members[j], left, top, strip)
            spans[j, strip, 0], spans[j, strip, 1] = first * at.BLOCK, last * at.BLOCK


@helper
def blend_one_backward(planes, rec, r, begin, end, rows, row):
    """Passes ellipse r through pixels begin..end-1 as ``blend_block`` does and adds what it collects to its row."""
    xx, xy, yy = rec[r, at.XX], rec[r, at.XY] * at.HALF, rec[r, at.YY]
    opacity, fade = rec[r, at.OPACITY], rec[r, at.FADE]
    red, green, blue, depth = rec[r, at.RED], rec[r, at.GREEN], rec[r, at.BLUE], rec[r, at.DEPTH]
    x, y = rec[r, at.X], rec[r, at.Y]
    for p in range(begin, end):  # a loop of its own: half as long a chain of operations keeps the processor busier
        dx, dy = planes[np.uintp(at.COLUMN) + p] - x, planes[np.uintp(at.ROW) + p] - y
        t = dx * (xx * dx + at.TWO * xy * dy) + (yy * dy * dy + fade)
        planes[np.uintp(at.RAW) + p] = falloff(t) if t <= at.FAINTEST else at.ZERO
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = at.ZERO
    for p in range(begin, end):
        dx, dy = planes[np.uintp(at.COLUMN) + p] - x, planes[np.uintp(at.ROW) + p] - y
        u, v = xx * dx + xy * dy, xy * dx + yy * dy  # conic times offset, a sixteenth of it
        raw = planes[np.uintp(at.RAW) + p]
        alpha = min(raw, at.ALPHA_MAX)
        light, weight = let_through(planes, p, alpha)
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
    rows[row, 0] += s0 * at.SIXTEEN
    rows[row, 1] += s1 * at.SIXTEEN
    rows[row, 2] += s2 * at.SIXTEEN**2
    rows[row, 3] += s3 * at.SIXTEEN**2
    rows[row, 4] += s4 * at.SIXTEEN**2
    rows[row, 5] += s5 / opacity
    rows[row, 6] += s6
    rows[row, 7] += s7
    rows[row, 8] += s8
    rows[row, 9] += s9


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
    planes, spans = np.empty(at.PLANES_BACKWARD, np.float32), np.empty((at.WORK, at.TILE // at.STRIP, 2), np.uintp)
    for tile in range(first, last):
        tile_x, tile_y = tile % tiles_x, tile // tiles_x
        left, top = tile_x * at.TILE, tile_y * at.TILE
        start_planes_backward(planes, image, grad, left, top)
        dark = False
        for j in range(offsets[tile], offsets[tile + 1]):
            within = (j - offsets[tile]) % at.WORK
            if within == 0 and not dark:
                dark = is_dark(planes)
                members = lists[j : min(j + at.WORK, offsets[tile + 1])]
                list_spans(records, members, np.float32(left), np.float32(top), spans)
            r = lists[j]
            row = base[r] + (tile_y - boxes[r, 1]) * (boxes[r, 2] - boxes[r, 0]) + tile_x - boxes[r, 0]
            for k in range(at.SUMS):
                rows[row, k] = at.ZERO
            for strip in range(0 if dark else at.TILE // at.STRIP):
                begin, end = spans[within, strip, 0], spans[within, strip, 1]
                if begin < end:
                    blend_one_backward(planes, records, r, begin, end, rows, row)
