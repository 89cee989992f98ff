"""The threads of a relay in one process, and the answers that they work on.

A forked child gets another engine. Knows no visitors: whoever calls has checked what is theirs.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable

from websopy_sync.threads import start_thread

from .answer_table import AnswerTable
from .keeper import Keeper
from .log import Log, Terms
from .settings import Settings
from .watcher import Watcher
from .writer import Writer

ENDING = 2.0
"""Seconds that `close()` gives streams to end, and again the log to take their ends."""

LEAVING = 0.1
"""Seconds that `close()` gives servers to send the last events of bodies."""


class Engine:
    """A writer, a watcher and a keeper, which start with the first answer.

    Args:
        log: What they read and write.
        settings: Those of the relay.
    """

    def __init__(self, log: Log, settings: Settings) -> None:
        self.answers = AnswerTable()
        # Not shorter than a lease: other processes have to see the end.
        keep = max(settings.keep, settings.lease)
        terms = Terms(secrets.token_hex(8), settings.lease, keep)
        self._keeper = Keeper(self.answers, log, terms, settings)
        self._jobs = (
            Writer(self.answers, log, terms),
            Watcher(self.answers, log, terms),
            self._keeper,
        )
        self._threads: list[threading.Thread] = []

    def run(self) -> bool:
        """Start the threads that do not run yet. Called with the lock held.

        Returns:
            False when the system has no thread left. The next call tries again.
        """
        if self.answers.is_draining:
            return True
        for job in self._jobs[len(self._threads) :]:
            name = f"websopy-relay-{type(job).__name__.lower()}"
            thread = threading.Thread(target=job.run, name=name, daemon=True)
            self._threads.append(thread)
            try:
                start_thread(thread)
            finally:
                if thread.ident is None:  # it never ran, whatever was raised
                    self._threads.remove(thread)
            if thread.ident is None:
                return False
        return True

    def beat_now(self) -> None:
        """Have other processes know at once what is followed here."""
        self._keeper.beat_now()

    def drain(self) -> None:
        """End all bodies. Returns at once, and takes no lock: a signal handler may call it."""
        self.answers.is_draining = True
        self.answers.left.put(None)  # the keeper wakes the followers

    def forget(self) -> None:
        """Do nothing any more: this is the copy in a forked child."""
        self.answers.is_forgotten = True

    def close(self, finish: float) -> None:
        """End the answers and the threads.

        Args:
            finish: Seconds that answers under way may take to end by themselves.
        """
        self.drain()
        self._wait_for_answers(finish)
        with self.answers.lock:
            for answer in self.answers.produced():
                answer.cancel("interrupted")
        self._wait_for_answers(ENDING)
        self._wait(lambda: not any(a.followers for a in self.answers.all()), LEAVING)
        for job in self._jobs:
            job.finish()
        for thread in self._threads:
            thread.join(ENDING)

    def _wait_for_answers(self, seconds: float) -> None:
        self._wait(lambda: not self.answers.produced(), seconds)

    def _wait(self, is_over: Callable[[], bool], seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with self.answers.lock:
                if is_over():
                    return
            time.sleep(0.01)
