"""One event whose data is JSON, safe for any browser.

Whatever the model writes, it cannot end a line, an event or a script: all of it is one line of
JSON with the dangerous characters escaped, and ids and event names are made here. Does no I/O.
"""

from __future__ import annotations

import re

from ..sse import ServerSentEvent, encode

# A page could take the first three for markup; the others end a line of JavaScript. In JSON all
# five occur in strings only, so an escape is right wherever one stands. JSON escapes CR, LF and
# NUL by itself.
_UNSAFE = re.compile("[<>&\u2028\u2029]")


def encode_json(text: str, *, event: str = "message", id: str = "") -> bytes:
    """The bytes of an event.

    Args:
        text: JSON in one line. A lone half of a character comes out as U+FFFD.
        event: The event's name.
        id: The event's id; "" for none.
    """
    return encode(ServerSentEvent(event, _UNSAFE.sub(_escape, text), id))


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
