"""The life of a stream: its table of transitions, walked with real streams."""

from __future__ import annotations

import contextlib
import gc
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from websopy_sync import (
    APIError,
    ChatStream,
    StreamCancelledError,
    StreamError,
    WebsopyClient,
    hookimpl,
)
from websopy_sync.lifecycle import ENDED, NEVER, REFUSED, SAME, TRANSITIONS
from websopy_sync.sandbox import Sandbox, cut, done, error, say, silence, status

ENDS = ("done", "error", "cancelled", "closed")
STATES = ("opening", "open", "reading", *ENDS)
CELLS = {
    (state, event): row[min(index, 3)]  # the last column is of all four ends
    for event, row in TRANSITIONS.items()
    for index, state in enumerate(STATES)
    if row[min(index, 3)] != NEVER
}

SCRIPTS: dict[tuple[str, str], list[Any]] = {
    ("opening", "failure"): [status(400)],
    ("reading", "failure"): [cut()],
    ("reading", "done chunk"): [done()],
    ("reading", "error chunk"): [error("no")],
}
TEXT_FIRST = {"done": [say("a"), done()], "error": [say("a"), error("no")]}


class Watcher:
    """A plugin that acts once inside a step, and notes each end of a stream."""

    def __init__(self) -> None:
        self.on_request_do: Callable[[ChatStream], object] | None = None
        self.on_chunk_do: Callable[[ChatStream], object] | None = None
        self.ends: list[str] = []

    @hookimpl
    def on_request(self, stream: ChatStream) -> None:
        act, self.on_request_do = self.on_request_do, None
        if act is not None:
            act(stream)

    @hookimpl
    def on_chunk(self, stream: ChatStream) -> None:
        act, self.on_chunk_do = self.on_chunk_do, None
        if act is not None:
            act(stream)

    @hookimpl
    def on_done(self, stream: ChatStream) -> None:
        self.ends.append(stream.state)

    @hookimpl
    def on_error(self, stream: ChatStream) -> None:
        self.ends.append(stream.state)


Make = Callable[..., WebsopyClient]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(pause=0) as service:
        yield service


class Life:
    """One stream in one state of the table, and what an event makes of it."""

    def __init__(self, state: str, event: str, sandbox: Sandbox, make: Make) -> None:
        self.state, self.event = state, event
        self.watcher = Watcher()
        self.client = make(self.watcher)
        script = SCRIPTS.get((state, event)) or TEXT_FIRST.get(state)
        sandbox.play(script or [say("a"), say("b"), silence()])
        self.stream: ChatStream | None = None
        self.raised: BaseException | None = None
        """What came out of the event's own call, or of the step in which it happened."""
        self.within: BaseException | None = None
        """What came out of a call that a hook made."""

    def live(self) -> str:
        """Bring a stream to the state, and let the event happen. The state after it."""
        if self.state == "opening":
            self.watcher.on_request_do = self.happen_within
        self.raised = raised_by(self.open)
        if self.state != "opening":
            self.go_on()
        if self.stream is None:  # garbage now
            gc.collect()
            return self.watcher.ends[-1]
        return state_of(self.stream)

    def open(self) -> None:
        self.stream = self.client.ai.chat_stream("hi", resume=False)

    def go_on(self) -> None:
        """Go on from an open stream."""
        assert self.stream is not None
        if self.state == "reading":
            if self.event not in ("item", "done chunk", "error chunk", "failure"):
                self.watcher.on_chunk_do = self.happen_within
            self.raised = raised_by(lambda: next(stream_of(self)))
        elif self.event in ("break", "interrupt"):
            self.raised = raised_by(self.leave_a_loop)
        else:
            while True:
                chunk = next(self.stream)
                if self.reached(chunk.type):
                    break
            self.raised = raised_by(lambda: self.happen(stream_of(self)))

    def leave_a_loop(self) -> None:
        for chunk in stream_of(self):
            if self.reached(chunk.type):
                if self.event == "interrupt":
                    raise KeyboardInterrupt
                break

    def reached(self, kind: str) -> bool:
        """Whether the stream is in its state now, which a chunk of this type brings or not."""
        if self.state in ("cancelled", "closed"):
            end = stream_of(self).cancel if self.state == "cancelled" else stream_of(self).close
            end()
        return self.state not in ("done", "error") or kind == self.state

    def happen_within(self, stream: ChatStream) -> None:
        """Let the event happen in a hook."""
        self.stream = stream
        assert state_of(stream) == self.state
        if self.event == "interrupt":
            raise KeyboardInterrupt
        self.within = raised_by(lambda: self.happen(stream))

    def happen(self, stream: ChatStream) -> None:
        """Let the event happen, here and now."""
        if self.event == "next":
            if self.state == "open":
                self.watcher.on_chunk_do = self.note_reading
            next(stream)
        elif self.event == "second loop":
            with contextlib.suppress(StreamError):
                self.loop = iter(stream)  # kept: dropping it would leave the loop
            iter(stream)
        elif self.event == "cancel":
            stream.cancel()
        elif self.event == "close":
            stream.close()
        elif self.event == "garbage":
            self.stream = None
        elif self.event == "fork":
            self.fork(stream)

    def note_reading(self, stream: ChatStream) -> None:
        self.within = raised_by(lambda: next(stream))
        assert state_of(stream) == "reading"

    def fork(self, stream: ChatStream) -> None:
        """Note what the child sees; the parent must see nothing of it."""
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the sandbox has threads
            child = os.fork()
        if child == 0:
            refused = isinstance(raised_by(lambda: next(stream)), StreamError)
            os.write(writer, f"{stream.state} {refused}".encode())
            os._exit(0)
        os.waitpid(child, 0)
        os.close(writer)
        with open(reader, encoding="ascii") as pipe:
            self.in_the_child = pipe.read()


