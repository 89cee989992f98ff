"""A function as `api_key`: when it is asked, which key goes out, and that no key is shown."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from discretion import KEY, PROMPT, assert_discreet
from tables import each

from websopy_sync import (
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    CancelToken,
    ChatStream,
    ConfigError,
    InternalServerError,
    Message,
    StreamCancelledError,
    StreamInterruptedError,
    WebsopyClient,
    hookimpl,
)
from websopy_sync.api_key import KeyRing
from websopy_sync.cancel import CancelScope
from websopy_sync.sandbox import Sandbox, cut, done, retry, say, status
from websopy_sync.secret import Secret

OLD, NEW = "sk-old-9f3b27c1", "sk-new-77d0e4a8"
BUSY = status(503, retry_after=0)


class Keys:
    """A function that gives the next of its keys, and the last one from then on."""

    def __init__(self, *keys: Any) -> None:
        self.keys = list(keys)
        self.threads: list[int] = []

    def __call__(self) -> Any:
        self.threads.append(threading.get_ident())
        key = self.keys.pop(0) if len(self.keys) > 1 else self.keys[0]
        if isinstance(key, BaseException):
            raise key
        return key

    @property
    def asked(self) -> int:
        """How often."""
        return len(self.threads)


def keys_of(sandbox: Sandbox) -> list[str]:
    """The key of each request."""
    return [
        request.headers["authorization"].removeprefix("Bearer ") for request in sandbox.requests
    ]


Make = Callable[..., WebsopyClient]


def test_each_attempt_asks_in_the_callers_thread(make: Make, sandbox: Sandbox) -> None:
    """Also that of a retry, and not when the client is made."""
    keys = Keys("k1", "k2", "k3", "k4")
    client = make(api_key=keys)
    assert keys.asked == 0
    sandbox.play(BUSY)
    sandbox.play(BUSY)
    client.ai.chat("x")
    client.ai.chat("x")
    assert keys_of(sandbox) == ["k1", "k2", "k3", "k4"]
    assert set(keys.threads) == {threading.get_ident()}


class Retries:
    """Notes what on_retry is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, float]] = []

    @hookimpl
    def on_retry(self, error: APIStatusError, delay: float) -> None:
        self.told.append((error.status_code, delay))


def test_a_refused_key_is_replaced_once(make: Make, sandbox: Sandbox) -> None:
    """The same request goes out at once with the new key; `max_retries` does not count it."""
    keys, retries = Keys(OLD, NEW), Retries()
    sandbox.play(status(401))
    stream = make(retries, api_key=keys, max_retries=0).ai.chat_stream("x")
    stream.until_done()
    first, second = sandbox.requests
    assert keys_of(sandbox) == [OLD, NEW]
    assert (first.body, first.idempotency_key) == (second.body, second.idempotency_key)
    assert retries.told == [(401, 0.0)]
    assert stream.retries_taken == 1


@each(("given", "sent"), [([OLD], [OLD]), ([OLD, NEW], [OLD, NEW]), ([OLD, NEW, "k"], [OLD, NEW])])
def test_a_service_that_refuses_every_key(given: list[str], sent: list[str]) -> None:
    """The function is asked once more, and the request repeated if the key is another one."""
    keys = Keys(*given)
    with (
        Sandbox(lambda request: status(401)) as sandbox,
        WebsopyClient(keys, base_url=sandbox.url, plugins=[]) as client,
    ):
        with pytest.raises(AuthenticationError) as caught:
            client.ai.chat(PROMPT)
        assert keys_of(sandbox) == sent
    assert (keys.asked, caught.value.attempts) == (2, len(sent))
    assert_discreet(caught.value)


def test_a_key_that_is_a_text_is_not_sent_twice(make: Make, sandbox: Sandbox) -> None:
    """A 401 is final then."""
    sandbox.play(status(401))
    with pytest.raises(AuthenticationError):
        make(api_key=OLD).ai.chat("x")
    assert len(sandbox.requests) == 1


def test_a_key_that_expires_during_the_retries(make: Make, sandbox: Sandbox) -> None:
    """Each retry may replace its key; all of them are one request to the service."""
    for answer in (BUSY, status(401), BUSY):
        sandbox.play(answer)
    make(api_key=Keys(OLD, OLD, NEW)).ai.chat("x")
    assert keys_of(sandbox) == [OLD, OLD, NEW, NEW]
    assert len({request.idempotency_key for request in sandbox.requests}) == 1


@each("refused", [False, True])
def test_resumed_with_a_new_key(refused: bool, make: Make, sandbox: Sandbox) -> None:
    """A stream may outlive its key: it goes on after the last event, with another."""
    sent = len(sandbox.requests)
    sandbox.play([retry(0), say("Hel"), cut(), say("lo"), done()])
    if refused:
        sandbox.play(status(401))
    client = make(api_key=Keys(OLD, *[OLD] * refused, NEW))
    assert client.ai.chat("x").content == "Hello"
    assert keys_of(sandbox)[sent:] == [OLD, *[OLD] * refused, NEW]
    first, *later = sandbox.requests[sent:]
    assert {request.idempotency_key for request in later} == {first.idempotency_key}
    assert len({request.last_event_id for request in later} - {""}) == 1


