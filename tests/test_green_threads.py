"""Promise 41: gevent and eventlet, whose green threads share one real one.

Each test runs a monkey-patched process against the fault server. A heartbeat beside the stream
shows that no wait of ours stops the other green threads.
"""

from __future__ import annotations

import importlib.util
import textwrap
import threading
from collections.abc import Callable

import faults
import pytest
from faults import (
    Conn,
    Script,
    answer,
    authority,
    child,
    output,
    play,
    stall,
    stall_after,
    text,
)

GEVENT = """
    from gevent import monkey
    monkey.patch_all()
    import gevent
    spawn, sleep = gevent.spawn, gevent.sleep
"""

EVENTLET = """
    import warnings
    warnings.simplefilter("ignore")  # it says that it is deprecated
    # Its look-up of names imports dnspython, and with that trio if there is any, which fails:
    # a socket of eventlet's has no sendmsg().
    import os
    os.environ["EVENTLET_NO_GREENDNS"] = "yes"
    import eventlet
    eventlet.monkey_patch()
    spawn, sleep = eventlet.spawn, eventlet.sleep
"""

COMMON = """
    import sys, time
    from websopy_sync import CancelToken, Timeouts, WebsopyClient, WebsopyError

    url, bundle = sys.argv[1:]
    FAR = Timeouts(connect=5, first_chunk=5, idle=5, total=10)
    client = WebsopyClient("key", base_url=url, plugins=[], verify=bundle or True, timeout=FAR)
    beats = []

    def beat():
        while True:
            beats.append(time.monotonic())
            sleep(0.01)

    def timed(ask):
        '''How a question ends, whether soon, and whether the heart went on beating.'''
        del beats[:]
        beating = spawn(beat)
        sleep(0.05)
        began = time.monotonic()
        try:
            end = ask()
        except WebsopyError as error:
            end = type(error).__name__ + " " + str(getattr(error, "phase", "") or "")
        took = time.monotonic() - began
        beating.kill()
        pause = max([b - a for a, b in zip(beats, beats[1:])], default=9)
        print(end.strip(), "soon" if took < 1.8 else "after %.1f s" % took,
              "" if pause < 0.6 else "and stopped the others for %.1f s" % pause)

    def later(call, seconds=0.2):
        def run():
            sleep(seconds)
            call()
        spawn(run)
"""

LIBRARIES = {"gevent": GEVENT, "eventlet": EVENTLET}
every_library = pytest.mark.parametrize("library", LIBRARIES)
slow = pytest.mark.slow
every_tls = pytest.mark.parametrize(
    "tls", [pytest.param(False, id="plain"), pytest.param(True, id="TLS", marks=slow)]
)


@pytest.fixture
def run(needs: Callable[[object, str], None]) -> Callable[..., list[str]]:
    """run(library, code, *scripts): the lines that the code prints in a patched process."""

    def run(library: str, code: str, *scripts: Script, tls: bool = False) -> list[str]:
        needs(importlib.util.find_spec(library), library)
        program = "\n".join(map(textwrap.dedent, (LIBRARIES[library], COMMON, code)))
        with play(*scripts, tls=authority().server() if tls else None) as server:
            bundle = authority().path if tls else ""
            url = server.url.replace("127.0.0.1", "localhost")
            with child(program, url, bundle) as process:
                return [line.strip() for line in output(process, seconds=20)]

    return run


@every_library
@every_tls
def test_whole_answer(library: str, tls: bool, run: Callable[..., list[str]]) -> None:
    """An answer arrives."""
    code = "timed(lambda: client.ai.chat('hi').content)"
    assert run(library, code, answer("a", "b"), tls=tls) == ["ab soon"]


@slow
@every_library
@every_tls
def test_connection_is_used_again(library: str, tls: bool, run: Callable[..., list[str]]) -> None:
    """A finished answer gives its connection back."""
    code = "timed(lambda: ''.join(client.ai.chat('hi').content for _ in range(3)))"
    assert run(library, code, faults.answers("a"), tls=tls) == ["aaa soon"]


@pytest.mark.timing
@every_library
@every_tls
@pytest.mark.parametrize(
    ("script", "how"),
    [
        pytest.param(stall, "token.cancel", id="head", marks=slow),
        pytest.param(stall_after(text("a")), "token.cancel", id="body"),
        pytest.param(stall_after(text("a")), "stream.cancel", id="stream", marks=slow),
        pytest.param(stall_after(text("a")), "stream.close", id="close"),
    ],
)
def test_cancel_and_close(
    library: str, tls: bool, script: Script, how: str, run: Callable[..., list[str]]
) -> None:
    """Another green thread ends the wait, at once."""
    code = f"""
        token = CancelToken()
        def ask():
            if "{how}" == "token.cancel":
                later(token.cancel)
            stream = client.ai.chat_stream("hi", cancel_token=token)
            if "{how}" != "token.cancel":
                later({how})
            return "".join(piece.content for piece in stream)
        timed(ask)
    """
    assert run(library, code, script, tls=tls) == ["StreamCancelledError soon"]


@slow
@every_library
def test_cancel_in_the_wait_before_a_repeat(library: str, run: Callable[..., list[str]]) -> None:
    """That wait is a wait of the green thread alone."""
    code = """
        token = CancelToken()
        later(token.cancel)
        timed(lambda: client.ai.chat("hi", cancel_token=token).content)
    """
    refusal = faults.status_answer(503, {"Retry-After": "3"})
    assert run(library, code, refusal) == ["StreamCancelledError soon"]


ASKS = [
    faults.event({"type": "tool_call", "tool": {"name": "nap", "arguments": "{}"}})
    for _ in range(3)
]


