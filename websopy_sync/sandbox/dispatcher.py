"""Chooses the script for each request, and remembers what happened.

Knows nothing of sockets or HTTP.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

import attrs

from .compiled_script import Script
from .default_answer import default_script
from .recorded_request import RecordedRequest
from .script import problem, status
from .service import model_list, refusal, unexpected
from .steps import Steps
from .wires import Service

__all__ = ["Dispatcher", "Playback"]

REMEMBERED = 10_000
"""Most requests, lost clients and resumable responses that are kept, each."""

REMEMBERED_BYTES = 32 * 1024 * 1024
"""Most bytes of each, about; more than one request can have."""

STEP_BYTES = 200
"""Memory of a script's step besides its text, in bytes, about."""

Item = TypeVar("Item")


class Memory(Generic[Item]):
    """The latest items, in order, within a number and a size.

    The oldest goes first. The newest stays, whatever its size.
    """

    def __init__(self) -> None:
        self._items: OrderedDict[object, tuple[Item, int]] = OrderedDict()
        self._size = 0

    def keep(self, key: object, item: Item, size: int) -> None:
        """Add an item of so many bytes as the newest; it replaces an earlier one of its key."""
        self._size += size - self._items.pop(key, (item, 0))[1]
        self._items[key] = item, size
        while len(self._items) > 1 and (
            len(self._items) > REMEMBERED or self._size > REMEMBERED_BYTES
        ):
            self._size -= self._items.popitem(last=False)[1][1]

    def get(self, key: object) -> Item | None:
        """The item of this key; None when it is gone."""
        return self._items.get(key, (None, 0))[0]

    def all(self) -> list[Item]:
        """The items, the oldest first."""
        return [item for item, _ in self._items.values()]


@attrs.define
class Playback:
    """The script of one response, and how far it has been played.

    Attributes:
        script: The script.
        places: Indexes into the script's body of the steps to play.
        played: Index after the last step that has begun.
    """

    script: Script
    places: Sequence[int]
    played: int = 0

    @classmethod
    def of(cls, script: Script) -> Playback:
        """A playback of a whole script."""
        return cls(script, range(len(script.body)))

    def resumed(self, last_event_id: str) -> Playback | Steps:
        """A playback of the rest after an event; a refusal when there is none."""
        places = self.script.after(last_event_id, played=self.played)
        if places is None:
            return status(400, problem("no event of this answer has that id"))
        if not places:
            return status(204)
        return Playback(attrs.evolve(self.script, before=()), places, self.played)


class Dispatcher:
    """Takes requests and gives playbacks, for many threads at once."""

    def __init__(
        self,
        script: Steps | Callable[[RecordedRequest], Steps] | None,
        *,
        service: Service,
        api_key: str | None,
        pause: float,
        log: Callable[[str], None] | None,
    ) -> None:
        self.service: Service = service
        self._script = script if script is None or callable(script) else self.compiled(script)
        self._api_key = api_key
        self._pause = pause
        self.log: Callable[[str], None] = log or (lambda line: None)
        self.news: threading.Condition = threading.Condition()
        """Notified of each request and each lost client; guards the lists."""
        self.queue: deque[Script] = deque()
        self.requests: Memory[RecordedRequest] = Memory()
        self.disconnects: Memory[RecordedRequest] = Memory()
        self.request_count: int = 0
        self.disconnect_count: int = 0
        self.closing: threading.Event = threading.Event()
        """Once set, a lost client is no longer written down: the sandbox ends it."""
        self._playbacks: Memory[Playback] = Memory()

    def compiled(self, steps: Steps) -> Script:
        """A script as the service plays it.

        Raises:
            TypeError: Something in it is no step.
        """
        return Script.of(steps, self.service)

    def refuse(self, code: int, message: str | None) -> Playback:
        """The response to what is no valid HTTP request."""
        return self._playback(status(code, message and problem(message)))

    def _playback(self, steps: Script | Steps) -> Playback:
        return Playback.of(steps if isinstance(steps, Script) else self.compiled(steps))

    def receive(
        self, *, connection: int, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[RecordedRequest, Playback]:
        """Write a request down and choose its script."""
        with self.news:
            self.request_count += 1
            request = RecordedRequest(self.request_count, connection, method, target, headers, body)
            self.requests.keep(request.number, request, request.size)
            self.news.notify_all()
        service, key = self.service, self._api_key
        own = model_list(request, service, api_key=key) or refusal(request, service, api_key=key)
        return request, self._playback(own) if own else self._choose(request)

    def client_left(self, request: RecordedRequest) -> None:
        """Write down that the client left before the end of its script."""
        with self.news:
            if not self.closing.is_set():
                self.disconnect_count += 1
                self.disconnects.keep(request.number, request, request.size)
                self.news.notify_all()

    def _choose(self, request: RecordedRequest) -> Playback:
        key = request.idempotency_key
        with self.news:
            queued = self.queue.popleft() if self.queue else None
            earlier = self._playbacks.get(key) if request.last_event_id else None
        if queued:
            chosen = Playback.of(queued)
        elif earlier:
            rest = earlier.resumed(request.last_event_id)
            chosen = rest if isinstance(rest, Playback) else self._playback(rest)
        else:
            chosen = self._default(request)
        refused = unexpected(chosen.script.expected, request, self.service)
        chosen = self._playback(refused) if refused else self._asked_for(chosen, request)
        if key and chosen.script.headers.status == 200:
            self._keep(key, chosen)
        return chosen

    def _asked_for(self, chosen: Playback, request: RecordedRequest) -> Playback:
        """The playback without the events that this request does not ask for."""
        on_request = chosen.script.on_request
        if not on_request or self.service.asks_for_usage(request.json):
            return chosen
        places = [place for place in chosen.places if place not in on_request]
        return attrs.evolve(chosen, places=places)

    def _default(self, request: RecordedRequest) -> Playback:
        if self._script is None:
            return self._playback(default_script(request, self.service, seconds=self._pause))
        if not callable(self._script):
            return Playback.of(self._script)
        try:
            return self._playback(self._script(request))
        except Exception as raised:  # noqa: BLE001  # a test's own: the client gets it as a 500
            message = f"the script raised {type(raised).__name__}: {raised}"
            return self._playback(status(500, problem(message, "script_failed")))

    def _keep(self, key: str, chosen: Playback) -> None:
        data = chosen.script.data
        # The one script for all requests is in memory anyway.
        size = 0 if chosen.script is self._script else sum(map(len, data)) + STEP_BYTES * len(data)
        with self.news:
            self._playbacks.keep(key, chosen, size + len(key) + STEP_BYTES)