def test_native_events(make: Make, sandbox: Sandbox) -> None:
    """`client.events` asks in the same way."""
    sandbox.play(status(401))
    list(make(api_key=Keys(OLD, NEW)).events("GET", "/ai/chat", params={"message": "x"}))
    assert keys_of(sandbox) == [OLD, NEW]


def test_a_key_header_of_the_users_own(make: Make, sandbox: Sandbox) -> None:
    """It is sent instead, so nobody is asked."""
    keys = Keys(OLD)
    make(api_key=keys).ai.chat("x", extra_headers={"authorization": f"Bearer {NEW}"})
    assert (keys_of(sandbox), keys.asked) == ([NEW], 0)


# --- functions that give no key ------------------------------------------------------------------

BAD_KEYS = [
    (None, "expected str, got NoneType"),
    (KEY.encode(), "expected str, got bytes"),
    ("", "expected a value, got an empty one"),
    (f"{KEY}\n", "expected printable ASCII"),
    (f"{KEY}\r\nX-Evil: 1", "expected printable ASCII"),
    (f"{KEY}é", "expected printable ASCII"),
    (OSError(f"no such file: {KEY}"), "the function raised OSError"),
    (ConfigError(KEY), "the function raised ConfigError"),
    (AuthenticationError(KEY), "the function raised AuthenticationError"),
    (RecursionError(KEY), "the function raised RecursionError"),
]


@each(("key", "problem"), BAD_KEYS)
def test_no_key(make: Make, sandbox: Sandbox, key: Any, problem: str) -> None:
    """A ConfigError that says why and shows nothing; nothing is sent."""
    client = make(api_key=Keys(key))
    for ask in (
        lambda: client.ai.chat(PROMPT),
        lambda: client.events("POST", "/ai/chat", json={"a": PROMPT}),
    ):
        with pytest.raises(ConfigError, match=f"^api_key: .*{problem}") as caught:
            ask()
        assert caught.value.__cause__ is caught.value.__context__ is None
        assert_discreet(caught.value)
    assert not sandbox.requests


@each(("key", "problem"), BAD_KEYS)
def test_no_key_for_a_retry(make: Make, sandbox: Sandbox, key: Any, problem: str) -> None:
    """The failure comes out, and says why there was no retry."""
    for answer, kind in ((BUSY, InternalServerError), (status(401), AuthenticationError)):
        sandbox.play(answer)
        with pytest.raises(kind, match=f"; api_key: .*{problem}") as caught:
            make(api_key=Keys(OLD, key)).ai.chat(PROMPT)
        assert caught.value.attempts == 1
        assert_discreet(caught.value)


@each(("key", "problem"), BAD_KEYS)
def test_no_key_to_resume_with(make: Make, sandbox: Sandbox, key: Any, problem: str) -> None:
    """The answer so far is in the error."""
    sandbox.play([retry(0), say("half"), cut()])
    with pytest.raises(StreamInterruptedError, match=f"; api_key: .*{problem}") as caught:
        make(api_key=Keys(OLD, key)).ai.chat(PROMPT)
    assert caught.value.message.count("api_key") == 1
    assert caught.value.partial == Message("half")
    assert_discreet(caught.value)


def test_hooks_hear_of_a_missing_key(make: Make) -> None:
    """PROMISE 30: the request has one end."""
    ends: list[object] = []

    class Ends:
        @hookimpl
        def on_error(self, error: object, stream: ChatStream) -> None:
            ends.append((error, stream.state))

    with pytest.raises(ConfigError) as caught:
        make(Ends(), api_key=Keys("")).ai.chat("x")
    assert ends == [(caught.value, "error")]


# --- what happens meanwhile ----------------------------------------------------------------------


