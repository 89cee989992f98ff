"""BackgroundPlugin when things go wrong: no thread, no room, nobody left, an end at any moment."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from websopy_sync import (
    APITimeoutError,
    BackgroundPlugin,
    CancelToken,
    ContentChunk,
    DoneChunk,
    PluginError,
    StreamCancelledError,
    Timeouts,
    WebsopyClient,
    hookimpl,
)
from websopy_sync.sandbox import Sandbox, done, say, silence

SOON = 5.0
LOG = "websopy_sync.plugins"

Make = Callable[..., WebsopyClient]
Background = Callable[..., BackgroundPlugin]


class Hears:
    """Writes down what it is told, and stands in its first chunk until the gate is opened."""

    def __init__(self, *, opened: bool = True) -> None:
        self.chunks: list[Any] = []
        self.ends: list[str] = []
        self.entered, self.opened = threading.Event(), threading.Event()
        if opened:
            self.opened.set()

    def stand(self) -> None:
        self.entered.set()
        self.opened.wait(SOON)

    @hookimpl
    def on_chunk(self, chunk: Any) -> None:
        self.stand()
        self.chunks.append(chunk)

    @hookimpl
    def on_done(self) -> None:
        self.ends.append("done")

    @hookimpl
    def on_error(self, error: BaseException) -> None:
        self.ends.append(type(error).__name__)


def test_close_while_another_thread_starts_the_queues_thread(
    background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that has not begun yet cannot be joined, and ends by itself."""
    starting, go_on = threading.Event(), threading.Event()
    start = threading.Thread.start

    def start_late(thread: threading.Thread) -> None:
        if thread.name == "websopy-plugin":
            starting.set()
            go_on.wait(SOON)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_late)
    made: list[int] = []
    plugin = background(Hears(), exit_seconds=0.05)
    asker = threading.Thread(target=plugin.submit, args=(lambda: made.append(1),))
    asker.start()
    assert starting.wait(SOON)
    plugin.close()
    go_on.set()
    asker.join()
    assert plugin.flush(SOON)
    assert made == [1]


def test_any_number_of_calls_may_wait() -> None:
    """A queue without a bound to speak of costs nothing until it is used."""
    plugin = BackgroundPlugin(Hears(), queue_size=sys.maxsize)
    plugin.submit(lambda: None)
    plugin.close()


@pytest.mark.parametrize("seconds", [float("inf"), 1e300, threading.TIMEOUT_MAX * 2])
def test_close_may_wait_for_any_time(background: Background, seconds: float) -> None:
    """Longer than the system can wait for means as long as it takes."""
    hears = Hears()
    plugin = background(hears, exit_seconds=seconds)
    plugin.submit(lambda: hears.ends.append("made"))
    plugin.close()
    assert hears.ends == ["made"]
    assert plugin.flush(seconds)


# --- no thread to be had -------------------------------------------------------------------------


@pytest.fixture
def refuse_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """`refuse_threads(True)` has the background's threads not start, as the system's limit does."""
    start = threading.Thread.start

    def refuse(on: bool) -> None:
        def start_or_not(thread: threading.Thread) -> None:
            if on and thread.name == "websopy-plugin":
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", start_or_not)

    return refuse


@pytest.mark.parametrize("when_full", ["block", "drop", "error"])
def test_no_thread_to_be_had_is_the_plugins_failure(
    make: Make,
    background: Background,
    refuse_threads: Callable[[bool], None],
    caplog: pytest.LogCaptureFixture,
    when_full: str,
) -> None:
    """The streams are whole, it is logged once a hook and counted, and nothing hangs."""
    hears = Hears()
    refuse_threads(True)
    client = make(background(hears, queue_size=3, when_full=when_full))
    with caplog.at_level(logging.ERROR, LOG):
        for _ in range(3):
            assert client.ai.chat("x").content
    assert len(caplog.records) == 2 and "no thread can be started" in caplog.text
    assert client._hooks.failures[("Hears", "on_chunk")] > 3
    assert client._hooks.failures[("Hears", "on_done")] == 3
    client.close()  # makes the calls itself
    assert len(hears.chunks) == 3 and hears.ends == ["done"] * 3


def test_no_thread_to_be_had_raises_when_strict(
    make: Make, background: Background, refuse_threads: Callable[[bool], None]
) -> None:
    """As a typed error, with no foreign RuntimeError in sight."""
    refuse_threads(True)
    client = make(background(Hears()), strict_plugins=True)
    with pytest.raises(PluginError, match="no thread can be started") as caught:
        client.ai.chat("x")
    assert caught.value.plugin == "Hears"


