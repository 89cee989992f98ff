"""Plugins: found, checked, told in order, and kept from harming anybody."""

from __future__ import annotations

import dataclasses
import gc
import logging
import os
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from websopy_sync import (
    APIError,
    AuthenticationError,
    BackgroundPlugin,
    CancelToken,
    ChatStream,
    ConfigError,
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    InternalServerError,
    Message,
    PluginError,
    StreamCancelledError,
    StreamInterruptedError,
    StreamServerError,
    Timeouts,
    WebsopyClient,
    hookimpl,
)
from websopy_sync.hooks import HOOKS, Hooks, list_plugins
from websopy_sync.sandbox import Sandbox, cut, done, error, no_ids, retry, say, silence, status

SOON = 5.0
LOG = "websopy_sync.plugins"


Make = Callable[..., WebsopyClient]


class Diary:
    """Writes down what it is told: (hook, what came, the state then)."""

    def __init__(self, name: str = "", pages: list[Any] | None = None) -> None:
        self.name = name
        self.pages: list[Any] = [] if pages is None else pages

    def note(self, *page: Any) -> None:
        self.pages.append((self.name, *page) if self.name else page)

    @hookimpl
    def on_request(self, request: Any) -> None:
        self.note("on_request", request.method)

    @hookimpl
    def on_chunk(self, chunk: Any, stream: ChatStream) -> None:
        self.note("on_chunk", chunk, stream.current_message.content)

    @hookimpl
    def on_retry(self, error: APIError, delay: float, stream: ChatStream) -> None:
        self.note("on_retry", type(error), delay)

    @hookimpl
    def on_done(self, message: Message, stream: ChatStream) -> None:
        self.note("on_done", message, stream.state)

    @hookimpl
    def on_error(self, error: BaseException, stream: ChatStream) -> None:
        self.note("on_error", type(error), stream.state)

    @property
    def ends(self) -> list[Any]:
        """What it was told of ends."""
        return [page for page in self.pages if page[0] in ("on_done", "on_error")]


class Raising:
    """Raises in one hook, or in all."""

    def __init__(self, error: BaseException | None = None, hook: str = "") -> None:
        self.error = error or ValueError("plugin's own")
        self.hook = hook

    def fail(self, hook: str) -> None:
        if self.hook in ("", hook):
            raise self.error

    @hookimpl
    def on_request(self) -> None:
        self.fail("on_request")

    @hookimpl
    def on_chunk(self) -> None:
        self.fail("on_chunk")

    @hookimpl
    def on_retry(self) -> None:
        self.fail("on_retry")

    @hookimpl
    def on_done(self) -> None:
        self.fail("on_done")

    @hookimpl
    def on_error(self) -> None:
        self.fail("on_error")


# --- when they are told --------------------------------------------------------------------------


def test_a_whole_answer(make: Make, sandbox: Sandbox) -> None:
    """Request, each chunk in order with the message that holds it, then done."""
    diary = Diary()
    sandbox.play([say("a"), say("b"), done()])
    make(diary).ai.chat("x")
    assert diary.pages == [
        ("on_request", "POST"),
        ("on_chunk", ContentChunk("a"), "a"),
        ("on_chunk", ContentChunk("b"), "ab"),
        ("on_chunk", DoneChunk(), "ab"),
        ("on_done", Message("ab"), "done"),
    ]


def test_plugins_hear_before_the_user(make: Make, sandbox: Sandbox) -> None:
    """What the loop has, the plugins have had; what it has not, they have not."""
    diary = Diary()
    sandbox.play([say("a"), say("b"), done()])
    heard = [
        [page[1] for page in diary.pages if page[0] == "on_chunk"]
        for _ in make(diary).ai.chat_stream("x")
    ]
    a, b = ContentChunk("a"), ContentChunk("b")
    assert heard == [[a], [a, b], [a, b, DoneChunk()]]


def test_an_error_chunk_is_a_chunk_and_then_an_error(make: Make, sandbox: Sandbox) -> None:
    """Told as both."""
    diary = Diary()
    sandbox.play([error("no", "c")])
    with pytest.raises(StreamServerError):
        make(diary).ai.chat("x")
    assert diary.pages[1:] == [
        ("on_chunk", ErrorChunk("no", "c"), ""),
        ("on_error", StreamServerError, "error"),
    ]


def test_retries_are_told_with_error_and_delay(make: Make, sandbox: Sandbox) -> None:
    """Before each wait; the question was told of once."""
    diary = Diary()
    sandbox.play(status(503, retry_after=0))
    sandbox.play([retry(7), say("a"), cut(), done()])
    make(diary).ai.chat("x")
    hooks = [page[0] for page in diary.pages]
    assert hooks == ["on_request", "on_retry", "on_chunk", "on_retry", "on_chunk", "on_done"]
    assert diary.pages[1][1:] == (InternalServerError, 0.0)
    assert diary.pages[3][1:] == (StreamInterruptedError, 0.007)


def leave(stream: ChatStream) -> None:
    for _ in stream:
        break


def interrupt(stream: ChatStream) -> None:
    for _ in stream:
        raise KeyboardInterrupt


def raise_in_loop(stream: ChatStream) -> None:
    for _ in stream:
        raise LookupError


def cancel_and_read(stream: ChatStream) -> None:
    next(stream)
    stream.cancel()
    list(stream)


def cancel_blocked(stream: ChatStream) -> None:
    timer = threading.Timer(0.05, stream.cancel)
    timer.start()
    try:
        list(stream)
    finally:
        timer.join()


def close_twice(stream: ChatStream) -> None:
    stream.close()
    stream.close()


def drop(stream: ChatStream) -> None:
    next(stream)


def with_block(stream: ChatStream) -> None:
    with stream:
        next(stream)


