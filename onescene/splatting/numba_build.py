"""Turns kernels into machine code with Numba; imported only when one has to be compiled.

Numba by itself prepares every function to be called from Python, optimises it and makes machine code of it, then does
so again for the functions that call it. Here a helper is left as Numba wrote it, in LLVM's own language, until the
kernel is whole: that is optimised once.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numba
import numpy as np
from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.typed_passes import InlineOverloads, NopythonRewrites
from numba.core.untyped_passes import InlineClosureLikes
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype

# Passes over the code for what no kernel has: expressions of whole arrays, closures, overloads put in place early.
UNNEEDED = (NopythonRewrites, InlineOverloads, InlineClosureLikes)


class _Library(JITCodeLibrary):
    """What a function and the helpers that it calls became, in LLVM's language, until its machine code is asked for."""

    def _optimize_functions(self, module):
        pass

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalized = True

    def get_pointer_to_function(self, name):
        """Numba's question for a way in from Python: the helpers are gathered, there is none."""
        self._ensure_finalized()
        return 0

    @property
    def codegen(self):
        """Numba asks what follows of its code generator, which knows nothing of this library."""
        return self

    def set_env(self, name, environment):
        """Kernels meet no Python object: none is stored for them."""

    def machine_code(self) -> bytes:
        """The object file of everything gathered here."""
        self._ensure_finalized()
        super()._optimize_final_module()
        return self._codegen._tm.emit_object(self._final_module)


class _Compiler(CompilerBase):
    """Numba's compiler with our library; LLVM is told that the arrays a function is given do not overlap."""

    def __init__(self, typingctx, targetctx, library, args, return_type, flags, locals):
        flags.noalias = True
        library = _Library(targetctx.codegen(), "kernel")
        super().__init__(typingctx, targetctx, library, args, return_type, flags, locals)

    def define_pipelines(self):
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.passes = [each for each in passes.passes if each[0] not in UNNEEDED]
        passes.finalize()
        return [passes]


def declare_helper(function: Callable) -> Callable:
    """What Numba calls in place of a helper: fast float arithmetic, no exceptions, no memory of its own."""
    options = {"fastmath": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(**options, _nrt=False, pipeline_class=_Compiler)(function)


def declare_instruction(function: Callable) -> Callable:
    """What Numba calls in place of an instruction."""
    declared = intrinsic(function)
    cpu_target.typing_context.refresh()
    return declared


def type_of(declared: Callable) -> types.Type:
    """The type under which Numba finds what was declared."""
    return cpu_target.typing_context.resolve_value_type(declared)


def _type_of_argument(value: int | np.ndarray | tuple) -> types.Type:
    if isinstance(value, tuple):
        return types.Tuple([_type_of_argument(each) for each in value])
    return types.int64 if isinstance(value, int) else types.Array(from_dtype(value.dtype), value.ndim, "C")


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection meanwhile: a compiler's millions of objects all live, looking them over takes a tenth."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def machine_code(function: Callable, arguments: tuple) -> tuple[str, bytes]:
    """Compiles a function for arguments like these: the symbol that it has, and the object file."""
    with global_compiler_lock, _uncollected():
        dispatcher = declare_helper(function)
        signature = tuple(_type_of_argument(each) for each in arguments)
        dispatcher.compile(signature)
        result = dispatcher.overloads[signature]
        return result.fndesc.llvm_func_name, result.library.machine_code()
