"""Promise 43: what the caller's own program raises into our frames comes out as it is, at once."""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import linecache
import queue
import random
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import faults
import gevent
import pytest
from endings import LEFT, Endings
from faults import (
    DONE,
    KEY,
    PROMPT,
    Conn,
    Script,
    answer,
    body,
    child,
    client,
    output,
    play,
    stall,
    stall_after,
    status_answer,
    text,
)

from websopy_sync import (
    APITimeoutError,
    BackgroundPlugin,
    StreamCancelledError,
    Timeouts,
    WebsopyClient,
    hookimpl,
)

FAR = Timeouts(connect=5, first_chunk=5, idle=5, total=5)
HALF = text("half")
AT_ONCE = 2.0
"""Seconds within which something happens "at once", on a machine that is busy with other things.

Every wait that an interrupt ends would go on for longer."""
LONG = 5.0
"""Seconds that a hook takes which nobody interrupts."""


class SoftTimeLimitExceeded(Exception):
    """As Celery's: an Exception, raised by its handler of SIGUSR1."""


class Limit:
    """A signal handler that raises this exception, at the time it is set to."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.due = 0.0

    def set(self, seconds: float) -> None:
        """Raise it after so many seconds."""
        self.due = time.monotonic() + seconds
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def __call__(self, signum: int, frame: Any) -> None:
        raise self.error


def raising(kind: type[BaseException]) -> Callable[[int, Any], None]:
    """A signal handler that raises a new exception each time."""

    def handler(signum: int, frame: Any) -> None:
        raise kind

    return handler


@contextlib.contextmanager
def limit(error: BaseException, seconds: float | None = 0.12) -> Iterator[Limit]:
    """The block gets this exception from a signal handler, and it comes out at once.

    seconds: when; None if the block sets the limit itself.
    """
    handler = Limit(error)
    old = signal.signal(signal.SIGALRM, handler)
    try:
        if seconds is not None:
            handler.set(seconds)
        with pytest.raises(type(error)) as caught:
            yield handler
        late = time.monotonic() - handler.due
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert caught.value is error
    assert 0 <= late < AT_ONCE


class Gone:
    """A script, and then a wait until the client has left. It sets the limit, if there is one."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.gone = threading.Event()
        self.limit: Limit | None = None

    def __call__(self, conn: Conn) -> None:
        if self.limit is not None:
            self.limit.set(0.1)
        with contextlib.suppress(faults.Gone):
            self.script(conn)
            conn.wait_gone()
        self.gone.set()

    def check(self) -> None:
        """The client has left."""
        assert self.gone.wait(AT_ONCE), "the connection is still open"


# --- waiting for the server ----------------------------------------------------------------------


def stalled_error_body(conn: Conn) -> None:
    conn.read_request()
    conn.head(400, framing=faults.length(100))
    conn.send(b"half of it")
    conn.wait_gone()


def cut_with_id(conn: Conn) -> None:
    conn.read_request()
    conn.head()
    conn.body(b"retry: 3000\n\n", text("half", id="1"))
    conn.half_close()


STALLS: dict[str, Script] = {
    "head": stall,
    "body": stall_after(HALF),
    "body by length": stall_after(HALF, framing=faults.length(9999)),
    "error body": stalled_error_body,
    "retry wait": status_answer(503, {"Retry-After": "4"}),
    "wait to resume": cut_with_id,
}

ALL: list[tuple[Any, ...]] = [
    (TimeoutError, "mine"),
    (OSError, "mine"),
    (ConnectionResetError, errno.ECONNRESET, "mine"),
    (BrokenPipeError, errno.EPIPE, "mine"),
    (BlockingIOError, errno.EAGAIN, "mine"),
    (ValueError, "mine"),
    (queue.Empty, "mine"),
    (APITimeoutError, "mine"),
    (SoftTimeLimitExceeded, "mine"),
    (KeyboardInterrupt, "mine"),
    (SystemExit, "mine"),
    (gevent.Timeout, 1),
]
SOME = [ALL[0], ALL[8], ALL[9], ALL[11]]


def made(kind: tuple[Any, ...]) -> BaseException:
    """The exception of a kind."""
    return kind[0](*kind[1:])


def name_of(kind: tuple[Any, ...]) -> str:
    """What a test of this kind is called."""
    return str(kind[0].__name__)


