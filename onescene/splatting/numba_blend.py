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
from onescene.splatting.numba_compile import kernel


@kernel
def rows_of(rec, r, x, y, width):
    """The rows that ellipse r, centred at (x, y), touches in columns 0..width-1: first, and one past the last."""
    left, right = at.HALF - x, width - at.HALF - x
    low_x, high_x = min(max(-rec[r, at.TOP], left), right), min(max(rec[r, at.TOP], left), right)
    low_square = rec[r, at.CAP] - rec[r, at.BEND] * low_x * low_x
    high_square = rec[r, at.CAP] - rec[r, at.BEND] * high_x * high_x
    slack = at.SLACK_PX + at.SLACK * abs(y)
    low = y + rec[r, at.SLOPE] * low_x - np.sqrt(max(low_square, at.ZERO)) - slack
    high = y + rec[r, at.SLOPE] * high_x + np.sqrt(max(high_square, at.ZERO)) + slack
    first = min(max(np.int64(np.ceil(min(max(low, -at.ONE), np.float32(at.TILE)) - at.HALF)), 0), at.TILE)
    last = min(np.int64(np.floor(min(max(high, -at.ONE), np.float32(at.TILE)) + at.HALF)), at.TILE)
    return first, max(last, first) if max(low_square, high_square) >= at.ZERO else first


@kernel
def falloff(t):
    """exp(-8 t), exact to float32 for t <= ln(255) / 8 and anything beyond."""
    square = t * t
    e = (at.E0 + t * at.E1) + square * ((at.E2 + t * at.E3) + square * (at.E4 + t * at.E5))
    e = e * e
    e = e * e
    return e * e


@kernel
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
        x, y = rec[r, at.X] - left, rec[r, at.Y] - top
        for strip in range(at.TILE // at.STRIP):
            low, high = rows_of(rec, r, x - np.float32(strip * at.STRIP), y, np.float32(at.STRIP))
            first = low >> 1
            entry = np.int64(r) * at.BLOCK + strip * at.BLOCKS + first
            for k in range(np.uintp(at.BLOCKS)):
                work[np.uintp(count) + k] = entry + np.int64(k)
            count += ((high + 1) >> 1) - first if high > low else 0
    return count


@kernel
def blend_block(planes, rec, r, first):
    """Adds ellipse r to the 16 pixels of the planes from ``first`` on.

    A finished pixel keeps its light with a minus sign: no further ellipse passes the test against LIGHT_MIN.
    """
    x, y, xx, xy, yy = rec[r, at.X], rec[r, at.Y], rec[r, at.XX], rec[r, at.XY], rec[r, at.YY]
    red, green, blue, depth = rec[r, at.RED], rec[r, at.GREEN], rec[r, at.BLUE], rec[r, at.DEPTH]
    fade = rec[r, at.FADE]
    for k in range(np.uintp(at.BLOCK)):
        p = first + k
        dx, dy = planes[np.uintp(at.COLUMN) + p] - x, planes[np.uintp(at.ROW) + p] - y
        t = dx * (xx * dx + xy * dy) + (yy * dy * dy + fade)
        alpha = min(falloff(t), at.ALPHA_MAX)
        alpha = alpha if t <= at.FAINTEST else at.ZERO
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
    brightest = at.ZERO
    for p in range(np.uintp(at.AREA)):
        brightest = max(brightest, planes[np.uintp(at.LIGHT) + p])
    return brightest <= at.ZERO


@kernel
def start_planes(planes, left, top):
    """Places an empty tile: pixel centres strip by strip, full light."""
    for p in range(at.AREA):
        column = p % at.STRIP + p // at.STRIP_AREA * at.STRIP
        planes[at.COLUMN + p] = np.float32(left + column) + at.HALF
        planes[at.ROW + p] = np.float32(top + p % at.STRIP_AREA // at.STRIP) + at.HALF
    planes[at.LIGHT : at.OUT] = at.ONE
    planes[at.OUT : at.PLANES] = at.ZERO


@kernel
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


@kernel
def new_planes_backward():
    """Planes for one tile at a time; the first two hold the pixel centres within the tile, row by row."""
    planes = np.empty(at.PLANES_BACKWARD, np.float32)
    for p in range(at.AREA):
        planes[at.COLUMN + p] = np.float32(p % at.TILE) + at.HALF
        planes[at.ROW + p] = np.float32(p // at.TILE) + at.HALF
    return planes


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
def list_spans(rec, members, corner, spans):
    """The rows of the tile that each of some ellipses touches, found ahead so that no loop waits for them."""
    for j in range(len(members)):
        r = members[j]
        x, y = rec[r, at.X] - corner[0], rec[r, at.Y] - corner[1]
        spans[j, 0], spans[j, 1] = rows_of(rec, r, x, y, np.float32(at.TILE))


@kernel
def blend_one_backward(planes, rec, r, corner, span, rows, row):
    """Passes ellipse r through the tile as ``blend_block`` does and writes what it collects into its row."""
    low, high = span
    xx, xy, yy = rec[r, at.XX], rec[r, at.XY] * at.HALF, rec[r, at.YY]
    opacity, fade = rec[r, at.OPACITY], rec[r, at.FADE]
    red, green, blue, depth = rec[r, at.RED], rec[r, at.GREEN], rec[r, at.BLUE], rec[r, at.DEPTH]
    x, y = rec[r, at.X] - corner[0], rec[r, at.Y] - corner[1]
    begin, end = np.uintp(low * at.TILE), np.uintp(high * at.TILE)
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
    planes, spans = new_planes_backward(), np.empty((at.WORK, 2), np.int64)
    for tile in range(first, last):
        tile_x, tile_y = tile % tiles_x, tile // tiles_x
        left, top = tile_x * at.TILE, tile_y * at.TILE
        start_planes_backward(planes, image, grad, left, top)
        corner = np.float32(left), np.float32(top)
        dark = False
        for j in range(offsets[tile], offsets[tile + 1]):
            within = (j - offsets[tile]) % at.WORK
            if within == 0 and not dark:
                dark = is_dark(planes)
                list_spans(records, lists[j : min(j + at.WORK, offsets[tile + 1])], corner, spans)
            r = lists[j]
            row = base[r] + (tile_y - boxes[r, 1]) * (boxes[r, 2] - boxes[r, 0]) + tile_x - boxes[r, 0]
            if dark:
                for k in range(at.SUMS):
                    rows[row, k] = at.ZERO
                continue
            blend_one_backward(planes, records, r, corner, (spans[within, 0], spans[within, 1]), rows, row)
