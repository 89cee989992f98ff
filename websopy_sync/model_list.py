"""The models that a service offers: one request a page, and the names in its pages.

Knows no service's path and fields: its wire does. `calls` sends the requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .calls import Calls
from .errors import ConfigError, StreamProtocolError
from .interrupts import find_interrupt
from .wires import Wire
from .wires.lenient_json import parse

__all__ = ["MAX_PAGES", "list_models"]

MAX_PAGES = 100
"""Pages of a list. The largest ones that are known, of some hundred models, have one."""

MAX_CURSOR = 8192
"""Characters of a value that names the next page: it goes into a URL."""

MAX_SHOWN = 65536
"""Characters of a page that are searched for secrets, for an error that shows its beginning."""


def list_models(calls: Calls, given: Mapping[str, Any]) -> list[str]:
    """The names of the models that a client's service offers, in the service's order.

    Args:
        calls: Sends the requests. All of them end within one total limit.
        given: Options, as the user passed them.

    Raises:
        ConfigError: The service lists no models.
        StreamProtocolError: A page is no list of models, or the list is too large.
    """
    if not calls.wire.models_path:
        raise ConfigError(f"the service of the wire {calls.wire.name!r} lists no models")
    pages, scope = _Pages(calls.wire, max_size=calls.max_event_size), calls.scope(given)
    while pages.more:
        with calls.body(calls.wire.models_path, pages.query, given, scope, pages.read) as stream:
            list(stream)
    return pages.names


class _Pages:
    """The pages of one list so far.

    Attributes:
        names: The models in them.
        query: What names the next page; empty for the first.
        more: Whether there is a next one.
    """

    def __init__(self, wire: Wire, *, max_size: int) -> None:
        self.names: list[str] = []
        self.query: Mapping[str, str] = {}
        self.more = True
        self._wire = wire
        self._max_size = self._room = max_size
        self._asked: list[Mapping[str, str]] = []

    def read(self, text: str) -> None:
        """Add a page."""
        self._room -= len(text)
        if self._room < 0:
            limit = f"{self._max_size} bytes (max_event_size)"
            raise StreamProtocolError(f"models: expected at most {limit} in all pages")
        names, query = _read(self._wire, text)
        self.names += names
        self._asked.append(self.query)
        self.query, self.more = query, bool(query)
        if query in self._asked[1:]:  # a server that ignores the query sends one page for ever
            raise StreamProtocolError("models: expected another page, and then a last one")
        if self.more and len(self._asked) == MAX_PAGES:
            raise StreamProtocolError(f"models: expected at most {MAX_PAGES} pages")


def _read(wire: Wire, text: str) -> tuple[list[str], dict[str, str]]:
    """The names in a page, and the query of the next page."""
    interrupt = None
    try:
        body = parse(text)
        names, query = list(wire.models_in(body)), dict(wire.models_after(body))
        problem = _problem(names, query)
    except Exception as error:  # noqa: BLE001  # what a wire, maybe a foreign one, makes of any JSON
        interrupt = find_interrupt(error)
        problem = type(error).__name__
    if interrupt is not None:
        raise interrupt
    if problem:
        why = f"models: expected a list of models ({problem:.100})"
        raise StreamProtocolError(f"{why}, got {text[:MAX_SHOWN]!r}")
    return names, query


def _problem(names: list[Any], query: dict[Any, Any]) -> str:
    for name in names:
        if not isinstance(name, str) or not name:
            return "a name that is no text"
    for value in (*query, *query.values()):
        if not isinstance(value, str) or len(value) > MAX_CURSOR:
            return "a next page that cannot be asked for"
    return ""
