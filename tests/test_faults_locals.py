"""Promise 21: whatever exception comes out of our frames, their locals hold neither key nor prompt.

A traceback is all that a crash reporter needs: it shows the locals of each frame.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
import requests
from faults import (
    KEY,
    PROMPT,
    Conn,
    Script,
    authority,
    client,
    play,
    stall,
    stall_after,
    status_answer,
    text,
)
from test_custom_adapter import Own
from test_faults_security import hidden_in
from test_ways import WAYS, Way, over, travel

from websopy_sync import ConfigError, PluginError, Timeouts, WebsopyClient, hookimpl

FAR = Timeouts(connect=5, first_chunk=5, idle=5, total=5)


class OfTheCallers(BaseException):
    """What only the caller's program knows."""


KINDS = [SystemExit, KeyboardInterrupt, TimeoutError, ValueError, OfTheCallers]


def frames_below(error: BaseException) -> Iterator[FrameType]:
    """The frames of an exception and of those it was made from, without the tests' own."""
    link: BaseException | None = error
    while link is not None:
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if frame.f_code.co_filename != __file__:
                yield frame
        link = link.__cause__ or link.__context__


def told_by(value: object) -> Iterator[str | bytes]:
    """What a reporter may show of a value: itself, and what its attributes hold."""
    for shown in (value, getattr(value, "__dict__", None)):
        try:
            yield shown if isinstance(shown, bytes) else repr(shown)
        except Exception:  # noqa: BLE001  # of whatever kind: then it is not shown
            continue


def assert_no_secret(error: BaseException) -> None:
    """Not a local of a frame shows the key or the prompt, nor what one holds or refers to."""
    for frame in frames_below(error):
        for name, value in frame.f_locals.items():
            where = f"{frame.f_code.co_filename}:{frame.f_code.co_qualname}: {name}"
            for told in told_by(value):
                assert hidden_in(told, KEY), where
                assert hidden_in(told, PROMPT), where


@contextlib.contextmanager
def raised_soon(kind: type[BaseException], seconds: float = 0.2) -> Iterator[None]:
    """A signal handler that raises this in a moment."""

    def handler(signum: int, frame: FrameType | None) -> None:
        del frame  # through it all could be reached that is still running
        raise kind

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


every_kind = pytest.mark.parametrize("kind", KINDS)


@over(WAYS)
@every_kind
@pytest.mark.parametrize("script", [stall, stall_after(text("a"))], ids=["head", "body"])
def test_raised_while_an_answer_is_awaited(
    way: Way, kind: type[BaseException], script: Script
) -> None:
    """By a signal handler of the caller's."""
    with travel(way, script, timeout=FAR) as journey:
        with pytest.raises(kind) as caught, raised_soon(kind):
            list(journey.asker.ai.chat_stream(PROMPT))
    assert_no_secret(caught.value)


@every_kind
@pytest.mark.parametrize("script", [stall, stall_after(text("a"))], ids=["head", "body"])
def test_raised_under_an_own_adapter(kind: type[BaseException], script: Script) -> None:
    """Under an adapter of the user's own too."""
    with play(script) as server, requests.Session() as session:
        session.mount(server.url, Own())
        with client(server, session=session, timeout=FAR) as asker:
            with pytest.raises(kind) as caught, raised_soon(kind):
                list(asker.ai.chat_stream(PROMPT))
    assert_no_secret(caught.value)


def ask_chat(asker: WebsopyClient) -> Any:
    return asker.ai.chat(PROMPT)


def ask_stream(asker: WebsopyClient) -> Any:
    return list(asker.ai.chat_stream(PROMPT))


def ask_step_by_step(asker: WebsopyClient) -> Any:
    stream = asker.ai.chat_stream(PROMPT)
    while next(stream):
        pass


def ask_texts(asker: WebsopyClient) -> Any:
    return list(asker.ai.chat_stream(PROMPT).text_stream)


def ask_conversation(asker: WebsopyClient) -> Any:
    return list(asker.ai.conversation(system=PROMPT).send(PROMPT))


def ask_events(asker: WebsopyClient) -> Any:
    return list(asker.events("POST", "/log", params={"q": PROMPT}, json={"text": PROMPT}))


FORMS = [ask_chat, ask_stream, ask_step_by_step, ask_texts, ask_conversation, ask_events]
every_form = pytest.mark.parametrize("ask", FORMS)


@every_form
@pytest.mark.parametrize("script", [stall, stall_after(text("a"))], ids=["head", "body"])
def test_raised_in_every_form_of_asking(
    ask: Callable[[WebsopyClient], Any], script: Script
) -> None:
    """Streams, texts, conversations and native events are alike."""
    with play(script) as server, client(server, timeout=FAR) as asker:
        with pytest.raises(SystemExit) as caught, raised_soon(SystemExit):
            ask(asker)
    assert_no_secret(caught.value)


