"""client.ai.map: many prompts at once, within bounds, and nothing left of them afterwards."""

from __future__ import annotations

import _weakrefset
import contextlib
import contextvars
import gc
import itertools
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import attrs
import faults
import pytest
from discretion import KEY, PROMPT, assert_discreet
from tables import each
from test_faults_interrupts import Points, Struck, raising, soon
from test_faults_locals import assert_no_secret

from websopy_sync import (
    AuthenticationError,
    CancelToken,
    ChatStream,
    ConfigError,
    InternalServerError,
    Message,
    RateLimitError,
    ResponseParseError,
    StreamCancelledError,
    StreamError,
    StreamInterruptedError,
    WebsopyClient,
    WebsopyError,
    hookimpl,
)
from websopy_sync.sandbox import RecordedRequest, Sandbox, cut, done, pause, say, silence, status

Make = Callable[..., WebsopyClient]


def prompt_of(request: RecordedRequest) -> str:
    """The text of a request's first turn."""
    return str(request.json["messages"][0]["content"])


def echo(request: RecordedRequest) -> Any:
    """The prompt, in capitals."""
    return [say(prompt_of(request).upper()), done()]


@attrs.frozen
class Asker:
    """A client, and the service that it talks to."""

    client: WebsopyClient
    sandbox: Sandbox

    def map(self, prompts: Any, **options: Any) -> Any:
        """As `client.ai.map`."""
        return self.client.ai.map(prompts, **options)


@pytest.fixture
def asker(make: Make) -> Iterator[Callable[..., Asker]]:
    """Makes a client of a service that answers each request by a function."""
    opened: list[Sandbox] = []

    def asker(answer: Callable[[RecordedRequest], Any] = echo, *plugins: object) -> Asker:
        opened.append(Sandbox(answer).start())
        return Asker(make(*plugins, api_key=KEY, base_url=opened[-1].url), opened[-1])

    yield asker
    for sandbox in opened:
        sandbox.close()


def map_threads() -> list[threading.Thread]:
    """The threads of maps that are still running."""
    return [thread for thread in threading.enumerate() if thread.name == "websopy-map"]


def wait_until(claim: Callable[[], bool]) -> None:
    """Wait until something becomes true, for 5 seconds at most."""
    deadline = time.monotonic() + 5
    while not claim() and time.monotonic() < deadline:
        time.sleep(0.005)


def counted(prompts: list[Any], taken: list[Any]) -> Iterator[Any]:
    """The prompts, noted as they are pulled, with the thread."""
    for prompt in prompts:
        taken.append((prompt, threading.get_ident()))
        yield prompt


# --- what comes ----------------------------------------------------------------------------------


@each("workers", [1, 2, 8, 100])
@each("count", [0, 1, 7])
def test_each_prompt_gives_its_answer(asker: Any, workers: int, count: int) -> None:
    """One pair a prompt, whatever the number of workers."""
    prompts = [f"prompt {number}" for number in range(count)]
    results = dict(asker().map(prompts, workers=workers))
    assert {index: result.content for index, result in results.items()} == {
        index: prompt.upper() for index, prompt in enumerate(prompts)
    }


def test_results_come_as_they_arrive(asker: Any) -> None:
    """A slow answer holds up no other one."""
    slow = threading.Event()

    def answer(request: RecordedRequest) -> Any:
        if prompt_of(request) == "slow":
            slow.wait(5)
        return echo(request)

    order = []
    for index, _ in asker(answer).map(["slow", "b", "c", "d"], workers=2):
        order.append(index)
        if index == 3:
            slow.set()
    assert order == [1, 2, 3, 0]


def test_prompts_are_what_chat_takes(asker: Any) -> None:
    """Texts and lists of turns, and the options of a chat for each of them."""
    asked = asker()
    prompts = ["a", [{"role": "user", "content": "b"}]]
    metadata = {"job": 7}
    results = asked.map(prompts, model="m", extra_headers={"X-A": "1"}, metadata=metadata)
    assert {result.content for _, result in results} == {"A", "B"}
    sent = asked.sandbox.requests
    assert {(request.json["model"], request.headers["x-a"]) for request in sent} == {("m", "1")}
    assert len({request.idempotency_key for request in sent}) == 2


