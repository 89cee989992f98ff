"""The records that the hooks pass to the writer: a stream's beginning, its chunks and its end.

Values that cross threads; a Piece may grow until it does. Knows neither tables nor hooks.
"""

from __future__ import annotations

from array import array
from datetime import datetime
from typing import Literal

import attrs

from websopy_sync.chunks import ContentChunk, ReasoningChunk, StreamChunk, Usage

__all__ = ["Begin", "End", "Failure", "Piece", "Record", "Status", "text_in"]

Status = Literal["open", "done", "error", "cancelled", "interrupted"]

# The memory of a record besides its text, in characters of one byte.
_STREAM, _PIECE, _JOINED = 1024, 256, 16

_LONGEST_PIECE = 65_536  # characters; a server refuses a row that is too large


def text_in(chunk: StreamChunk) -> str | None:
    """The text of a chunk of the answer or of the reasoning; None for any other chunk."""
    if isinstance(chunk, ContentChunk):
        return chunk.content
    return chunk.text if isinstance(chunk, ReasoningChunk) else None


@attrs.frozen
class Begin:
    """A request that is about to be sent. The API key is not in it.

    Attributes:
        stream: The stream's id, 32 hex digits.
        started: When.
        url: Its URL, without anything secret.
        model: As the request names it.
        request: Its body as JSON.
        question: The text of the last user message.
        idempotency_key: Its `Idempotency-Key`.
        conversation: The id of its conversation, at most 255 characters.
    """

    stream: str
    started: datetime
    url: str | None = None
    model: str | None = None
    request: str | None = None
    question: str | None = None
    idempotency_key: str | None = None
    conversation: str | None = None

    @property
    def weight(self) -> int:
        """Its size in characters while it waits for the database."""
        return _STREAM + len(self.request or "") + len(self.question or "")

    def without_text(self) -> Begin:
        """The same without the request's text."""
        return attrs.evolve(self, request=None, question=None)


@attrs.define(eq=False)
class _Joined:
    """The text of several chunks, and the length and time of each.

    Arrays take 8 bytes a number; a list of floats takes four times that.
    """

    texts: list[str]
    lengths: array[int]
    times: array[float]

    def add(self, text: str, seconds: float) -> None:
        self.texts.append(text)
        self.lengths.append(len(text))
        self.times.append(seconds)
        if len(self.texts) > 256:  # each str takes 50 bytes besides its characters
            self.texts = ["".join(self.texts)]


@attrs.define(eq=False)
class Piece:
    """One row of the table `chunks`: one chunk, or the text of several consecutive ones.

    Attributes:
        stream: The stream's id.
        seq: The number of the first chunk in its stream, from 0.
        seconds: When that came, in seconds after the request.
        chunk: The first chunk.
        characters: The length of the text, or of the JSON of a chunk without text.
        event_id: The id of the last chunk's event.
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
        """The number of chunks."""
        return 1 if self._joined is None else len(self._joined.lengths)

    @property
    def weight(self) -> int:
        """Its size in characters while it waits for the database."""
        return _PIECE + self.characters + (self.count - 1) * _JOINED

    @property
    def text(self) -> str:
        """The text of all chunks; "" for a single chunk without text."""
        if self._joined is not None:
            return "".join(self._joined.texts)
        return text_in(self.chunk) or ""

    @property
    def lengths(self) -> list[int]:
        """The length of each chunk's text; empty for a single chunk."""
        return [] if self._joined is None else self._joined.lengths.tolist()

    @property
    def times(self) -> list[float]:
        """The seconds of each chunk; empty for a single chunk."""
        return [] if self._joined is None else self._joined.times.tolist()

    def join(self, later: Piece) -> bool:
        """Add the next chunk. False when it needs its own row.

        Only plain text is joined with plain text of the same kind, up to a length that every
        database accepts.

        Args:
            later: The next chunk of the stream.
        """
        first, next_one = text_in(self.chunk), text_in(later.chunk)
        if first is None or next_one is None or type(self.chunk) is not type(later.chunk):
            return False
        if self.chunk.extra or later.chunk.extra:
            return False
        if self.characters + later.characters > _LONGEST_PIECE:
            return False
        if self._joined is None:
            self._joined = _Joined([], array("q"), array("d"))
            self._joined.add(first, self.seconds)
        self._joined.add(next_one, later.seconds)
        self.characters += later.characters
        self.event_id = later.event_id
        return True


@attrs.frozen
class Failure:
    """Why an answer is incomplete.

    Attributes:
        type: The class of the error.
        message: Its text, if it is ours: other errors may quote the prompt or the key.
        code: Its code, reason or phase.
    """

    type: str
    message: str = ""
    code: str | None = None


@attrs.frozen
class End:
    """How a stream ended.

    Attributes:
        stream: The stream's id.
        status: The outcome.
        finished: When.
        seconds: The time since the request.
        received: The number of chunks that came, stored or not.
        answer: The text. None when the stream did not keep it: the stored chunks have it then, and
            the reasoning too.
        reasoning: What the model thought.
        first_chunk_seconds: The time from the request to the first chunk.
        usage: As the service reports it.
        finish_reason: Why the model stopped.
        model: The model that answered.
        answer_id: The service's id of the answer.
        failure: Why the answer is incomplete.
        request_id: The service's `X-Request-Id`.
        last_event_id: The id of the last event.
        status_code: The HTTP status.
        retries: The number of retries.
    """

    stream: str
    status: Status
    finished: datetime
    seconds: float
    received: int
    answer: str | None = None
    reasoning: str = ""
    first_chunk_seconds: float | None = None
    usage: Usage | None = None
    finish_reason: str | None = None
    model: str | None = None
    answer_id: str | None = None
    failure: Failure | None = None
    request_id: str | None = None
    last_event_id: str | None = None
    status_code: int | None = None
    retries: int | None = None

    @property
    def weight(self) -> int:
        """Its size in characters while it waits for the database."""
        return _STREAM + len(self.answer or "") + len(self.reasoning)

    def without_text(self) -> End:
        """The same without the text; the stored chunks have what they have of it."""
        return attrs.evolve(self, answer=None, reasoning="")


Record = Begin | Piece | End
