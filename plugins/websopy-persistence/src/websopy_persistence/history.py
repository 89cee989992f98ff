"""Reading back: the streams that were stored, found, counted and made into messages again.

Knows nothing of the writer: it reads what any process, dead or alive, has committed.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
from sqlalchemy import ColumnElement, Connection, Select, delete, false, func, literal, or_, select
from sqlalchemy.exc import SQLAlchemyError

from websopy_sync.chunks import StreamChunk, Usage
from websopy_sync.errors import ConfigError
from websopy_sync.hooks import StoredConversation
from websopy_sync.interrupts import find_interrupt
from websopy_sync.message import Message

from . import schema
from .database import Database
from .errors import HistoryError, PromptsNotStoredError, UnknownStreamError, safe_to_log
from .forks import connected
from .identity import Identity
from .neutral import turns_in
from .records import Failure, Status
from .rows import USAGE, chunks_of, message_of
from .schema import chunks, streams
from .store import mark_interrupted
from .text import storable

__all__ = ["History", "StoredChunk", "StoredStream"]

_NEWEST_FIRST = (streams.c.started.desc(), streams.c.id.desc())

STATUSES: tuple[Status, ...] = ("open", "done", "error", "cancelled", "interrupted")


@attrs.frozen
class StoredStream:
    """One stored stream: its request, its answer and how it ended.

    Attributes:
        id: 32 hex digits.
        status: open, done, error, cancelled, or interrupted when its process died.
        started: An aware datetime.
        finished: An aware datetime; None while it is open.
        seconds: From the request to the end.
        first_chunk_seconds: From the request to the first chunk.
        url: Without anything secret.
        model: As the request named it.
        question: The last user message; None unless prompts are stored.
        request: The body that was sent, its turns as `messages`; without texts unless prompts are
            stored.
        answer: The text; None while it is open.
        reasoning: What the model thought; None for nothing, and while it is open.
        finish_reason: Why the model stopped: stop, length, tool_calls, content_filter, or the
            service's own word. None when it did not say, or the answer is incomplete.
        answer_model: The model that answered, as the service named it.
        answer_id: The service's id of the answer.
        usage: As the service reported it, without its details.
        conversation: The id that the program gave its conversation.
        chunks: The number of stored chunks.
        lost: The number of further chunks, which are not stored.
        error: Why the answer is incomplete.
        idempotency_key: The request's `Idempotency-Key`.
        request_id: The service's `X-Request-Id`.
        last_event_id: The id of the last event.
        status_code: The HTTP status.
        retries: The number of retries.
    """

    id: str
    status: Status
    started: datetime
    finished: datetime | None
    seconds: float | None
    first_chunk_seconds: float | None
    url: str | None
    model: str | None
    question: str | None
    request: dict[str, Any] | None = attrs.field(repr=False)  # images as base64
    answer: str | None
    reasoning: str | None
    finish_reason: str | None
    answer_model: str | None
    answer_id: str | None
    usage: Usage | None
    conversation: str | None
    chunks: int
    lost: int
    error: Failure | None
    idempotency_key: str | None
    request_id: str | None
    last_event_id: str | None
    status_code: int | None
    retries: int | None

    @property
    def tokens_per_second(self) -> float | None:
        """Completion tokens per second from the first chunk to the end; None without a usage."""
        if self.usage is None or self.seconds is None or self.first_chunk_seconds is None:
            return None
        seconds = self.seconds - self.first_chunk_seconds
        return self.usage.completion_tokens / seconds if seconds > 0 else None

    @property
    def truncated(self) -> bool:
        """Whether the service cut the answer: at the limit of its length, or by its filter."""
        return Message(finish_reason=self.finish_reason).truncated

    def to_dict(self) -> dict[str, Any]:
        """The fields and `truncated` as a dict for `json.dumps`; times in ISO 8601."""
        fields = attrs.asdict(self) | {"truncated": self.truncated}
        fields["usage"] = self.usage and {name: getattr(self.usage, name) for name in USAGE}
        for name in ("started", "finished"):
            fields[name] = fields[name] and fields[name].isoformat()
        return fields


@attrs.frozen
class StoredChunk:
    """One chunk as it came.

    Attributes:
        seq: Its number in the stream, from 0.
        seconds: Its time, in seconds after the request.
        chunk: The chunk.
    """

    seq: int
    seconds: float
    chunk: StreamChunk


class History:
    """The stored streams, newest first.

    A missing SQLite file is an empty history, and is not created. The first look marks the open
    streams of dead processes as interrupted. Methods raise HistoryError when the database cannot be
    read.

    Args:
        url: As PersistencePlugin takes it.

    Raises:
        ConfigError: The URL cannot be used.
    """

    def __init__(self, url: str | Path | Database | None = None) -> None:
        self.database = url if isinstance(url, Database) else Database.at(url)
        self._engine = self.database.engine_for_reading()
        self._closed = False
        self._marked = False
        self._found: Collection[str] = ()

    def __repr__(self) -> str:
        return f"<History {self.database.description}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect from the database."""
        self._closed = True
        self._engine.dispose()

    def list(
        self,
        *,
        limit: int | None = 20,
        status: Status | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        search: str | None = None,
        conversation: str | None = None,
    ) -> Sequence[StoredStream]:
        """The latest streams, newest first.

        Args:
            limit: Most streams; None for all.
            status: Only with this status.
            since: Only those that began then or later; a naive datetime is local time.
            until: Only those that began before.
            search: Only with this text in the question or the answer, ignoring case.
            conversation: Only of the conversation with this id, or of all whose id begins so.
        """
        filters = _filters(status=status, since=since, until=until, search=search)
        count = None if limit is None else _count(limit)
        with self._looking() as connection:
            if connection is None:
                return []
            if conversation is not None:
                filters.append(self._begins_with(conversation))
            query = self._streams().where(*filters).order_by(*_NEWEST_FIRST).limit(count)
            return [_stored(row) for row in connection.execute(query)]

    def get(self, id: str) -> StoredStream:
        """One stream.

        Args:
            id: Its id; the first digits are enough if no other id begins with them.

        Raises:
            UnknownStreamError: There is none, or more than one.
        """
        if not re.fullmatch("[0-9a-f]{1,32}", id):
            raise UnknownStreamError("id of a stream: expected up to 32 hexadecimal digits")
        with self._looking() as connection:
            query = self._streams().where(streams.c.id.like(id + "%")).limit(2)
            rows = connection.execute(query).all() if connection else []
        if len(rows) != 1:
            found = "no stream's" if not rows else "more than one stream's"
            raise UnknownStreamError(f"{found} id begins with {id}")
        return _stored(rows[0])

    def chunks(self, id: str) -> Sequence[StoredChunk]:
        """The stored chunks of a stream, in order.

        Args:
            id: As for `get`.

        Raises:
            UnknownStreamError: There is no such stream, or more than one.
        """
        query = select(chunks).where(chunks.c.stream == self.get(id).id).order_by(chunks.c.seq)
        with self._looking() as connection:
            rows = connection.execute(query).all() if connection else []
        found = (each for row in rows for each in chunks_of(row.data, row.seconds))
        return [StoredChunk(seq, seconds, chunk) for seq, (seconds, chunk) in enumerate(found)]

    def message(self, id: str) -> Message:
        """The answer, made from its stored chunks.

        If chunks were lost, the text is still complete when the process could store it at the end.

        Args:
            id: As for `get`.

        Raises:
            UnknownStreamError: There is no such stream, or more than one.
        """
        stream = self.get(id)
        query = select(chunks.c.data).where(chunks.c.stream == stream.id).order_by(chunks.c.seq)
        with self._looking() as connection:
            message = message_of(connection.scalars(query)) if connection else Message()
        if stream.lost and stream.answer:
            message = attrs.evolve(message, content=stream.answer, usage=stream.usage)
        return message

    def conversation(self, id: str | None = None) -> StoredConversation | None:
        """A conversation as far as it has an answer, ready to be continued; None for none.

        Its turns are those of the last request that got one, and that answer, complete or not.

        Args:
            id: What the program passed as `metadata={"conversation": …}`; its first characters are
                enough if no other id begins with them. None for the latest conversation.

        Raises:
            PromptsNotStoredError: The prompts of its last answer are not stored.
        """
        for stream in self._answered(id):
            answer = self.message(stream.id)
            if not (answer.content or answer.tool_calls):
                continue
            turns = turns_in(stream.request)
            if turns is None:
                raise PromptsNotStoredError(
                    f"conversation {stream.conversation:.64} cannot be continued: its prompts are "
                    "not stored (WEBSOPY_PERSISTENCE_PROMPTS is 0, the program said so, or the "
                    "request was too large)"
                )
            messages = [*turns, answer.to_dict()]
            found: StoredConversation = {"id": str(stream.conversation), "messages": messages}
            return {**found, "model": stream.model} if stream.model else found
        return None

    def _answered(self, conversation: str | None) -> Iterator[StoredStream]:
        """The ended streams of a conversation, or of all, that may have an answer, newest first."""
        with self._looking() as connection:
            if connection is None or "conversation" not in self._found:
                return
            column = streams.c.conversation
            wanted: ColumnElement[bool] = column.is_not(None)
            if conversation is not None:
                alike = select(column).where(self._begins_with(conversation)).distinct()
                ids = connection.scalars(alike.limit(2)).all()
                wanted = column == (ids[0] if len(ids) == 1 else storable(conversation))
            has_answer = (streams.c.status != "open") & (
                (streams.c.chunks > 0) | (streams.c.answer != "")
            )
            query = select(streams.c.id).where(wanted, has_answer).order_by(*_NEWEST_FIRST)
            found = connection.scalars(query).all()
        yield from map(self.get, found)

    def _streams(self) -> Select[Any]:
        """A SELECT of all columns; those that this database lacks are NULL."""
        return select(*schema.stream_columns(self._found)).select_from(streams)

    def _begins_with(self, conversation: str) -> ColumnElement[bool]:
        """The condition that a conversation's id begins so."""
        if "conversation" not in self._found:
            return false()
        start = storable(conversation)
        # Not LIKE, which ignores case in SQLite.
        return func.substr(streams.c.conversation, 1, len(start)) == start

    def delete(self, id: str) -> None:
        """Remove one stream that has ended, with its chunks.

        Args:
            id: As for `get`.

        Raises:
            UnknownStreamError: There is no such stream, or more than one. Nothing was removed.
            HistoryError: It is still open, or the database cannot be written.
        """
        id = self.get(id).id
        if not self._delete(streams.c.id == id):
            raise HistoryError(f"stream {id} is still open, or was deleted meanwhile")

    def prune(self, before: datetime) -> int:
        """Remove the ended streams that began before a moment, and return their number.

        Args:
            before: The moment; a naive datetime is local time.

        Raises:
            HistoryError: The database cannot be written.
        """
        return self._delete(streams.c.started < before.astimezone())

    def _delete(self, condition: Any) -> int:
        with self._looking() as connection:
            if connection is None:
                return 0
            if self.database.path is not None:
                connection.exec_driver_sql("PRAGMA secure_delete=ON")  # overwrites the text
                connection.commit()
            ended = delete(streams).where(condition, streams.c.status != "open")
            removed = connection.execute(ended).rowcount
            connection.commit()
            if self.database.path is not None:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return removed

    @contextlib.contextmanager
    def _looking(self) -> Iterator[Connection | None]:
        """A connection to a history that is there; None when there is nothing yet."""
        if self._closed:
            raise HistoryError("the history is closed")
        problem, interrupt = "", None
        try:
            if self.database.path is not None and not self.database.path.exists():
                yield None
                return
            with connected(self.database.fork_patience), self._engine.connect() as connection:
                yield connection if self._is_ready(connection) else None
        except (SQLAlchemyError, OSError) as error:
            problem = safe_to_log(error, secret=self.database.secret)
            interrupt = find_interrupt(error)
        if interrupt is not None:  # the program's own time limit, which may be an OSError
            raise interrupt
        if problem:  # raised here, without the database's own error, which may quote anything
            raise HistoryError(f"the history at {self.database.description}: {problem}")

    def _is_ready(self, connection: Connection) -> bool:
        with connection.begin():
            self._found = schema.check(connection)
        if self._found and not self._marked:
            self._marked = True
            try:
                mark_interrupted(connection, self.database, here=Identity.of_this_process())
            except SQLAlchemyError as error:
                if find_interrupt(error) is not None:
                    raise
                # Who may only read sees what was stored all the same. Tables of an earlier release
                # lack columns: the next writer adds them, and marks the streams.
                connection.rollback()
        return bool(self._found)