def test_a_prompt_that_fails_ends_no_other(asker: Any) -> None:
    """Its error is its result: one of the service, of a cut, or of a prompt that cannot be sent."""

    def answer(request: RecordedRequest) -> Any:
        return {
            "refused": status(401),
            "busy": status(500, retry_after=61),
            "cut": [say("half"), cut()],
        }.get(prompt_of(request)) or echo(request)

    prompts = ["a", "refused", 7, "busy", "cut", [], "b"]
    results = dict(asker(answer).map(prompts, workers=3, resume=False))
    kinds = [type(results[index]) for index in range(7)]
    assert kinds == [
        Message,
        AuthenticationError,
        ConfigError,
        InternalServerError,
        StreamInterruptedError,
        ConfigError,
        Message,
    ]
    assert results[4].partial == Message("half")
    assert all(result.__traceback__ is None for result in map(results.get, range(1, 6)))


def test_throttled_prompts_are_retried(asker: Any) -> None:
    """A 429 is for `max_retries`, as in a single chat; the last one is the result."""
    keys: set[str] = set()

    def answer(request: RecordedRequest) -> Any:
        throttled = prompt_of(request) == "never" or request.idempotency_key not in keys
        keys.add(request.idempotency_key)
        return status(429, retry_after=0) if throttled else echo(request)

    asked = asker(answer)
    results = dict(asked.map(["never", *"abcdef"], workers=2))
    assert isinstance(results.pop(0), RateLimitError)
    assert sorted(result.content for result in results.values()) == list("ABCDEF")
    assert len(keys) == 7


def test_answers_of_a_type(asker: Any) -> None:
    """Each message has its value; an answer that is not of the type is an error of that prompt."""

    def answer(request: RecordedRequest) -> Any:
        return [say(request.json["messages"][-1]["content"]), done()]

    results = dict(asker(answer).map(["[1, 2]", "no list", "[]"], response_type=list[int]))
    assert (results[0].parsed, results[2].parsed) == ([1, 2], [])
    assert isinstance(results[1], ResponseParseError) and results[1].text == "no list"


# --- bounds --------------------------------------------------------------------------------------


def test_workers_bound_the_requests(asker: Any) -> None:
    """The service never sees more at once, and no more prompts are pulled."""
    gate, seen, most = threading.Event(), threading.Semaphore(0), []

    def answer(request: RecordedRequest) -> Any:
        seen.release()
        gate.wait(5)
        return echo(request)

    asked, taken = asker(answer), []

    def open_later() -> None:
        for _ in range(3):
            seen.acquire(timeout=5)
        time.sleep(0.1)
        most.append((len(asked.sandbox.requests), len(taken)))
        gate.set()

    opener = threading.Thread(target=open_later)
    opener.start()
    for done_, _ in enumerate(asked.map(counted(list("abcdefgh"), taken), workers=3)):
        assert len(taken) <= done_ + 3
    opener.join()
    assert most == [(3, 3)]
    assert asked.sandbox.connections <= 3
    assert {thread for _, thread in taken} == {threading.get_ident()}


def test_a_slow_consumer_is_not_outrun(asker: Any) -> None:
    """What is not taken is not followed by more."""
    asked, taken = asker(), []
    results = asked.map(counted(list("abcdefgh"), taken), workers=2)
    next(results)
    deadline = time.monotonic() + 0.2
    while time.monotonic() < deadline:
        assert len(taken) <= 2 and len(asked.sandbox.requests) <= 2
        time.sleep(0.02)
    assert len(list(results)) == 7