def test_what_waits_is_done_once_there_is_a_thread_again(
    make: Make, background: Background, sandbox: Sandbox, refuse_threads: Callable[[bool], None]
) -> None:
    """In its order, with what comes then."""
    hears = Hears()
    plugin = background(hears)
    client = make(plugin)
    refuse_threads(True)
    sandbox.play([say("a"), done()])
    client.ai.chat("x")
    refuse_threads(False)
    sandbox.play([say("b"), done()])
    client.ai.chat("x")
    assert plugin.flush(SOON)
    assert hears.chunks == [ContentChunk("a"), DoneChunk(), ContentChunk("b"), DoneChunk()]


def test_a_flush_without_a_thread_ends_in_time(
    background: Background, refuse_threads: Callable[[bool], None]
) -> None:
    """It makes the calls itself until its time is over, and keeps the rest."""
    refuse_threads(True)
    made: list[int] = []

    def call() -> None:
        made.append(1)
        time.sleep(0.05)

    plugin = background(Hears())
    for _ in range(10):
        with pytest.raises(PluginError):
            plugin.submit(call)
    assert not plugin.flush(0.12)
    assert 1 <= len(made) < 10
    assert plugin.flush(SOON)
    assert len(made) == 10


# --- waiting for room ----------------------------------------------------------------------------


def full(make: Make, background: Background, sandbox: Sandbox, **options: Any) -> Any:
    """A stream whose next chunk finds the queue full, its plugin, and what lets that go on."""
    hears = Hears(opened=False)
    plugin = background(hears, queue_size=1, exit_seconds=0.2)
    sandbox.play([say("a"), say("b"), silence()])
    stream = make(plugin).ai.chat_stream("x", **options)
    assert next(stream) == ContentChunk("a")
    assert hears.entered.wait(SOON)
    return stream, plugin, hears


@pytest.mark.timing
@pytest.mark.parametrize("way", ["cancel", "token", "close"])
def test_waiting_for_room_obeys_cancel(
    make: Make, background: Background, sandbox: Sandbox, way: str
) -> None:
    """From another thread, while the reader waits for a hook that stands still."""
    token = CancelToken()
    stream, plugin, hears = full(make, background, sandbox, cancel_token=token)
    ends = {"cancel": stream.cancel, "token": token.cancel, "close": stream.close}
    timer = threading.Timer(0.1, ends[way])
    timer.start()
    begun = time.monotonic()
    with pytest.raises(StreamCancelledError):
        stream.until_done()
    assert time.monotonic() - begun < 2.0
    timer.join()
    assert plugin.dropped == 1
    hears.opened.set()
    assert plugin.flush(SOON) and hears.ends == ["StreamCancelledError"]


@pytest.mark.timing
def test_waiting_for_room_obeys_the_total_limit(
    make: Make, background: Background, sandbox: Sandbox
) -> None:
    """The reader gets the timeout that it would get without the plugin."""
    stream, plugin, hears = full(make, background, sandbox, timeout=Timeouts(total=0.5))
    begun = time.monotonic()
    with pytest.raises(APITimeoutError) as caught:
        stream.until_done()
    assert caught.value.phase == "total" and time.monotonic() - begun < 2.0
    hears.opened.set()
    assert plugin.flush(SOON) and hears.ends == ["APITimeoutError"]


def test_a_new_question_waits_for_room_too(make: Make, background: Background) -> None:
    """A plugin that hears of ends only, which do not wait, is not left behind without bound."""

    class Ends:
        opened = threading.Event()

        @hookimpl
        def on_done(self) -> None:
            self.opened.wait(SOON)

    plugin = background(Ends(), queue_size=2)
    client = make(plugin)
    for _ in range(2):
        client.ai.chat("x")
    with pytest.raises(APITimeoutError):
        client.ai.chat("x", timeout=0.2)
    token = CancelToken()
    threading.Timer(0.1, token.cancel).start()
    with pytest.raises(StreamCancelledError):
        client.ai.chat("x", cancel_token=token)
    Ends.opened.set()
    client.ai.chat("x")


def test_a_plugin_that_edits_nothing_costs_no_copy_of_the_body(
    make: Make, background: Background
) -> None:
    """In the background too: only on_request has a question's body copied."""
    client = make(background(Hears()))
    assert client._hooks.listeners().notifier("on_request") is None