def stream_of(life: Life) -> ChatStream:
    assert life.stream is not None
    return life.stream


def raised_by(call: Callable[[], object]) -> BaseException | None:
    """What a call raised, without its traceback, which would hold the stream."""
    try:
        call()
    except BaseException as error:  # noqa: BLE001  # an interrupt as well
        return error.with_traceback(None)
    return None


def state_of(stream: ChatStream) -> str:
    """The state of the table, which tells apart three that a user sees as one."""
    if stream.state == "open" and stream._step.busy:
        return "reading" if stream.status_code else "opening"
    return stream.state


def is_the_end_of(state: str, raised: BaseException | None) -> bool:
    """Whether this is what reading raises after a stream came to this end."""
    if state == "done":
        return isinstance(raised, StopIteration)
    if state == "error":
        return isinstance(raised, APIError)
    return isinstance(raised, StreamCancelledError) and raised.reason == state


@pytest.mark.parametrize(("state", "event"), CELLS, ids=map(" ".join, CELLS))
def test_what_an_event_makes_of_a_state(
    state: str, event: str, sandbox: Sandbox, make: Make
) -> None:
    """Every cell of the table, and exactly one end for the plugins."""
    expected = CELLS[state, event]
    life = Life(state, event, sandbox, make)
    after = life.live()
    if event == "fork":
        check_fork(life, after, expected)
    elif expected == REFUSED:
        refusal = life.within if state in ("opening", "reading") else life.raised
        assert type(refusal) is StreamError
        assert after == ("open" if state in ("opening", "reading") else state)
    elif expected == ENDED:
        assert is_the_end_of(state, life.raised) and after == state
    elif expected == SAME:
        assert after == state
    elif (state, event) == ("open", "next"):
        assert type(life.within) is StreamError  # the hook's own next(), as the stream is read
        assert after == "open"
    else:
        assert after == expected
        if state in ("opening", "reading"):
            check_the_step(life, expected)
    if life.stream is not None and after in ENDS:
        life.stream.close()  # cancel() notifies nobody by itself
    assert life.watcher.ends == ([after] if after in ENDS else [])


def check_the_step(life: Life, end: str) -> None:
    """The step in which the event happened, or the next one, raises what ended the stream."""
    if life.event == "interrupt":
        assert type(life.raised) is KeyboardInterrupt
    elif life.event in ("head", "item", "done chunk", "error chunk"):
        assert life.raised is None
    else:
        raised = life.raised or raised_by(lambda: next(stream_of(life)))
        assert is_the_end_of(end, raised)


def check_fork(life: Life, after: str, expected: str) -> None:
    """The child's copy is closed and cannot be read; the parent goes on."""
    in_step = life.state in ("opening", "reading")
    assert after == ("open" if in_step else life.state)
    if expected == SAME:
        assert life.in_the_child.startswith(life.state)
    else:
        assert life.in_the_child == f"{expected} True"
        assert next(stream_of(life)).type == "content"