def _filters(
    *,
    status: Status | None,
    since: datetime | None,
    until: datetime | None,
    search: str | None,
) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if status is not None:
        if status not in STATUSES:
            raise ConfigError(f"status: expected one of {', '.join(STATUSES)}, got {status!r:.200}")
        conditions.append(streams.c.status == status)
    if since is not None:
        conditions.append(streams.c.started >= since.astimezone())
    if until is not None:
        conditions.append(streams.c.started < until.astimezone())
    if search:
        # LIKE with a wildcard at both ends: slow, but it finds a word in Chinese, which no
        # database's own full-text search does without help.
        pattern = re.sub("([/%_])", r"/\1", storable(search))
        like = func.lower(literal(f"%{pattern}%"))
        texts = (streams.c.question, streams.c.answer)
        conditions.append(or_(*(func.lower(text).like(like, escape="/") for text in texts)))
    return conditions


def _count(limit: object) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
        raise ConfigError(f"limit: expected an int of 0 or more, got {limit!r:.200}")
    return limit


def _stored(row: Any) -> StoredStream:
    fields = {name: getattr(row, name) for name in _SAME}
    prompt, completion, total, *parts = (getattr(row, name) for name in USAGE)
    cached, reasoning = (count or 0 for count in parts)
    usage = None
    if None not in (prompt, completion, total):
        usage = Usage(prompt, completion, total, cached_tokens=cached, reasoning_tokens=reasoning)
    failure = None
    if row.error_type is not None:
        failure = Failure(row.error_type, row.error_message or "", row.error_code)
    return StoredStream(
        request=_object(row.request),
        usage=usage,
        error=failure,
        **fields,
    )


_SAME = {field.name for field in attrs.fields(StoredStream)} & {c.name for c in streams.columns} - {
    "request"
}


def _object(text: str | None) -> dict[str, Any] | None:
    try:
        value = json.loads(text or "null")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
