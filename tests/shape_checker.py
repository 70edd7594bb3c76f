"""The checker behind ``ONESCENE_TYPECHECK=1``: beartype, on tensors' shapes and types alone.

Plain annotations (``fov_deg: float``, ``mode: Literal[...]``) are left to the package itself, whose own sentences on
a caller's mistake the tests read; an ``int`` given for a ``float`` is no mistake either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray

CONFIG = BeartypeConf(is_pep484_tower=True)


def names_a_shape(annotation: Any) -> bool:
    """Whether an annotation holds a jaxtyping type at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, AbstractArray):
        return True
    return any(names_a_shape(part) for part in get_args(annotation))


def check(function: Callable) -> Callable:
    """Checks the arguments and the result whose annotations name a shape."""
    function.__annotations__ = {k: a for k, a in function.__annotations__.items() if names_a_shape(a)}
    return beartype(function, conf=CONFIG)