@every_form
def test_raised_in_the_wait_before_a_repeat(ask: Callable[[WebsopyClient], Any]) -> None:
    """Where the refusal's own words were looked at before."""
    with (
        play(status_answer(503, {"Retry-After": "3"})) as server,
        client(server, timeout=FAR) as asker,
    ):
        with pytest.raises(SystemExit) as caught, raised_soon(SystemExit, 0.3):
            ask(asker)
    assert_no_secret(caught.value)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@every_kind
def test_raised_while_the_question_is_sent(kind: type[BaseException], tls: bool) -> None:
    """What is sent is in the frames of several libraries then."""

    def read_no_more(conn: Conn) -> None:
        conn.read_head()
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        conn.pause(1.5)

    with play(read_no_more, tls=authority().server() if tls else None) as server:
        with client(server, timeout=FAR) as asker:
            with pytest.raises(kind) as caught, raised_soon(kind, 0):
                asker.ai.chat(PROMPT + "x" * 6_000_000)
    assert_no_secret(caught.value)


@every_kind
def test_raised_while_a_name_is_looked_up(
    kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The helper thread is left behind."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *rest, **more: time.sleep(0.3))
    with WebsopyClient(KEY, base_url="http://service/v1", plugins=[], timeout=FAR) as asker:
        with pytest.raises(kind) as caught, raised_soon(kind):
            asker.ai.chat(PROMPT)
    assert_no_secret(caught.value)


@every_kind
def test_raised_while_the_tls_handshake_stalls(kind: type[BaseException]) -> None:
    """Before anything was sent."""

    def stall(conn: Conn) -> None:
        conn.wait_gone()

    with play(stall) as server:
        url = server.url.replace("http://", "https://")
        with client(server, base_url=url, timeout=FAR, max_retries=0) as asker:
            with pytest.raises(kind) as caught, raised_soon(kind):
                asker.ai.chat(PROMPT)
    assert_no_secret(caught.value)


class Raising(dict[str, Any]):
    """A value that raises when it is encoded, as a signal could at that moment."""

    def __init__(self, kind: type[BaseException]) -> None:
        super().__init__(secret=PROMPT)
        self.kind = kind

    def items(self) -> Any:
        raise self.kind


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, OfTheCallers, MemoryError])
@pytest.mark.parametrize("form", ["chat", "chat_stream", "conversation", "events"])
def test_raised_while_the_question_is_encoded(kind: type[BaseException], form: str) -> None:
    """A long question takes its time, in which a signal may come."""
    value = Raising(kind)
    with play() as server, client(server) as asker:
        with pytest.raises(kind) as caught:
            if form == "events":
                asker.events("POST", "/log", json={"secret": PROMPT, "value": value})
            elif form == "conversation":
                asker.ai.conversation(system=PROMPT).send(PROMPT, value=value)
            else:
                getattr(asker.ai, form)(PROMPT, secret=PROMPT, extra_body={"value": value})
    assert_no_secret(caught.value)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, OfTheCallers])
@pytest.mark.parametrize("hook", ["on_request", "on_chunk", "on_retry", "on_error"])
def test_raised_in_a_hook(kind: type[BaseException], hook: str) -> None:
    """What a plugin keeps in its own frame is its own."""

    def raising(self: object) -> None:
        raise kind

    plugin = type("Plugin", (), {hook: hookimpl(raising)})()
    scripts = [status_answer(503), stall_after(text("a"))] if hook == "on_retry" else None
    timeout = Timeouts(connect=5, first_chunk=5, idle=0.2, total=5)
    scripts = scripts or ([] if hook == "on_request" else [stall_after(text("a"))])
    scripts = scripts[:1] if hook == "on_retry" else scripts
    with play(*scripts) as server, client(server, plugins=[plugin], timeout=timeout) as asker:
        with pytest.raises(kind) as caught:
            list(asker.ai.chat_stream(PROMPT))
    assert_no_secret(caught.value)


def test_failure_of_an_own_adapter() -> None:
    """An exception that is nobody's, out of an adapter of the user's own."""

    class Broken(Own):
        def send(self, *args: Any, **kwargs: Any) -> Any:
            raise ZeroDivisionError

    with play() as server, requests.Session() as session:
        session.mount(server.url, Broken())
        session.proxies = {"http": f"http://user:{KEY}@127.0.0.1:1"}
        with client(server, session=session) as asker:
            with pytest.raises(ZeroDivisionError) as caught:
                asker.ai.chat(PROMPT)
    assert_no_secret(caught.value)


def test_failure_of_a_strict_plugin() -> None:
    """PluginError too."""

    class Broken:
        @hookimpl
        def on_request(self) -> None:
            raise ZeroDivisionError

    with play() as server, client(server, plugins=[Broken()], strict_plugins=True) as asker:
        with pytest.raises(PluginError) as caught:
            asker.ai.chat(PROMPT)
    assert_no_secret(caught.value)


@pytest.mark.parametrize("form", ["chat", "chat_stream"])
def test_refused_value(form: str) -> None:
    """And a ConfigError."""
    with play() as server, client(server) as asker:
        with pytest.raises(ConfigError) as caught:
            getattr(asker.ai, form)(PROMPT, temperature=float("nan"))
    assert_no_secret(caught.value)
