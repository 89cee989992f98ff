"""Hooks see the caller's context variables, whichever thread runs them."""

from __future__ import annotations

import contextvars
import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from faults import child, output

from websopy_sync import AuthenticationError, BackgroundPlugin, ChatStream, WebsopyClient, hookimpl
from websopy_sync.sandbox import Sandbox, done, say, silence, status
from websopy_sync.web import flask_response, sse_body

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="lost")

Make = Callable[..., WebsopyClient]


@pytest.fixture(autouse=True)
def of_this_test() -> Iterator[None]:
    """A value that no other test sees."""
    token = request_id.set("r-42")
    yield
    request_id.reset(token)


class Log:
    """Writes down the request id that each hook sees."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}

    @hookimpl
    def on_request(self) -> None:
        self.seen["on_request"] = request_id.get()

    @hookimpl
    def on_chunk(self) -> None:
        self.seen["on_chunk"] = request_id.get()

    @hookimpl
    def on_retry(self) -> None:
        self.seen["on_retry"] = request_id.get()

    @hookimpl
    def on_done(self) -> None:
        self.seen["on_done"] = request_id.get()

    @hookimpl
    def on_error(self) -> None:
        self.seen["on_error"] = request_id.get()


def in_thread(function: Callable[[], object]) -> None:
    """Run in a thread that has a context of its own, as a server's threads have."""
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


DONE = dict.fromkeys(["on_request", "on_chunk", "on_done"], "r-42")
ENDED = dict.fromkeys(["on_request", "on_chunk", "on_error"], "r-42")


@pytest.mark.parametrize("background", [False, True], ids=["here", "in the background"])
def test_a_body_for_a_browser_has_the_context_of_the_view(
    make: Make, sandbox: Sandbox, background: bool
) -> None:
    """The body is made in one thread and iterated in another, and read in a third."""
    log = Log()
    client = make(BackgroundPlugin(log) if background else log)
    sandbox.play([say("a"), done()])
    with sse_body(client.ai.chat_stream("hi")) as body:
        in_thread(lambda: list(body))
    client.close()
    assert log.seen == DONE


@pytest.mark.parametrize("begun", [True, False])
def test_a_body_that_is_left_has_the_context_of_the_view(
    make: Make, sandbox: Sandbox, begun: bool
) -> None:
    """A server's thread closes it, before the first piece or after that."""
    log = Log()
    sandbox.play([say("a"), silence()])
    body = sse_body(make(log).ai.chat_stream("hi"))
    if begun:
        next(body)
    in_thread(body.close)
    assert log.seen == (ENDED if begun else {"on_request": "r-42", "on_error": "r-42"})


def test_a_body_has_the_context_at_the_time_it_was_made(make: Make, sandbox: Sandbox) -> None:
    """What the thread does next is another request's."""
    log = Log()
    sandbox.play([say("a"), done()])
    body = sse_body(make(log).ai.chat_stream("hi"))
    token = request_id.set("another request's")
    b"".join(body)
    request_id.reset(token)
    assert log.seen == DONE


def test_flasks_current_app_is_known_in_hooks(
    make: Make, sandbox: Sandbox, needs: Callable[[object, str], None]
) -> None:
    """Flask keeps it in a context variable; the view is over before the first piece."""
    flask = pytest.importorskip("flask")
    seen = []

    class Look:
        @hookimpl
        def on_chunk(self) -> None:
            seen.append((flask.current_app.name, flask.request.path))

    client = make(Look(), strict_plugins=True)
    app = flask.Flask("an-app")
    app.add_url_rule("/ask", view_func=lambda: flask_response(client.ai.chat_stream("hi")))
    sandbox.play([say("a"), done()])
    assert b"event: error" not in app.test_client().get("/ask").data
    assert seen == [("an-app", "/ask")] * 2


def test_a_background_plugin_has_a_copy_of_the_readers_context(
    make: Make, sandbox: Sandbox
) -> None:
    """As it is at the moment of the call, not as it is later."""
    log = Log()
    background = BackgroundPlugin(log)
    client = make(background)
    sandbox.play([say("a"), done()])
    stream = client.ai.chat_stream("hi")
    next(stream)
    token = request_id.set("later")
    assert background.flush()
    assert log.seen == {"on_request": "r-42", "on_chunk": "r-42"}
    stream.until_done()
    request_id.reset(token)
    assert background.flush()
    assert log.seen == {"on_request": "r-42", "on_chunk": "later", "on_done": "later"}