ENDS: dict[str, tuple[list[Any], Callable[[ChatStream], object], str, str]] = {
    "done": ([say("a"), done()], list, "on_done", "done"),
    "left at done": ([done()], leave, "on_done", "done"),
    "error chunk": ([say("a"), error("no")], list, "on_error", "error"),
    "left at the error chunk": ([error("no")], leave, "on_error", "error"),
    "cut": ([no_ids(), say("a"), cut()], list, "on_error", "error"),
    "no chunk": ([say("a"), status(200)[1]], list, "on_error", "error"),
    "break": ([say("a"), silence()], leave, "on_error", "closed"),
    "ctrl-c": ([say("a"), silence()], interrupt, "on_error", "closed"),
    "exception": ([say("a"), silence()], raise_in_loop, "on_error", "closed"),
    "cancel": ([say("a"), silence()], cancel_and_read, "on_error", "cancelled"),
    "cancel while blocked": ([say("a"), silence()], cancel_blocked, "on_error", "cancelled"),
    "close unread": ([say("a"), silence()], close_twice, "on_error", "closed"),
    "with": ([say("a"), silence()], with_block, "on_error", "closed"),
    "dropped": ([say("a"), silence()], drop, "on_error", "closed"),
    "dropped unread": ([say("a"), silence()], lambda stream: None, "on_error", "closed"),
}


@pytest.mark.parametrize(("script", "way", "hook", "state"), ENDS.values(), ids=ENDS.keys())
def test_exactly_one_end(
    make: Make,
    sandbox: Sandbox,
    script: list[Any],
    way: Callable[[ChatStream], object],
    hook: str,
    state: str,
) -> None:
    """PROMISE 30: on every way out, and never a second time."""
    diary = Diary()
    client = make(diary, timeout=Timeouts(idle=10))
    sandbox.play(script)
    try:
        way(client.ai.chat_stream("x"))
    except (APIError, KeyboardInterrupt, LookupError):
        pass
    gc.collect()
    client.close()
    assert [(page[0], page[-1]) for page in diary.ends] == [(hook, state)]


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        ([*status(401)], AuthenticationError),
        ([*status(204)], APIError),
    ],
    ids=["401", "204"],
)
def test_a_refused_question_has_its_end(
    make: Make, sandbox: Sandbox, script: list[Any], failure: type[Exception]
) -> None:
    """on_request began it, so on_error ends it, though there was no stream."""
    diary = Diary()
    sandbox.play(script)
    with pytest.raises(failure):
        make(diary).ai.chat_stream("x")
    assert [page[0] for page in diary.pages] == ["on_request", "on_error"]


def test_a_cancelled_question_has_its_end(make: Make, sandbox: Sandbox) -> None:
    """Before the first byte, too."""
    diary, token = Diary(), CancelToken()
    token.cancel()
    with pytest.raises(StreamCancelledError):
        make(diary).ai.chat_stream("x", cancel_token=token)
    assert [page[0] for page in diary.pages] in ([], ["on_request", "on_error"])


def test_a_question_that_was_never_one_is_not_told(make: Make) -> None:
    """Bad arguments begin nothing, so nothing ends."""
    diary = Diary()
    client = make(diary)
    for options in ({"timeout": -1}, {"max_retries": "3"}):
        with pytest.raises(ConfigError):
            client.ai.chat_stream("x", **options)
    with pytest.raises(ConfigError):
        client.ai.chat_stream([])
    assert diary.pages == []


def test_native_events_are_not_told(make: Make) -> None:
    """They are no chunks."""
    diary = Diary()
    list(make(diary).events("GET", "/ai/chat?message=x"))
    assert diary.pages == []


def test_streams_at_a_time_are_told_apart(make: Make, sandbox: Sandbox) -> None:
    """One plugin, many threads: each stream's chunks in order, and one end each."""

    class PerStream:
        def __init__(self) -> None:
            self.heard: dict[int, list[Any]] = {}

        @hookimpl
        def on_chunk(self, chunk: Any, stream: ChatStream) -> None:
            self.heard.setdefault(id(stream), []).append(chunk)

        @hookimpl
        def on_done(self, stream: ChatStream) -> None:
            self.heard[id(stream)].append("done")

    plugin = PerStream()
    client = make(plugin)
    streams = []
    for _ in range(6):
        sandbox.play([*(say(str(number)) for number in range(30)), done()])
        streams.append(client.ai.chat_stream("x"))
    threads = [threading.Thread(target=stream.until_done) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = [*(ContentChunk(str(number)) for number in range(30)), DoneChunk(), "done"]
    assert [plugin.heard[id(stream)] for stream in streams] == [whole] * 6


# --- what they may do ----------------------------------------------------------------------------


def test_a_plugin_may_edit_the_request(make: Make, sandbox: Sandbox) -> None:
    """Headers and body; once per question, before every try."""

    class Editor:
        @hookimpl
        def on_request(self, request: Any) -> None:
            request.headers["X-Trace"] = "t1"
            del request.headers["Cache-Control"]
            request.body["messages"].insert(0, {"role": "system", "content": "s"})
            request.body["seed"] = 7

    sandbox.play(status(503, retry_after=0))
    make(Editor()).ai.chat("x")
    for request in sandbox.requests:
        assert request.headers["x-trace"] == "t1"
        assert "cache-control" not in request.headers
        assert request.json["seed"] == 7
        assert [turn["role"] for turn in request.json["messages"]] == ["system", "user"]


def test_a_plugin_may_replace_headers_and_body(make: Make, sandbox: Sandbox) -> None:
    """By new ones as well as in place."""

    class Replacer:
        @hookimpl
        def on_request(self, request: Any) -> None:
            request.headers = {"Accept": "text/event-stream", "X-New": "1"}
            request.body = {"messages": [{"role": "user", "content": "other"}]}

    make(Replacer()).ai.chat("x")
    (request,) = sandbox.requests
    assert request.headers["x-new"] == "1"
    assert request.json["messages"][0]["content"] == "other"


def test_the_key_is_not_shown_to_plugins(make: Make) -> None:
    """It is added after them; the rest of what will be sent is there."""
    seen = []

    class Looker:
        @hookimpl
        def on_request(self, request: Any) -> None:
            seen.append((dict(request.headers), request.url, request.idempotency_key))

    client = make(Looker())
    stream = client.ai.chat_stream("x")
    stream.close()
    ((headers, url, key),) = seen
    assert "authorization" not in {name.lower() for name in headers}
    assert "test" not in headers.values()
    assert url.endswith("/v1/ai/chat")
    assert key == stream.idempotency_key == headers["Idempotency-Key"]


class _Lazy(Mapping[str, str]):
    """Headers that are looked up when they are needed, which fails."""

    def __getitem__(self, name: str) -> str:
        raise RuntimeError("working outside of request context")

    def __iter__(self) -> Iterator[str]:
        return iter(["X-A"])

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda request: request.headers.update({"X-A": "a\r\nB: c"}),
        lambda request: request.headers.update({"X A": "a"}),
        lambda request: request.headers.update({"X-A": None}),
        lambda request: request.headers.update({"Host": "elsewhere"}),
        lambda request: request.body.update(x=object()),
        lambda request: setattr(request, "body", ["no", "object"]),
        lambda request: setattr(request, "body", None),
        lambda request: setattr(request, "headers", None),
        lambda request: delattr(request, "headers"),
        lambda request: delattr(request, "body"),
        lambda request: setattr(request, "headers", _Lazy()),
    ],
    ids=range(11),
)
def test_what_a_plugin_spoils_is_not_sent(
    make: Make, sandbox: Sandbox, spoil: Callable[[Any], None]
) -> None:
    """ConfigError, and the question that was told has its end."""

    class Spoiler(Diary):
        @hookimpl
        def on_request(self, request: Any) -> None:
            spoil(request)

    spoiler = Spoiler()
    with pytest.raises(ConfigError, match="on_request"):
        make(spoiler).ai.chat_stream("x")
    assert not sandbox.requests
    assert [page[0] for page in spoiler.ends] == ["on_error"]


