"""The plugin: its hooks make records for the writer, and return to the stream at once.

Knows nothing of databases but the URL. Reading back is the work of history.py.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import attrs

from websopy_sync import StreamLocal, hookimpl
from websopy_sync.chunks import StreamChunk
from websopy_sync.errors import ConfigError, StreamCancelledError, WebsopyError
from websopy_sync.hooks import StoredConversation
from websopy_sync.interrupts import is_interrupt
from websopy_sync.message import Message

from .bodies import question_in, stored_body, without_prompts
from .database import Database
from .errors import PromptsNotStoredError
from .history import History
from .identity import Identity
from .neutral import with_messages
from .records import Begin, End, Failure, Piece, Status, text_in
from .store import Store
from .text import dumped
from .trouble import Trouble, log
from .writer import Limits, Writer

__all__ = ["PROMPTS_VARIABLE", "PersistencePlugin"]

PROMPTS_VARIABLE = "WEBSOPY_PERSISTENCE_PROMPTS"

LONGEST_CONVERSATION = 255
"""Most characters of a conversation's id: what its column holds, so that it can have an index."""

_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@attrs.define(eq=False)
class _Recording:
    """The state of one stream.

    Attributes:
        stream: Its id in the history.
        began: When the request was sent, in monotonic seconds.
        begun: Whether it has a row, or will have one.
        whole: Whether the writer took every chunk so far.
        received: The number of chunks so far.
        first_chunk_seconds: Seconds from the request to the first chunk.
        has_text: Whether a chunk had text.
    """

    stream: str
    began: float
    begun: bool = True
    whole: bool = True
    received: int = 0
    first_chunk_seconds: float | None = None
    has_text: bool = False