@pytest.fixture(params=ALL, ids=name_of)
def error(request: pytest.FixtureRequest) -> BaseException:
    """What the program raises, of every kind."""
    return made(request.param)


@pytest.fixture(params=SOME, ids=name_of)
def some_error(request: pytest.FixtureRequest) -> BaseException:
    """The same, of a few kinds that are handled in different ways."""
    return made(request.param)


@pytest.mark.slow
@pytest.mark.parametrize("where", STALLS)
def test_a_signal_handlers_exception_comes_out_of_a_wait(where: str, error: BaseException) -> None:
    """At once, as it is; the connection is closed, plugins hear once, nothing is sent again."""
    watched, first, last = Gone(STALLS[where]), Endings(), Endings()
    with play(watched) as server, client(server, plugins=[first, last], timeout=FAR) as asker:
        with limit(error, None) as watched.limit, asker.ai.chat_stream("hi") as stream:
            list(stream)
        watched.check()
        assert len(server.requests) == 1
    assert (first.ends, last.ends) == (LEFT, LEFT)


@pytest.mark.parametrize("read", ["for", "next", "chat", "events"])
def test_it_comes_out_however_the_answer_is_read(some_error: BaseException, read: str) -> None:
    """By a loop, by next(), as a whole, and as native events."""
    watched = Gone(stall_after(HALF))
    with play(watched) as server, client(server, timeout=FAR) as asker:
        with limit(some_error, None) as watched.limit:
            if read == "chat":
                asker.ai.chat("hi")
            elif read == "events":
                list(asker.events("GET", "/x"))
            elif read == "for":
                list(asker.ai.chat_stream("hi"))
            else:
                stream = asker.ai.chat_stream("hi")
                while True:
                    next(stream)
        watched.check()


def test_it_comes_out_of_a_tls_read(error: BaseException) -> None:
    """Below TLS too."""
    watched = Gone(stall_after(HALF))
    with play(watched, tls=faults.authority().server()) as server:
        with client(server, timeout=FAR) as asker, limit(error, None) as watched.limit:
            asker.ai.chat("hi")
        watched.check()


def test_it_comes_out_of_a_tls_handshake(error: BaseException) -> None:
    """Which is part of connecting; it is not tried again."""
    watched = Gone(lambda conn: None)
    with play(watched) as server:
        url = server.url.replace("http:", "https:")
        with (
            client(server, base_url=url, timeout=FAR) as asker,
            limit(error, None) as watched.limit,
        ):
            asker.ai.chat("hi")
        watched.check()


def test_it_comes_out_of_connecting(error: BaseException) -> None:
    """No other address and no other try."""
    with socket.socket() as owner, contextlib.ExitStack() as stack:
        owner.bind(("127.0.0.1", 0))
        owner.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(owner.getsockname())
        with play() as server:
            url = f"http://127.0.0.1:{owner.getsockname()[1]}/v1"
            with client(server, base_url=url, timeout=FAR) as asker, limit(error):
                asker.ai.chat("hi")


def test_it_comes_out_of_sending(error: BaseException) -> None:
    """In the middle of a large question, which is sent once."""

    def deaf(conn: Conn) -> None:
        alarm.set(0.15)
        conn.wait(conn.server.over)

    with play(deaf) as server, client(server, timeout=FAR) as asker:
        with limit(error, None) as alarm:
            asker.ai.chat("x" * 8_000_000)
    assert len(server.conns) == 1


