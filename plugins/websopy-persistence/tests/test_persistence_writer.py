"""The writer and its ledger with stores that are slow, failing or counting: no database."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websopy_persistence.ledger import LARGE_REQUEST, Ledger
from websopy_persistence.records import Begin, End, Piece, Record
from websopy_persistence.store import Part, Stored
from websopy_persistence.trouble import Trouble
from websopy_persistence.writer import Limits, Writer

from websopy_sync.chunks import ContentChunk, DoneChunk, ReasoningChunk, StreamChunk

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def begin(stream: str = "s") -> Begin:
    return Begin(stream, NOW)


def piece(seq: int, stream: str = "s") -> Piece:
    return Piece(stream, seq, 0.0, ContentChunk("text"), 4)


def end(told: int, stream: str = "s") -> End:
    return End(stream, "done", NOW, 1.0, told, answer="text" * told)


@attrs.define
class Memory:
    """A store that keeps the numbers of chunks; `before` runs before each write and may raise."""

    before: Callable[[], object] = lambda: None
    chunks: dict[str, list[int]] = attrs.Factory(dict)
    rows: dict[str, int] = attrs.Factory(dict)
    ended: list[str] = attrs.Factory(list)
    answers: list[str | None] = attrs.Factory(list)
    writes: list[int] = attrs.Factory(list)
    closed: int = 0

    def stored(self, stream: str) -> Stored | None:
        if stream not in self.chunks:
            return None
        return Stored(len(self.chunks[stream]), self.rows[stream])

    def write(self, parts: Sequence[Part]) -> None:
        self.before()
        for part in parts:
            if part.begin is not None:
                assert part.stream not in self.chunks, "a key twice"
                self.chunks[part.stream], self.rows[part.stream] = [], 0
            assert part.row == self.rows[part.stream], "a row's number is left out, or is there"
            for each in part.pieces:
                assert each.seq == len(self.chunks[part.stream]), "a gap or a double"
                self.chunks[part.stream] += range(each.seq, each.seq + each.count)
                self.rows[part.stream] += 1
            assert part.stored == self.stored(part.stream)
            if part.end is not None:
                self.ended.append(part.stream)
                self.answers.append(part.end.answer)
        self.writes.append(sum(piece.count for part in parts for piece in part.pieces))

    def close(self) -> None:
        self.closed += 1

    def vanish(self) -> None:
        self.chunks.clear()
        self.rows.clear()


@pytest.fixture
def write() -> Iterator[Callable[..., Writer]]:
    writers = []

    def make(store: Any, **limits: Any) -> Writer:
        opened = store if callable(store) else lambda: store
        trouble = Trouble("somewhere", secret=None)
        writers.append(Writer(opened, trouble, limits=Limits(**limits)))
        return writers[-1]

    yield make
    for writer in writers:
        writer.close()


def test_a_slow_database_holds_up_nobody(write) -> None:
    """Each write takes as long as the test lets it; all is told meanwhile."""
    told = threading.Event()
    store = Memory(before=lambda: told.wait(10))
    writer = write(store, batch=1)
    writer.put(begin())
    for seq in range(1000):
        assert writer.put(piece(seq))
    writer.put(end(1000))
    assert store.chunks == {}
    told.set()
    assert writer.flush(10)
    assert store.chunks == {"s": list(range(1000))}
    assert len(store.writes) <= 3  # what waited was written together


def test_a_database_that_hangs_is_reported(write, caplog) -> None:
    """It raises nothing, so what tells of it is that no more finds room; that is said once."""
    hanging = threading.Event()
    store = Memory(before=lambda: hanging.wait(10))
    weight = begin().weight + 9 * piece(0).weight
    writer = write(store, batch=1000, weight=weight)
    writer.put(begin())
    taken = [writer.put(piece(seq)) for seq in range(20)]
    assert taken == [True] * 9 + [False] * 11
    assert len(caplog.records) == 1
    assert "takes too long" in caplog.text
    hanging.set()
    assert writer.flush(10)
    assert store.chunks == {"s": list(range(9))}
    assert (writer.lost_chunks, writer.lost_streams) == (11, 0)


def test_batches(write) -> None:
    """A full batch is written at once, a smaller one when it is old enough."""
    store = Memory()
    writer = write(store, batch=50, period=0.5)
    writer.put(begin())
    for seq in range(10):
        writer.put(piece(seq))
    assert store.writes == []
    wait_for(lambda: store.writes == [10])
    writer = write(store := Memory(), batch=50, period=1000)
    writer.put(begin())
    for seq in range(50):
        writer.put(piece(seq))
    wait_for(lambda: len(store.writes) == 1)
    assert store.chunks == {"s": list(range(50))}


def test_an_end_is_written_at_once(write) -> None:
    """Nobody waits a quarter of a second to find his answer."""
    store = Memory()
    writer = write(store, period=1000)
    writer.put(begin())
    writer.put(end(0))
    wait_for(lambda: store.ended == ["s"])


def test_thread_and_store_go_when_idle(write) -> None:
    """After some seconds without streams, and come back for the next one."""
    store = Memory()
    writer = write(store, idle=0.05)
    writer.put(begin())
    writer.put(end(0))
    wait_for(lambda: store.closed == 1)
    wait_for(lambda: not any(t.name == "websopy-history" for t in threading.enumerate()))
    writer.put(begin("t"))
    assert writer.flush(10)
    assert "t" in store.chunks
    time.sleep(0.2)
    assert store.closed == 1, "an open stream keeps both"


def test_silent_streams_give_signs_of_life(write) -> None:
    """So that another machine can tell them from those of a dead process."""
    store = Memory()
    writer = write(store, touch=0.05)
    writer.put(begin())
    wait_for(lambda: len(store.writes) > 3)
    assert sum(store.writes) == 0


def test_waits_between_tries_grow(write) -> None:
    """A database that is away is not hammered."""
    tries: list[float] = []

    def fail() -> Any:
        tries.append(time.monotonic())
        raise OSError("away")

    writer = write(fail, retry=0.02, longest_retry=10)
    writer.put(begin())
    for seq in range(100):  # and what comes meanwhile does not hasten it
        writer.put(piece(seq))
        time.sleep(0.005)
    assert 2 <= len(tries) <= 7


def test_closing_gives_up_what_cannot_be_written(write) -> None:
    """After one more try."""
    failing = [True]

    def maybe() -> Memory:
        if failing[0]:
            raise OSError("away")
        return Memory()

    writer = write(maybe, retry=1000, longest_retry=1000)
    writer.put(begin())
    writer.put(piece(0))
    assert not writer.flush(0.1)
    writer.close()
    assert (writer.lost_chunks, writer.lost_streams) == (1, 1)
    failing[0] = False
    writer.put(begin("t"))
    assert writer.flush(10)


def test_closing_tries_what_came_while_a_try_failed(write) -> None:
    """What was put before close() gets its own try, even if another was failing just then."""
    failing, closing = threading.Event(), threading.Event()
    problems = [OSError("gone"), OSError("gone")]  # for all together, and for each alone

    def fail() -> None:
        if problems:
            failing.set()
            assert closing.wait(10)
            raise problems.pop()

    store = Memory(before=fail)
    writer = write(store, batch=1)
    writer.put(begin())
    assert failing.wait(10)
    writer.put(piece(0))
    writer.put(end(1))
    closer = threading.Thread(target=writer.close)
    closer.start()
    wait_for(lambda: writer._stopping)
    closing.set()
    closer.join()
    assert (store.chunks, writer.lost_chunks, writer.lost_streams) == ({"s": [0]}, 0, 0)


def test_closing_counts_what_came_while_it_gave_up(write) -> None:
    """What is put while the last try fails is lost with the rest, and counted with it."""
    last = threading.Event()
    put = threading.Event()

    def fail() -> None:
        if writer._stopping:
            last.set()
            assert put.wait(10)
        raise OSError("gone")

    writer = write(Memory(before=fail), batch=1, retry=60.0)
    writer.put(begin())
    writer.put(piece(0))
    closer = threading.Thread(target=writer.close)
    closer.start()
    assert last.wait(10)
    writer.put(piece(1))
    writer.put(end(2))
    put.set()
    closer.join()
    assert (writer.lost_chunks, writer.lost_streams) == (2, 1)


def test_ends_told_from_destructors(write) -> None:
    """Garbage is collected in the middle of anything, the writer's own lines included."""
    store = Memory()
    writer = write(store, batch=3, period=0.001)
    told = []

    class Abandoned:
        def __init__(self, name: str) -> None:
            self.name = name
            self.itself = self
            writer.put(begin(name))

        def __del__(self) -> None:
            writer.put(end(0, self.name))
            told.append(self.name)

    threshold = gc.get_threshold()
    gc.set_threshold(5, 2, 2)
    try:
        for number in range(500):
            Abandoned(f"a{number}")
            writer.put(piece(number - 1) if number else begin())
    finally:
        gc.set_threshold(*threshold)
    # Once is not enough: while another thread collects, gc.collect() returns at once, and that
    # thread may have most of the destructors still to call.
    wait_for(lambda: [gc.collect(), len(told)][1] == 500)
    assert writer.flush(10)
    assert len(store.ended) == 500
    assert store.chunks["s"] == list(range(499))


