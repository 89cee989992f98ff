"""The JSON body of a request: copied, compared and encoded.

Pure. Knows no service's field names. Where a problem is returned instead of raised, a traceback
would hold the prompt.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from .errors import ConfigError
from .interrupts import is_interrupt

__all__ = ["copied_body", "encode_body", "same_json"]


def copied_body(body: dict[str, Any]) -> dict[str, Any]:
    """A copy of a body in which every dict and list may be edited.

    Texts are shared, so 20 MB of them cost no more than a short one. A tuple becomes a list, which
    is the same in JSON.
    """
    # No recursion: the encoder of `json` nests deeper than Python can recurse.
    copy = dict(body)
    pending: list[Any] = [copy]
    while pending:
        parent = pending.pop()
        for key, value in parent.items() if isinstance(parent, dict) else enumerate(parent):
            if isinstance(value, dict | list | tuple):
                parent[key] = dict(value) if isinstance(value, dict) else list(value)
                pending.append(parent[key])
    return copy


def same_json(one: object, other: object) -> bool:
    """Whether two values have the same JSON text, the order of keys included.

    Values of types other than JSON's count as different. Shared objects are not compared further.
    """
    pending: list[tuple[object, object]] = [(one, other)]
    while pending:
        one, other = pending.pop()
        parts = () if one is other else _parts(one, other)
        if parts is None:
            return False
        pending += parts
    return True


def _parts(one: Any, other: Any) -> Iterable[tuple[object, object]] | None:
    """The pairs of parts that must be equal; None when the values differ by themselves."""
    sequences = (list, tuple)
    if type(one) is type(other) is dict and len(one) == len(other):
        return zip((*one, *one.values()), (*other, *other.values()), strict=True)
    if type(one) in sequences and type(other) in sequences and len(one) == len(other):
        return zip(one, other, strict=True)
    if type(one) is type(other) is float:
        return () if repr(one) == repr(other) else None  # -0.0 equals 0.0
    same = type(one) is type(other) and type(one) in (str, int, bool) and one == other
    return () if same else None


def encode_body(body: object) -> bytes | ConfigError:
    """A body as UTF-8 JSON, or the error that says why it cannot be encoded."""
    if not isinstance(body, dict):
        return ConfigError(f"body: expected a dict, got {type(body).__name__}")
    parts = []
    for name, value in body.items():
        try:
            key = json.dumps(str(name), ensure_ascii=False)
            part = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            parts.append(f"{key}:{part}".encode())
        except UnicodeEncodeError:
            return ConfigError(f"{name!a:.200}: holds a lone surrogate, which is no text")
        except (TypeError, ValueError, RecursionError) as error:
            if is_interrupt(error):
                raise
            why = "nested too deeply" if isinstance(error, RecursionError) else type(error).__name__
            return ConfigError(f"{name!a:.200}: expected what JSON can hold ({why})")
    return b"{" + b",".join(parts) + b"}"