@pytest.mark.parametrize("when_full", ["drop", "error"])
def test_a_new_question_does_not_wait_otherwise(
    make: Make, background: Background, when_full: str
) -> None:
    """Only "block" holds anything back."""
    hears = Hears(opened=False)
    client = make(background(hears, queue_size=1, when_full=when_full))
    for _ in range(3):
        client.ai.chat("x", timeout=SOON)
    hears.opened.set()


@pytest.mark.parametrize("when_full", ["block", "drop", "error"])
def test_the_ends_are_never_dropped(
    make: Make, background: Background, sandbox: Sandbox, when_full: str
) -> None:
    """PROMISE 54: on_done and on_error find room in a full queue, and do not wait for it."""
    hears = Hears(opened=False)
    plugin = background(hears, queue_size=4, when_full=when_full)
    client = make(plugin)
    streams = []
    for _ in range(2):
        sandbox.play([done()])
        streams.append(client.ai.chat_stream("x"))
        sandbox.play([silence()])
        streams.append(client.ai.chat_stream("x"))
    first, left, second, forgotten = streams
    del streams
    first.until_done()
    assert hears.entered.wait(SOON)
    second.until_done()
    left.close()
    del forgotten
    if when_full != "block":
        for _ in range(5):
            sandbox.play([say("a"), done()])
            client.ai.chat("x")
    hears.opened.set()
    assert plugin.flush(SOON)
    assert hears.ends.count("StreamCancelledError") == 2
    assert hears.ends.count("done") == (2 if when_full == "block" else 7)
    if when_full != "block":
        assert plugin.dropped > 0


# --- the thread's own life -----------------------------------------------------------------------


def plugin_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "websopy-plugin"]


def gone(threads: Callable[[], list[threading.Thread]] = plugin_threads) -> bool:
    """Whether no thread of the background is left, a moment later."""
    deadline = time.monotonic() + SOON
    while threads() and time.monotonic() < deadline:
        time.sleep(0.005)
    return not threads()


@pytest.mark.slow
def test_unclosed_clients_leave_no_thread(sandbox: Sandbox) -> None:
    """A client that nobody holds any more ends its background thread, without a collection."""
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            client = WebsopyClient("k", base_url=sandbox.url, plugins=[BackgroundPlugin(Hears())])
            client.ai.chat("x")
            del client
        assert gone()
    finally:
        gc.enable()


def test_an_unclosed_client_is_freed_at_once(sandbox: Sandbox) -> None:
    """With its plugins, as nothing in it refers back to it."""
    gc.collect()
    gc.disable()
    try:
        plugin = Hears()
        client = WebsopyClient("k", base_url=sandbox.url, plugins=[plugin])
        client.ai.chat("x")
        seen = [weakref.ref(one) for one in (client, client._hooks, plugin)]
        del client, plugin
        assert [one() for one in seen] == [None] * 3
    finally:
        gc.enable()


def test_what_waits_is_done_when_nobody_holds_the_client(sandbox: Sandbox) -> None:
    """Then the thread ends."""
    hears = Hears(opened=False)
    client = WebsopyClient("k", base_url=sandbox.url, plugins=[BackgroundPlugin(hears)])
    sandbox.play([say("a"), done()])
    client.ai.chat("x")
    assert hears.entered.wait(SOON)
    del client
    hears.opened.set()
    assert gone()
    assert hears.chunks == [ContentChunk("a"), DoneChunk()] and hears.ends == ["done"]


def test_a_plugin_that_was_never_used_starts_no_thread() -> None:
    """And leaves nothing behind, at exit neither."""
    plugin = BackgroundPlugin(Hears())
    assert plugin.flush() and plugin_threads() == []
    seen = weakref.ref(plugin)
    del plugin
    assert seen() is None


def test_a_hook_may_flush_and_close_its_own_plugin(background: Background) -> None:
    """It cannot wait for itself, so it does not."""
    answers = []

    def call() -> None:
        begun = time.monotonic()
        answers.append((plugin.flush(SOON), plugin.close(), time.monotonic() - begun < 2.0))

    plugin = background(Hears())
    plugin.submit(call)
    assert plugin.flush(SOON) and answers == [(False, None, True)]
    plugin.submit(lambda: answers.append("again"))
    assert plugin.flush(SOON) and answers[1:] == ["again"]