def test_where_it_goes_is_not_a_plugins_to_say(make: Make, sandbox: Sandbox) -> None:
    """PROMISE 20: key and question go to the configured origin only."""

    class Diverter:
        @hookimpl
        def on_request(self, request: Any) -> None:
            for name, value in (("url", "http://127.0.0.2:9/"), ("method", "GET")):
                try:
                    setattr(request, name, value)
                except AttributeError:
                    pass

    make(Diverter()).ai.chat("x")
    (request,) = sandbox.requests
    assert (request.method, request.path) == ("POST", "/v1/ai/chat")


def test_a_plugin_cannot_change_what_others_see(make: Make, sandbox: Sandbox) -> None:
    """PROMISE 33: chunks are frozen."""
    failures = []

    class Meddler:
        @hookimpl(tryfirst=True)
        def on_chunk(self, chunk: Any) -> None:
            try:
                chunk.content = "changed"
            except AttributeError as problem:
                failures.append(problem)

    sandbox.play([say("a"), done()])
    assert make(Meddler()).ai.chat("x").content == "a"
    assert failures


def test_a_plugin_may_cancel_the_stream(make: Make, sandbox: Sandbox) -> None:
    """A guard that has seen enough: no chunk more comes to the user."""

    class Guard:
        @hookimpl
        def on_chunk(self, chunk: Any, stream: ChatStream) -> None:
            if "secret" in stream.current_message.content:
                stream.cancel()

    sandbox.play([say("a"), say("secret"), say("more"), silence()])
    chunks = []
    with pytest.raises(StreamCancelledError):  # the loop is the test
        for chunk in make(Guard()).ai.chat_stream("x"):
            chunks.append(chunk)
    assert ContentChunk("more") not in chunks
    assert sandbox.wait_disconnect()


@pytest.mark.parametrize("way", ["close", "until_done", "get_final_message"])
def test_a_plugin_that_plays_the_reader_harms_nobody_else(
    make: Make, sandbox: Sandbox, way: str
) -> None:
    """Reading or closing inside a hook: no hang, no second end, no broken plugin beside it."""

    class Player:
        @hookimpl
        def on_chunk(self, stream: ChatStream) -> None:
            getattr(stream, way)()

    diary = Diary()
    client = make(Player(), diary)
    sandbox.play([say("a"), say("b"), done()])
    try:
        client.ai.chat_stream("x", timeout=SOON).until_done()
    except StreamCancelledError:
        assert way == "close"
    client.close()
    assert len(diary.ends) == 1


