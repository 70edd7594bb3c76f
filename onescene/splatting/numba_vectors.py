"""What Numba has no word for: fetching memory ahead of its use, and sixteen sums at once in vector registers."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from onescene.splatting import numba_layout as at

LANES = at.BLOCK  # pixels of a block
VECTOR = ir.VectorType(ir.FloatType(), LANES)

_BOTH = np.arange(2 * LANES)  # the lanes of two vectors
# One step of the sums adds the two halves of each of two vectors into one: halves are 8, 4, 2 lanes apart, then
# neighbours. With vectors k and k + bit paired in these steps, lane k ends up with the sum of vector k.
_STEPS = (
    (4, [_BOTH.reshape(2, 2, 8)[:, half] for half in (0, 1)]),
    (8, [_BOTH.reshape(2, 2, 2, 4)[:, :, half] for half in (0, 1)]),
    (1, [_BOTH.reshape(2, 4, 2, 2)[:, :, half].transpose(1, 0, 2) for half in (0, 1)]),
    (2, [_BOTH.reshape(2, 4, 2, 2)[..., half].transpose(1, 0, 2) for half in (0, 1)]),
)


def _row(context, builder, kind, array, row):
    """Address of the first entry of a row of a two-dimensional array."""
    opened = context.make_array(kind)(context, builder, array)
    shape, strides = cgutils.unpack_tuple(builder, opened.shape), cgutils.unpack_tuple(builder, opened.strides)
    zero = ir.Constant(ir.IntType(64), 0)
    return cgutils.get_item_pointer2(context, builder, opened.data, shape, strides, kind.layout, (row, zero))


@intrinsic
def fetch_ahead(typingctx, array, row):
    """``fetch_ahead(array, row)``: asks for the memory of a row of 16 floats, which is written or read later."""

    def generate(context, builder, signature, arguments):
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        place = builder.bitcast(_row(context, builder, array, *arguments), byte)
        prefetch = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, word, word, word]), "llvm.prefetch.p0"
        )
        builder.call(prefetch, [place, *(ir.Constant(word, v) for v in (1, 3, 1))])  # to write, near, data
        return context.get_dummy_value()

    return types.void(array, row), generate


@intrinsic
def add_sixteens(typingctx, flat, rows, row):
    """``add_sixteens(flat, rows, row)``: rows[row, k] becomes the sum of flat[16 k : 16 k + 16], for k < SUMS."""

    def generate(context, builder, signature, arguments):
        found = {k: ir.Constant(VECTOR, [0.0] * LANES) for k in range(LANES)}
        vectors = builder.bitcast(context.make_array(flat)(context, builder, arguments[0]).data, VECTOR.as_pointer())
        for k in range(at.SUMS):
            found[k] = builder.load(builder.gep(vectors, [ir.Constant(ir.IntType(64), k)]), align=4)
        for bit, halves in _STEPS:
            masks = [ir.Constant(ir.VectorType(ir.IntType(32), LANES), half.ravel().tolist()) for half in halves]
            found = {
                k: builder.fadd(*(builder.shuffle_vector(found[k], found[k + bit], mask) for mask in masks))
                for k in found
                if not k & bit
            }
        place = builder.bitcast(_row(context, builder, rows, *arguments[1:]), VECTOR.as_pointer())
        builder.store(found[0], place, align=4)
        return context.get_dummy_value()

    return types.void(flat, rows, row), generate