def test_a_slow_source_holds_up_no_result(asker: Any) -> None:
    """A result that is here comes before the next prompt is pulled."""
    asked = asker()

    def source() -> Iterator[str]:
        yield "a"
        wait_until(lambda: not map_threads())  # the answer to "a" is here then
        yield "b"
        raise AssertionError("pulled while a result was ready")

    results = asked.map(source(), workers=3)
    assert next(results)[0] == 0
    results.close()


def messages_alive() -> int:
    """How many there are in this process."""
    gc.collect()
    return sum(type(item) is Message for item in gc.get_objects())


def test_endless_prompts_stay_flat(asker: Any) -> None:
    """Nothing of a result that was taken is kept."""
    before = messages_alive()
    for index, _ in asker().map((f"{number}" for number in itertools.count()), workers=2):
        if index == 60:
            assert messages_alive() <= before + 4
            break


# --- leaving -------------------------------------------------------------------------------------


class Ends:
    """Counts how the requests ended."""

    def __init__(self) -> None:
        self.states: list[str] = []

    @hookimpl
    def on_done(self, stream: ChatStream) -> None:
        self.states.append(stream.state)

    @hookimpl
    def on_error(self, stream: ChatStream) -> None:
        self.states.append(stream.state)


def stuck(request: RecordedRequest) -> Any:
    """An answer to "a", and silence for the others."""
    if prompt_of(request) == "a":
        return [pause(0.05), *echo(request)]
    return [say("…"), silence()]


def by_break(results: Any) -> None:
    for _ in results:
        break


