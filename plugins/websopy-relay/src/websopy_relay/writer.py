"""The thread that writes events to the log, and shows them to followers once it has them.

Group commit: what came while the last transaction ran goes into the next one. A log that is down
holds nobody up: followers are shown what it lacks, and it gets that later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from .answer_table import AnswerTable
from .log import Log, LogError, Refusal, Terms, Write

MOST = 1000
"""Events in one transaction, so that no other process waits long for its own."""

RETRY = 0.25
"""Seconds from one try to the next while the log is down.

No more when it stays down: once it is back without its data, pages elsewhere wait for the events.
"""

logger: logging.Logger = logging.getLogger("websopy_relay")


class Writer:
    """Writes the answers of this process; `run` is its thread.

    Args:
        answers: What is written, and whom to show it.
        log: Where.
        terms: Those of this process.
    """

    def __init__(self, answers: AnswerTable, log: Log, terms: Terms) -> None:
        self._answers = answers
        self._log = log
        self._terms = terms
        self._next_try = 0.0
        self._is_closing = False

    def run(self) -> None:
        """Write until `finish()`."""
        while writes := self._next_writes():
            try:
                refused = self._log.append(writes, self._terms)
                self._settle(writes, refused)
            except Exception as error:  # noqa: BLE001  whatever a log raises, answers go on
                self._went_down(error)
            else:
                self._is_up()

    def finish(self) -> None:
        """Write what there is, once, and end."""
        with self._answers.lock:
            self._is_closing = True
            self._answers.to_log.notify_all()

    def _next_writes(self) -> list[Write]:
        """Wait for something to write; empty at the end."""
        answers = self._answers
        with answers.lock:
            while not self._is_due():
                if self._is_closing or answers.is_forgotten:
                    return []
                wait = self._next_try - time.monotonic() if answers.unlogged else None
                answers.to_log.wait(wait)
            return self._take()

    def _is_due(self) -> bool:
        if not self._answers.unlogged or self._answers.is_forgotten:
            return False
        is_down = self._answers.log_is_down
        return not is_down or (not self._is_closing and time.monotonic() >= self._next_try)

    def _take(self) -> list[Write]:
        """The first answers that fit into one transaction; the next one begins after them."""
        writes: list[Write] = []
        room = MOST
        for answer in list(self._answers.unlogged.values()):
            if room <= 0:
                break
            del self._answers.unlogged[answer.key]
            writes.append(answer.write(room))
            room -= len(writes[-1].events)
        return writes

    def _settle(self, writes: Sequence[Write], refused: Mapping[str, Refusal]) -> None:
        with self._answers.lock:
            for write in writes:
                answer = self._answers.get(write.key)
                if answer is not None and write.key not in refused:
                    answer.wrote(write)
                    self._answers.log_soon(answer)
        for key, refusal in refused.items():
            self._resolve(key, refusal)

    def _resolve(self, key: str, refusal: Refusal) -> None:
        """Find out why the log has refused: another process, a restart, or a write that it had."""
        record = self._log.read(key, 0)
        if record is not None and record.worker != self._terms.worker:
            record = None  # deleted, or another process began an answer with this id
        with self._answers.lock:
            answer = self._answers.get(key)
            if answer is None:
                return
            if record is None and refusal == "gone":
                answer.logged = 0
            elif record is None or not answer.compare(record):
                answer.cancel("cancelled")
                answer.give_up(record)
                # What came meanwhile must not end another process's answer of the same id.
                self._answers.unlogged.pop(key, None)
            self._answers.log_soon(answer)

    def _went_down(self, error: Exception) -> None:
        with self._answers.lock:
            first = not self._answers.log_is_down
            self._answers.log_went_down()
            for answer in self._answers.all():
                self._answers.log_soon(answer)
            self._next_try = time.monotonic() + min(RETRY, self._terms.lease / 10)
        if first:
            bug = not isinstance(error, LogError)
            logger.warning(
                "the log of answers is down, they go on without: %s", error, exc_info=bug
            )

    def _is_up(self) -> None:
        with self._answers.lock:
            was_down, self._answers.log_is_down = self._answers.log_is_down, False
        if was_down:
            logger.warning("the log of answers is back")