@slow
@pytest.mark.timing
@every_library
def test_tools_are_green_threads(library: str, run: Callable[..., list[str]]) -> None:
    """They run side by side, stop nobody, and the wait for them can be cancelled and limited."""
    code = """
        def nap():
            sleep(naps)
        def ask(**options):
            return client.ai.run("hi", tools=[nap], **options).until_done().message.content
        naps = 0.5
        timed(ask)
        naps = 5
        token = CancelToken()
        later(token.cancel)
        timed(lambda: ask(cancel_token=token))
        timed(lambda: ask(timeout=0.2))
    """
    asks = faults.body(*ASKS, faults.DONE)
    assert run(library, code, asks, answer("rested"), asks, asks) == [
        "rested soon",
        "StreamCancelledError soon",
        "APITimeoutError total soon",
    ]


@pytest.mark.timing
@every_library
@every_tls
def test_break_closes(library: str, tls: bool, run: Callable[..., list[str]]) -> None:
    """The server sees the connection gone while the stream is still in a variable."""
    gone = threading.Event()

    def script(conn: Conn) -> None:
        stall_after(text("a"))(conn)
        gone.set()

    code = """
        def ask():
            stream = client.ai.chat_stream("hi")
            for piece in stream:
                break
            sleep(0.3)
            return stream.state
        timed(ask)
    """
    assert run(library, code, script, tls=tls) == ["closed soon"]
    assert gone.is_set()


@pytest.mark.timing
@every_library
@every_tls
@pytest.mark.parametrize(
    ("phase", "script"),
    [
        pytest.param("first_chunk", stall, marks=slow),
        ("idle", stall_after(text("a"))),
        pytest.param("total", stall_after(text("a")), marks=slow),
    ],
)
def test_limits(
    library: str, tls: bool, phase: str, script: Script, run: Callable[..., list[str]]
) -> None:
    """A server that falls silent is left in time."""
    code = f"""
        limits = {{"connect": 5, "first_chunk": 5, "idle": 5, "total": 10, "{phase}": 0.8}}
        timed(lambda: client.ai.chat("hi", timeout=Timeouts(**limits)).content)
    """
    assert run(library, code, script, tls=tls) == [f"APITimeoutError {phase} soon"]


@slow
@every_library
def test_limit_and_cancel_of_a_name_look_up(library: str, run: Callable[..., list[str]]) -> None:
    """A name server that does not answer holds up neither the caller nor the others."""
    code = """
        import socket
        token = CancelToken()
        real, socket.getaddrinfo = socket.getaddrinfo, lambda *rest, **more: sleep(3)
        timed(lambda: client.ai.chat("hi", timeout=Timeouts(connect=0.8), max_retries=0).content)
        later(token.cancel)
        timed(lambda: client.ai.chat("hi", cancel_token=token).content)
        socket.getaddrinfo = real
        timed(lambda: client.ai.chat("hi").content)
    """
    ends = ["APITimeoutError connect soon", "StreamCancelledError soon", "a soon"]
    assert run(library, code, answer("a")) == ends


@slow
@every_library
@every_tls
def test_long_question_that_is_refused(
    library: str, tls: bool, run: Callable[..., list[str]]
) -> None:
    """The refusal surfaces while it is sent."""

    def refuse(conn: Conn) -> None:
        conn.read_head()
        faults.reply_status(conn, 413)
        conn.wait_gone()

    code = "timed(lambda: client.ai.chat('x' * 4_000_000).content)"
    assert run(library, code, refuse, tls=tls) == ["APIStatusError soon"]


@slow
@every_library
@every_tls
def test_long_question_that_nobody_reads(
    library: str, tls: bool, run: Callable[..., list[str]]
) -> None:
    """Its sending is cancelled, and obeys the limits."""
    code = """
        token = CancelToken()
        question = "x" * 4_000_000
        later(token.cancel, 1.0)  # not before it is encoded
        timed(lambda: client.ai.chat(question, cancel_token=token).content)
        timed(lambda: client.ai.chat(question, timeout=Timeouts(first_chunk=0.8)).content)
    """
    pause = lambda conn: conn.pause(3)  # noqa: E731
    ends = ["StreamCancelledError soon", "APITimeoutError first_chunk soon"]
    assert run(library, code, pause, pause, tls=tls) == ends


@slow
@every_library
def test_many_streams_at_once(library: str, run: Callable[..., list[str]]) -> None:
    """Each green thread reads its own."""
    code = """
        def ask():
            texts = []
            threads = [
                spawn(lambda: texts.append(client.ai.chat("hi").content)) for _ in range(20)
            ]
            for thread in threads:
                (thread.join if hasattr(thread, "join") else thread.wait)()
            return " ".join(sorted(texts))
        timed(ask)
    """
    assert run(library, code, *[answer("a")] * 20) == [" ".join(["a"] * 20) + " soon"]


@pytest.mark.timing
@every_library
def test_a_map(library: str, run: Callable[..., list[str]]) -> None:
    """Its threads are green, its wait stops no other one, and leaving it ends them."""
    code = """
        import threading
        timed(lambda: " ".join(m.content for _, m in client.ai.map(["hi"] * 5, workers=2)))
        results = client.ai.map(["hi"] * 3)
        timed(lambda: next(results)[1].content)
        timed(lambda: results.close() or str(threading.active_count() - 1))
    """
    scripts = [*[answer("a")] * 5, *[stall_after(text("b"))] * 2, answer("a")]
    ends = ["a a a a a soon", "a soon", "0 soon"]
    assert run(library, code, *scripts) == ends