def test_put_in_the_middle_of_put(write) -> None:
    """What such a destructor does: it puts while the same thread holds the writer's lock."""

    class Interrupted(Begin):
        """A record that takes so long to look at that garbage is collected meanwhile."""

        collected = False

        @property
        def weight(self) -> int:
            if not Interrupted.collected:
                Interrupted.collected = True
                writer.put(begin("collected"))
            return 1000

    store = Memory()
    writer = write(store)
    putting = threading.Thread(target=writer.put, args=(Interrupted("s", NOW),), daemon=True)
    putting.start()
    putting.join(10)
    assert not putting.is_alive(), "it waits for itself"
    assert writer.flush(10)
    assert set(store.chunks) == {"collected", "s"}


def test_closing_stores_what_came_while_it_wrote(write) -> None:
    """Nor does it forget who is waiting in flush()."""
    writing, go_on = threading.Event(), threading.Event()

    def before() -> None:
        writing.set()
        go_on.wait(10)

    store = Memory(before=before)
    writer = write(store, batch=1)
    writer.put(begin())
    assert writing.wait(10)
    flushed: list[bool] = []
    threads = [
        threading.Thread(target=lambda: flushed.append(writer.flush(5))),
        threading.Thread(target=writer.close),
    ]
    for thread in threads:
        thread.start()
    writer.put(piece(0))
    time.sleep(0.1)  # now both wait
    go_on.set()
    for thread in threads:
        thread.join()
    assert flushed == [True]
    assert store.chunks == {"s": [0]}