def test_it_comes_out_of_the_end_of_an_answer(error: BaseException) -> None:
    """As the rest of a whole answer is awaited, for 2 ms, so that its connection can be kept."""

    def stalled_after_done(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(HALF, DONE)

    watched = Gone(stalled_after_done)
    with play(watched) as server, client(server, timeout=FAR) as asker:
        stream = asker.ai.chat_stream("hi")
        assert [next(stream).type for _ in range(2)] == ["content", "done"]
        with limit(error, None) as alarm:
            alarm.set(0.0005)
            next(stream, None)
            time.sleep(0.1)  # on a busy machine the signal may come this late
        watched.check()
    assert stream.state == "done"


# --- in plugins ----------------------------------------------------------------------------------


class Slow:
    """A plugin that takes long in one hook, once, and swallows nothing. It sets the limit then."""

    def __init__(self, hook: str) -> None:
        self.hook = hook
        self.limit: Limit | None = None

    def work(self, hook: str) -> None:
        if hook == self.hook:
            self.hook = ""
            if self.limit is not None:
                self.limit.set(0.05)
            time.sleep(LONG)

    @hookimpl
    def on_request(self) -> None:
        self.work("on_request")

    @hookimpl
    def on_chunk(self) -> None:
        self.work("on_chunk")

    @hookimpl
    def on_retry(self) -> None:
        self.work("on_retry")

    @hookimpl
    def on_done(self) -> None:
        self.work("on_done")

    @hookimpl
    def on_error(self) -> None:
        self.work("on_error")


class Wrapping(Slow):
    """A plugin whose driver wraps what comes out of its own receive, as most do."""

    def work(self, hook: str) -> None:
        try:
            super().work(hook)
        except Exception as error:
            raise RuntimeError("the database is gone") from error


HOOKS = ["on_request", "on_chunk", "on_retry", "on_done", "on_error"]


@pytest.mark.parametrize(("kind", "strict"), [(Slow, False), (Slow, True), (Wrapping, False)])
@pytest.mark.parametrize("hook", HOOKS)
def test_a_time_limit_comes_out_of_a_hook(
    some_error: BaseException, hook: str, kind: type[Slow], strict: bool
) -> None:
    """It is no plugin's failure. The plugins before and after the slow one hear of one end."""
    last_script = body(HALF, end=False) if hook == "on_error" else answer("half")
    scripts = [status_answer(503, {"Retry-After": "0"}), last_script]
    needed = {"on_request": 0, "on_retry": 1}.get(hook, 2)
    first, last, slow = Endings(), Endings(), kind(hook)
    with play(*scripts[:needed]) as server:
        asker = client(server, plugins=[first, slow, last], strict_plugins=strict, timeout=FAR)
        with asker, limit(some_error, None) as slow.limit:
            asker.ai.chat("hi", resume=False)
    end = {"on_done": "done", "on_error": "StreamInterruptedError"}.get(hook, LEFT[0])
    assert (first.ends, last.ends) == ([end], [end])
    assert asker._hooks.failures == {}


@pytest.mark.parametrize("kind", [SystemExit, gevent.Timeout, gevent.GreenletExit])
@pytest.mark.parametrize("strict", [False, True])
def test_a_plugin_that_exits_ends_the_answer(kind: type[BaseException], strict: bool) -> None:
    """A BaseException that is no Exception is nobody's failure, though a plugin raises it."""

    class Exits:
        @hookimpl
        def on_chunk(self) -> None:
            raise kind

    watched, first, last = Gone(stall_after(HALF)), Endings(), Endings()
    plugins = [first, Exits(), last]
    with play(watched) as server:
        with client(server, plugins=plugins, strict_plugins=strict, timeout=FAR) as asker:
            with pytest.raises(kind):
                asker.ai.chat("hi")
            watched.check()
    assert (first.ends, last.ends) == (LEFT, LEFT)


def test_a_plugins_own_time_out_is_its_failure() -> None:
    """Also while a signal handler is installed that would raise the same."""

    class TimesOut:
        @hookimpl
        def on_chunk(self) -> None:
            raise TimeoutError("mine")

    old = signal.signal(signal.SIGALRM, Limit(TimeoutError("mine")))
    try:
        with play(answer("half")) as server, client(server, plugins=[TimesOut()]) as asker:
            assert asker.ai.chat("hi").content == "half"
    finally:
        signal.signal(signal.SIGALRM, old)
    assert asker._hooks.failures == {("TimesOut", "on_chunk"): 2}


def test_a_failure_while_the_program_handles_its_limit_is_a_plugins() -> None:
    """What the program has caught before it asked has come out already."""

    class Fails:
        @hookimpl
        def on_chunk(self) -> None:
            raise ValueError

    error = TimeoutError("handled")
    old = signal.signal(signal.SIGALRM, Limit(error))
    with play(answer("half")) as server, client(server, plugins=[Fails()]) as asker:
        try:
            signal.raise_signal(signal.SIGALRM)
        except TimeoutError:
            content = asker.ai.chat("hi").content
        finally:
            signal.signal(signal.SIGALRM, old)
    assert content == "half"


def test_a_hook_in_the_background_is_interrupted_by_nobody() -> None:
    """Signals reach the main thread alone: the limit ends the answer, the plugin hears its end."""

    class Dawdles(Endings):
        @hookimpl
        def on_chunk(self) -> None:
            time.sleep(0.2)

    dawdles = Dawdles()
    with play(stall_after(HALF)) as server:
        with client(server, plugins=[BackgroundPlugin(dawdles)], timeout=FAR) as asker:
            with limit(TimeoutError("mine")):
                asker.ai.chat("hi")
    assert dawdles.ends == LEFT


class SlowList(list[Any]):
    """Turns of a conversation that the user keeps in a slow place."""

    def append(self, turn: Any) -> None:
        if turn["role"] == "assistant":
            time.sleep(LONG)
        super().append(turn)


def test_a_time_limit_comes_out_of_the_end_of_a_turn() -> None:
    """Where a conversation takes the answer in; the plugins hear of the end all the same."""
    endings = Endings()
    with play(answer("half")) as server:
        with client(server, plugins=[endings], timeout=FAR) as asker:
            conversation = asker.ai.conversation()
            conversation.messages = SlowList()
            with limit(TimeoutError("mine")):
                conversation.send("hi").until_done()
    assert endings.ends == ["done"]


@pytest.mark.parametrize("way", ["stream", "client", "with", "cancelled"])
def test_a_time_limit_comes_out_of_closing(way: str) -> None:
    """Out of close() while a plugin is told: all is closed, every plugin hears of every end."""
    watched, first, last = [Gone(stall_after(HALF)) for _ in range(2)], Endings(), Endings()
    slow = Slow("on_error")
    with play(*watched) as server:
        asker = client(server, plugins=[first, slow, last], timeout=FAR)
        streams = [asker.ai.chat_stream("hi") for _ in range(2)]
        with limit(TimeoutError("mine"), None) as slow.limit:
            if way == "stream":
                streams[0].close()
            elif way == "client":
                asker.close()
            elif way == "with":
                with streams[0]:
                    next(streams[0])
            else:
                streams[0].cancel()
                next(streams[0])
        watched[0].check()
        asker.close()
        watched[1].check()
    assert len(first.ends) == len(last.ends) == 2


def test_a_time_limit_comes_out_of_a_plugins_close() -> None:
    """The plugins behind it are closed too."""
    closed: list[str] = []

    class Closes:
        def __init__(self, name: str, *, slow: bool = False) -> None:
            self.name, self.slow = name, slow

        @hookimpl
        def on_done(self) -> None:
            pass

        def close(self) -> None:
            if self.slow:
                time.sleep(LONG)
            closed.append(self.name)

    class First(Closes):
        def __init__(self) -> None:
            super().__init__("first")

    class SlowOne(Closes):
        def __init__(self) -> None:
            super().__init__("slow", slow=True)

    class Last(Closes):
        def __init__(self) -> None:
            super().__init__("last")

    with play() as server:
        asker = client(server, plugins=[First, SlowOne, Last])
        with limit(TimeoutError("mine")):
            asker.close()
    assert sorted(closed) == ["first", "last"]


@pytest.mark.parametrize("strict", [False, True])
def test_an_interrupt_beats_what_a_plugin_raises_at_the_end(strict: bool) -> None:
    """Ctrl-C comes out of the loop and of the `with` block, not the PluginError after it."""

    class Fails:
        @hookimpl
        def on_error(self) -> None:
            raise ValueError

    watched = Gone(stall_after(HALF))
    with play(watched, *[stall_after(HALF)] * 2) as server:
        asker = client(server, plugins=[Fails()], strict_plugins=strict, timeout=FAR)
        with limit(KeyboardInterrupt()):
            asker.ai.chat("hi")
        watched.check()
        with pytest.raises(KeyboardInterrupt), asker, asker.ai.chat_stream("hi") as stream:
            asker.ai.chat_stream("hi")
            next(stream)
            raise KeyboardInterrupt


def test_reading_on_after_an_interrupt_is_an_error() -> None:
    """It must not look like a whole answer."""
    with play(stall_after(HALF)) as server, client(server, timeout=FAR) as asker:
        stream = asker.ai.chat_stream("hi")
        assert next(stream).content == "half"
        with limit(TimeoutError("mine")):
            next(stream)
        for _ in range(2):
            with pytest.raises(StreamCancelledError) as caught:
                next(stream)
            assert (caught.value.reason, caught.value.partial.content) == ("closed", "half")
        with pytest.raises(StreamCancelledError):
            stream.get_final_message()


# --- what is left of it --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("where", STALLS)
def test_key_and_prompt_are_in_no_local_of_our_frames(
    where: str, some_error: BaseException
) -> None:
    """Nor in those of the libraries below; the handler's own frame is the program's."""
    watched = Gone(STALLS[where])
    with play(watched) as server, client(server, timeout=FAR) as asker:
        with limit(some_error, None) as watched.limit:
            asker.ai.chat(PROMPT)
    shown = [
        f"{frame.f_code.co_qualname}: {name}={value!r}"
        for frame, _ in traceback.walk_tb(some_error.__traceback__)
        if "tests" not in frame.f_code.co_filename
        for name, value in frame.f_locals.items()
    ]
    assert not [line for line in shown if KEY in line or PROMPT in line]
    assert some_error.__context__ is None


class StruckTimeoutError(SoftTimeLimitExceeded, TimeoutError):
    pass


class StruckValueError(SoftTimeLimitExceeded, ValueError):
    pass


@pytest.mark.parametrize("kind", [StruckTimeoutError, StruckValueError, SoftTimeLimitExceeded])
def test_a_limit_at_any_moment_of_a_busy_answer(kind: type[BaseException]) -> None:
    """Wherever it strikes, in the parser too, it comes out; no answer has a second end."""
    chance = random.Random(7)

    def busy(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(*[text("x") * 40] * 50)
        conn.wait_gone()

    endings = Endings()
    old = signal.signal(signal.SIGALRM, raising(kind))
    gc.disable()  # what strikes in a destructor is lost, as Python has it
    try:
        with play(always=busy) as server:
            with client(server, plugins=[endings], timeout=FAR) as asker:
                for _ in range(60):
                    stream = asker.ai.chat_stream("hi")
                    next(stream)
                    with pytest.raises(kind):
                        signal.setitimer(signal.ITIMER_REAL, 0.0001 + chance.random() * 0.004)
                        list(stream)
                    del stream
                assert not asker._hooks.failures
    finally:
        gc.enable()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert len(endings.ends) <= endings.asked == 60


GEVENT = """
    import sys
    import gevent
    from websopy_sync import WebsopyClient, hookimpl

    class Slow:
        @hookimpl
        def on_chunk(self):
            gevent.sleep(5)

    class Told:
        @hookimpl
        def on_error(self, error):
            print("told", type(error).__name__, error.reason, flush=True)

    def ask():
        WebsopyClient("key", base_url=sys.argv[1], plugins=[Told(), Slow(), Told()]).ai.chat("hi")

    try:
        with gevent.Timeout(0.1):
            ask()
    except gevent.Timeout:
        print("timeout")
    killed = gevent.spawn(ask)
    gevent.sleep(0.1)
    killed.kill()
    print(type(killed.value).__name__)
"""


def test_gevents_time_limits_and_kills_come_out_of_a_hook() -> None:
    """They are BaseExceptions for that very reason."""
    with play(*[stall_after(HALF)] * 2) as server, child(GEVENT, server.url) as process:
        told = ["told StreamCancelledError closed"] * 2
        assert output(process) == [*told, "timeout", *told, "GreenletExit"]


# --- at every point ------------------------------------------------------------------------------


class Struck(Exception):
    """What a handler raises."""


THE_TESTS = (__file__, Endings.__init__.__code__.co_filename)
UNSAFE = threading.__file__
"""An interrupt in Thread.start() may leave a thread that never begins; see also test_threads."""


def may_be_lost(frame: FrameType) -> bool:
    """Whether what strikes here may be lost, and Python does not tell.

    A response of http.client or urllib3 is closed by its destructor: by a `close` that nobody
    calls in the line above it.
    """
    for inner, outer in itertools.pairwise(inner for inner, _ in traceback.walk_stack(frame)):
        name, file = inner.f_code.co_name, inner.f_code.co_filename
        if "close" in name and ("http/client.py" in file or "/urllib3/" in file):
            line = linecache.getline(outer.f_code.co_filename, outer.f_lineno)
            if "close" not in line:
                return True
    return False


class Points:
    """Counts where Python lets signals in while our code runs, and lets one in at such a point.

    That is where a function in Python begins, and where one in C has returned.
    """

    def __init__(self) -> None:
        self.count = 0
        self.at = ""
        self.lost = False
        self._target = 0

    def run(self, call: Callable[[], object], target: int = 0) -> bool:
        """Make a call; whether the handler raised at the point of this number, and it came out.

        `lost` tells whether it may have been lost instead, as in a destructor.
        """
        self.count, self._target, self.lost = 0, target, False
        old = sys.unraisablehook

        def note_lost(unraisable: sys.UnraisableHookArgs) -> None:
            if unraisable.exc_type is Struck:
                self.lost = True
            else:
                old(unraisable)

        sys.unraisablehook = note_lost
        sys.setprofile(self._note)
        try:
            call()
        except Struck:
            return True
        finally:
            sys.setprofile(None)
            sys.unraisablehook = old
        return False

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if code.co_filename in (*THE_TESTS, UNSAFE):
            return
        if event in ("call", "c_return"):
            self.count += 1
            if self.count == self._target:
                self.at = f"{code.co_filename}:{frame.f_lineno} in {code.co_name}"
                self.lost = may_be_lost(frame)
                sys.setprofile(None)
                signal.raise_signal(signal.SIGUSR1)


def chats(asker: WebsopyClient) -> None:
    asker.ai.chat("hi")


def reads_on(asker: WebsopyClient) -> None:
    with contextlib.closing(asker.ai.chat_stream("hi")) as stream:
        while next(stream, None) is not None:
            pass


def leaves(asker: WebsopyClient) -> None:
    with contextlib.closing(asker.ai.chat_stream("hi")) as stream:
        next(stream)


def now() -> str:
    """A tool."""
    return "noon"


def runs(asker: WebsopyClient) -> None:
    with contextlib.closing(asker.ai.run("hi", tools=[now])) as run:
        while next(run, None) is not None:
            pass


ON_THE_WAY = ("_notify_plugins", "program_thread")


def asks_once(conn: Conn) -> None:
    """Asks for a tool if there is one, and answers once it has the result."""
    while True:
        request = conn.read_request().body
        if b'"tools"' in request and b'"tool"' not in request:
            conn.head(framing=faults.length(len(ASKS + DONE)))
            conn.body(ASKS, DONE)
        else:
            faults.reply(conn, "hi")


ASKS = faults.event({"type": "tool_call", "tool": {"name": "now", "arguments": ""}})


# A socket whose close() is interrupted is closed as nobody holds it any more, with a warning.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("every", [83, pytest.param(11, marks=pytest.mark.slow)])
@pytest.mark.parametrize("use", [chats, reads_on, leaves, runs])
def test_an_interrupt_at_every_point_of_a_call(
    use: Callable[[WebsopyClient], None], every: int
) -> None:
    """It comes out; plugins hear of one end; no connection is left; the next question works."""
    every *= 2 if use is runs else 1  # it has more points
    points, endings = Points(), Endings()
    old = signal.signal(signal.SIGUSR1, raising(Struck))
    gc.disable()  # so that each run has the same points
    try:
        with play(always=asks_once) as server:
            with client(server, plugins=[endings], timeout=FAR) as asker:
                use(asker)
                asker._calls._transport.close()  # so that each call connects
                points.run(lambda: use(asker))
                for point in range(every // 2, points.count - 100, every):
                    asker._calls._transport.close()
                    endings.asked, endings.ends = 0, []
                    struck = points.run(lambda: use(asker), point)
                    assert struck or points.lost or points.count < point, points.at
                    # On the way to the plugin, two microseconds, nobody can tell whether it came.
                    on_its_way = "hooks" in points.at or points.at.endswith(ON_THE_WAY)
                    one_end = len(endings.ends) == endings.asked
                    assert one_end or on_its_way, points.at
                    asker._calls._transport.close()
                    assert soon(lambda: all_gone(server)), points.at
                    assert asker.ai.chat("hi").content == "hi"
    finally:
        gc.enable()
        signal.signal(signal.SIGUSR1, old)


def all_gone(server: faults.Server) -> bool:
    """Whether no connection is open."""
    return all(conn.sock.fileno() < 0 for conn in server.conns)


def soon(claim: Callable[[], bool]) -> bool:
    """Whether something becomes true at once."""
    until = time.monotonic() + AT_ONCE
    while not claim() and time.monotonic() < until:
        time.sleep(0.001)
    return claim()
