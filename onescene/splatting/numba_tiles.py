"""Numba kernels that put the ellipses in order: by depth, then into the lists of the tiles they touch.

Shares do not depend on the number of threads, and a stable sort has one result: the lists are always the same.
"""

from __future__ import annotations

import numpy as np

from onescene.splatting.numba_compile import helper, kernel
from onescene.splatting.numba_vectors import on_stack

# Columns of the depth order: a record, the bits of its depth, and the tiles it touches, left + 65536 top and right +
# 65536 bottom: carried along, because looked up for one record after another they would come from all over the memory.
RECORD, KEY, LOW, HIGH = range(4)
ENTRY = 4

new_histogram = on_stack((3, 2048), np.int64)


@kernel
def depth_order(keys, boxes, shares, base, order, spare):
    """Radix sort: fills ``order`` with the records front to back, equal depths in the order of the Gaussians.

    Positive floats sort as their bits, given as uint32; 11 bits at a time. Beside that each ellipse is given as many
    rows as it touches tiles, for its gradients, in the order of the records.

    Args:
        keys: Bits of the depth of every record.
        boxes: Tiles of every record.
        shares: First record of each share, and how many it has.
        base: Filled with the first row of every record.
        order: Filled; [records in view, ENTRY].
        spare: Of the same shape, for the passes.
    """
    histogram = new_histogram()
    for digit in range(3):
        for value in range(2048):
            histogram[digit, value] = 0
    starts, counts = shares
    total = row = 0
    for share in range(len(counts)):
        for record in range(starts[share], starts[share] + counts[share]):
            key = keys[record]
            spare[total, RECORD], spare[total, KEY] = record, key
            spare[total, LOW] = boxes[record, 0] + (boxes[record, 1] << 16)
            spare[total, HIGH] = boxes[record, 2] + (boxes[record, 3] << 16)
            base[record] = row
            row += (boxes[record, 2] - boxes[record, 0]) * (boxes[record, 3] - boxes[record, 1])
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
            value = (source[j, KEY] >> shift) & np.uint32(2047)
            place = histogram[digit, value]
            histogram[digit, value] = place + 1
            for column in range(ENTRY):
                target[place, column] = source[j, column]


@helper
def box_of(order, j):
    """The tiles that entry j of the depth order touches: left, top, right, bottom."""
    low, high = np.int64(order[j, LOW]), np.int64(order[j, HIGH])
    return low & 65535, low >> 16, high & 65535, high >> 16


@kernel
def list_tiles(first, last, share, tiles_x, order, places, lists):
    """Writes one share of the depth order into the lists of the tiles it touches.

    Args:
        first: First entry of the share.
        last: One past its last entry.
        share: Which share.
        tiles_x: Tiles side by side in the image.
        order: The depth order.
        places: Where the next entry of each share and tile goes; moved on.
        lists: Filled; empty to count only.
    """
    for j in range(first, last):
        left, top, right, bottom = box_of(order, j)
        for y in range(top, bottom):
            for x in range(left, right):
                tile = y * tiles_x + x
                if len(lists) > 0:
                    lists[places[share, tile]] = order[j, RECORD]
                places[share, tile] += 1
