"""`Relay`: starts answers that outlive their request, and lets requests follow them.

Knows the rules for visitors: who may see what, and with which status. What works for all of them
is the engine.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import signal
import threading
import time
import weakref
from types import FrameType
from typing import Any, Unpack

from websopy_sync import ConfigError
from websopy_sync.interrupts import discreet
from websopy_sync.web import AnswerSource, EventStreamBody, FormatName
from websopy_sync.web.answer_body import COMMENTS_PER_HEARTBEAT, checked_format
from websopy_sync.web.opening import Opening

from .answer import Answer
from .engine import Engine
from .follower import Follower
from .forks import register
from .identity import checked_id, cursor_of, key_of, new_id, owner_digest
from .log import Log, LogError
from .lookup import find_owned
from .no_answer import no_answer
from .page_events import PAGES
from .producer import Producer
from .settings import RelayOptions, Settings, check_wait

logger: logging.Logger = logging.getLogger("websopy_relay")


def _check_log(log: object) -> None:
    if not hasattr(log, "watch"):  # mostly a path or a URL
        got = type(log).__name__
        raise ConfigError(f"log: expected SQLiteLog(…), RedisLog(…) or another Log, got {got}")


class Relay:
    """Keeps answers in a log, and gives each request a body that follows one.

    One for the whole application. It may be made before the server forks its workers.

    Args:
        log: Where the answers are kept: `SQLiteLog`, `RedisLog`, `MemoryLog`, or another `Log`.
        **options: Times are seconds.
            lease: An answer whose worker gives no sign of life for so long is ended as
                interrupted; 5.
            grace: An answer that nobody follows goes on for so long; 30.
            keep: An answer can be read for so long after its end, at least for a lease; 3600.
            heartbeat: A browser that closed its connection is noticed within so long; 15.
            on_disconnect: "cancel", the default, ends an answer at the service after the grace;
                "finish" reads it to its end.
            max_unfollowed: So many answers that nobody follows go on in a process with "finish";
                beyond that the one that was left first is cancelled; 20.
            max_answers: So many answers are produced at once in a process; the next gets 429; 100.
            max_answers_per_owner: So many of them may be one owner's; 8. Each process counts its
                own.
            max_followers_per_owner: So many bodies of one owner may be open in a process, each of
                which holds a thread of most servers; the next gets 429; 32.
            max_events: At so many events an answer ends as too long; 100,000.
            max_bytes: At so many bytes an answer ends as too long; 16 MiB. Each answer under way
                is in memory up to that.

    Raises:
        ConfigError: The log is none, or an option has no meaning.
    """

    def __init__(self, log: Log, **options: Unpack[RelayOptions]) -> None:
        _check_log(log)
        self._settings = Settings(**options)
        self._log = log
        self._is_closed = False
        self._engine = Engine(log, self._settings)
        register(self)
        self._at_exit = functools.partial(_close, weakref.ref(self))
        # At the end of the process finalizers close the bodies. What is registered first runs last.
        weakref.finalize(self, int)
        atexit.register(self._at_exit)

    def __repr__(self) -> str:
        return f"Relay({self._log!r})"

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # What views call

    @discreet
    def start(
        self,
        source: AnswerSource,
        *,
        owner: str,
        id: str | None = None,
        wait_for_status: float = 0.0,
        format: FormatName = "websopy",
    ) -> EventStreamBody:
        """Begin an answer, and follow it from its first event, which tells the page its id.

        Args:
            source: As `sse_body` takes it: a function that gets a cancel token and opens the
                answer, `lambda cancel: client.ai.chat_stream(messages, cancel_token=cancel)`. It
                is called in its own thread, with the view's context variables.
            owner: Names the visitor: the id of a user or a session. Only the same owner can read,
                stop or delete the answer.
            id: The id of the answer, where another process has to know it before: 32 characters
                that nobody can guess, a UUID 4 or the id of a Celery task. None makes one.
            wait_for_status: Seconds to wait for the service. What `source` raises within them is
                raised here; later it becomes the last event.
            format: What the events are, for this request and for all that follow: "websopy" for
                the service's own chunks, "ai-sdk" for `useChat` of the AI SDK, where the id is
                that of the message.

        Returns:
            A body for `flask_response` and its like. Its status is 200; 429 when the process or
            the owner has too many answers under way, or the owner too many followers; 503 when the
            process stops or has no thread left; 409 when there is an answer with this id: a task
            that was delivered again.

        Raises:
            ConfigError: The owner is empty or no str, the id, the source or the format is none,
                or `wait_for_status` would block an event loop.
            BaseException: What failed within `wait_for_status`, as it is.
        """
        check_wait(wait_for_status)
        page = PAGES[checked_format(format)]
        owned_by, answer_id = owner_digest(owner), new_id() if id is None else checked_id(id)
        if id is not None and self._is_known(answer_id):
            return no_answer(409)
        opening, answers = Opening(source), self._engine.answers
        answer = Answer(key_of(answer_id), owned_by, page, answers.lock, opening.cancel)
        answer.add(page.naming(answer_id))
        with answers.lock:
            if answers.get(answer.key) is not None:
                return no_answer(409)
            if self._is_closed or answers.is_draining:
                return no_answer(503)
            if limit := self._limit(owned_by):
                return _too_many(limit)
            if not self._engine.run():
                return no_answer(503)
            body = self._follow(answer, 0)
        producer = Producer(opening, answer, answers, self._settings)
        try:
            producer.start(wait_for_status)
        except BaseException:  # what the service refused, Ctrl-C, a time limit of the view
            body.close()
            with answers.lock:
                answer.cancel("cancelled")
                answers.remove(answer)
            raise
        with answers.lock:
            answers.log_soon(answer)
        return body

    def follow(
        self, id: str, *, owner: str, last_event_id: str | int | None = None
    ) -> EventStreamBody:
        """Go on with an answer after the last event that the page has.

        Args:
            id: As the first event told it.
            owner: As `start` was told.
            last_event_id: The request's header `Last-Event-ID`; None for all events.

        Returns:
            A body. Its status is 200; 204 when the page has the end; 404 for an id that is
            unknown, expired or another owner's; 409 for a `last_event_id` that the answer does
            not have; 429 when the owner has too many followers; 503 when the log is down, when it
            is just back and may lack the answer, or when no thread is left.

        Raises:
            ConfigError: The owner is empty or no str.
        """
        try:
            answer = self._find(id, owner)
        except LogError:
            return no_answer(503)
        if answer is None:
            return no_answer(404)
        cursor = cursor_of(last_event_id)
        with self._engine.answers.lock:
            if cursor is None:
                return no_answer(409)
            if cursor > len(answer.events):
                is_behind = answer.is_mirror and self._engine.answers.log_settles
                return no_answer(503 if is_behind else 409)
            if answer.end and cursor == len(answer.events):
                return no_answer(204)
            if self._has_all_followers(answer.owner):
                return _too_many("max_followers_per_owner")
            if not self._engine.run():
                return no_answer(503)
            body = self._follow(answer, cursor)
        if not answer.is_ours:
            self._engine.beat_now()
        return body

    def stop(self, id: str, *, owner: str) -> bool:
        """Stop an answer at the service, in whichever process it runs.

        Args:
            id: As the first event told it.
            owner: As `start` was told.

        Returns:
            Whether the owner has such an answer. One that has ended counts.

        Raises:
            ConfigError: The owner is empty or no str.
            LogError: The log is down, or is just back and may lack the answer, which is not of
                this process.
        """
        answer = self._find(id, owner)
        if answer is None:
            return False
        if not answer.is_ours:
            self._log.request_stop(answer.key)
        with self._engine.answers.lock:
            answer.cancel("cancelled")
        return True

    def delete(self, id: str, *, owner: str) -> bool:
        """Remove an answer from the log; one that runs is stopped.

        Args:
            id: As the first event told it.
            owner: As `start` was told.

        Returns:
            Whether the owner has such an answer.

        Raises:
            ConfigError: The owner is empty or no str.
            LogError: The log is down, or is just back and may lack the answer: nothing was
                removed.
        """
        answer = self._find(id, owner)
        if answer is None:
            return False
        self._log.delete(answer.key)
        with self._engine.answers.lock:
            answer = self._engine.answers.get(answer.key) or answer  # a follower may have come
            answer.cancel("cancelled")
            if not answer.is_produced:
                answer.finish("cancelled")  # once it is forgotten, nothing else would
                self._engine.answers.remove(answer)
        return True

    # What servers call

    def drain(self) -> None:
        """End all bodies with the event `restarting`, so that pages reconnect elsewhere.

        New answers get 503. Answers under way go on while the process lives. Returns at once; a
        signal handler may call it.
        """
        self._engine.drain()

    def drain_at(self, signal_number: int = signal.SIGTERM) -> None:
        """Call `drain()` when the process gets a signal, and then what was there before.

        Call this in the main thread, once the server has set up its own handler. A server without
        one ends by `SystemExit`: the signal alone would end the process before a body could. In
        another thread, where a test client runs an application, it does nothing but say so.

        Args:
            signal_number: SIGTERM is what ends a worker of every server.
        """
        if threading.current_thread() is not threading.main_thread():
            logger.warning("drain_at was not called in the main thread: no signal will drain")
            return
        former = signal.getsignal(signal_number)

        def handle(number: int, frame: FrameType | None) -> Any:
            self.drain()
            if callable(former):
                return former(number, frame)
            if former == signal.SIG_DFL:
                raise SystemExit(128 + number)  # as a shell names the end by a signal
            return None

        signal.signal(signal_number, handle)

    def close(self, finish: float = 0.0) -> None:
        """End all bodies and answers, write their ends, and close the log.

        Called at the end of the process, too.

        Args:
            finish: Seconds that answers under way may take to end by themselves.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._engine.close(finish)
        self._log.close()
        atexit.unregister(self._at_exit)

    # Called by the module `forks`

    def before_fork(self) -> None:
        """Take the lock, so that no thread holds it in the child."""
        self._engine.answers.lock.acquire()

    def after_fork(self, *, in_child: bool) -> None:
        """Go on in the parent. The child begins with no answers: the parent produces those."""
        lock = self._engine.answers.lock
        if in_child:
            self._engine.forget()
            self._engine = Engine(self._log, self._settings)
        lock.release()

    # Inside

    def _limit(self, owned_by: str) -> str:
        """The option that keeps an answer from beginning; empty when none does."""
        produced = self._engine.answers.produced()
        if len(produced) >= self._settings.max_answers:
            return "max_answers"
        mine = [answer for answer in produced if answer.owner == owned_by]
        if len(mine) >= self._settings.max_answers_per_owner:
            return "max_answers_per_owner"
        return "max_followers_per_owner" if self._has_all_followers(owned_by) else ""

    def _has_all_followers(self, owned_by: str) -> bool:
        mine = (a.followers for a in self._engine.answers.all() if a.owner == owned_by)
        return sum(mine) >= self._settings.max_followers_per_owner

    def _find(self, id: str, owner: str) -> Answer | None:
        answers = self._engine.answers
        try:
            answer = find_owned(answers, self._log, id, owner)
        except LogError:
            answers.log_failed_at = time.monotonic()
            raise
        if answer is None and answers.log_settles:
            raise LogError("the log was down a moment ago and may lack answers")
        return answer

    def _is_known(self, answer_id: str) -> bool:
        try:
            return self._log.read(key_of(answer_id), 0) is not None
        except LogError:
            return False  # the log refuses the second answer when it is back

    def _follow(self, answer: Answer, cursor: int) -> EventStreamBody:
        interval = self._settings.heartbeat / COMMENTS_PER_HEARTBEAT
        kept = self._engine.answers.keep(answer)
        follower = Follower(self._engine.answers, kept, cursor=cursor, interval=interval)
        return EventStreamBody(follower, headers=kept.page.headers)


def _too_many(limit: str) -> EventStreamBody:
    logger.warning("refused with 429: %s is reached in this process", limit)
    return no_answer(429)


def _close(relay: weakref.ref[Relay]) -> None:
    with contextlib.suppress(LogError):
        if (living := relay()) is not None:
            living.close()
