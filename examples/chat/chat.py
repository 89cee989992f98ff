"""What a visitor may do: ask, follow an answer, stop it, and look back. Knows no framework.

A visitor is named by a str. The back ends take a number of the session; take the id of the user if
yours log in.
"""

from __future__ import annotations

import atexit
import signal
from typing import Any

from settings import Settings
from websopy_persistence import History, PersistencePlugin
from websopy_relay import Relay, SQLiteLog

from websopy_sync import CancelToken, ChatStream, WebsopyClient
from websopy_sync.web import EventStreamBody, page_messages

SYSTEM = {"role": "system", "content": "Answer in the language of the question, in Markdown."}
"""Instructions come from here. A page may send turns of the user and the assistant only."""

MOST_BYTES = 2 * 1024 * 1024
"""Of a request. The views refuse a larger one before they have read it."""

MOST_TURNS, MOST_TEXT = 500, 1024 * 1024
"""Of a conversation; the text in bytes."""

FINISH = 20.0
"""Seconds that answers get to end when a worker is stopped. Servers kill after 30."""


class Chat:
    """The answers of one process: the service, their log, and the history.

    Args:
        settings: How the site is served.
        **service: Options of `WebsopyClient`; without them it looks into the environment.
    """

    def __init__(self, settings: Settings, **service: Any) -> None:
        file = settings.folder / "history.db"
        self._plugin = PersistencePlugin(file)
        self._client = WebsopyClient(plugins=[self._plugin], **service)
        self._history = History(file)
        # In this process a visitor gets 8 answers at once and 32 connections, all visitors together
        # 100 answers; the next gets 429.
        log = SQLiteLog(settings.folder / "answers.db")  # RedisLog for several machines
        self._relay = Relay(
            log, heartbeat=settings.heartbeat, grace=settings.grace, lease=settings.lease
        )

    def ask(self, sent: bytes, visitor: str) -> EventStreamBody:
        """Begin an answer to what a page sent.

        Raises:
            ConfigError: A page may not send this.
            WebsopyError: The service refused within two seconds.
        """
        turns = page_messages(sent, max_messages=MOST_TURNS, max_bytes=MOST_TEXT)

        def open_answer(cancel: CancelToken) -> ChatStream:
            return self._client.ai.chat_stream(
                [SYSTEM, *turns],
                cancel_token=cancel,
                metadata={"conversation": _mark(visitor)},
            )

        return self._relay.start(open_answer, owner=visitor, wait_for_status=2.0)

    def follow(self, id: str, visitor: str, last_event_id: str | None) -> EventStreamBody:
        """Go on with an answer. The status of the body says whether there is one."""
        return self._relay.follow(id, owner=visitor, last_event_id=last_event_id)

    def stop(self, id: str, visitor: str) -> int:
        """Stop an answer, and return a status."""
        return 204 if self._relay.stop(id, owner=visitor) else 404

    def history(self, visitor: str) -> list[dict[str, Any]]:
        """The visitor's latest answers, newest first."""
        found = self._history.list(conversation=_mark(visitor))
        names = ("started", "status", "question", "answer")
        return [{name: stored.to_dict()[name] for name in names} for stored in found]

    def end_with_the_process(self) -> None:
        """On SIGTERM, have pages reconnect to the next worker, and let answers end."""
        self._relay.drain_at(signal.SIGTERM)
        atexit.register(self.finish)

    def finish(self) -> None:
        """Let answers end. For the end of a lifespan: after it, uvicorn runs no `atexit`."""
        self._relay.close(FINISH)

    def close(self) -> None:
        """End all answers, and close the files."""
        self._relay.close()
        self._client.close()
        self._plugin.close()
        self._history.close()


def _mark(visitor: str) -> str:
    # The history finds ids by how they begin: without an end, visitor 12 would be found with 1.
    return f"{visitor}/"
