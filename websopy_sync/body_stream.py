"""A response whose body is read as a whole: a stream of one item.

Its life is that of any stream (`lifecycle`): cancelled by its token, closed with its client. Knows
nothing of what the body says.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from .cancel import CancelScope, CancelToken
from .lifecycle import Reading
from .redaction import Redactor
from .response_stream import ResponseStream, lend

__all__ = ["BodyStream"]


class BodyStream(ResponseStream[Any]):
    """The one value that a body is read as. The body counts as one chunk for the limits."""

    def __init__(
        self,
        scope: CancelScope,
        token: CancelToken | None,
        *,
        redact: Redactor,
        read: Callable[[str], Any],
    ) -> None:
        super().__init__(scope, token, redact=redact)
        self._read = read

    def _items(self, reading: Reading[Any]) -> Generator[Any, None, None]:
        source, scope, read = reading.source, reading.scope, self._read
        del self
        with reading, reading:  # twice: an interrupt may skip one of the exits
            scope.raise_aborted()
            # No progress in between: a body that trickles has the limit of the first chunk.
            pieces = source.events(lambda error, delay: None)
            value = read("".join(text for _, text, _, _ in pieces))
            yield from lend([value], reading)
            if scope.aborted:
                scope.raise_aborted()
            reading.end_complete()
