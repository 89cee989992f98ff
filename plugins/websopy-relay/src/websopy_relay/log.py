"""What a log of answers does: six verbs, and the values that they take and give.

A log keeps each answer as numbered events, for all processes of a site. Knows neither streams nor
requests: keys, owners and events are opaque here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal, Protocol

import attrs

from websopy_sync import WebsopyError

Refusal = Literal["ended", "gone"]
"""Why a log refuses a write.

- "ended": the answer has its end, or was deleted. Nothing may follow.
- "gone": the log lost what came before, as Redis may when it restarts. The producer writes the
  whole answer anew.
"""


DELETED: Final = "deleted"
"""The end of an answer that was deleted. Its record has no owner, no worker and no events."""


class LogError(WebsopyError):
    """The log cannot be read or written now. The answers themselves go on."""


@attrs.frozen
class Terms:
    """What a process says about the answers that it writes.

    Attributes:
        worker: Names the process; a forked child has another name.
        lease: Seconds after its last sign of life that a process counts as dead.
        keep: Seconds that an answer is kept after its end.
    """

    worker: str
    lease: float
    keep: float


@attrs.frozen
class Write:
    """Events to add to one answer.

    Attributes:
        key: Names the answer.
        owner: Whose answer it is. Kept with the first event.
        seq: The number of the first of these events. With 1 the answer begins, or begins anew
            with the same events after the log lost it.
        events: The events, as browsers get them. May be empty when there is an end.
        end: Why the answer has ended with the last of these events; empty while it goes on.
    """

    key: str
    owner: str
    seq: int
    events: tuple[bytes, ...]
    end: str = ""


@attrs.frozen
class Record:
    """What a log has of an answer.

    Attributes:
        owner: As the first write said.
        events: The events after the number that was asked for.
        end: Why the answer has ended; empty while it goes on.
        worker: Names the process that began it. `watch` may leave it out, and the owner.
    """

    owner: str
    events: tuple[bytes, ...]
    end: str
    worker: str = ""


@attrs.frozen
class News:
    """What `watch` has found.

    Attributes:
        answers: New events and ends, by key. An answer without news is left out.
        stops: Keys of the answers of this process that another one wants stopped.
    """

    answers: Mapping[str, Record]
    stops: frozenset[str] = frozenset()


@attrs.frozen
class Beat:
    """What `beat` has found out.

    Attributes:
        followed: AnswerTable produced here that another process follows.
        refused: AnswerTable produced here that the log no longer has as they were written.
        orphans: AnswerTable followed here whose producer gives no sign of life.
    """

    followed: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    orphans: frozenset[str] = frozenset()


class Log(Protocol):
    """A log of answers. Every verb may be called from any thread, and from many at once.

    A verb that cannot do its work within about a second raises `LogError`. A log must survive a
    fork: the child calls it from new threads, under another `Terms.worker`.
    """

    def append(self, writes: Sequence[Write], terms: Terms) -> Mapping[str, Refusal]:
        """Add events, all in one transaction, and renew the leases of these answers.

        A write is refused unless its events follow the last one directly and the answer is open.
        Two processes that write the same number, or two ends, are told apart by that.

        Args:
            writes: At most one for each answer.
            terms: Those of the process that writes.

        Returns:
            The refused ones, by key. All others are stored.

        Raises:
            LogError: None of them is known to be stored. They are written again later, with the
                same numbers.
        """
        ...

    def read(self, key: str, after: int) -> Record | None:
        """What the log has of an answer now.

        Args:
            key: Names the answer.
            after: The number of the last event that is known; 0 for none.

        Returns:
            None for an answer that the log does not have.
        """
        ...

    def watch(self, cursors: Mapping[str, int], worker: str, seconds: float) -> News:
        """Wait for events that other processes write.

        Args:
            cursors: The followed answers, with the number of the last event that is known.
            worker: Whose answers others may stop.
            seconds: Return without news after about this time.
        """
        ...

    def beat(self, produced: Mapping[str, int], followed: Collection[str], terms: Terms) -> Beat:
        """Give a sign of life, three times within a lease; purge what is too old.

        Args:
            produced: Open answers of this process, with the number of the last event stored.
            followed: AnswerTable of other processes that this one follows.
            terms: Those of this process.
        """
        ...

    def request_stop(self, key: str) -> None:
        """Have the process that produces an answer stop it; its `watch` returns the key."""
        ...

    def delete(self, key: str) -> None:
        """Remove what an answer says, also of one that is not there yet.

        For a while its record has the end `DELETED`, and writes to it are refused as "ended".
        """
        ...

    def close(self) -> None:
        """Close connections. A later verb opens them again."""
        ...
