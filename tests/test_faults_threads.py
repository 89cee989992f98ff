"""Promise 44: several threads on one stream or client, forks, and plugins that raise at the end."""

from __future__ import annotations

import collections
import contextlib
import gc
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import faults
import pytest
from endings import Endings
from faults import (
    DONE,
    FORKS_BESIDE_THREADS,
    Conn,
    answer,
    authority,
    child,
    client,
    event,
    output,
    play,
    stall,
    stall_after,
    status_answer,
    text,
)

from websopy_sync import (
    CancelToken,
    ConfigError,
    PluginError,
    StreamCancelledError,
    StreamError,
    Timeouts,
    WebsopyClient,
    hookimpl,
)

FAR = Timeouts(connect=5, first_chunk=5, idle=5, total=5)
HALF = text("half")
AT_ONCE = 0.5
"""Seconds within which something happens "at once", on a machine that is busy with other things."""
NOTHING = contextlib.nullcontext()
SECONDS = 0.5
"""Seconds that a test looks for a race."""


@pytest.fixture(autouse=True)
def switching_often() -> Iterator[None]:
    """Threads take turns as often as they can, so that a race is found soon."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def rounds(seconds: float = SECONDS) -> Iterator[int]:
    """Numbers, for so many seconds."""
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        yield number
        number += 1


def at_a_time(*calls: Callable[[], object]) -> list[BaseException | None]:
    """Make calls in threads that start together; what each raised."""
    raised: list[BaseException | None] = [None] * len(calls)
    together = threading.Barrier(len(calls))

    def run(number: int) -> None:
        together.wait()
        try:
            calls[number]()
        except BaseException as error:  # noqa: BLE001  # told to the test
            raised[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive(), "a thread hangs"
    return raised


def mixed(conn: Conn) -> None:
    """Answers that have text and other chunks, to as many requests as come; patient."""
    with contextlib.suppress(AssertionError):  # a connection that is kept and not used
        while True:
            conn.read_request()
            conn.head()
            conn.body(*[text(f"{n} ") + event({"type": "news", "n": n}) for n in range(20)])
            conn.end(DONE)


WHOLE = "".join(f"{n} " for n in range(20))


# --- two threads read ----------------------------------------------------------------------------


def chat(asker: WebsopyClient) -> Any:
    return asker.ai.chat_stream("hi", timeout=FAR)


def events(asker: WebsopyClient) -> Any:
    return asker.events("GET", "/x", timeout=FAR)


@pytest.mark.parametrize("start", [chat, events])
def test_two_threads_in_next(start: Callable[[WebsopyClient], Any]) -> None:
    """Each chunk comes to one of them; who comes in between gets StreamError and harms nobody."""
    refused = 0
    with play(always=mixed) as server, client(server) as asker:
        for _ in rounds():
            stream, got = start(asker), collections.deque[Any]()

            def read(stream: Any = stream, got: Any = got) -> None:
                nonlocal refused
                while True:
                    try:
                        got.append(next(stream))
                    except StopIteration:
                        return
                    except StreamError:
                        refused += 1

            assert at_a_time(read, read) == [None, None]
            assert (stream.state, len(got)) == ("done", 41)
    assert refused


def test_two_loops_over_one_stream() -> None:
    """One of them reads it whole, the other gets StreamError, whoever is first."""
    with play(always=mixed) as server, client(server) as asker:
        for _ in rounds():
            stream, got = chat(asker), collections.deque[str]()
            raised = at_a_time(*[lambda: got.extend(stream.text_stream)] * 2)  # noqa: B023
            assert sorted(map(type, raised), key=str) == [type(None), StreamError]
            assert "".join(got) == WHOLE


READERS: dict[str, Callable[[Any], object]] = {
    "for": list,
    "next": lambda stream: [*iter(lambda: next(stream, None), None)],
    "one next": lambda stream: next(stream, None),
    "text_stream": lambda stream: list(stream.text_stream),
    "until_done": lambda stream: stream.until_done(),
    "message": lambda stream: stream.get_final_message(),
    "look": lambda stream: (stream.current_message, stream.state, repr(stream)),
}


@pytest.mark.parametrize("first", READERS)
@pytest.mark.parametrize("second", READERS)
def test_two_readers_of_any_kind(first: str, second: str) -> None:
    """Only StreamError is raised, and by one of them at most."""
    with play(always=mixed) as server, client(server) as asker:
        for _ in rounds(0.1):
            stream = chat(asker)
            raised = at_a_time(
                lambda: READERS[first](stream),  # noqa: B023
                lambda: READERS[second](stream),  # noqa: B023
            )
            assert {type(error) for error in raised} <= {type(None), StreamError}
            assert None in raised or "next" in first + second
            stream.close()


def test_a_second_reader_while_the_first_one_waits() -> None:
    """It is refused at once, whichever way it reads; the first goes on and gets all."""
    going_on = threading.Event()

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(text("a"))
        conn.wait(going_on)
        conn.end(text("b") + DONE)

    for begin in (next, iter):
        going_on.clear()
        with play(script) as server, client(server) as asker:
            stream = chat(asker)
            got: list[Any] = []
            chunks = iter(stream) if begin is iter else stream
            got.append(next(chunks))
            rest = iter(lambda: next(chunks, None), None)  # noqa: B023
            reader = threading.Thread(target=got.extend, args=(rest,))
            reader.start()
            time.sleep(0.05)
            for read in (next, list, lambda stream: list(stream.text_stream)):
                with pytest.raises(StreamError):
                    read(stream)
            going_on.set()
            reader.join(2)
        assert [chunk.type for chunk in got] == ["content", "content", "done"]


def test_a_hook_that_reads_its_own_stream() -> None:
    """StreamError in the hook; the reader goes on."""
    problems = []

    class Reads:
        @hookimpl
        def on_chunk(self, stream: Any) -> None:
            for read in (next, list, lambda stream: stream.get_final_message()):
                with pytest.raises(StreamError) as caught:
                    read(stream)
                problems.append(caught.value)

    for read in ("for", "next", "message"):
        with play(answer("a")) as server, client(server, plugins=[Reads()]) as asker:
            READERS[read](chat(asker))
    assert len(problems) == 3 * 2 * 3


# --- close against everything --------------------------------------------------------------------


def flood(conn: Conn) -> None:
    """An answer without end."""
    conn.read_request()
    conn.head()
    conn.flood(faults.http_chunk(HALF + event({"type": "news"})), limit=10_000_000)


def leaving(reader: Callable[[Any], object], *others: Callable[[Any], object]) -> None:
    """Read an answer without end while others end it; it ends once, in our own error."""
    chance = random.Random(3)
    endings, count = Endings(), 0
    with play(always=flood) as server, client(server, plugins=[endings], timeout=FAR) as asker:
        for _ in rounds():
            stream = asker.ai.chat_stream("hi", keep_message=False)
            pause = chance.random() * 0.002
            calls = [lambda call=call: (time.sleep(pause), call(stream)) for call in others]  # type: ignore[misc]  # noqa: B023
            reading, *ending = at_a_time(lambda: reader(stream), *calls)  # noqa: B023
            assert type(reading) in (StreamCancelledError, type(None))
            assert ending == [None] * len(others)
            assert stream.state in ("closed", "cancelled")
            count += 1
            assert len(endings.ends) == endings.asked == count, (reading, stream.state)
            if reading is not None:
                assert reading.partial is not None


def read_all(stream: Any) -> None:
    """Read until an error comes."""
    for _ in stream:
        pass


def read_by_next(stream: Any) -> None:
    """The same, step by step."""
    while True:
        next(stream)


def read_a_few(stream: Any) -> None:
    """Read some chunks and no more; whoever closes then finds the stream between two steps."""
    for _ in range(50):
        next(stream)


READ_WAYS = [read_all, read_by_next, lambda stream: stream.get_final_message()]


@pytest.mark.parametrize("read", READ_WAYS, ids=["for", "next", "message"])
def test_close_against_a_reader(read: Callable[[Any], object]) -> None:
    """Wherever the reader is: it gets StreamCancelledError, the plugins hear of one end."""
    leaving(read, lambda stream: stream.close())


def test_close_against_a_reader_that_stops_reading() -> None:
    """Also when the reader takes no step more, it is ended by one of the two."""

    def read(stream: Any) -> None:
        with contextlib.suppress(StreamCancelledError):
            read_a_few(stream)

    leaving(read, lambda stream: stream.close())


def test_cancel_and_close_against_a_reader() -> None:
    """Both at a time, and twice."""

    def cancel(stream: Any) -> None:
        stream.cancel()
        stream.close()

    leaving(read_by_next, cancel, lambda stream: stream.close(), lambda stream: stream.close())


def test_closed_native_events() -> None:
    """The same without plugins."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.flood(faults.http_chunk(b"data: x\n\n"), limit=10_000_000)

    with play(always=script) as server, client(server, timeout=FAR) as asker:
        for _ in rounds():
            stream = events(asker)
            reading, closing = at_a_time(lambda: read_by_next(stream), stream.close)  # noqa: B023
            assert (type(reading), closing, stream.state) == (StreamCancelledError, None, "closed")


