"""How kernels are declared and called: machine code from the cache, and Numba only where there is none yet.

What happens to a function marked ``@kernel``:

1. ``bind`` looks at its arrays once. Their types and dimensions are the signature, their addresses and shapes the words
   that the machine code will be handed.
2. If the cache (``numba_cache``) has machine code for this signature, LLVM loads it. Numba is not even imported, which
   would take longer than all the rest.
3. Otherwise Numba (``numba_build``) translates the function and every ``@helper`` and ``@instruction`` it calls, LLVM
   makes machine code of the whole, and that goes into the cache.
4. A call goes through ctypes, which releases the GIL, by Numba's own convention: where to put a result and an
   exception, then word by word the arguments. An array is two words on who owns its memory (nobody asks here), the
   number of its entries, the bytes of one, the address of the first, its shape and its strides; a tuple is its members.

Hence what holds for kernels: they return nothing, raise nothing and take no memory (``numba_vectors.on_stack`` gives
them arrays of their own), so that their code asks nothing of the process that loads it. Whole numbers come first,
arrays last. No two arrays may overlap if one of them is written. A kernel outside this folder has its helpers in its
own file, because the cache knows by the sources whether code is stale.
"""

from __future__ import annotations

import ctypes
import hashlib
import inspect
import logging
from collections.abc import Callable
from functools import cache, cached_property, update_wrapper
from pathlib import Path
from threading import RLock

import numpy as np

logger = logging.getLogger(__name__)

DONE = (0, -2)  # what a kernel returns: Numba's codes for a result, and for the result None
_lock = RLock()


class _Part:
    """A function that kernels call. Numba is told of it when it first meets the name in a kernel."""

    def __init__(self, function: Callable, declare: str):
        update_wrapper(self, function)
        self._declare = declare

    @cached_property
    def _numba_type_(self):  # Numba asks any object that it does not know for this attribute
        from onescene.splatting import numba_build

        self._declared = getattr(numba_build, self._declare)(self.__wrapped__)
        return numba_build.type_of(self._declared)


def helper(function: Callable) -> _Part:
    """Declares a function that becomes a part of the kernels that call it; it cannot be called from Python."""
    return _Part(inspect.unwrap(function), "declare_helper")  # shape checking may have wrapped it


def instruction(function: Callable) -> _Part:
    """Declares what Numba has no word for: a function that writes LLVM code (see ``numba.extending.intrinsic``)."""
    return _Part(inspect.unwrap(function), "declare_instruction")


def kernel(function: Callable) -> Kernel:
    """Declares a function that is compiled for this machine: fast float arithmetic, no GIL, kept in the cache."""
    return Kernel(inspect.unwrap(function))


class Kernel:
    """A function that Python calls as machine code."""

    def __init__(self, function: Callable):
        update_wrapper(self, function)
        self._parameters = function.__code__.co_argcount
        self._entries: dict[str, Callable] = {}

    def bind(self, *arrays: np.ndarray | tuple) -> Callable[..., None]:
        """Looks at the last arguments once; returns a function of the first ones, the whole numbers.

        Args:
            arrays: Arrays in C order, or tuples of such; kept alive as long as what is returned.

        Raises:
            ValueError: an array is not in C order.
        """
        kinds, words = _flatten(arrays)
        wanted = self._parameters - len(arrays)
        entry = self._entries.get(kinds) or self._enter(kinds, (*(0,) * wanted, *arrays))
        unused = (ctypes.c_void_p * 2)()  # where a result and an exception would go
        first, second = ctypes.byref(unused), ctypes.byref(unused, ctypes.sizeof(ctypes.c_void_p))

        def call(*numbers: int) -> None:
            if len(numbers) != wanted:  # the machine code would take an address for a number
                raise TypeError(f"{self.__name__} takes {wanted} whole numbers here, got {len(numbers)}")
            status = entry(first, second, *map(ctypes.c_int64, numbers), *words)
            if status not in DONE:
                raise RuntimeError(f"{self.__name__} stopped with status {status}")

        call.arrays = arrays
        return call

    def _enter(self, kinds: str, arguments: tuple) -> Callable:
        """The way into the machine code for arguments of these kinds, which is compiled if it has to be."""
        from onescene.splatting import numba_cache  # LLVM takes a moment to import

        with _lock:
            if kinds not in self._entries:
                source = Path(inspect.getfile(self.__wrapped__)).read_bytes()
                name = f"{self.__name__}-{hashlib.sha256(source + kinds.encode()).hexdigest()[:16]}"
                address = numba_cache.load_kept(name)
                if address is None:
                    made = self._compile(arguments)
                    numba_cache.keep(name, *made)
                    address = numba_cache.load(*made)
                self._entries[kinds] = ctypes.CFUNCTYPE(ctypes.c_int32)(address)
            return self._entries[kinds]

    def _compile(self, arguments: tuple) -> tuple[str, bytes]:
        """The symbol and the object file for arguments like these."""
        if self.__module__.startswith(f"{__package__}."):
            _announce_renderer()
        from onescene.splatting import numba_build  # Numba takes half a second to import

        return numba_build.machine_code(self.__wrapped__, arguments)


@cache
def _announce_renderer() -> None:
    """Says once, before the first of many kernels is compiled, what one waits for."""
    from onescene.splatting import numba_cache

    folder = numba_cache.cache_folder()
    logger.warning("compiling the CPU renderer: some seconds, once per machine (kept in %s)", folder)


def _flatten(value: np.ndarray | tuple) -> tuple[str, list[ctypes.c_int64]]:
    """The kind of an argument in words, and the words that stand for it."""
    if isinstance(value, tuple):
        kinds, words = zip(*map(_flatten, value), strict=True) if value else ((), ())
        return f"({','.join(kinds)})", [word for each in words for word in each]
    if not (value.flags.c_contiguous and value.flags.aligned):
        raise ValueError(f"a kernel's arrays must be in C order, got strides {value.strides} of shape {value.shape}")
    numbers = (0, 0, value.size, value.itemsize, value.ctypes.data, *value.shape, *value.strides)
    return f"{value.dtype.str}{value.ndim}", [ctypes.c_int64(number) for number in numbers]
