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
    """A body in which every dict and list may be edited, and no caller's object changes.

    Texts are shared, as they cannot be edited: a question of 20 MB costs no more than a short one.
    A tuple becomes a list, which is the same in JSON.
    """
    # A stack of its own: what JSON's encoder can nest is deeper than what Python can recurse.
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
    """Whether two values are the same text in JSON, to its last sign and the order of its keys.

    What is not known for sure counts as different. An object that both share is not looked into.
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
    """What is to be compared within two values; None when they differ already."""
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
    """A body as UTF-8 JSON; a problem is returned, not raised, as it would hold the prompt."""
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