def test_closed_as_the_answer_ends() -> None:
    """A close() around the done chunk ends this answer or comes too late, and spoils no other."""
    chance = random.Random(4)
    endings = Endings()
    with play(always=mixed) as server, client(server, plugins=[endings], timeout=FAR) as asker:
        for _ in rounds():
            stream = chat(asker)
            pause = chance.random() * 0.003
            close = lambda: (time.sleep(pause), stream.close())  # noqa: B023, E731
            reading, closing, again = at_a_time(lambda: read_all(stream), close, close)  # noqa: B023
            assert closing is again is None
            assert type(reading) in (StreamCancelledError, type(None))
            assert (stream.state == "done") is (reading is None)
            following = [chat(asker) for _ in range(2)]
            assert [one.get_final_text() for one in following] == [WHOLE] * 2
    assert len(endings.ends) == endings.asked


# --- close while it is opened --------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["on_request", "on_retry", "on_chunk", "on_done", "on_error"])
@pytest.mark.parametrize("call", ["close", "cancel"])
def test_ended_in_a_hook(hook: str, call: str) -> None:
    """Out of any hook: the answer ends in StreamCancelledError, or has ended; once for plugins."""

    def end(self: Any, stream: Any) -> None:
        getattr(stream, call)()

    plugin, endings = type("Ends", (), {hook: hookimpl(end)})(), Endings()
    scripts = [
        status_answer(503, {"Retry-After": "0"}),
        answer("a") if hook != "on_error" else stall,
    ]
    limits = Timeouts(connect=5, first_chunk=0.3, idle=5, total=5)
    with play(*scripts[: {"on_request": 0, "on_retry": 1}.get(hook, 2)]) as server:
        with client(server, plugins=[plugin, endings], timeout=limits) as asker:
            with pytest.raises(faults.WebsopyError) if hook != "on_done" else NOTHING as caught:
                asker.ai.chat("hi")
    if hook not in ("on_done", "on_error"):
        assert type(caught.value) is StreamCancelledError
        assert caught.value.reason == {"cancel": "cancelled", "close": "closed"}[call]
    assert len(endings.ends) == 1


