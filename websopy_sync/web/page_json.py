"""JSON that a model or a tool wrote, read only if every page can read and send it back.

Pure. Knows nothing of calls and formats.
"""

from __future__ import annotations

import json
from typing import Any, Never

from ..interrupts import is_interrupt

DEEPEST = 64
"""Most levels. A page sends an answer back, and the view's own parser stops at about a thousand."""


def read_json(text: str) -> Any:
    """The value of a JSON text.

    Returns:
        None for what some page cannot read: no JSON, NaN and infinity, deep nesting, and the keys
        that the AI SDK refuses (`__proto__`, and `constructor` with a `prototype`).
    """
    try:
        value = json.loads(text, parse_constant=_refuse, object_pairs_hook=_object)
        json.dumps(value, allow_nan=False)  # 1e999 is read as infinity
    except (ValueError, RecursionError) as error:
        if is_interrupt(error):
            raise
        return None
    # Counting is cheap, and nearly all texts have fewer brackets than levels that may be.
    brackets = text.count("[") + text.count("{")
    return None if brackets > DEEPEST and _deeper(value, DEEPEST) else value


def _refuse(constant: str) -> Never:
    raise ValueError(f"{constant} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    constructor = fields.get("constructor")
    if "__proto__" in fields or (isinstance(constructor, dict) and "prototype" in constructor):
        raise ValueError("a key that changes the prototype of an object")
    return fields


def _deeper(value: Any, levels: int) -> bool:
    """Whether a value has more levels of lists and dicts than these."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(item, levels - 1) for item in inner)