def by_exception(results: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        for _ in results:
            1 / 0  # noqa: B018  # that is the exception


def by_close(results: Any) -> None:
    next(results)
    results.close()


def by_garbage(results: Any) -> None:
    next(results)
    cycle = [results]
    cycle.append(cycle)


def by_ctrl_c(results: Any) -> None:
    next(results)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            next(results)
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.timing
@each("leave", [by_break, by_exception, by_close, by_garbage, by_ctrl_c])
@each("token", [None, CancelToken()])
def test_leaving_cancels_what_runs(
    asker: Any, leave: Callable[[Any], None], token: CancelToken | None
) -> None:
    """At once: no thread is left, each request has its end, and the caller's token stays open."""
    ends, taken = Ends(), []
    prompts = counted(["a", "b", "c", "d", "e", "f"], taken)
    results = asker(stuck, ends).map(prompts, workers=3, cancel_token=token)
    began = time.monotonic()
    leave(results)
    del results
    gc.collect()
    assert time.monotonic() - began < 2
    assert not map_threads()
    assert ends.states.count("done") == 1 and len(ends.states) <= len(taken) <= 4
    assert token is None or not token.cancelled


def test_a_map_that_is_never_begun_does_nothing(asker: Any) -> None:
    """It pulls no prompt and sends nothing."""
    asked, taken = asker(), []
    asked.map(counted(["a"], taken))
    assert not taken and not asked.sandbox.requests


@each("when", [0, 1, 4])
def test_an_exception_of_the_prompts_comes_out(asker: Any, when: int) -> None:
    """As it is, and what runs is cancelled."""
    error = LookupError("the source's own")

    def source() -> Iterator[str]:
        yield from list("abcd")[:when]
        raise error

    results = asker(stuck).map(source(), workers=8)
    with pytest.raises(LookupError) as caught:
        list(results)
    assert caught.value is error
    assert not map_threads()
    assert list(results) == []


def test_what_is_no_error_of_ours_comes_out(asker: Any) -> None:
    """A plugin that ends the program ends it, from a thread too."""

    class Exits:
        @hookimpl
        def on_request(self, stream: ChatStream) -> None:
            raise SystemExit(7)

    with pytest.raises(SystemExit) as caught:
        list(asker(stuck, Exits()).map(["b", PROMPT], workers=2))
    assert caught.value.code == 7
    assert not map_threads()
    assert_discreet(caught.value)


def test_frames_hold_no_prompt(asker: Any) -> None:
    """PROMISE 21: Ctrl-C in the wait shows neither key nor prompt."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            list(asker(stuck).map([PROMPT] * 3, extra_headers={"X-Key": KEY}))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert_discreet(caught.value)


def test_frames_hold_no_result(asker: Any) -> None:
    """An answer that has arrived may quote the prompt; no object in a frame shows it."""

    def source() -> Iterator[str]:
        yield faults.PROMPT
        wait_until(lambda: not map_threads())
        raise LookupError

    with pytest.raises(LookupError) as caught:
        list(asker(lambda request: [say(prompt_of(request)), done()]).map(source()))
    assert_no_secret(caught.value)


# --- cancel --------------------------------------------------------------------------------------


def test_a_cancel_gives_each_prompt_its_result(asker: Any) -> None:
    """Those that run end at once, and the rest is not sent."""
    token = CancelToken()
    asked = asker(stuck)
    results = asked.map(["a", "b", "c", *"defgh"], workers=3, cancel_token=token)
    assert next(results)[0] == 0
    threading.Timer(0.1, token.cancel).start()
    rest = dict(results)
    assert sorted(rest) == [1, 2, 3, 4, 5, 6, 7]
    assert {type(result) for result in rest.values()} == {StreamCancelledError}
    assert {result.reason for result in rest.values()} == {"cancelled"}
    assert len(asked.sandbox.requests) <= 4


def test_a_token_that_is_cancelled_already(asker: Any) -> None:
    """Nothing is sent."""
    token, asked = CancelToken(), asker()
    token.cancel()
    results = list(asked.map(["a", "b"], workers=1, cancel_token=token))
    assert [(index, type(result)) for index, result in results] == [
        (0, StreamCancelledError),
        (1, StreamCancelledError),
    ]
    assert not asked.sandbox.requests


def test_a_client_that_is_closed_meanwhile(asker: Any) -> None:
    """What runs is closed, and the rest says why it was not sent."""
    asked = asker(stuck)
    results = asked.map(list("abcd"), workers=2)
    next(results)
    threading.Timer(0.1, asked.client.close).start()
    kinds = {type(result) for _, result in results}
    assert kinds == {StreamCancelledError, ConfigError}


# --- what is refused -----------------------------------------------------------------------------


@each(
    ("prompts", "options", "problem"),
    [
        ("one text", {}, "prompts: expected a list or an iterator, got str"),
        (b"bytes", {}, "prompts: .*got bytes"),
        ({"role": "user", "content": "x"}, {}, "prompts: .*got dict"),
        (None, {}, "prompts: .*got NoneType"),
        (7, {}, "prompts: .*got int"),
        ([], {"workers": 0}, "workers: expected an int of 1 or more, got 0"),
        ([], {"workers": -1}, "workers"),
        ([], {"workers": 1.5}, "workers: .*got float"),
        ([], {"workers": True}, "workers: .*got bool"),
        ([], {"workers": None}, "workers: .*got NoneType"),
        ([], {"timeout": 0}, "timeout"),
        ([], {"cancel_token": "x"}, "cancel_token"),
        ([], {"time_out": 1}, "time_out"),
        ([], {"model": object()}, "model"),
        ([], {"extra_body": {"x": object()}}, "x"),
        ([], {"response_type": 7}, "response_type"),
        ([], {"response_type": threading.Lock}, "response_type"),
        ([], {"idempotency_key": "k"}, "idempotency_key: .*has its own"),
        ([], {"keep_message": False}, "keep_message: .*whole messages"),
    ],
)
def test_bad_arguments(asker: Any, prompts: Any, options: dict[str, Any], problem: str) -> None:
    """Raised at the call, not at the first result."""
    with pytest.raises(ConfigError, match=problem) as caught:
        asker().map(prompts, **options)
    assert_discreet(caught.value)


def test_a_closed_client(asker: Any) -> None:
    """Raised at the call too."""
    asked = asker()
    asked.client.close()
    with pytest.raises(ConfigError, match="closed"):
        asked.map(["a"])


# --- the program around it -----------------------------------------------------------------------


def test_hooks_see_the_callers_context(asker: Any) -> None:
    """PROMISE 54: the variables at the moment when the prompt was pulled."""
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")
    seen: list[str] = []

    class Look:
        @hookimpl
        def on_done(self, message: Message) -> None:
            seen.append(user.get())
            user.set("the plugin's")

    reset = user.set("ada")
    list(asker(echo, Look()).map(list("abc"), workers=1))
    assert user.get() == "ada"
    user.reset(reset)
    assert seen == ["ada"] * 3


@pytest.mark.slow
def test_fifty_maps_at_once(asker: Any) -> None:
    """Each thread gets the answers to its own prompts."""
    asked, answers = asker(), {}

    def run(number: int) -> None:
        prompts = [f"{number}.{part}x" for part in range(5)]
        answers[number] = {i: m.content for i, m in asked.map(prompts, workers=3)}

    threads = [threading.Thread(target=run, args=[number]) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {
        number: {part: f"{number}.{part}X" for part in range(5)} for number in range(50)
    }


def test_no_thread_to_be_had(asker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typed error for the prompt; those that have a thread go on."""
    asked, start, started = asker(), threading.Thread.start, itertools.count()

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "websopy-map" and next(started) == 1:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    results = dict(asked.map(list("abc"), workers=3))
    failed = results.pop(1)
    assert isinstance(failed, WebsopyError) and "thread" in failed.message
    assert not failed.sent and failed.retryable
    assert sorted(result.content for result in results.values()) == ["A", "C"]


def test_a_fork_in_the_loop(asker: Any) -> None:
    """The child can leave the map, and make its own, but not take its parent's results."""
    asked = asker(stuck)
    results = asked.map(["a", "b", "c", "d"], workers=3)
    next(results)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            try:
                next(results)
            except StreamError as error:
                os.write(write, type(error).__name__.encode() + b" ")
            results.close()
            os.write(write, b"".join(m.content.encode() for _, m in asked.map(["a"])))
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as told:
        assert told.read() == b"StreamError A"
    os.waitpid(pid, 0)
    assert len(map_threads()) == 2  # the parent's own go on
    assert "d" not in map(prompt_of, asked.sandbox.requests)
    results.close()


def test_a_time_limit_of_the_program(asker: Any) -> None:
    """PROMISE 43: what a signal handler raises comes out at once."""

    def expire(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("the program's")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(TimeoutError, match="the program's"):
            list(asker(stuck).map(["b", "c"]))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not map_threads()


class PointsOfOurs(Points):
    """Without those in which Python itself loses the thread, or what is raised."""

    def _note(self, frame: Any, event: str, argument: Any) -> None:
        codes = [one.f_code for one, _ in traceback.walk_stack(frame)]
        in_destructor = codes[0].co_filename == _weakrefset.__file__
        if threading.Thread.start.__code__ not in codes and not in_destructor:
            super()._note(frame, event, argument)


def takes_one(results: Any) -> None:
    with contextlib.closing(results):
        next(results)


@pytest.mark.slow
@each("use", [list, takes_one])
def test_an_interrupt_at_every_point(asker: Any, use: Callable[[Any], object]) -> None:
    """It comes out, no thread is left, and the next map works."""
    asked, points = asker(), PointsOfOurs()
    old = signal.signal(signal.SIGUSR1, raising(Struck))
    gc.disable()  # what strikes in a destructor is lost, as Python has it
    try:
        points.run(lambda: use(asked.map(["a", "b", "c"], workers=2)))
        for point in range(1, points.count, 3):
            struck = points.run(lambda: use(asked.map(["a", "b", "c"], workers=2)), point)
            assert struck or points.lost or points.count < point, points.at
            assert soon(lambda: not map_threads()), points.at
        assert len(list(asked.map(["a", "b"]))) == 2
    finally:
        gc.enable()
        signal.signal(signal.SIGUSR1, old)