def test_client_closed_while_its_streams_are_opened() -> None:
    """A question is answered, or refused by the closed client, or ended: none stays open."""
    kinds: collections.Counter[str] = collections.Counter()
    with play(always=mixed) as server:
        for number in rounds(1.5):
            endings = Endings()
            asker = client(server, plugins=[endings], max_retries=0, timeout=FAR)
            streams: collections.deque[Any] = collections.deque()

            def ask(asker: Any = asker, streams: Any = streams) -> None:
                while True:
                    streams.append(asker.ai.chat_stream("hi"))

            def close(asker: Any = asker, number: int = number) -> None:
                time.sleep(number % 20 * 0.001)
                asker.close()

            *asking, closing = at_a_time(*[ask] * 4, close)
            assert closing is None
            kinds.update(type(error).__name__ for error in asking)
            assert {stream.state for stream in streams} <= {"closed"}
            assert len(endings.ends) == endings.asked
            for stream in streams:
                with pytest.raises(StreamCancelledError):
                    next(stream)
    assert set(kinds) <= {"ConfigError", "StreamCancelledError"}


def test_client_closed_by_two_threads() -> None:
    """Twice at a time: nothing is raised, each end is told once."""
    with play(always=stall_after(HALF)) as server:
        for _ in rounds(0.5):
            endings = Endings()
            asker = client(server, plugins=[endings], timeout=FAR)
            streams = [asker.ai.chat_stream("hi") for _ in range(3)]
            assert at_a_time(asker.close, asker.close) == [None, None]
            assert [stream.state for stream in streams] == ["closed"] * 3
            assert endings.ends == ["StreamCancelledError closed"] * 3


