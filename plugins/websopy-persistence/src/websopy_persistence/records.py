"""What the hooks hand to the writer: a question's beginning, its chunks and its end, as values.

Plain values that cross a thread; a piece may grow until it does. Knows no table and no hook.
"""

from __future__ import annotations

from array import array
from datetime import datetime
from typing import Literal

import attrs

from websopy_sync.chunks import ContentChunk, StreamChunk, Usage

__all__ = ["Begin", "End", "Failure", "Piece", "Record", "Status"]

Status = Literal["open", "done", "error", "cancelled", "interrupted"]

# What a value costs in memory beside its text, in characters of one byte.
_STREAM, _PIECE, _JOINED = 1024, 256, 16

_LONGEST_PIECE = 65_536  # characters; a row that grows without end would be too large for a server


@attrs.frozen
class Begin:
    """A question, about to be sent. Nothing in here is the key.

    request: its body as JSON. question: the last user message's text.
    """

    stream: str
    started: datetime
    url: str | None = None
    model: str | None = None
    request: str | None = None
    question: str | None = None
    idempotency_key: str | None = None

    @property
    def weight(self) -> int:
        """Characters that waiting for the database costs."""
        return _STREAM + len(self.request or "") + len(self.question or "")


@attrs.define(eq=False)
class _Joined:
    """The text of several chunks, and where in it each begins and when it came.

    Numbers are kept in arrays, 8 bytes each: a list of floats takes four times as much.
    """

    texts: list[str]
    lengths: array[int]
    times: array[float]

    def add(self, text: str, seconds: float) -> None:
        self.texts.append(text)
        self.lengths.append(len(text))
        self.times.append(seconds)
        if len(self.texts) > 256:  # a str of one word takes 50 bytes beside its characters
            self.texts = ["".join(self.texts)]


@attrs.define(eq=False)
class Piece:
    """What one row of `chunks` holds: one chunk, or the text of several that follow one another.

    seq: the number of the first one in its stream, from 0. seconds: when that came, counted from
    the question. characters: how long the text is, or the JSON of a chunk that is no text.
    """

    stream: str
    seq: int
    seconds: float
    chunk: StreamChunk
    characters: int
    event_id: str | None = None
    _joined: _Joined | None = attrs.field(default=None, init=False)

    @property
    def count(self) -> int:
        """How many chunks it holds."""
        return 1 if self._joined is None else len(self._joined.lengths)

    @property
    def weight(self) -> int:
        """Characters that waiting for the database costs."""
        return _PIECE + self.characters + (self.count - 1) * _JOINED

    @property
    def text(self) -> str:
        """The text of all chunks together; "" when the only one is no text."""
        if self._joined is not None:
            return "".join(self._joined.texts)
        return self.chunk.content if isinstance(self.chunk, ContentChunk) else ""

    @property
    def lengths(self) -> list[int]:
        """The length of each chunk's text; empty unless it holds several."""
        return [] if self._joined is None else self._joined.lengths.tolist()

    @property
    def times(self) -> list[float]:
        """The seconds of each chunk; empty unless it holds several."""
        return [] if self._joined is None else self._joined.times.tolist()

    def join(self, later: Piece) -> bool:
        """Take in the chunk that follows. False when it needs a row of its own.

        Text joins text only, up to a length that every database takes at once.
        """
        first, next_one = self.chunk, later.chunk
        if not (isinstance(first, ContentChunk) and isinstance(next_one, ContentChunk)):
            return False
        if self.characters + later.characters > _LONGEST_PIECE:
            return False
        if self._joined is None:
            self._joined = _Joined([], array("q"), array("d"))
            self._joined.add(first.content, self.seconds)
        self._joined.add(next_one.content, later.seconds)
        self.characters += later.characters
        self.event_id = later.event_id
        return True


@attrs.frozen
class Failure:
    """Why an answer is not complete."""

    type: str
    message: str = ""
    code: str | None = None


@attrs.frozen
class End:
    """How an answer ended.

    told: how many chunks came, stored or not. answer: its text; None when nobody kept it, then it
    is put together from the stored chunks.
    """

    stream: str
    status: Status
    finished: datetime
    seconds: float
    told: int
    answer: str | None = None
    first_chunk_seconds: float | None = None
    usage: Usage | None = None
    failure: Failure | None = None
    request_id: str | None = None
    last_event_id: str | None = None
    status_code: int | None = None
    retries: int | None = None

    @property
    def weight(self) -> int:
        """Characters that waiting for the database costs."""
        return _STREAM + len(self.answer or "")


Record = Begin | Piece | End
