"""Numba kernels that put the ellipses in order: by depth, then into the lists of the tiles they touch.

Shares do not depend on the number of threads, and a stable sort has one result: the lists are always the same.
"""

from __future__ import annotations

import numpy as np

from onescene.splatting.numba_compile import kernel


@kernel
def depth_order(keys, starts, counts, order, spare):
    """Radix sort: fills ``order`` with the records front to back, equal depths in the order of the Gaussians.

    Positive floats sort as their bits, given as uint32; 11 bits at a time.

    Args:
        keys: Bits of the depth of every record.
        starts: First record of each share.
        counts: Records of each share.
        order: Filled; [records in view, 2] with the record and its key.
        spare: Of the same shape, for the passes.
    """
    histogram = np.zeros((3, 2048), np.int64)
    total = 0
    for share in range(len(counts)):
        for record in range(starts[share], starts[share] + counts[share]):
            key = keys[record]
            spare[total, 0], spare[total, 1] = record, key
            histogram[0, key & 2047] += 1
            histogram[1, (key >> 11) & 2047] += 1
            histogram[2, key >> 22] += 1
            total += 1
    for digit in range(3):
        place = 0
        for value in range(2048):
            place, histogram[digit, value] = place + histogram[digit, value], place
        shift = np.uint32(11 * digit)
        source, target = (order, spare) if digit == 1 else (spare, order)
        for j in range(total):
            key = source[j, 1]
            value = (key >> shift) & np.uint32(2047)
            place = histogram[digit, value]
            histogram[digit, value] = place + 1
            target[place, 0], target[place, 1] = source[j, 0], key


@kernel
def count_tiles(first, last, order, boxes, tiles_x, histogram):
    """Counts, for one share of the depth order, how many ellipses touch each tile."""
    for j in range(first, last):
        box = boxes[order[j, 0]]
        for y in range(box[1], box[3]):
            for x in range(box[0], box[2]):
                histogram[y * tiles_x + x] += 1


@kernel
def offsets_of_tiles(histogram, offsets):
    """Turns counts [shares, tiles] into the places where each share writes; fills each tile's first place."""
    place = 0
    for tile in range(histogram.shape[1]):
        offsets[tile] = place
        for share in range(histogram.shape[0]):
            place, histogram[share, tile] = place + histogram[share, tile], place
    offsets[histogram.shape[1]] = place


@kernel
def fill_tiles(first, last, order, boxes, tiles_x, places, lists):
    """Writes one share of the depth order into the lists of the tiles it touches."""
    for j in range(first, last):
        record = order[j, 0]
        box = boxes[record]
        for y in range(box[1], box[3]):
            for x in range(box[0], box[2]):
                tile = y * tiles_x + x
                lists[places[tile]] = record
                places[tile] += 1