@pytest.mark.timing
def test_client_closed_while_a_retry_waits() -> None:
    """The wait ends at once; nothing is sent again."""
    endings = Endings()
    with play(status_answer(503, {"Retry-After": "4"})) as server:
        asker = client(server, plugins=[endings], timeout=FAR)
        begun = time.monotonic()
        timer = threading.Timer(0.1, asker.close)
        timer.start()
        with pytest.raises(StreamCancelledError) as caught:
            asker.ai.chat("hi")
        assert time.monotonic() - begun < 0.1 + AT_ONCE
        timer.join()
    assert caught.value.reason == "closed"
    assert endings.ends == ["StreamCancelledError closed"]


def test_read_after_the_client_was_closed() -> None:
    """Whatever was read before: StreamCancelledError, with what had come."""
    with play(*[stall_after(HALF)] * 3) as server:
        asker = client(server, timeout=FAR)
        unread, begun, looped = (asker.ai.chat_stream("hi") for _ in range(3))
        next(begun)
        loop = iter(looped)
        next(loop)
        asker.close()
        for read in (list, next, lambda stream: stream.get_final_text()):
            with pytest.raises(StreamError):
                read(unread)
        for chunks in (begun, loop):
            with pytest.raises(StreamCancelledError) as caught:
                next(chunks)
            assert (caught.value.reason, caught.value.partial.content) == ("closed", "half")


def test_cancelled_by_a_token_while_it_is_opened() -> None:
    """At any moment: the call raises, or gives a stream that has been cancelled."""
    with play(always=mixed) as server, client(server, timeout=FAR) as asker:
        for number in rounds():
            token = CancelToken()

            def ask(token: CancelToken = token) -> None:
                asker.ai.chat_stream("hi", cancel_token=token).until_done()

            def cancel(token: CancelToken = token, number: int = number) -> None:
                time.sleep(number % 40 * 0.0001)
                token.cancel()

            asking, cancelling = at_a_time(ask, cancel)
            assert cancelling is None
            assert type(asking) in (StreamCancelledError, type(None))


@contextlib.contextmanager
def alarms(handler: Callable[[], object], seconds: float, every: float = 0.0) -> Iterator[None]:
    """A signal handler that is called after so many seconds, and again."""
    old = signal.signal(signal.SIGALRM, lambda *_: handler())
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, every)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_closed_and_read_by_a_signal_handler() -> None:
    """In the very thread that reads, at any moment: no hang, one end, no foreign error."""
    chance = random.Random(5)
    endings, count, refused = Endings(), 0, 0
    with play(always=flood) as server, client(server, plugins=[endings], timeout=FAR) as asker:
        for _ in rounds():
            stream = asker.ai.chat_stream("hi", keep_message=False)

            def handle(stream: Any = stream) -> None:
                nonlocal refused
                with contextlib.suppress(StreamError):
                    next(stream)
                    refused -= 1
                refused += 1
                stream.close()

            with alarms(handle, 0.0005 + chance.random() * 0.003):
                with pytest.raises(StreamCancelledError):
                    read_by_next(stream)
            count += 1
            assert (stream.state, len(endings.ends)) == ("closed", count)
    assert refused


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_closed_by_destructors_in_the_middle_of_another() -> None:
    """Streams in cycles are closed wherever the collector runs; the others do not feel it.

    The collector may end a cycle's socket before its stream, and warn of that.
    """
    endings, asked = Endings(), 0
    with play(always=mixed) as server, client(server, plugins=[endings], timeout=FAR) as asker:

        def work() -> None:
            nonlocal asked
            for _ in rounds(1.0):
                cycle: list[Any] = [asker.ai.chat_stream("hi")]
                next(cycle[0])
                cycle.append(cycle)
                del cycle
                assert asker.ai.chat("hi").content == WHOLE
                gc.collect()

        assert at_a_time(work, work) == [None, None]
        gc.collect()
    assert len(endings.ends) == endings.asked
    assert set(endings.ends) == {"done", "StreamCancelledError closed"}


