"""JSON from a server as values that can be copied, pickled, shown and encoded.

Pure. Reads numbers of any length, replaces halves of surrogate pairs, and keeps nesting down to
`MAX_DEPTH`. Knows no service's field names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

from ..interrupts import is_interrupt
from ..surrogates import scalar_text

__all__ = ["WHITE_SPACE", "cleaned", "decoded", "parse", "scan"]

MAX_DEPTH = 100
"""Levels of nesting that are kept: copying, pickling and showing a value take several of Python's
frames for each level."""

WHITE_SPACE = " \t\n\r"
"""What JSON allows around a value."""

_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _any_int(digits: str) -> int | float:
    """A whole number; one that is too long for Python's int (4,300 digits) becomes infinity."""
    try:
        return int(digits)
    except ValueError as error:
        if is_interrupt(error):
            raise
    return float(digits)


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
_any_number = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_any_int)
# Servers in Python write NaN and -Infinity, among log probabilities say. They stand for no number.
_any_constant = json.JSONDecoder(parse_constant=lambda name: None, parse_int=_any_int)

# scan_once() is what decode() calls, without the two searches for white space, which cost as much
# again. It is not documented, so raw_decode() stands in where it is missing.
scan: Callable[[str, int], tuple[Any, int]] = getattr(_decoder, "scan_once", _decoder.raw_decode)
"""Read the JSON value at a position, as `json` does; the value and where it ends.

Raises:
    ValueError, RecursionError, StopIteration: There is no such value.
"""


def parse(data: str) -> Any:
    """Read JSON.

    Raises:
        ValueError: The data is not JSON.
        RecursionError: A bracket is never closed, too deep inside others to be read.
    """
    return cleaned(decoded(data))


def decoded(data: str, *, constants: bool = False) -> Any:
    """Read JSON, before `cleaned`: texts still hold halves of surrogate pairs.

    Args:
        data: The text.
        constants: Whether to read NaN and infinities, which are not JSON, as None.

    Raises:
        ValueError: The data is not JSON.
        RecursionError: A bracket is never closed, too deep inside others to be read.
    """
    decoder = _any_constant if constants else _any_number
    try:
        return decoder.decode(data)
    except RecursionError as error:
        if is_interrupt(error):
            raise
    return decoder.decode(_pruned(data))


def _pruned(data: str) -> str:
    """The same JSON with null for each value that is nested deeper than MAX_DEPTH."""
    kept: list[str] = []
    depth = start = 0
    for match in _BRACKETS.finditer(data):
        if match[0] in ("[", "{"):
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept += [data[start : match.start()], "null"]
        elif match[0] in ("]", "}"):
            if depth == MAX_DEPTH + 1:
                start = match.end()
            depth -= 1
    return "".join([*kept, data[start:] if depth <= MAX_DEPTH else ""])


def cleaned(value: Any, depth: int = MAX_DEPTH) -> Any:
    """The same value with every text encodable, down to a depth."""
    if isinstance(value, str):
        return scalar_text(value)
    if depth == 0 and isinstance(value, list | dict):
        return None
    if isinstance(value, list):
        return [cleaned(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {scalar_text(name): cleaned(item, depth - 1) for name, item in value.items()}
    return value