def test_what_a_background_hook_sets_stays_there(make: Make, sandbox: Sandbox) -> None:
    """Each call has a copy of its own: neither the caller nor the next call sees it."""
    seen = []

    class Sets:
        @hookimpl
        def on_chunk(self) -> None:
            seen.append(request_id.get())
            request_id.set("set in a hook")

    client = make(BackgroundPlugin(Sets()))
    sandbox.play([say("a"), say("b"), done()])
    client.ai.chat("hi")
    client.close()
    assert seen == ["r-42"] * 3 and request_id.get() == "r-42"


@pytest.mark.parametrize("way", ["close", "client", "garbage"])
def test_the_end_has_the_callers_context_when_another_thread_brings_it(
    make: Make, sandbox: Sandbox, way: str
) -> None:
    """A timer closes the stream, a shutdown the client, or it is collected as garbage."""
    log = Log()
    client = make(log)
    sandbox.play([say("a"), silence()])
    stream: Any = client.ai.chat_stream("hi")
    next(stream)
    if way == "garbage":
        stream.itself = stream
        del stream
        in_thread(gc.collect)
    else:
        in_thread(stream.close if way == "close" else client.close)
    assert log.seen == ENDED


def test_a_thread_that_reads_does_so_in_its_own_context(make: Make, sandbox: Sandbox) -> None:
    """What it set itself is what its hooks see, the end included."""
    log = Log()
    sandbox.play([say("a"), done()])
    stream = make(log).ai.chat_stream("hi")

    def read() -> None:
        request_id.set("the reader's")
        stream.until_done()

    in_thread(read)
    assert log.seen == {
        "on_request": "r-42",
        "on_chunk": "the reader's",
        "on_done": "the reader's",
    }


def test_a_hook_may_reset_what_another_hook_has_set(make: Make, sandbox: Sandbox) -> None:
    """As tracing does: in one thread all hooks run in the very context of the caller."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("span")
    problems: list[Exception] = []

    class Traces:
        @hookimpl
        def on_request(self, stream: ChatStream) -> None:
            self.token = variable.set("span")

        @hookimpl
        def on_error(self, stream: ChatStream) -> None:
            try:
                variable.reset(self.token)
            except ValueError as problem:
                problems.append(problem)

    client = make(Traces())
    for way in ("close", "break", "refused", "del"):
        sandbox.play(status(401) if way == "refused" else [say("a"), silence()])
        try:
            stream = client.ai.chat_stream("hi")
            if way == "break":
                for _ in stream:
                    break
            elif way == "close":
                stream.close()
            del stream
        except AuthenticationError:
            assert way == "refused"  # which way it was, not what it said
    assert problems == [] and variable.get("none") == "none"


COLLECTED = """
    import contextvars, gc, sys
    from websopy_sync import WebsopyClient, hookimpl

    names = [contextvars.ContextVar(str(number)) for number in range(40)]

    class Plugin:
        ends = 0

        @hookimpl
        def on_error(self):
            self.ends += 1
            for name in names[:5]:
                name.set(object())

    for name in names:
        name.set(0)
    plugin = Plugin()
    with WebsopyClient("key", base_url=sys.argv[1], plugins=[plugin]) as client:
        for number in range(200):
            cycle = [client.ai.chat_stream("hi")]
            cycle.append(cycle)
            gc.disable()
            del cycle
            set_variable = names[number % 40].set
            gc.set_threshold(gc.get_count()[0] + number % 6)
            gc.enable()
            set_variable(number)
            gc.disable()
    print(plugin.ends)
"""


def test_a_stream_collected_while_a_variable_is_set() -> None:
    """Python 3.11 crashed, as the hook changed the very context that was being changed."""
    with (
        Sandbox(lambda request: [say("a"), silence()]) as sandbox,
        child(COLLECTED, sandbox.url) as process,
    ):
        assert output(process, seconds=30) == ["200"]


def test_an_ended_stream_does_not_keep_the_context(make: Make, sandbox: Sandbox) -> None:
    """A whole request of an application may hang on it."""
    kept: contextvars.ContextVar[object] = contextvars.ContextVar("kept")

    class Value:
        freed = False

        def __del__(self) -> None:
            Value.freed = True

    def ask() -> ChatStream:
        kept.set(Value())
        return make(Log()).ai.chat_stream("hi")

    sandbox.play([say("a"), done()])
    stream = contextvars.copy_context().run(ask)
    assert not Value.freed
    stream.until_done()
    assert Value.freed