# --- conversations -------------------------------------------------------------------------------


def test_two_threads_send_in_one_conversation() -> None:
    """One asks, the other gets ConfigError; turns stay question and answer, in turn."""
    with play(always=mixed) as server, client(server, timeout=FAR) as asker:
        for _ in rounds():
            conversation = asker.ai.conversation()

            def talk(conversation: Any = conversation) -> None:
                for number in range(5):
                    with contextlib.suppress(ConfigError):
                        conversation.send(f"question {number}").until_done()

            assert at_a_time(talk, talk) == [None, None]
            roles = [turn["role"] for turn in conversation.messages]
            assert roles == ["user", "assistant"] * (len(roles) // 2)
            assert not conversation.streaming


def test_send_while_the_question_before_is_being_sent() -> None:
    """Also before there is an answer; a plugin that sends is told so too."""
    problems = []

    class Sends:
        @hookimpl
        def on_request(self) -> None:
            with pytest.raises(ConfigError) as caught:
                conversation.send("me too")
            problems.append(caught.value)

    with play(answer("a")) as server, client(server, plugins=[Sends()]) as asker:
        conversation = asker.ai.conversation()
        assert conversation.send("hi").get_final_text() == "a"
    assert len(problems) == 1
    assert [turn["content"] for turn in conversation.messages] == ["hi", "a"]


# --- forks ---------------------------------------------------------------------------------------

FORKED = """
    import gc, os, sys, threading
    from websopy_sync import StreamError, WebsopyClient, hookimpl

    def tell(*words):
        os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # in one piece

    class Told:
        @hookimpl
        def on_chunk(self, chunk):
            os.getpid() == parent or tell("on_chunk in the child")

        @hookimpl
        def on_done(self):
            tell("done in", "parent" if os.getpid() == parent else "child")

        @hookimpl
        def on_error(self):
            tell("error in", "parent" if os.getpid() == parent else "child")

    def in_child(read, stream):
        pid = os.fork()
        if pid:
            assert os.waitpid(pid, 0)[1] == 0
            return
        try:
            read(stream)
            tell("read in the child")
        except StreamError as error:
            tell(type(error).__name__, stream.state, "process" in str(error))
        if how == "close":
            stream.close()
            client.close()
        elif how == "cancel":
            stream.cancel()
        sys.exit()

    READS = {
        "next": next,
        "for": list,
        "text": lambda stream: list(stream.text_stream),
        "message": lambda stream: stream.get_final_message(),
    }
    parent = os.getpid()
    url, ca, start, read, how = sys.argv[1:]
    client = WebsopyClient("key", base_url=url, plugins=[Told()], verify=ca or True)
    stream = client.ai.chat_stream("hi")
    if start == "unread":
        in_child(READS[read], stream)
    elif start == "next":
        next(stream)
        in_child(READS[read], stream)
    elif start == "thread":
        reader = threading.Thread(target=stream.until_done)
        reader.start()
        in_child(READS[read], stream)
        reader.join()
    tell(stream.get_final_text(), stream.state)
"""


def in_pieces(conn: Conn) -> None:
    """Two chunks at once, and a third one later."""
    conn.read_request()
    conn.head()
    conn.body(text("a") + text("b"))
    conn.pause(0.3)
    conn.end(text("c") + DONE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "how"), [("unread", "close"), ("next", "leave"), ("thread", "cancel")]
)
@pytest.mark.parametrize("read", ["next", "for", "text", "message"])
def test_a_forked_child_cannot_read_its_parents_stream(start: str, read: str, how: str) -> None:
    """StreamError, whatever waits in the buffer; the parent gets it all, no plugin hears of it."""
    tls = (len(start) + len(read)) % 2 == 0
    with play(in_pieces, tls=authority().server() if tls else None) as server:
        path = authority().path if tls else ""
        with child(FORKED, server.url, path, start, read, how) as process:
            lines = output(process)
    assert lines == ["StreamError closed True", "done in parent", "abc done"]