# --- isolation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["on_request", "on_chunk", "on_retry", "on_done"])
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("failure", [ValueError("v"), StopIteration(), GeneratorExit()], ids=repr)
def test_a_plugin_that_raises_breaks_nothing(
    make: Make,
    sandbox: Sandbox,
    hook: str,
    first: bool,
    failure: BaseException,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """PROMISE 31: neither the stream nor another plugin, whichever comes first."""
    diary, raising = Diary(), Raising(failure, hook)
    client = make(*((raising, diary) if first else (diary, raising)))
    sandbox.play(status(503, retry_after=0))
    sandbox.play([say("a"), say("b"), done()])
    with caplog.at_level(logging.ERROR, LOG):
        assert client.ai.chat("x").content == "ab"
    hooks = ["on_request", "on_retry", "on_chunk", "on_chunk", "on_chunk", "on_done"]
    assert [page[0] for page in diary.pages] == hooks
    (record,) = caplog.records
    assert "Raising" in record.getMessage() and hook in record.getMessage()
    assert record.exc_info and record.exc_info[1] is failure


def test_on_error_that_raises_keeps_the_error(make: Make, sandbox: Sandbox) -> None:
    """The stream's own failure comes out, not the plugin's."""
    diary = Diary()
    sandbox.play([error("no")])
    with pytest.raises(StreamServerError):
        make(Raising(hook="on_error"), diary).ai.chat("x")
    assert len(diary.ends) == 1


def test_a_failure_is_logged_once_and_counted(
    make: Make, caplog: pytest.LogCaptureFixture, sandbox: Sandbox
) -> None:
    """Once per plugin and hook, over all streams of a client."""
    client = make(Raising(hook="on_chunk"))
    with caplog.at_level(logging.ERROR, LOG):
        for _ in range(3):
            sandbox.play([say("a"), done()])
            client.ai.chat("x")
    assert len(caplog.records) == 1
    assert client._hooks.failures == {("Raising", "on_chunk"): 6}


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_passes(make: Make, sandbox: Sandbox, kind: type[BaseException]) -> None:
    """What is meant for the program is not a plugin's failure; the stream is closed by it."""
    diary = Diary()
    client = make(Raising(kind(), "on_chunk"), diary)
    sandbox.play([say("a"), silence()])
    with pytest.raises(kind):
        client.ai.chat("x")
    assert sandbox.wait_disconnect()
    assert [page[0] for page in diary.ends] == ["on_error"]


@pytest.mark.parametrize("hook", ["on_request", "on_chunk", "on_retry", "on_done", "on_error"])
def test_strict_plugins_raise(make: Make, sandbox: Sandbox, hook: str) -> None:
    """PluginError names plugin and hook, and has the cause."""
    failure = ValueError("plugin's own")
    client = make(Raising(failure, hook), strict_plugins=True)
    sandbox.play(status(503, retry_after=0))
    sandbox.play([say("a"), error("no") if hook == "on_error" else done()])
    with pytest.raises(PluginError) as caught:
        client.ai.chat("x")
    assert (caught.value.plugin, caught.value.hook) == ("Raising", hook)
    assert caught.value.__cause__ is failure
    client.close()
    assert sandbox.wait_closed()


def test_strict_plugins_tell_each_plugin_of_a_beginning_and_its_end(make: Make) -> None:
    """A plugin that is told of the end of a question was told of its beginning."""
    early, late = Diary(), Diary()
    client = make(late, Raising(ValueError(), "on_request"), early, strict_plugins=True)
    with pytest.raises(PluginError):
        client.ai.chat("x")
    for diary in (early, late):
        assert [page[0] for page in diary.pages] == ["on_request", "on_error"]


def test_without_plugins_nothing_is_asked(make: Make) -> None:
    """No plugin, no cost: there is nobody to tell."""
    hooks = make()._hooks
    assert [hooks.notifier(hook) for hook in HOOKS] == [None] * len(HOOKS)


# --- what is a plugin ----------------------------------------------------------------------------


def test_plugins_are_told_in_pluggys_order(make: Make, sandbox: Sandbox) -> None:
    """The last one given first, as pluggy has it, but for tryfirst and trylast."""
    pages: list[Any] = []

    class First(Diary):
        @hookimpl(tryfirst=True)
        def on_done(self, message: Message, stream: ChatStream) -> None:
            self.note("on_done")

    class Last(Diary):
        @hookimpl(trylast=True)
        def on_done(self, message: Message, stream: ChatStream) -> None:
            self.note("on_done")

    plugins = [First("first", pages), Diary("a", pages), Diary("b", pages), Last("last", pages)]
    sandbox.play([done()])
    make(*plugins).ai.chat("x")
    assert [page[0] for page in pages if page[1] == "on_request"] == ["last", "b", "a", "first"]
    assert [page[0] for page in pages if page[1] == "on_done"] == ["first", "b", "a", "last"]


def test_a_hook_takes_the_arguments_it_needs(make: Make, sandbox: Sandbox) -> None:
    """By name, any of them, in any order, none at all."""
    seen: list[Any] = []

    class Sparse:
        @hookimpl
        def on_chunk(self, stream: ChatStream, chunk: Any) -> None:
            seen.append((type(stream).__name__, chunk))

        @hookimpl
        def on_done(self) -> None:
            seen.append("done")

        @hookimpl
        def on_request(self, request: Any, unknown: object = None) -> None:
            seen.append(("request", unknown))

    sandbox.play([done()])
    make(Sparse()).ai.chat("x")
    assert seen == [("request", None), ("ChatStream", DoneChunk()), "done"]


@pytest.mark.parametrize("behind", [False, True], ids=["at once", "in the background"])
def test_a_hook_is_given_every_argument_it_has_a_name_for(
    make: Make, sandbox: Sandbox, behind: bool
) -> None:
    """Also one with a default, a keyword-only one, `**rest` and `*rest`: none is left out."""
    seen: dict[str, tuple[object, ...]] = {}

    class Default:
        @hookimpl
        def on_chunk(
            self, chunk: Any = None, clock: Any = time.monotonic, stream: Any = None
        ) -> None:
            seen["default"] = chunk, stream, clock is time.monotonic

    class KeywordOnly:
        @hookimpl
        def on_chunk(self, chunk: Any, *, stream: Any) -> None:
            seen["keyword-only"] = chunk, stream

    class Rest:
        @hookimpl
        def on_chunk(self, **rest: Any) -> None:
            seen["**rest"] = rest["chunk"], rest["stream"], *sorted(rest)

    class Others:
        @hookimpl
        def on_chunk(self, stream: Any, *others: Any) -> None:
            seen["*others"] = *others, stream

    plugins = [Default(), KeywordOnly(), Rest(), Others()]
    sandbox.play([done()])
    client = make(*map(BackgroundPlugin, plugins) if behind else plugins)
    stream = client.ai.chat_stream("x").until_done()
    client.close()
    assert seen == {
        "default": (DoneChunk(), stream, True),
        "keyword-only": (DoneChunk(), stream),
        "**rest": (DoneChunk(), stream, "chunk", "stream"),
        "*others": (DoneChunk(), stream),
    }


def test_a_class_is_made_an_object_for_each_client(make: Make) -> None:
    """So that two clients do not share what it keeps."""
    made: list[object] = []

    class Kept(Diary):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    make(Kept), make(Kept)
    assert len(made) == 2 and made[0] is not made[1]


def test_a_module_is_a_plugin(make: Make, sandbox: Sandbox) -> None:
    """Its functions are the hooks."""
    heard = []
    module = type(sys)("module_plugin")

    @hookimpl
    def on_done(message: Message) -> None:
        heard.append(message)

    module.on_done = on_done  # type: ignore[attr-defined]  # a module made here
    sandbox.play([say("a"), done()])
    client = make(module)
    client.ai.chat("x")
    assert heard == [Message("a")]
    assert [info.name for info in client.plugins if info.state == "loaded"] == ["module_plugin"]


def test_the_same_kind_twice(make: Make, sandbox: Sandbox) -> None:
    """Two objects of one class are two plugins."""
    pages: list[Any] = []
    sandbox.play([done()])
    make(Diary("a", pages), Diary("b", pages)).ai.chat("x")
    assert {page[0] for page in pages if page[1] == "on_done"} == {"a", "b"}


class _NoHooks:
    pass


class _Unmarked:
    def on_chunk(self, chunk: Any) -> None:
        pass


class _MisspeltHook:
    @hookimpl
    def on_chunks(self) -> None:
        pass


class _MisspeltArgument:
    @hookimpl
    def on_chunk(self, chnk: Any) -> None:
        pass


class _MisspeltKeyword:
    @hookimpl
    def on_chunk(self, chunk: Any, *, strem: Any) -> None:
        pass


class _Wrapper:
    @hookimpl(wrapper=True)
    def on_chunk(self) -> Iterator[None]:
        yield


class _OldWrapper:
    @hookimpl(hookwrapper=True)
    def on_chunk(self) -> Iterator[None]:
        yield


class _CannotBeMade:
    def __init__(self, needed: object) -> None:
        pass

    @hookimpl
    def on_chunk(self) -> None:
        pass


@pytest.mark.parametrize(
    ("plugin", "says"),
    [
        (_NoHooks(), "none of the hooks"),
        (_Unmarked(), r"marked with hookimpl; .* on_chunk\(chunk, stream\)"),
        (object(), "none of the hooks"),
        (7, "none of the hooks"),
        (None, "none of the hooks"),
        (_MisspeltHook(), r"on_chunks.* on_chunk\(chunk, stream\)"),
        (_MisspeltArgument(), r"chnk.* on_chunk\(chunk, stream\)"),
        (_MisspeltKeyword(), r"strem.* on_chunk\(chunk, stream\)"),
        (_Wrapper(), "wrap"),
        (_OldWrapper(), "wrap"),
        (_CannotBeMade, "_CannotBeMade"),
        (BackgroundPlugin(_NoHooks()), "none of the hooks"),
        (BackgroundPlugin(_MisspeltHook()), "on_chunks"),
    ],
    ids=range(13),
)
def test_what_is_no_plugin_is_told_at_once(make: Make, plugin: object, says: str) -> None:
    """An error when the client is made, not silence when it matters."""
    with pytest.raises((PluginError, ConfigError, TypeError), match=says):
        make(plugin)


class _MarkIsNotInherited(Diary):
    def on_done(self, message: Message) -> None:
        pass


def test_a_forgotten_mark_is_told(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A method with a hook's name beside marked ones is never called: a warning says so."""
    make(Diary(), _MarkIsNotInherited())
    assert caplog.messages == [
        "plugin _MarkIsNotInherited: on_done is not called, as it is not marked with hookimpl"
    ]


@dataclasses.dataclass
class _Compared:
    """A plugin as a dataclass is by default: compared by value, and not to be hashed."""

    secret: str = "a-plugins-secret"
    ends: int = dataclasses.field(default=0, compare=False)

    @hookimpl
    def on_done(self) -> None:
        self.ends += 1


def test_none_beside_a_plugin_is_no_plugin(make: Make) -> None:
    """pluggy passes over None without a word."""
    with pytest.raises(PluginError, match="none of the hooks"):
        make(Diary(), None)


def test_a_dataclass_is_a_plugin(make: Make, sandbox: Sandbox) -> None:
    """An object that cannot be hashed is one like any other."""
    sandbox.play([done()])
    plugins = [_Compared(), BackgroundPlugin(_Compared("other"))]
    with make(*plugins, _Compared("a third")) as client:
        client.ai.chat("x")
    assert plugins[0].ends == plugins[1].plugin.ends == 1


@pytest.mark.parametrize("kind", [Diary, _Compared])
def test_one_object_twice_is_refused(make: Make, kind: Callable[[], object]) -> None:
    """A plugin that is told everything twice counts double. The error shows nothing of it."""
    plugin = kind()
    with pytest.raises(PluginError, match=f"passed before, as {kind.__name__}") as caught:
        make(plugin, BackgroundPlugin(plugin))
    assert "secret" not in str(caught.value)


def test_plugins_that_are_equal_are_two(make: Make, sandbox: Sandbox) -> None:
    """Two budgets of one size are two budgets; they are told in pluggy's order all the same."""
    order: list[object] = []

    class Told(_Compared):
        @hookimpl
        def on_request(self) -> None:
            order.append(self)

    class ToldFirst(_Compared):
        @hookimpl(tryfirst=True)
        def on_request(self) -> None:
            order.append(self)

    plugins = [Told(), ToldFirst(), ToldFirst(), Told(), Told("other")]
    sandbox.play([done()])
    client = make(*plugins)
    client.ai.chat("x")
    assert [plugin.ends for plugin in plugins] == [1] * 5
    assert [plugins.index(one) for one in order] == [1, 1, 4, 0, 0]
    assert [id(one) for one in order] == [id(plugins[place]) for place in (2, 1, 4, 3, 0)]
    assert [info.name for info in client.plugins if info.state == "loaded"] == [
        "Told",
        "ToldFirst",
        "ToldFirst+",
        "Told+",
        "Told++",
    ]


# --- installed plugins ---------------------------------------------------------------------------


class Site:
    """A directory of installed distributions, made for one test."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def install(self, name: str, source: str, *, version: str = "1.2") -> None:
        """A distribution with one module and one entry point, all of one name."""
        module = name.replace("-", "_")
        (self.path / f"{module}.py").write_text(textwrap.dedent(source), "utf-8")
        info = self.path / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: dist-{name}\nVersion: {version}\n", "utf-8"
        )
        (info / "entry_points.txt").write_text(f"[websopy_sync]\n{name} = {module}\n", "utf-8")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An installed-packages directory in front of all others; its modules are forgotten after."""
    monkeypatch.delenv("WEBSOPY_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield Site(tmp_path)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


GOOD = """
    from websopy_sync import hookimpl
    heard = []
    @hookimpl
    def on_done(message):
        heard.append(message.content)
"""


def named(client: WebsopyClient, *names: str) -> list[tuple[str, str]]:
    return [(info.name, info.state) for info in client.plugins if info.name in names]


def test_installed_plugins_load_by_themselves(make: Make, site: Site, sandbox: Sandbox) -> None:
    """`pip install` is all it takes; the client says what it has."""
    site.install("test-good", GOOD)
    client = make(plugins=None)
    sandbox.play([say("a"), done()])
    client.ai.chat("x")
    assert sys.modules["test_good"].heard == ["a"]
    (info,) = [info for info in client.plugins if info.name == "test-good"]
    assert (info.distribution, info.version) == ("dist-test-good", "1.2")
    assert (info.state, info.hooks, info.problem) == ("loaded", ("on_done",), "")


def test_importing_the_package_loads_none(site: Site) -> None:
    """Entry points are looked up when a client is made, not before."""
    site.install("test-good", GOOD)
    assert "test_good" not in sys.modules


@pytest.mark.parametrize(
    "source",
    [
        "raise RuntimeError('broken at import')",
        "import a_module_that_is_not_there",
        "this is no python",
        "x = 1",
        "from websopy_sync import hookimpl\n@hookimpl\ndef on_chunks(): pass",
        "from websopy_sync import hookimpl\n@hookimpl\ndef on_chunk(chnk): pass",
        "from websopy_sync import hookimpl\n@hookimpl(wrapper=True)\ndef on_chunk():\n    yield",
        "import sys\nsys.exit('broken at import')",
        "class Unsaid(Exception):\n    def __str__(self): raise ValueError\nraise Unsaid",
    ],
    ids=["raises", "import", "syntax", "no hooks", "hook", "argument", "wrapper", "exit", "unsaid"],
)
def test_an_installed_plugin_that_does_not_load_is_left_out(
    make: Make, site: Site, sandbox: Sandbox, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Named in a warning; the others load, before and behind it."""
    site.install("test-a-good", GOOD)
    site.install("test-broken", source)
    site.install("test-z-good", GOOD)
    with caplog.at_level(logging.WARNING, LOG):
        client = make(plugins=None)
    assert dict(named(client, "test-a-good", "test-broken", "test-z-good")) == {
        "test-a-good": "loaded",
        "test-broken": "failed",
        "test-z-good": "loaded",
    }
    assert any("test-broken" in record.getMessage() for record in caplog.records)
    (info,) = [info for info in client.plugins if info.name == "test-broken"]
    assert info.problem
    sandbox.play([say("a"), done()])
    assert client.ai.chat("x").content == "a"
    assert sys.modules["test_a_good"].heard == sys.modules["test_z_good"].heard == ["a"]


@pytest.mark.parametrize(
    "source",
    [
        """
        @property
        def close(self):
            raise RuntimeError
        """,
        """
        def __getattribute__(self, name):
            raise RuntimeError
        """,
        """
        def __init__(self):
            raise SystemExit(3)
        """,
        """
        def close(self):
            raise ValueError
        """,
    ],
    ids=["close is broken", "every attribute is", "exits", "close raises"],
)
def test_an_installed_class_that_is_broken_ends_no_client(
    make: Make, site: Site, source: str
) -> None:
    """Neither as the client is made nor as it is closed; the other plugin is loaded."""
    hook = "@hookimpl\ndef on_done(self): pass"
    body = textwrap.indent(textwrap.dedent(source) + hook, "    ")
    site.install("test-broken", f"from websopy_sync import hookimpl\nclass Broken:\n{body}")
    entry_points = site.path / "test_broken-1.2.dist-info" / "entry_points.txt"
    entry_points.write_text("[websopy_sync]\ntest-broken = test_broken:Broken\n", "utf-8")
    site.install("test-z-good", GOOD)
    with make(plugins=None) as client:
        assert named(client, "test-z-good") == [("test-z-good", "loaded")]


@pytest.mark.parametrize("strict", [False, True])
def test_an_installed_plugin_that_refuses_its_settings(
    make: Make, site: Site, strict: bool
) -> None:
    """The client says so, instead of going on without a budget; a list of the plugins does not."""
    source = "raise ConfigError('BUDGET: expected a number')"
    site.install("test-settings", f"from websopy_sync import ConfigError\n{source}")
    with pytest.raises(ConfigError, match=r"^plugin test-settings: BUDGET: expected a number$"):
        make(plugins=None, strict_plugins=strict)
    with pytest.raises(ConfigError, match=r"^plugin test-settings"):
        make(plugins=["test-settings"])
    make(plugins=[])
    (info,) = [info for info in list_plugins() if info.name == "test-settings"]
    assert info.state == "failed" and "BUDGET" in info.problem


def test_a_broken_one_raises_when_strict(make: Make, site: Site) -> None:
    """strict_plugins: nothing is left out silently."""
    site.install("test-broken", "raise RuntimeError('broken at import')")
    with pytest.raises(PluginError, match="test-broken") as caught:
        make(plugins=None, strict_plugins=True)
    assert caught.value.plugin == "test-broken"


@pytest.mark.parametrize(
    ("value", "loaded"),
    [
        (None, {"test-a", "test-b"}),
        ("", set()),
        (" , ", set()),
        ("test-a", {"test-a"}),
        (" test-b , test-a ", {"test-a", "test-b"}),
        ("test-b,,", {"test-b"}),
    ],
)
def test_the_environment_chooses(
    make: Make, site: Site, monkeypatch: pytest.MonkeyPatch, value: str | None, loaded: set[str]
) -> None:
    """WEBSOPY_PLUGINS: a list by comma; empty is none; unset is all. Who is off is shown."""
    site.install("test-a", GOOD)
    site.install("test-b", GOOD)
    if value is not None:
        monkeypatch.setenv("WEBSOPY_PLUGINS", value)
    states = dict(named(make(plugins=None), "test-a", "test-b"))
    assert states == {name: "loaded" if name in loaded else "off" for name in ("test-a", "test-b")}
    assert {name for name in ("test_a", "test_b") if name in sys.modules} == {
        name.replace("-", "_") for name in loaded
    }


def test_an_unknown_name_in_the_environment_is_warned_of(
    make: Make, site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A typo in the deployment stops no stream, and is no secret. The right names are told."""
    site.install("test-a", GOOD)
    monkeypatch.setenv("WEBSOPY_PLUGINS", "test-gone")
    with caplog.at_level(logging.WARNING, LOG):
        client = make(plugins=None)
    assert named(client, "test-gone") == [("test-gone", "failed")]
    (told,) = [line for line in map(logging.LogRecord.getMessage, caplog.records) if "gone" in line]
    assert "there are: " in told and "test-a" in told


def test_the_argument_chooses_by_name(make: Make, site: Site, sandbox: Sandbox) -> None:
    """Names of installed ones, objects beside them; the environment has no say then."""
    site.install("test-a", GOOD)
    site.install("test-b", GOOD)
    diary = Diary()
    client = make("test-b", diary)
    sandbox.play([say("a"), done()])
    client.ai.chat("x")
    assert dict(named(client, "test-a", "test-b")) == {"test-a": "off", "test-b": "loaded"}
    assert sys.modules["test_b"].heard == ["a"]
    assert len(diary.ends) == 1


def test_no_plugins_at_all(make: Make, site: Site) -> None:
    """plugins=[]: not the installed ones either."""
    site.install("test-a", GOOD)
    assert named(make(plugins=[]), "test-a") == [("test-a", "off")]
    assert "test_a" not in sys.modules


def test_an_unknown_name_in_the_argument_is_an_error(make: Make) -> None:
    """Written in the code, it is a mistake in the code."""
    with pytest.raises(ConfigError, match="test-gone"):
        make("test-gone")


def test_list_plugins_is_quiet(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The command line shows failures itself."""
    site.install("test-a", GOOD)
    site.install("test-broken", "raise RuntimeError('broken at import')")
    with caplog.at_level(logging.DEBUG, LOG):
        found = {info.name: info for info in list_plugins()}
    assert found["test-a"].state == "loaded"
    assert found["test-broken"].state == "failed"
    assert "broken at import" in found["test-broken"].problem
    assert not caplog.records
    assert not logging.getLogger(LOG).disabled


# --- in the background ---------------------------------------------------------------------------


class Gate:
    """Stands in its hook until it is let through."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.entered, self.opened = threading.Event(), threading.Event()

    @hookimpl
    def on_chunk(self, chunk: Any) -> None:
        self.entered.set()
        self.opened.wait(SOON)
        self.heard.append(chunk)


Background = Callable[..., BackgroundPlugin]


def test_background_hears_all_in_order(
    make: Make, sandbox: Sandbox, background: Background
) -> None:
    """In a thread of its own; what waits is done when the client is closed."""
    threads = set()

    class Aware(Diary):
        @hookimpl
        def on_chunk(self, chunk: Any, stream: ChatStream) -> None:
            threads.add(threading.current_thread())
            self.note("on_chunk", chunk)

    diary = Aware()
    client = make(background(diary))
    sandbox.play([say("a"), say("b"), done()])
    client.ai.chat("x")
    client.close()
    assert [page[0] for page in diary.pages] == [
        "on_request",
        "on_chunk",
        "on_chunk",
        "on_chunk",
        "on_done",
    ]
    assert threading.current_thread() not in threads and len(threads) == 1


def test_background_delays_nothing(make: Make, sandbox: Sandbox, background: Background) -> None:
    """PROMISE 32: a hook that stands still holds no chunk back."""
    gate = Gate()
    client = make(background(gate))
    sandbox.play([say("a"), say("b"), done()])
    assert client.ai.chat("x").content == "ab"
    assert gate.heard == []
    gate.opened.set()
    client.close()
    assert gate.heard == [ContentChunk("a"), ContentChunk("b"), DoneChunk()]


def test_editing_is_not_for_the_background(
    make: Make, sandbox: Sandbox, background: Background
) -> None:
    """on_request runs before the request is sent, or it could not edit it."""

    class Editor:
        @hookimpl
        def on_request(self, request: Any) -> None:
            request.headers["X-Thread"] = threading.current_thread().name

    make(background(Editor())).ai.chat("x")
    assert sandbox.requests[0].headers["x-thread"] == threading.current_thread().name


def test_full_queue_drops(make: Make, sandbox: Sandbox, background: Background) -> None:
    """And counts; the stream goes on."""
    gate = Gate()
    plugin = background(gate, queue_size=3, when_full="drop")
    client = make(plugin)
    sandbox.play([say("first"), *(say(str(number)) for number in range(9)), done()])
    stream = client.ai.chat_stream("x")
    next(stream)
    assert gate.entered.wait(SOON)
    assert stream.get_final_text() == "first012345678"
    gate.opened.set()
    client.close()
    assert len(gate.heard) + plugin.dropped == 11
    assert 3 <= len(gate.heard) <= 4


def test_full_queue_blocks(make: Make, sandbox: Sandbox, background: Background) -> None:
    """Until there is room; nothing is lost."""
    gate = Gate()
    plugin = background(gate, queue_size=2, when_full="block")
    client = make(plugin)
    sandbox.play([*(say(str(number)) for number in range(9)), done()])
    answers = []
    reader = threading.Thread(target=lambda: answers.append(client.ai.chat("x")))
    reader.start()
    assert gate.entered.wait(SOON)
    reader.join(0.1)
    assert reader.is_alive() and not answers
    gate.opened.set()
    reader.join(SOON)
    client.close()
    assert answers[0].content == "012345678"
    assert len(gate.heard) == 10 and plugin.dropped == 0


def test_full_queue_is_an_error(
    make: Make, sandbox: Sandbox, background: Background, caplog: pytest.LogCaptureFixture
) -> None:
    """The plugin's failure: logged and counted, raised when strict."""
    for strict in (False, True):
        gate = Gate()
        client = make(background(gate, queue_size=1, when_full="error"), strict_plugins=strict)
        sandbox.play([*(say(str(number)) for number in range(5)), done()])
        try:
            with caplog.at_level(logging.ERROR, LOG):
                if strict:
                    with pytest.raises(PluginError):
                        client.ai.chat("x")
                else:
                    assert client.ai.chat("x").content == "01234"
                    assert client._hooks.failures[("Gate", "on_chunk")] >= 3
        finally:
            gate.opened.set()


def test_flushing_leaves_the_bound_as_it_was(background: Background) -> None:
    """PROMISE 32: the queue is as long as it was said to be, however often it was flushed."""
    plugin = background(Gate(), queue_size=2, when_full="drop")
    plugin.submit(lambda: None)
    for _ in range(20):
        assert plugin.flush()
    hold, entered = threading.Event(), threading.Event()

    def stand() -> None:
        entered.set()
        hold.wait(SOON)

    plugin.submit(stand)
    assert entered.wait(SOON)
    for _ in range(10):
        plugin.submit(lambda: None)
    hold.set()
    assert plugin.dropped >= 8


@pytest.mark.parametrize("strict", [False, True])
def test_background_failures_end_neither_stream_nor_thread(
    make: Make,
    sandbox: Sandbox,
    background: Background,
    strict: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A hook that raises there is logged once and counted, and the next is made all the same."""

    class Half(Diary):
        @hookimpl
        def on_chunk(self, chunk: Any, stream: ChatStream) -> None:
            raise ValueError("plugin's own")

    half = Half()
    client = make(background(half, exit_seconds=0.5), strict_plugins=strict)
    with caplog.at_level(logging.ERROR, LOG):
        for _ in range(3):
            sandbox.play([say("a"), say("b"), done()])
            try:
                client.ai.chat("x", timeout=SOON)
            except PluginError:
                assert strict
        client.close()
    assert caplog.records or strict
    assert len(half.ends) >= 2


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_background_exit_is_nobodys(
    make: Make, sandbox: Sandbox, background: Background, kind: type[BaseException]
) -> None:
    """A plugin that wants to exit in its own thread ends neither the program nor its thread."""
    diary = Diary()

    class Exits(Diary):
        @hookimpl
        def on_chunk(self) -> None:
            raise kind

    exits = Exits()
    client = make(background(exits), diary)
    sandbox.play([say("a"), done()])
    assert client.ai.chat("x").content == "a"
    client.close()
    assert [page[0] for page in exits.ends] == ["on_done"]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"when_full": "wait"}, "when_full"),
        ({"when_full": None}, "when_full"),
        ({"queue_size": 0}, "queue_size"),
        ({"queue_size": -1}, "queue_size"),
        ({"queue_size": "9"}, "queue_size"),
        ({"queue_size": True}, "queue_size"),
        ({"exit_seconds": -1}, "exit_seconds"),
        ({"exit_seconds": "x"}, "exit_seconds"),
    ],
)
def test_bad_background_options(options: dict[str, Any], names: str) -> None:
    """Named when it is made."""
    with pytest.raises((ConfigError, TypeError), match=names):
        BackgroundPlugin(Gate(), **options)


@pytest.mark.timing
def test_background_close_gives_up_on_a_hook_that_hangs(background: Background) -> None:
    """At most exit_seconds: a plugin cannot keep a program from ending."""
    gate = Gate()
    plugin = background(gate, exit_seconds=0.1)
    plugin.submit(lambda: gate.on_chunk("x"))
    assert gate.entered.wait(SOON)
    start = time.monotonic()
    plugin.close()
    assert time.monotonic() - start < 2.0
    gate.opened.set()


def test_background_starts_again_after_close(
    make: Make, sandbox: Sandbox, background: Background
) -> None:
    """One object may serve the next client."""
    diary = Diary()
    plugin = background(diary)
    for _ in range(2):
        sandbox.play([done()])
        with make(plugin) as client:
            client.ai.chat("x")
    assert len(diary.ends) == 2


def test_background_in_a_forked_child(background: Background) -> None:
    """The child has no thread of its parent's: it starts with an empty queue and its own."""
    gate = Gate()
    plugin = background(gate)
    plugin.submit(lambda: gate.on_chunk("parent's"))
    assert gate.entered.wait(SOON)
    child = os.fork()
    if child == 0:
        ran: list[int] = []
        plugin.submit(lambda: ran.append(1))
        os._exit(0 if plugin.flush(SOON) and ran == [1] else 1)
    _, status_ = os.waitpid(child, 0)
    gate.opened.set()
    plugin.flush()
    assert os.waitstatus_to_exitcode(status_) == 0
    assert gate.heard == ["parent's"]


def test_hooks_close_is_harmless_without_any() -> None:
    """Nothing to end."""
    hooks = Hooks([])
    hooks.close()
    hooks.close()
