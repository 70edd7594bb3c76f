"""Numba kernels that blend the ellipses into the image, tile by tile, front to back.

A tile's ellipses are first turned into a list of blocks of pixels, which a single loop without branches then walks: a
loop over the rows of each ellipse would mispredict its end every time.

What LLVM needs to turn the pixel loops into vector code: all planes of a tile in ONE flat float32 array at constant
offsets, unsigned loop variables, float32 constants, no branches.
"""

from __future__ import annotations

import numpy as np

from onescene.splatting import numba_layout as at
from onescene.splatting.numba_compile import helper, kernel
from onescene.splatting.numba_vectors import fetch_ahead, on_stack

new_planes = on_stack((at.PLANES,), np.float32)
new_work, new_ends = on_stack((at.WORK * at.BLOCK + at.BLOCKS,), np.int64), on_stack((at.WORK,), np.int64)


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
def fetch_records(records, lists, first, last):
    """Asks for the records of some entries of the lists, which lie all over the memory, before they are needed."""
    for j in range(first, last):
        fetch_ahead(records, np.int64(lists[j]))


@helper
def list_work(rec, lists, span, left, top, work, ends):
    """Lists the blocks of a tile that some ellipses touch, ellipse by ellipse; returns their number.

    Args:
        rec: Records.
        lists: Records of all tiles.
        span: Which entries of the lists: first, and one past the last.
        left: First column of the tile.
        top: Its first row.
        work: Filled; for every strip 8 entries are written and as many kept as count, which saves a branch.
        ends: Filled: one past the last entry of work of each ellipse.
    """
    count = 0
    for j in range(span[1] - span[0]):
        r = lists[span[0] + j]
        for strip in range(at.TILE // at.STRIP):
            first, last = blocks_of(rec, r, left, top, strip)
            entry = np.int64(r) * at.BLOCK + first
            for k in range(np.uintp(at.BLOCKS)):
                work[np.uintp(count) + k] = entry + np.int64(k)
            count += last - first
        ends[j] = count
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
    lit = np.int32(0)
    for p in range(np.uintp(at.AREA)):
        lit |= np.int32(planes[np.uintp(at.LIGHT) + p] > at.ZERO)
    return lit == 0


@helper
def fill(array, first, last, value):
    """Writes one value to array[first:last]."""
    for p in range(np.uintp(first), np.uintp(last)):
        array[p] = value


@helper
def start_planes(planes, left, top):
    """Places an empty tile: pixel centres strip by strip, full light."""
    for p in range(at.AREA):
        column = p % at.STRIP + p // at.STRIP_AREA * at.STRIP
        planes[at.COLUMN + p] = np.float32(left + column) + at.HALF
        planes[at.ROW + p] = np.float32(top + p % at.STRIP_AREA // at.STRIP) + at.HALF
    fill(planes, at.LIGHT, at.OUT, at.ONE)


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
    planes, work, ends = new_planes(), new_work(), new_ends()
    height, width = image.shape[1], image.shape[2]
    for tile in range(first, last):
        left, top = (tile % tiles_x) * at.TILE, (tile // tiles_x) * at.TILE
        start_planes(planes, left, top)
        fill(planes, at.OUT, at.PLANES, at.ZERO)
        for j in range(offsets[tile], offsets[tile + 1], at.WORK):
            span = j, min(j + at.WORK, offsets[tile + 1])
            fetch_records(records, lists, span[1], min(span[1] + at.WORK, offsets[last]))
            for i in range(list_work(records, lists, span, np.float32(left), np.float32(top), work, ends)):
                entry = work[i]
                blend_block(planes, records, entry >> 4, np.uintp(entry & 15) * np.uintp(at.BLOCK))
            if is_dark(planes):
                break
        rows = np.uintp(min(at.TILE, height - top))
        for strip in range(at.TILE // at.STRIP):
            x = left + strip * at.STRIP
            columns = np.uintp(max(min(at.STRIP, width - x), 0))
            store_strip(planes, np.uintp(strip * at.STRIP_AREA), image, np.uintp(x), np.uintp(top), columns, rows)