FORKED_IN_A_LOOP = """
    import os, sys
    from websopy_sync import StreamError, WebsopyClient, hookimpl

    def tell(*words):
        os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # in one piece

    class Told:
        @hookimpl
        def on_chunk(self, chunk):
            tell("on_chunk in", "parent" if os.getpid() == parent else "child")

    parent = os.getpid()
    client = WebsopyClient("key", base_url=sys.argv[1], plugins=[Told()])
    stream = client.events("GET", "/x") if sys.argv[2] == "events" else client.ai.chat_stream("hi")
    try:
        for number, chunk in enumerate(stream):
            if number == 0:
                pid = os.fork()
                if pid:
                    assert os.waitpid(pid, 0)[1] == 0
            elif os.getpid() != parent:
                tell("read in the child")
    except StreamError as error:
        tell(type(error).__name__, os.getpid() != parent)
        sys.exit()
    tell(number + 1, stream.state)
"""


@pytest.mark.parametrize("kind", ["chat", "events"])
def test_a_child_forked_in_the_loop_is_refused_at_the_next_step(kind: str) -> None:
    """Though the next chunk is in the buffer already, of which the child has a copy."""
    with play(in_pieces) as server, child(FORKED_IN_A_LOOP, server.url, kind) as process:
        lines = output(process)
    assert "StreamError True" in lines
    assert lines[-1] == "4 done"
    assert not [line for line in lines if "child" in line]


FORKED_WHILE_OTHERS_WORK = """
    import os, sys, threading
    from websopy_sync import WebsopyClient

    client = WebsopyClient("key", base_url=sys.argv[1], plugins=[])
    over = threading.Event()

    def work():
        while not over.is_set():
            stream = client.ai.chat_stream("hi")
            next(stream)
            stream.cancel()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(30):
        stream = client.ai.chat_stream("hi")
        pid = os.fork()
        if pid == 0:
            stream.close()
            client.close()
            with WebsopyClient("key", base_url=sys.argv[1], plugins=[]) as own:
                ok = own.ai.chat("hi").content
            os._exit(0 if ok else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert stream.get_final_text()
    over.set()
    for thread in threads:
        thread.join()
    print("done")
"""


@pytest.mark.slow
def test_forks_while_other_threads_open_and_cancel() -> None:
    """No lock that another thread held at the fork stops the child."""
    with play(always=mixed) as server:
        with child(FORKED_WHILE_OTHERS_WORK, server.url, env=FORKS_BESIDE_THREADS) as process:
            assert output(process, seconds=20) == ["done"]


# --- plugins that raise at the end ---------------------------------------------------------------


