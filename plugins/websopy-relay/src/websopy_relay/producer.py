"""The thread that opens one stream, reads it, and adds its events to an answer.

It never waits for a follower or the log. Knows neither.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Iterable

from websopy_sync import ConfigError, StreamChunk, WebsopyError
from websopy_sync.threads import start_thread
from websopy_sync.web.opening import Opening

from .answer import Answer
from .answer_table import AnswerTable
from .page_events import may_be_last
from .settings import Settings

logger: logging.Logger = logging.getLogger("websopy_relay")


class TooLongError(Exception):
    """The answer has reached a limit of the relay."""


class Producer:
    """Reads a stream to its end, in its own thread.

    Args:
        opening: Opens the stream.
        answer: Gets the events, as its page reads them.
        answers: The table with its lock.
        settings: The limits of an answer.
    """

    def __init__(
        self,
        opening: Opening,
        answer: Answer,
        answers: AnswerTable,
        settings: Settings,
    ) -> None:
        self._opening = opening
        self._format = answer.page.chunk_format()
        self._answer = answer
        self._answers = answers
        self._settings = settings
        self._is_open = threading.Event()  # or has failed to open
        self._is_awaited = False
        self._refusal: BaseException | None = None

    def start(self, wait: float) -> None:
        """Begin, in the context variables of the caller.

        Args:
            wait: Seconds to wait for the stream to open.

        Raises:
            BaseException: What opening the stream raised within that time. Later it becomes the
                last event.
        """
        self._is_awaited = wait > 0
        run = contextvars.copy_context().run
        # A daemon: a process that exits does not wait for a model.
        thread = threading.Thread(
            target=run, args=(self._run,), name="websopy-relay-answer", daemon=True
        )
        error = start_thread(thread)
        if error is not None:
            self._fail(error)
            self._is_open.set()
        self._is_open.wait(wait)
        with self._answers.lock:
            self._is_awaited = False
            refusal, self._refusal = self._refusal, None  # its traceback holds this object
        if refusal is not None:
            raise refusal

    def _run(self) -> None:
        try:
            with self._opening.open() as stream:
                self._is_open.set()
                self._read(stream)
        except BaseException as error:  # noqa: BLE001  a plugin's SystemExit too: none above here
            self._fail(error)
        finally:
            self._is_open.set()

    def _read(self, stream: Iterable[StreamChunk]) -> None:
        """Add each event as it comes.

        The last events are held until the stream has ended, which it does at once: they and the
        end are one write, so that an answer has one ending whatever happens.
        """
        held = b""
        for events in self._format.events(stream):  # itself: a run has its tools' results
            if held:
                self._add(held)
            held = events if may_be_last(events) else b""
            if not held:
                self._add(events)
        with self._answers.lock:
            self._answer.add(held, end="done")
            self._answers.log_soon(self._answer)

    def _add(self, events: bytes) -> None:
        answer, settings = self._answer, self._settings
        with self._answers.lock:
            answer.add(events)
            self._answers.log_soon(answer)
            is_full = answer.size >= settings.max_bytes
            if is_full or len(answer.events) >= settings.max_events:
                answer.reason = "too_long"
                raise TooLongError

    def _fail(self, error: BaseException) -> None:
        answer = self._answer
        with self._answers.lock:
            if self._is_awaited and not self._opening.done:
                self._refusal, answer.end = error, "refused"
                return
            if not answer.end:
                reason = answer.reason
                events = answer.page.ending(reason) if reason else self._events_of(error)
                answer.add(events, end=reason or "error")
            self._answers.log_soon(answer)

    def _events_of(self, error: BaseException) -> bytes:
        # A ConfigError is the view's: only its text says what is wrong there.
        bug = isinstance(error, ConfigError) or not isinstance(error, WebsopyError)
        logger.warning(
            "answer ended early: %s", type(error).__name__, exc_info=error if bug else None
        )
        return self._format.failure(error)