def test_many_threads(write) -> None:
    """Each stream by its own thread; none is mixed up."""
    store = Memory()
    writer = write(store, batch=7, period=0.001)

    def stream(name: str) -> None:
        writer.put(begin(name))
        for seq in range(300):
            writer.put(piece(seq, name))
        writer.put(end(300, name))

    threads = [threading.Thread(target=stream, args=(f"t{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.flush(10)
    assert store.chunks == {f"t{n}": list(range(300)) for n in range(8)}
    assert len(store.ended) == 8


def test_trouble_is_told_once(caplog) -> None:
    """Once while it lasts, again when it is another, and the same at most once a minute."""
    now = [0.0]
    trouble = Trouble("somewhere", secret="pa55", clock=lambda: now[0])
    for _ in range(3):
        trouble.began(OSError("away, pa55"))
    assert len(caplog.records) == 1
    assert "away, ***" in caplog.text
    trouble.ended()
    trouble.began(OSError("away, pa55"))
    assert len(caplog.records) == 1
    trouble.ended()
    trouble.began(OSError("full"))
    assert len(caplog.records) == 2
    trouble.ended()
    now[0] = 61.0
    trouble.began(OSError("full"))
    assert len(caplog.records) == 3


def test_losses_are_told_in_totals(caplog) -> None:
    """When they grew, and at most once a minute."""
    now = [0.0]
    trouble = Trouble("somewhere", secret=None, clock=lambda: now[0])
    trouble.lost(chunks=0, streams=0)
    assert caplog.records == []
    for chunks in (1, 2, 3):
        trouble.lost(chunks=chunks, streams=0)
    now[0] = 61.0
    trouble.lost(chunks=3, streams=1)
    trouble.lost(chunks=3, streams=1)
    first, second = (record.getMessage() for record in caplog.records)
    assert "lost 1 chunks, and 0" in first
    assert "lost 3 chunks, and 1" in second


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.005)


class Broken(Exception):
    """A write failed: before, or after it had been done."""


ACTIONS = st.lists(
    st.sampled_from(
        ["piece", "other", "joined", "write", "fail", "fail after", "lose", "vanish", "end"]
    ),
    max_size=60,
)


@given(ACTIONS)
def test_whatever_fails_it_is_a_prefix(actions: list[str]) -> None:
    """Writes fail before or after they took effect, rows vanish: no gap, no double, no error."""
    ledger, store = Ledger(), Memory()
    told = {"s": 0, "o": 0}
    for stream in told:
        ledger.take(begin(stream))
    for action in actions:
        if action in ("piece", "other"):
            stream = "s" if action == "piece" else "o"
            ledger.take(piece(told[stream], stream))
            told[stream] += 1
        elif action == "joined":
            joined = piece(told["s"])
            assert joined.join(piece(told["s"] + 1)) and joined.join(piece(told["s"] + 2))
            ledger.take(joined)
            told["s"] += joined.count
        elif action == "end":
            ledger.take(end(told["s"], "s"))
        elif action == "lose":  # a buffer that had no room: the plugin puts no more of it
            told["s"] += 10**6
        elif action == "vanish":
            store.vanish()
            ledger.doubt()
        else:
            attempt(ledger, store, action)
    attempt(ledger, store, "write")
    for rows in store.chunks.values():
        assert rows == list(range(len(rows)))
    assert not ledger.waiting()


def attempt(ledger: Ledger, store: Memory, how: str) -> None:
    """What the writer does, with the failure that `how` names."""
    entries = ledger.waiting()
    for entry in entries:
        if not entry.certain:
            entry.found(store.stored(entry.begin.stream))
    parts = [entry.part() for entry in entries]
    if how == "fail":
        ledger.doubt()
        return
    store.write(parts)
    if how == "fail after":
        ledger.doubt()
        return
    for entry, part in zip(entries, parts, strict=True):
        ledger.written(entry, part)


def test_what_is_taken_out_is_freed() -> None:
    """Character for character, so that the bound stays true."""
    ledger = Ledger()
    records: list[Record] = [begin(), piece(0), piece(1), end(2)]
    for record in records:
        ledger.take(record)
    (entry,) = ledger.waiting()
    freed = ledger.written(entry, entry.part())
    assert freed == sum(record.weight for record in records)
    assert ledger.entries == {}


def test_giving_up_goes_bit_by_bit() -> None:
    """First the chunks, then the text, then the stream itself; nothing is freed twice."""
    ledger = Ledger()
    records: list[Record] = [begin(), piece(0), end(1)]
    for record in records:
        ledger.take(record)
    (entry,) = ledger.waiting()
    freed = [ledger.give_up(entry) for _ in range(3)]
    assert freed[:2] == [piece(0).weight, len("text")]
    assert sum(freed) == sum(record.weight for record in records)
    assert ledger.entries == {}


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        (ContentChunk("a"), ContentChunk("b"), True),
        (ReasoningChunk("a"), ReasoningChunk("b"), True),
        (ContentChunk("a"), ReasoningChunk("b"), False),
        (ReasoningChunk("a"), ContentChunk("b"), False),
        (ContentChunk("a", extra={"x": 1}), ContentChunk("b"), False),
        (ReasoningChunk("a"), ReasoningChunk("b", extra={"x": 1}), False),
        (DoneChunk(), DoneChunk(), False),
    ],
)
def test_which_chunks_share_a_row(first: StreamChunk, second: StreamChunk, joined: bool) -> None:
    """Plain text of one kind; nothing of another chunk would be lost."""
    row = Piece("s", 0, 0.0, first, 1)
    assert row.join(Piece("s", 1, 0.5, second, 1)) is joined
    assert row.count == 1 + joined
    assert row.text == ("ab" if joined else "" if isinstance(first, DoneChunk) else "a")


def test_reasoning_weighs_and_is_given_up_with_the_text() -> None:
    """A model that thinks for long must not fill the memory of a server without a database."""
    thoughtful = attrs.evolve(end(1), answer="", reasoning="why" * 100)
    assert thoughtful.weight == end(0).weight + 300
    assert thoughtful.without_text().weight == end(0).weight
    ledger = Ledger()
    for record in (begin(), thoughtful):
        ledger.take(record)
    (entry,) = ledger.waiting()
    assert ledger.give_up(entry) == 300
    assert ledger.entries


def test_a_large_request_is_given_up_first() -> None:
    """While the row is missing it is the likely cause; the chunks and the text stay."""
    ledger = Ledger()
    large = attrs.evolve(begin(), request="x" * (LARGE_REQUEST + 1), question="why")
    for record in (large, piece(0), end(1)):
        ledger.take(record)
    (entry,) = ledger.waiting()
    assert ledger.give_up(entry) == LARGE_REQUEST + 1 + len("why")
    assert (entry.begin.request, entry.begin.question) == (None, None)
    assert (entry.chunks, entry.end) == (1, end(1))
