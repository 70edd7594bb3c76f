"""What Numba has no word for: arrays of a kernel's own, memory fetched ahead of its use, sixteen sums at once.

The sums stay in vector registers. Numba and LLVM's builder are imported only when an instruction is compiled.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from onescene.splatting import numba_layout as at
from onescene.splatting.numba_compile import instruction

LANES = at.BLOCK  # pixels of a block

_BOTH = np.arange(2 * LANES)  # the lanes of two vectors
# One step of the sums adds the two halves of each of two vectors into one: halves are 8, 4, 2 lanes apart, then
# neighbours. With vectors k and k + bit paired in these steps, lane k ends up with the sum of vector k.
_STEPS = (
    (4, [_BOTH.reshape(2, 2, 8)[:, half] for half in (0, 1)]),
    (8, [_BOTH.reshape(2, 2, 2, 4)[:, :, half] for half in (0, 1)]),
    (1, [_BOTH.reshape(2, 4, 2, 2)[:, :, half].transpose(1, 0, 2) for half in (0, 1)]),
    (2, [_BOTH.reshape(2, 4, 2, 2)[..., half].transpose(1, 0, 2) for half in (0, 1)]),
)


def on_stack(shape: tuple[int, ...], dtype: type) -> Callable:
    """An instruction without arguments: gives the function that calls it an array, not filled in, till it returns."""

    @instruction
    def array(typingctx):
        from numba.core import types
        from numba.np.arrayobj import populate_array
        from numba.np.numpy_support import from_dtype

        like = np.empty(shape, dtype)
        kind = types.Array(from_dtype(like.dtype), like.ndim, "C")

        def generate(context, builder, signature, arguments):
            with builder.goto_entry_block():  # a call inside a loop takes no more than one before it
                room = builder.alloca(context.get_data_type(kind.dtype), math.prod(shape))
            room.align = 64
            sides, steps = ([context.get_constant(types.intp, n) for n in each] for each in (like.shape, like.strides))
            made = context.make_array(kind)(context, builder)
            populate_array(made, room, sides, steps, context.get_constant(types.intp, like.itemsize), meminfo=None)
            return made._getvalue()

        return kind(), generate

    return array


def _row(context, builder, kind, array, row):
    """Address of the first entry of a row of a two-dimensional array."""
    from llvmlite import ir
    from numba.core import cgutils

    opened = context.make_array(kind)(context, builder, array)
    shape, strides = cgutils.unpack_tuple(builder, opened.shape), cgutils.unpack_tuple(builder, opened.strides)
    zero = ir.Constant(ir.IntType(64), 0)
    return cgutils.get_item_pointer2(context, builder, opened.data, shape, strides, kind.layout, (row, zero))


@instruction
def fetch_ahead(typingctx, array, row):
    """``fetch_ahead(array, row)``: asks for the memory of a row of 16 floats, which is written or read later."""
    from llvmlite import ir
    from numba.core import cgutils, types

    def generate(context, builder, signature, arguments):
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        place = builder.bitcast(_row(context, builder, array, *arguments), byte)
        prefetch = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, word, word, word]), "llvm.prefetch.p0"
        )
        builder.call(prefetch, [place, *(ir.Constant(word, v) for v in (1, 3, 1))])  # to write, near, data
        return context.get_dummy_value()

    return types.void(array, row), generate


@instruction
def add_sixteens(typingctx, flat, rows, row):
    """``add_sixteens(flat, rows, row)``: rows[row, k] becomes the sum of flat[16 k : 16 k + 16], for k < SUMS."""
    from llvmlite import ir
    from numba.core import types

    vector = ir.VectorType(ir.FloatType(), LANES)

    def generate(context, builder, signature, arguments):
        found = {k: ir.Constant(vector, [0.0] * LANES) for k in range(LANES)}
        vectors = builder.bitcast(context.make_array(flat)(context, builder, arguments[0]).data, vector.as_pointer())
        for k in range(at.SUMS):
            found[k] = builder.load(builder.gep(vectors, [ir.Constant(ir.IntType(64), k)]), align=4)
        for bit, halves in _STEPS:
            masks = [ir.Constant(ir.VectorType(ir.IntType(32), LANES), half.ravel().tolist()) for half in halves]
            found = {
                k: builder.fadd(*(builder.shuffle_vector(found[k], found[k + bit], mask) for mask in masks))
                for k in found
                if not k & bit
            }
        place = builder.bitcast(_row(context, builder, rows, *arguments[1:]), vector.as_pointer())
        builder.store(found[0], place, align=4)
        return context.get_dummy_value()

    return types.void(flat, rows, row), generate
