"""Which events were delivered already, and what a resumed answer may add to them.

Pure: no I/O, no clock. Knows nothing of HTTP and of what an event's data means.

What a client may conclude, and what it does:

- An id names one place in the answer. An answer can be resumed when the last event ID names all
  that was delivered: the last event brought that id, and no other event has it.
- A resumed answer goes on after that place, or starts at any earlier one. A server that starts
  earlier comes past the event of the last id, so its first event that has an id has a known one:
  all up to the last delivered event is a repeat, and is dropped.
- When the first event that has an id has a new one, nothing was repeated, however much the events
  without an id look like delivered ones.
- A known id with other data is another answer.
- A server that ignores the last id starts anew, with new ids or none. So what goes on with new
  text must not begin as the answer itself begins. (Unless it begins without an id, where the answer
  began with one, and ids come later: no start looks like that.)
- Whatever else cannot be told apart ends the stream: text is neither lost nor doubled.

Two events with the same id and the same data are one event to everybody.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator

from .errors import StreamInterruptedError
from .sse import Fields

__all__ = ["AnswerIn", "ResumeGuard", "event_alone"]

MAX_EVENTS = 1 << 18
"""Events that are remembered, in 8 bytes each and 8 more for an id. A longer answer is not
resumed."""

MAX_UNNAMED = 1000
"""Events after which an answer is taken for one without ids, and costs nothing here any more."""

MAX_ID = 8192
"""Bytes of the longest event ID that is sent back to the server."""

MAX_HELD = 1 << 20
"""Characters of events that may wait until it is known whether they are repeats."""

BEGINNING = 200
"""Characters of the answer's beginning that are kept, to know a server that starts anew."""

AnswerIn = Callable[[str], str | None]