class PersistencePlugin:
    """Stores every request and its answer, chunk by chunk, in a database.

    Opens and creates nothing before the first request.

    Args:
        url: An SQLAlchemy URL, or the path of an SQLite file. None: WEBSOPY_PERSISTENCE_URL, or
            else a file in the user's data folder.
        prompts: Whether to store the text of prompts. None: WEBSOPY_PERSISTENCE_PROMPTS, or else
            True.
        busy_timeout: Seconds to wait for another process that has locked the database.
        limits: When to write, and how much may wait.
        environ: The environment variables.

    Raises:
        ConfigError: The URL cannot be used.
    """

    def __init__(
        self,
        url: str | Path | None = None,
        *,
        prompts: bool | None = None,
        busy_timeout: float = 5.0,
        limits: Limits | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.database = Database.at(url, environ=environ, busy_timeout=busy_timeout)
        self._prompts = _prompts_wanted(environ) if prompts is None else prompts
        self._trouble = Trouble(self.database.description, secret=self.database.secret)
        engine = self.database.engine_for_writing()
        self._writer = Writer(
            lambda: Store.open(self.database, engine, writer=Identity.of_this_process()),
            self._trouble,
            limits=limits,
            fork_patience=self.database.fork_patience,
        )
        self._recordings: StreamLocal[_Recording] = StreamLocal()
        self._warned_of_conversation = False

    def __repr__(self) -> str:
        return f"<PersistencePlugin {self.database.description}>"

    @property
    def problem(self) -> str:
        """The known problem with the database in one line; "" for none."""
        return self._trouble.problem

    @property
    def lost_chunks(self) -> int:
        """The number of chunks that will never be stored."""
        return self._writer.lost_chunks

    @property
    def lost_streams(self) -> int:
        """The number of streams without a row, because too much was waiting."""
        return self._writer.lost_streams

    def flush(self, seconds: float = 5.0) -> bool:
        """Wait until everything so far is stored, at most so many seconds; False if it is not."""
        return self._writer.flush(seconds)

    def close(self, seconds: float = 5.0) -> None:
        """Store what waits, in at most so many seconds, and disconnect from the database."""
        self._writer.close(seconds)

    # --- hooks -----------------------------------------------------------------------------------

    @hookimpl(trylast=True)  # after the plugins that edit the request
    def on_request(self, request: Any, stream: Any) -> None:
        """Begin the stream's row: a process that dies while it waits leaves a trace."""
        recording = _Recording(uuid.uuid4().hex, time.monotonic())
        body = request.body if isinstance(request.body, dict) else {}
        body = with_messages(body) if self._prompts else without_prompts(body)
        begin = Begin(
            stream=recording.stream,
            started=datetime.now(UTC),
            url=_address(request.url),
            model=request.model,
            request=_json(stored_body(body)),
            question=question_in(body) if self._prompts else None,
            idempotency_key=request.idempotency_key,
            conversation=self._conversation_of(request.metadata),
        )
        recording.begun = recording.whole = self._writer.put(begin)
        self._recordings[stream] = recording

    @hookimpl
    def on_chunk(self, chunk: StreamChunk, stream: Any) -> None:
        """Pass a chunk to the writer."""
        recording = self._recording_of(stream)
        seconds = time.monotonic() - recording.began
        if recording.first_chunk_seconds is None:
            recording.first_chunk_seconds = seconds
        seq, recording.received = recording.received, recording.received + 1
        text = text_in(chunk)
        recording.has_text = recording.has_text or bool(text)
        characters = _characters(chunk) if text is None or chunk.extra else len(text)
        # After a refused chunk, the next ones would leave a gap, so they are not stored.
        if recording.whole:
            recording.whole = self._writer.put(
                Piece(recording.stream, seq, seconds, chunk, characters, stream.last_event_id)
            )
        elif recording.begun:
            self._writer.miss()

    @hookimpl
    def on_done(self, message: Message, stream: Any) -> None:
        """Pass the end of a complete answer to the writer."""
        self._end(stream, "done", message, None)

    @hookimpl
    def on_error(self, error: BaseException, stream: Any) -> None:
        """Pass any other end to the writer."""
        left = isinstance(error, StreamCancelledError) or not isinstance(error, Exception)
        self._end(stream, "cancelled" if left else "error", stream.current_message, error)

    @hookimpl
    def load_conversation(self, conversation_id: str | None) -> StoredConversation | None:
        """Return a stored conversation, with what this process has not written yet."""
        self.flush()
        try:
            with History(self.database) as history:
                return history.conversation(conversation_id)
        except PromptsNotStoredError as error:  # the user's own setting is no failure
            log.warning("%s", error)
            return None

    @hookimpl
    def register_commands(self, subparsers: Any) -> None:
        """Add the command `websopy-sync history`."""
        # Imported only here: no stream needs the command's imports.
        from . import command  # noqa: PLC0415

        command.add_parser(subparsers)

    # ---------------------------------------------------------------------------------------------

    def _conversation_of(self, metadata: Mapping[str, Any]) -> str | None:
        """The id of the conversation; None, and one warning, for one that cannot be stored."""
        given = metadata.get("conversation")
        if given is None or (isinstance(given, str) and 0 < len(given) <= LONGEST_CONVERSATION):
            return given
        if not self._warned_of_conversation:
            self._warned_of_conversation = True
            got = f"{len(given)} characters" if isinstance(given, str) else type(given).__name__
            log.warning(
                "metadata: expected a str of 1 to %d characters for 'conversation', got %s: these "
                "streams are stored without it",
                LONGEST_CONVERSATION,
                got,
            )
        return None

    def _recording_of(self, stream: Any) -> _Recording:
        recording = self._recordings.get(stream)
        if recording is None:  # on_request failed
            recording = _Recording("", time.monotonic(), begun=False, whole=False)
            self._recordings[stream] = recording
        return recording

    def _end(
        self, stream: Any, status: Status, message: Message, error: BaseException | None
    ) -> None:
        recording = self._recording_of(stream)
        self._recordings.pop(stream)
        if not recording.begun:
            return
        has_text = message.content or message.reasoning
        unknown = recording.has_text and not has_text  # keep_message=False
        self._writer.put(
            End(
                stream=recording.stream,
                status=status,
                finished=datetime.now(UTC),
                seconds=time.monotonic() - recording.began,
                received=recording.received,
                answer=None if unknown else message.content,
                reasoning=message.reasoning,
                first_chunk_seconds=recording.first_chunk_seconds,
                usage=message.usage,
                finish_reason=message.finish_reason,
                model=message.model,
                answer_id=message.id,
                failure=None if error is None else _failure(error),
                request_id=stream.request_id,
                last_event_id=stream.last_event_id,
                status_code=stream.status_code or None,
                retries=stream.retries_taken,
            )
        )


def _prompts_wanted(environ: Mapping[str, str]) -> bool:
    value = environ.get(PROMPTS_VARIABLE, "").strip().lower()
    if value and value not in _YES + _NO:
        raise ConfigError(f"{PROMPTS_VARIABLE}: expected 1 or 0, got {value!r:.200}")
    return value not in _NO


def _failure(error: BaseException) -> Failure:
    code = getattr(error, "code", None) or getattr(error, "reason", None)
    code = code or getattr(error, "phase", None)
    # Only our own errors never quote the key or the prompt.
    message = str(error) if isinstance(error, WebsopyError) else ""
    return Failure(type(error).__name__, message, code if isinstance(code, str) else None)


def _address(url: str) -> str:
    """A URL without its secret parts: user, password, query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _json(value: Any) -> str | None:
    try:
        return dumped(value)
    except (ValueError, TypeError, RecursionError) as error:
        if is_interrupt(error):
            raise
        return None  # then it cannot be sent either


def _characters(chunk: StreamChunk) -> int:
    """The length of a chunk without text, as JSON."""
    try:
        return len(dumped(chunk.to_dict()))
    except (ValueError, TypeError, RecursionError) as error:
        if is_interrupt(error):
            raise
        return 0
