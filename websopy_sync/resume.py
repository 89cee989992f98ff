"""Which events of a resumed response are new, and which were delivered before.

Pure: no I/O and no clock. Knows nothing of HTTP, nor of what an event's data means.

How repeats are recognized:

- An id names one place in the stream. A stream can be resumed if the last event ID names all that
  was delivered: the last event brought that id, and no other event has it.
- A server that resumes starts after that place, or earlier. If it starts earlier, its first event
  with an id has a known one. Then all events up to the last delivered one are repeats.
- If the first event with an id has a new one, nothing is repeated, even if events without an id
  look like delivered ones.
- A known id with other data means another response.
- A server that ignores the last event ID restarts the response, with new ids or none. So new text
  must not begin as the response itself began. (Text without an id may, if an id follows and the
  response began with one: no restart looks like that.)
- In all other cases the stream ends, as text might be lost or doubled.

Two events with the same id and the same data count as one event.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator

from .errors import StreamInterruptedError
from .sse import Fields

__all__ = ["ResumeGuard", "TextOf", "event_as_text"]

MAX_EVENTS = 1 << 18
"""Events that are remembered, each in 8 bytes, and 8 more for an id. A longer stream is not
resumed."""

MAX_WITHOUT_IDS = 1000
"""Events after which a stream that has brought no id is taken to have none. Remembering ends."""

MAX_ID = 8192
"""Bytes of the longest event ID that is sent back to the server."""

MAX_HELD = 1 << 20
"""Characters of events that are held back until it is known whether they are repeats."""

BEGINNING = 200
"""Characters of a response's beginning that are kept, to recognize a restart."""

TextOf = Callable[[str], str | None]
"""The text that an event's data adds to a response: "" for none, None for the end."""