def test_a_hook_that_reads_streams_cannot_wait_for_its_own_queue(
    make: Make, background: Background, sandbox: Sandbox
) -> None:
    """What is told in the background's own thread goes on top of the queue."""
    hears = Hears()
    plugin = background(hears, queue_size=1)
    client = make(plugin)
    sandbox.play([say("a"), say("b"), say("c"), done()])
    stream = client.ai.chat_stream("x")
    plugin.submit(lambda: stream.until_done())
    assert plugin.flush(SOON)
    assert plugin.flush(SOON)
    assert len(hears.chunks) == 4 and hears.ends == ["done"]


def test_closing_loses_no_call_of_other_threads(background: Background) -> None:
    """A call that comes while the thread ends has the next one made; each thread's in order."""
    plugin = background(Hears(), queue_size=50)
    made: list[tuple[int, int]] = []

    def submit(number: int) -> None:
        for index in range(300):
            plugin.submit(lambda index=index: made.append((number, index)))

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        plugin.close()
    assert plugin.flush(SOON)
    for number in range(4):
        assert [index for whose, index in made if whose == number] == list(range(300))


@pytest.mark.leaves("the plugin is kept for its thread's sake, and closed")
def test_an_end_told_from_a_destructor_in_any_line(background: Background) -> None:
    """The garbage collector runs in the middle of submit(), in whatever thread; nothing stalls."""
    plugin = background(Hears(), queue_size=20)
    made: list[int] = []

    class Forgotten:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            plugin.submit_end(lambda: made.append(1))

    def submit() -> None:
        for _ in range(200):
            Forgotten()
            plugin.submit(lambda: None)
            plugin.close() if threading.current_thread() is threads[0] else None

    threads = [threading.Thread(target=submit) for _ in range(3)]
    thresholds = gc.get_threshold()
    gc.set_threshold(5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert plugin.flush(SOON) and len(made) == 600


# --- the program's end ---------------------------------------------------------------------------

PROGRAM = """
    import threading, time
    from websopy_sync import BackgroundPlugin, WebsopyClient, hookimpl
    from websopy_sync.sandbox import Sandbox

    class Slow:
        @hookimpl
        def on_chunk(self, chunk):
            time.sleep(0.02)
            print(chunk.type, flush=True)
        @hookimpl
        def on_done(self):
            print("told", flush=True)
        @hookimpl
        def on_error(self, error):
            print("told", type(error).__name__, flush=True)
    sandbox = Sandbox(pause=0)
    sandbox.__enter__()
    plugin = BackgroundPlugin(Slow())
    client = WebsopyClient("k", base_url=sandbox.url, plugins=[plugin])
    start = threading.Thread.start
"""


def output(script: str) -> list[str]:
    program = textwrap.dedent(PROGRAM) + textwrap.dedent(script)
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=50
    )
    assert finished.returncode == 0 and finished.stderr == "", finished.stderr
    return finished.stdout.split("\n")


@pytest.mark.slow
def test_what_waits_at_the_programs_end_is_done() -> None:
    """Though nobody closed the client."""
    told = output('client.ai.chat("x")')
    assert told[-2:] == ["told", ""] and "content" in told


@pytest.mark.slow
def test_what_waits_at_the_programs_end_is_done_without_a_thread() -> None:
    """From Python 3.12 on none can be started then."""
    script = """
    def refuse(thread):
        if thread.name == "websopy-plugin":
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)
    threading.Thread.start = refuse
    import logging; logging.disable(logging.CRITICAL)
    client.ai.chat("x")
    """
    told = output(script)
    assert told[-2:] == ["told", ""] and "content" in told


@pytest.mark.slow
def test_a_stream_that_is_open_at_the_programs_end_breaks_nothing() -> None:
    """Its end comes when there is no thread any more; no traceback is printed."""
    script = """
    stream = client.ai.chat_stream("x")
    next(stream)
    stream.itself = stream
    """
    assert "content" in output(script)


def test_a_forked_child_has_a_queue_and_a_thread_of_its_own(
    make: Make, background: Background, sandbox: Sandbox
) -> None:
    """What waits in the parent is made there alone, and the child's end waits for its own."""
    hears = Hears(opened=False)
    plugin = background(hears, queue_size=2, exit_seconds=SOON)
    client = make(plugin)
    sandbox.play([done()])
    client.ai.chat("x")
    assert hears.entered.wait(SOON)
    child = os.fork()
    if child == 0:
        hears.opened.set()
        before = plugin.flush(0.0)  # nothing is the child's yet
        client.ai.chat("y")
        client.close()
        os._exit(7 if before and len(hears.chunks) > 1 and hears.ends == ["done"] else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    hears.opened.set()
    assert plugin.flush(SOON)
    assert status == 7 and hears.ends == ["done"]