@each("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_comes_out(make: Make, sandbox: Sandbox, kind: type[BaseException]) -> None:
    """PROMISE 43: as it is."""
    interrupt = kind("mine")
    with pytest.raises(kind) as caught:
        make(api_key=Keys(interrupt)).ai.chat("x")
    assert caught.value is interrupt
    assert not sandbox.requests


@each("when", [0, 1])
def test_a_time_limit_of_the_program(make: Make, sandbox: Sandbox, when: int) -> None:
    """What a signal handler raises into the function is no failure of it, at a retry too."""

    def expire(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("the program's")

    calls = itertools.count()

    def key() -> str:
        if next(calls) == when:
            signal.raise_signal(signal.SIGALRM)
        return OLD

    sandbox.play(BUSY)
    before = signal.signal(signal.SIGALRM, expire)
    try:
        with pytest.raises(TimeoutError, match="the program's"):
            make(api_key=key).ai.chat("x")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(sandbox.requests) == when


@each("when", [0, 1])
def test_cancelled_meanwhile(make: Make, sandbox: Sandbox, when: int) -> None:
    """The function cannot be interrupted; nothing is sent after it."""
    token, calls = CancelToken(), itertools.count()

    def key() -> str:
        if next(calls) == when:
            token.cancel()
        return OLD

    sandbox.play(status(401))
    with pytest.raises(StreamCancelledError):
        make(api_key=key).ai.chat("x", cancel_token=token)
    assert len(sandbox.requests) == when


def test_the_total_limit_passes_meanwhile(make: Make, sandbox: Sandbox) -> None:
    """Nothing is sent after it either, over a new connection and over a kept one."""
    pauses = iter([0.1, 0, 0.1])

    def key() -> str:
        threading.Event().wait(next(pauses))
        return OLD

    client = make(api_key=key)
    for sent in (0, 1):
        with pytest.raises(APITimeoutError) as caught:
            client.ai.chat("x", timeout=0.05)
        assert (caught.value.phase, caught.value.sent) == ("total", False)
        assert len(sandbox.requests) == sent
        if not sent:
            client.ai.chat("x")


def test_many_threads_ask_at_once(make: Make, sandbox: Sandbox) -> None:
    """Each call sends the key that its own thread was given."""
    local, together = threading.local(), threading.Barrier(20, timeout=5)

    def key() -> str:
        together.wait()
        return str(local.key)

    client = make(api_key=key)

    def ask(number: int) -> None:
        local.key = f"key-{number}"
        client.ai.chat(f"<{number}>")

    threads = [threading.Thread(target=ask, args=[number]) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent = {
        request.json["messages"][0]["content"]: key
        for request, key in zip(sandbox.requests, keys_of(sandbox), strict=True)
    }
    assert sent == {f"<{number}>": f"key-{number}" for number in range(20)}


def test_a_forked_child_asks_itself(make: Make, sandbox: Sandbox) -> None:
    """The function runs in the child."""
    client = make(api_key=lambda: f"key-{os.getpid()}")
    client.ai.chat("x")
    pid = os.fork()
    if pid == 0:
        try:
            client.ai.chat("x")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert keys_of(sandbox) == [f"key-{os.getpid()}", f"key-{pid}"]


def test_a_key_that_stays_is_kept_once() -> None:
    """A stream that is resumed for days does not collect copies of its key."""
    ring, scope = KeyRing(Secret(Keys(OLD, OLD, NEW, NEW, OLD))), CancelScope(None)
    for _ in range(5):
        assert ring.renew(scope, sent=True) == ""
    assert [key.value for key in ring.keys] == [OLD, NEW, OLD]
    assert ring.current.value == OLD


# --- nothing is shown ----------------------------------------------------------------------------


def echoes(*keys: str) -> Any:
    """A refusal that quotes keys whole and in pieces."""
    return status(400, f"bad key {keys[0]}, not {keys[-1][3:]}", headers={"X-Echo": keys[0]})


def test_every_key_of_the_call_is_removed_from_errors(make: Make, sandbox: Sandbox) -> None:
    """PROMISE 21: the one that was replaced, too."""
    for answer in (status(401, f"{OLD} is unknown"), BUSY, echoes(OLD, NEW)):
        sandbox.play(answer)
    with pytest.raises(BadRequestError) as caught:
        make(api_key=Keys(OLD, NEW)).ai.chat(PROMPT)
    error = caught.value
    shown = repr((error.message, error.body, error.headers))
    assert "***" in error.body and error.headers["x-echo"] == "***"
    assert not [part for key in (OLD, NEW) for part in (key, key[3:]) if part in shown]


def test_on_retry_sees_no_key(make: Make, sandbox: Sandbox) -> None:
    """The refusal that a plugin is told of is redacted."""
    seen: list[APIError] = []

    class Look:
        @hookimpl
        def on_retry(self, error: APIError) -> None:
            seen.append(error)

    sandbox.play(status(401, f"{OLD} is unknown"))
    make(Look(), api_key=Keys(OLD, NEW)).ai.chat("x")
    (error,) = seen
    assert isinstance(error, AuthenticationError)
    assert (error.body, error.attempts) == ("*** is unknown", 1)


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """All logs of all libraries."""
    with caplog.at_level(logging.NOTSET):
        yield caplog


def test_no_key_is_logged_or_in_a_repr(
    make: Make, sandbox: Sandbox, everything_logged: pytest.LogCaptureFixture
) -> None:
    """Nor is what the function itself holds."""
    function = functools.partial(lambda key: key, OLD)
    client = make(api_key=function)
    sandbox.play(status(401))
    with pytest.raises(AuthenticationError) as caught:
        client.ai.chat("x")
    assert everything_logged.records
    assert OLD not in everything_logged.text + repr(client) + repr(vars(client))
    assert_discreet(caught.value)


def test_frames_hold_no_key(make: Make) -> None:
    """A limit that passes in the wait for the answer shows neither key nor prompt."""

    def expire(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("the program's")

    def key() -> str:
        secret = KEY
        signal.raise_signal(signal.SIGALRM)
        return secret

    before = signal.signal(signal.SIGALRM, expire)
    try:
        with pytest.raises(TimeoutError) as caught:
            make(api_key=key).ai.chat(PROMPT)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert_discreet(caught.value)
    trace = caught.value.__traceback__
    while trace is not None:  # those of the function were cleared too
        assert trace.tb_frame.f_code is not key.__code__ or not trace.tb_frame.f_locals
        trace = trace.tb_next