class ResumeGuard:
    """The events that were delivered of one stream, over all its connections.

    The reader passes the events of a connection through `new_events` until `caught_up`. It calls
    `remember`, or `remember_without_id`, for each event that it delivers.

    Args:
        text_of: The text that an event's data adds. Events of type `ping` add none.
    """

    def __init__(self, text_of: TextOf) -> None:
        self._text_of = text_of
        self._beginning = ""
        self._beginning_has_id = False
        # For each delivered event a hash of its data and its own id; see `_hash`.
        self._hashes = array("q")
        self._ids = array("q")
        self.remembers: bool = True
        """Whether events are still remembered; if not, the stream is not resumed any more."""
        self.last_id: str = ""
        """The event ID after which the server is to go on."""
        self.caught_up: bool = False
        """Whether all further events on this connection are new."""
        self.begin_connection()

    def begin_connection(self) -> None:
        """Expect that delivered events may come again."""
        self.caught_up = False
        self._count = len(self._hashes)  # delivered before this connection
        self._known_ids = set(self._ids)
        self._known = set(self._hashes)
        self._next: int | None = None  # index of the event to be repeated next; None: no repeat yet
        self._held: list[Fields] = []  # events that may be repeats
        self._held_size = 0

    def remember(self, data: str, id_: str) -> None:
        """Remember a delivered event that brought an id."""
        hashes = self._hashes
        if len(hashes) < MAX_EVENTS:
            hashes.append(hash((id_, data)) | 1)  # _hash() without the call
            self._ids.append(hash(id_))
        else:
            self.remembers = False

    def remember_without_id(self, data: str) -> None:
        """Remember a delivered event that brought no id."""
        if len(self._hashes) < (MAX_EVENTS if self._ids else MAX_WITHOUT_IDS):
            self._hashes.append(_hash(data))
        else:
            self.remembers = False

    @property
    def progressed(self) -> bool:
        """Whether any event of this connection was delivered."""
        return len(self._hashes) > self._count

    def end_connection(self, last_id: str, *, resumable: bool) -> bool:
        """Note that the connection is lost, and set `last_id`.

        Args:
            last_id: The last event ID of the connection.
            resumable: Whether it names all events that came on the connection.

        Returns:
            Whether the stream can be resumed.
        """
        if self.progressed or not self.last_id:
            sendable = len(last_id.encode("utf-8", "replace")) <= MAX_ID
            names_one = resumable and self._names_one_place(last_id)
            self.last_id = last_id if names_one and sendable else ""
        # Otherwise nothing new came, and the former id still names all that was delivered.
        return self.last_id != "" and self.remembers

    def _names_one_place(self, id_: str) -> bool:
        """Whether no event has this id, except perhaps the last one delivered."""
        count = self._ids.count(hash(id_))
        is_last = count == 1 and self._ids[-1] == hash(id_) and self._last_has_id()
        return count == 0 or is_last

    def _last_has_id(self) -> bool:
        """Whether the last delivered event brought an id."""
        return self._hashes[-1] & 1 == 1

    def new_events(self, events: Iterable[Fields]) -> Iterator[Fields]:
        """The events that were not delivered before, each as soon as that is known.

        Raises:
            StreamInterruptedError: This is another response, or cannot be told from one.
        """
        # No generator: an interrupt that strikes while one is dropped would be lost.
        return itertools.chain.from_iterable(map(self._new_after, events))

    def end(self) -> list[Fields]:
        """The events still held, which are new, as the stream has come to a good end.

        Raises:
            StreamInterruptedError: As `new_events` does.
        """
        if self._is_restart(self._first_text(self._held)[0]):
            raise self._other_response()
        return self._take_held()

    def _new_after(self, event: Fields) -> list[Fields]:
        """The events that are known to be new, now that this one has come."""
        if self.caught_up:
            return [event]
        _, data, id_, has_id = event
        known_id = has_id and hash(id_) in self._known_ids
        if self._next == self._count and not known_id:
            self._catch_up()  # the repeats have come past all that was delivered
            return [event]
        if self._next is not None or known_id:
            self._skip_repeat(event)
            return []
        text = self._added(event)
        if text != "" and _hash(data, id_ if has_id else "") not in self._known:
            return self._new_text(event)
        if text == "" and not self._held:
            return [event]
        self._hold(event)
        return []

    def _skip_repeat(self, event: Fields) -> None:
        """Drop an event that must be the next repeat, or a later one."""
        _, data, id_, has_id = event
        start = self._next or 0
        hash_ = _hash(data, id_ if has_id else "")
        if start == self._count or self._hashes[start] != hash_:
            if not has_id and self._added(event) == "":
                return  # it was not there the first time: a ping, for example
            try:  # events may be missing that were there the first time
                start = self._hashes.index(hash_, start, self._count)
            except ValueError:
                raise self._other_response() from None
        self._next = start + 1
        self._held.clear()

    def _added(self, event: Fields) -> str | None:
        return "" if event[0] == "ping" else self._text_of(event[1])

    def _hold(self, event: Fields) -> None:
        self._held.append(event)
        self._held_size += len(event[1]) + 100
        if self._held_size > MAX_HELD:
            raise self._other_response()

    def _new_text(self, event: Fields) -> list[Fields]:
        """The held events and this one, whose text is new, unless the response was restarted."""
        text, last_id, text_has_id = self._first_text([*self._held, event])
        if self._is_restart(text):
            # A restart gives ids as the first time, or resets them, or gives none at all.
            without_ids = self._beginning_has_id and not text_has_id and last_id != ""
            if not without_ids or self._added(event) is None:
                raise self._other_response()
            if not event[3]:
                self._hold(event)
                return []
        if not self._beginning:
            self._beginning, self._beginning_has_id = text[:BEGINNING], text_has_id
        self._catch_up()
        return [*self._take_held(), event]

    def _take_held(self) -> list[Fields]:
        if self._held and not self._last_has_id():
            # The last id came alone, without an event, so a repeat of it would not be seen.
            raise self._other_response()
        held, self._held = self._held, []
        return held

    def _first_text(self, events: list[Fields]) -> tuple[str, str, bool]:
        """The first text of these events, the last event ID there, and whether it came there."""
        for event in events:
            text = self._added(event)
            if text:
                return text, event[2], event[3]
        return "", "", False

    def _is_restart(self, text: str) -> bool:
        """Whether this text begins as the response did."""
        known = self._beginning
        return known != "" and text != "" and (known.startswith(text) or text.startswith(known))

    def _catch_up(self) -> None:
        self.caught_up = True
        self._known_ids = self._known = set()  # they are as large as the stream is long

    def _other_response(self) -> StreamInterruptedError:
        why = "the resumed answer does not go on where the lost one ended"
        return StreamInterruptedError(why, last_event_id=self.last_id)


def event_as_text(data: str) -> str:
    """A `TextOf` for events that are no pieces of one text: only equal data begins alike."""
    return f"{hash(data)};"


def _hash(data: str, own_id: str = "") -> int:
    """What is remembered of an event; odd if it brought an id, else even."""
    return hash((own_id, data)) | 1 if own_id else hash(data) & -2
