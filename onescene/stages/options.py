"""Whether values that a person wrote into a file are what a dataclass's fields take."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "text",
    tuple: "a list",
    dict: "a mapping",
    type(None): "null",
}


def check_values(kind: type, values: Mapping[str, Any], told: Callable[[str], str] = str) -> None:
    """Refuses values of another type than the field of that name has, and numbers that are not finite.

    Args:
        kind: A dataclass, whose field names the keys are.
        values: Of some of its fields; a list will do for a tuple.
        told: What the sentence calls a field.

    Raises:
        ValueError: naming the field, what it takes and what it got.
    """
    hints = get_type_hints(kind)
    for key, value in values.items():
        kinds = _members(hints[key])
        if not any(_fits(value, one) for one in kinds):
            got = "null" if value is None else repr(value)
            raise ValueError(f"{told(key)} must be {' or '.join(map(_word, kinds))}, got {got}")


def _members(hint: Any) -> tuple[Any, ...]:
    """What a value may be: of a choice the classes of its words, of a union its members."""
    if get_origin(hint) is Literal:
        return tuple(dict.fromkeys(type(word) for word in get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        return tuple(kind for part in get_args(hint) for kind in _members(part))
    return (object if hint is Any else hint,)


def _items(kind: Any) -> tuple[Any, int | None]:
    """What a tuple holds, and how many of them; None = any number."""
    parts = get_args(kind)
    return (parts[0], None) if parts[1:] == (...,) else (Union[parts], len(parts))  # noqa: UP007


def _word(kind: Any) -> str:
    if get_origin(kind) is tuple:
        item, count = _items(kind)
        return f"a list{'' if count is None else f' of {count}'}, each {' or '.join(map(_word, _members(item)))}"
    return _WORDS.get(get_origin(kind) or kind, getattr(kind, "__name__", str(kind)))


def _fits(value: Any, kind: Any) -> bool:
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if get_origin(kind) is tuple:
        item, count = _items(kind)
        long = isinstance(value, list | tuple) and count in (None, len(value))
        return long and all(any(_fits(v, one) for one in _members(item)) for v in value)
    plain = {int: Integral, tuple: list | tuple}.get(kind, get_origin(kind) or kind)  # NumPy's are whole numbers too
    return isinstance(value, plain) and (plain in (bool, object) or not isinstance(value, bool))
