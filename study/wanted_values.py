"""What a key of the configuration takes, in words, and what was probably meant instead of a wrong
value.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Union

ALIKE = 0.5  # of difflib's ratio, from which on a word is taken for a mistyped one
_SIMPLE = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    type(None): "null",
}


def did_you_mean(value: Any, choices: Sequence[str]) -> str:
    """Return a question that names the nearest right words, to be put behind a message; empty if
    none is near.

    >>> did_you_mean("tpee", ["tpe", "random"])
    '. Did you mean tpe?'
    """
    given = [str(one) for one in (value if isinstance(value, list | tuple) else [value])]
    near = [
        word
        for one in given
        if one not in choices
        for word in difflib.get_close_matches(one, choices, n=2, cutoff=ALIKE)
    ]
    return f". Did you mean {' or '.join(dict.fromkeys(near))}?" if near else ""


def wrong_value(key: str, value: Any, hint: Any) -> str:
    """Return the message for a value that a key does not take.

    Parameters
    ----------
    key : str
        With dots.
    value : Any
        As YAML reads it.
    hint : Any
        The key's type.
    """
    return f"{key} must be {describe(hint)}; got {value!r}{did_you_mean(value, [*_words(hint)])}"


def describe(hint: Any) -> str:
    """Return in words what a type of the configuration takes.

    >>> describe(int | None)
    'a whole number or null'
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return describe(arguments[0])
    if origin is Literal:
        words = ", ".join(arguments)
        return f"one of {words}" if len(arguments) > 1 else words
    if origin in (Union, types.UnionType):
        return " or ".join(map(describe, arguments))
    if origin is list:
        return f"a list in brackets, each item {describe(arguments[0])}"
    if origin is dict:
        return f"a list in braces, each item {' : '.join(map(describe, arguments))}"
    return _SIMPLE[hint]


def _words(hint: Any) -> Iterator[str]:
    """Yield the words that a type takes, also as items of a list."""
    for part in typing.get_args(hint):
        if typing.get_origin(hint) is Literal:
            yield part
        else:
            yield from _words(part)