class ResumeGuard:
    """What was delivered of an answer, over all its connections.

    answer_in: what an event's data adds to the answer, as text; "" for data that adds nothing,
    None for the answer's end. Events named `ping` add nothing.

    The reader tells it each event that it delivers (`note`, or `note_unnamed` for an event without
    an id of its own), and passes the events of a connection through `sift` until it is `settled`.
    """

    def __init__(self, answer_in: AnswerIn) -> None:
        self._answer_in = answer_in
        self._beginning = ""
        self._beginning_named = False  # whether its event had an id of its own
        self._tokens = array("q")  # a hash for each delivered event, of its data and its own id
        self._ids = array("q")
        self.noting: bool = True
        """Whether events are still noted; else the answer is not resumed any more."""
        self.last_id: str = ""
        """The id after which the server is asked to go on."""
        self.settled: bool = False
        """Whether all that still comes on this connection is new."""
        self.resume()

    def resume(self) -> None:
        """A connection begins, on which delivered events may come again."""
        self.settled = False
        self._count = len(self._tokens)  # delivered before this connection
        self._known_ids = set(self._ids)
        self._known = set(self._tokens)
        self._next: int | None = None  # the place of the next repeat, once one was seen
        self._held: list[Fields] = []  # they may be repeats
        self._held_size = 0

    def note(self, data: str, id_: str) -> None:
        """An event with an id of its own is delivered."""
        tokens = self._tokens
        if len(tokens) < MAX_EVENTS:
            tokens.append(hash((id_, data)) | 1)
            self._ids.append(hash(id_))
        else:
            self.noting = False

    def note_unnamed(self, data: str) -> None:
        """An event without an id of its own is delivered."""
        if len(self._tokens) < (MAX_EVENTS if self._ids else MAX_UNNAMED):
            self._tokens.append(_token(data))
        else:
            self.noting = False

    @property
    def progressed(self) -> bool:
        """Whether anything was delivered on this connection."""
        return len(self._tokens) > self._count

    def cut(self, last_id: str, *, resumable: bool) -> bool:
        """The connection is lost; whether the answer can be resumed, after `last_id` then.

        Args:
            last_id: The last event ID of the connection.
            resumable: Whether it names all that came on the connection.
        """
        if self.progressed or not self.last_id:
            sendable = len(last_id.encode("utf-8", "replace")) <= MAX_ID
            names_one = resumable and self._names_one_place(last_id)
            self.last_id = last_id if names_one and sendable else ""
        # Else nothing new came, and the former id still names all that was delivered.
        return self.last_id != "" and self.noting

    def _names_one_place(self, id_: str) -> bool:
        """Whether no event but the last one delivered has this id."""
        count = self._ids.count(hash(id_))
        is_last = count == 1 and self._ids[-1] == hash(id_) and self._ends_named()
        return count == 0 or is_last

    def _ends_named(self) -> bool:
        """Whether the last delivered event has an id of its own."""
        return self._tokens[-1] & 1 == 1

    def sift(self, events: Iterable[Fields]) -> Iterator[Fields]:
        """The events that were not delivered before, as soon as that is known.

        Raises StreamInterruptedError when the answer is another one, or when that cannot be told.
        """
        for event in events:
            if not self.settled:
                yield from self._judge(event)
            else:
                yield event

    def end(self) -> list[Fields]:
        """The connection ended well: the events that were held are new. Raises as `sift` does."""
        if self._begins_anew(self._first_text(self._held)[0]):
            raise self._other_answer()
        return self._release()

    def _judge(self, event: Fields) -> list[Fields]:
        """What to deliver now that this event is here."""
        _, data, id_, named = event
        token = _token(data, id_ if named else "")
        known_id = named and hash(id_) in self._known_ids
        if self._next == self._count and not known_id:
            self._set_settled()  # the replay came past all that was delivered
            return [event]
        if self._next is not None or known_id:
            self._take_repeat(event, token)
            return []
        adds = self._added(event)
        if adds != "" and token not in self._known:
            return self._settle(event)
        if adds == "" and not self._held:
            return [event]
        self._hold(event)
        return []

    def _take_repeat(self, event: Fields, token: int) -> None:
        """Take the next event of a replay."""
        start = self._next or 0
        if start == self._count or self._tokens[start] != token:
            if not event[3] and self._added(event) == "":
                return  # it was not there the first time: a ping, say
            try:  # the first time there was one between
                start = self._tokens.index(token, start, self._count)
            except ValueError:
                raise self._other_answer() from None
        self._next = start + 1
        self._held.clear()

    def _added(self, event: Fields) -> str | None:
        return "" if event[0] == "ping" else self._answer_in(event[1])

    def _hold(self, event: Fields) -> None:
        self._held.append(event)
        self._held_size += len(event[1]) + 100
        if self._held_size > MAX_HELD:
            raise self._other_answer()

    def _settle(self, event: Fields) -> list[Fields]:
        """This event is no repeat: it and those held are new, if the answer does not begin anew."""
        text, last_id, text_named = self._first_text([*self._held, event])
        if self._begins_anew(text):
            # A server that begins anew gives ids as it did before, or resets them, or gives none.
            without_ids = self._beginning_named and not text_named and last_id != ""
            if not without_ids or self._added(event) is None:
                raise self._other_answer()
            if not event[3]:
                self._hold(event)
                return []
        if not self._beginning:
            self._beginning, self._beginning_named = text[:BEGINNING], text_named
        self._set_settled()
        return [*self._release(), event]

    def _release(self) -> list[Fields]:
        if self._held and not self._ends_named():
            # The last id came by itself, without an event, and so it can come again unseen.
            raise self._other_answer()
        held, self._held = self._held, []
        return held

    def _first_text(self, events: list[Fields]) -> tuple[str, str, bool]:
        """The first text these add, the last event ID there, and whether it came just there."""
        for event in events:
            text = self._added(event)
            if text:
                return text, event[2], event[3]
        return "", "", False

    def _begins_anew(self, text: str) -> bool:
        """Whether some text begins as the answer does."""
        known = self._beginning
        return known != "" and text != "" and (known.startswith(text) or text.startswith(known))

    def _set_settled(self) -> None:
        self.settled = True
        self._known_ids = self._known = set()  # as large as the answer is long

    def _other_answer(self) -> StreamInterruptedError:
        why = "the resumed answer does not go on where the lost one ended"
        return StreamInterruptedError(why, last_event_id=self.last_id)


def event_alone(data: str) -> str:
    """An `answer_in` for events that are no pieces of one text: only the same data is alike."""
    return f"{hash(data)};"


def _token(data: str, own_id: str = "") -> int:
    """What is remembered of an event; odd when it has an id of its own."""
    return hash((own_id, data)) | 1 if own_id else hash(data) & -2