class Raises:
    """Raises in the hooks of an end."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    @hookimpl
    def on_done(self) -> None:
        raise ValueError(self.name)

    @hookimpl
    def on_error(self) -> None:
        raise ValueError(self.name)


class Gone:
    """A script that stalls after some events and notes that the client has left."""

    def __init__(self) -> None:
        self.gone = threading.Event()

    def __call__(self, conn: Conn) -> None:
        conn.read_request()
        try:
            conn.head()
            conn.body(HALF)  # it fails when the client has left already
            conn.wait_gone()
        finally:
            self.gone.set()


@pytest.mark.timing
@pytest.mark.parametrize("way", ["close", "cancel", "with", "loop", "garbage"])
def test_strict_plugin_that_raises_at_the_end_leaves_no_socket_open(way: str) -> None:
    """The connection is closed, the other plugins hear of the end, the first error comes out."""
    gone, first, last = Gone(), Endings(), Endings()
    plugins = [first, Raises("one"), Raises("two"), last]
    with play(gone) as server:
        asker = client(server, plugins=plugins, strict_plugins=True, timeout=FAR)
        stream = asker.ai.chat_stream("hi")
        with pytest.raises(PluginError) if way != "garbage" else contextlib.nullcontext():
            if way == "close":
                stream.close()
            elif way == "cancel":
                stream.cancel()
                next(stream)
            elif way == "with":
                with stream:
                    next(stream)
            elif way == "loop":
                loop = iter(stream)
                next(loop)
                loop.close()
            else:
                del stream
        assert gone.gone.wait(AT_ONCE)
        asker.close()
    assert first.ends == last.ends and len(first.ends) == 1


@pytest.mark.timing
def test_client_close_goes_on_after_a_plugin_raised() -> None:
    """All streams are closed, each end is told to all, and the first error comes out."""
    gones, endings, closed = [Gone() for _ in range(4)], Endings(), []

    class Closes:
        @hookimpl
        def on_error(self) -> None:
            raise ValueError(f"failure {len(closed)}")

        def close(self) -> None:
            closed.append(self)
            raise OSError("close")

    with play(*gones) as server:
        asker = client(server, plugins=[Closes, endings, Closes], strict_plugins=True, timeout=FAR)
        streams = [asker.ai.chat_stream("hi") for _ in gones]
        with pytest.raises(PluginError) as caught:
            asker.close()
        for gone in gones:
            assert gone.gone.wait(AT_ONCE)
        asker.close()
    assert caught.value.hook == "on_error"
    assert [stream.state for stream in streams] == ["closed"] * 4
    assert (len(endings.ends), len(set(closed))) == (4, 2)


@pytest.mark.parametrize("strict", [False, True])
def test_a_plugin_whose_close_raises(strict: bool) -> None:
    """The others are closed; it raises at the end when plugins are strict."""
    closed = []

    class Closes:
        @hookimpl
        def on_done(self) -> None:
            pass

        def close(self) -> None:
            closed.append(self)
            raise OSError("close")

    with play() as server:
        asker = client(server, plugins=[Closes, Closes, Closes], strict_plugins=strict)
        with pytest.raises(PluginError) if strict else contextlib.nullcontext() as caught:
            asker.close()
    assert len(closed) == 3
    assert not strict or caught.value.hook == "close"


def test_a_list_of_turns_that_raises() -> None:
    """What the caller's own list raises comes out; plugins hear of the end, the client is well."""

    class Full(list[Any]):
        def append(self, turn: Any) -> None:
            if turn["role"] == "assistant":
                raise MemoryError("no more turns")
            super().append(turn)

    endings = Endings()
    with play(always=mixed) as server:
        with client(server, plugins=[endings], timeout=FAR) as asker:
            conversation = asker.ai.conversation()
            conversation.messages = Full()
            with pytest.raises(MemoryError):
                conversation.send("hi").until_done()
            assert endings.ends == ["done"]
            assert asker.ai.chat("hi").content == WHOLE


def open_sockets(port: int) -> int:
    """How many connections to this port the process has."""
    fds = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    inodes = set()
    for fd in fds:
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(fd))
    with open("/proc/self/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    mine = [row for row in rows if f"socket:[{row[9]}]" in inodes]
    return sum(int(row[2].rpartition(":")[2], 16) == port for row in mine)


def test_no_socket_is_left_of_streams_that_were_closed_in_a_race() -> None:
    """After close() against readers and openers, the process has no connection more."""
    gc.collect()
    with play(always=mixed) as server:
        for _ in rounds(1.0):
            asker = client(server, timeout=FAR)
            streams: collections.deque[Any] = collections.deque()

            def ask(asker: Any = asker, streams: Any = streams) -> None:
                with contextlib.suppress(ConfigError, StreamCancelledError):
                    while True:
                        streams.append(asker.ai.chat_stream("hi"))
                        next(streams[-1])

            at_a_time(ask, ask, ask, lambda: (time.sleep(0.01), asker.close()))  # noqa: B023
            assert open_sockets(server.port) == 0, [stream.state for stream in streams]
