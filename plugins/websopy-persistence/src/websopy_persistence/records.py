"""What the hooks hand to the writer: a question's beginning, its chunks and its end, as values.

Plain values that cross a thread. Knows no table and no hook.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import attrs

from websopy_sync.chunks import StreamChunk, Usage

__all__ = ["Begin", "End", "Failure", "Piece", "Record", "Status"]

Status = Literal["open", "done", "error", "cancelled", "interrupted"]


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
        return len(self.request or "") + len(self.question or "")


@attrs.frozen
class Piece:
    """One chunk: the seq-th of its stream from 0, `seconds` after the question."""

    stream: str
    seq: int
    seconds: float
    chunk: StreamChunk
    weight: int
    event_id: str | None = None


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
        return len(self.answer or "")


Record = Begin | Piece | End
