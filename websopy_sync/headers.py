"""Request headers: ours, the user's, and those that are refused.

Knows nothing of URLs, bodies and sockets. The headers of a response are read in `transport`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ._version import __version__

__all__ = ["header_problem", "headers_problem", "is_token", "merged", "standard_headers"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_REFUSED = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "idempotency-key",  # an option of each call
        "last-event-id",
        "transfer-encoding",
    }
)
"""Headers that only the client sets."""


def standard_headers(*, has_body: bool) -> dict[str, str]:
    """The headers that every request has unless the user replaces them."""
    headers = {
        "Accept": "text/event-stream",
        "Accept-Encoding": "identity",  # a compressor could hold events back, or be a bomb
        "Cache-Control": "no-cache",
        "User-Agent": f"websopy-sync/{__version__}",
    }
    return headers | ({"Content-Type": "application/json"} if has_body else {})


def merged(*layers: Mapping[str, str]) -> dict[str, str]:
    """Layers of headers as one: a later layer wins, and the case of a name does not matter."""
    found: dict[str, tuple[str, str]] = {}
    for layer in layers:
        found.update({name.lower(): (name, value) for name, value in layer.items()})
    return dict(found.values())


def headers_problem(headers: object) -> str:
    """Why these headers cannot be sent; "" if they can. No value is quoted."""
    if not isinstance(headers, Mapping):
        return f"headers: expected a dict, got {type(headers).__name__}"
    for name, value in headers.items():
        if not is_token(name):
            return f"headers: expected a header name, got {name!a:.200}"
        if name.lower() in _REFUSED:
            return f"header {name}: it is set by the client alone"
        problem = header_problem(f"header {name}", value)
        if problem:
            return problem
    return ""


def header_problem(name: str, value: object) -> str:
    """Why a header cannot have this value; "" if it can. The value is not quoted."""
    if not isinstance(value, str):
        return f"{name}: expected str, got {type(value).__name__}"
    if not value.isascii() or not value.isprintable() or value != value.strip():
        return f"{name}: expected printable ASCII without line ends or spaces around it"
    if not value:
        return f"{name}: expected a value, got an empty one"
    return ""


def is_token(name: object) -> bool:
    """Whether this is a token of RFC 9110 5.6.2, as names of headers and methods are."""
    return isinstance(name, str) and _TOKEN.fullmatch(name) is not None
