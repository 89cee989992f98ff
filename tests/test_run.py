"""A run: what it sends, what it yields, and how it ends in each place where it can."""

from __future__ import annotations

import contextvars
import gc
import json
import pickle
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from discretion import KEY, PROMPT, assert_discreet
from endings import LEFT, ChunksAndEndings
from tables import each

from websopy_sync import (
    APITimeoutError,
    AuthenticationError,
    CancelToken,
    ConfigError,
    ContentChunk,
    DoneChunk,
    InternalServerError,
    MaxTurnsError,
    Message,
    StreamCancelledError,
    StreamError,
    StreamInterruptedError,
    StreamServerError,
    ToolCall,
    ToolCallChunk,
    ToolError,
    ToolRun,
    Usage,
    WebsopyClient,
    WebsopyError,
    hookimpl,
)
from websopy_sync.sandbox import (
    RecordedRequest,
    Sandbox,
    Step,
    cut,
    done,
    error,
    expect_tool_result,
    no_ids,
    reset,
    say,
    silence,
    status,
    tool,
)

SOON = 0.25
"""Seconds in which something happens that waits for nothing; the waits here would be far longer."""

Make = Callable[..., WebsopyClient]
Body = dict[str, Any]


def weather(city: str) -> Body:
    """The weather of a city."""
    return {"city": city, "sun": True}


ASKS = [say("let me look"), tool("weather", {"city": "Parisé"}, "call-1"), done(1, 2)]
ANSWERS = [say("sunny"), done(3, 4)]
CALL = ToolCall("weather", '{"city":"Parisé"}', "call-1")


def asks(name: str = "weather", **arguments: Any) -> list[Step]:
    """An answer that asks for one tool."""
    return [tool(name, arguments, "id"), done()]


def service(request: RecordedRequest) -> list[Step]:
    """Asks for the weather, and answers once it has the result."""
    return ANSWERS if request.json["messages"][-1]["role"] == "tool" else ASKS


def play(sandbox: Sandbox, *answers: Any) -> None:
    for answer in answers:
        sandbox.play(answer)


class Slow:
    """Tools that take until they are released."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.release = threading.Event()
        self.count = 0

    def weather(self, city: str) -> str:
        """The weather, late."""
        self.count += 1
        self.begun.set()
        assert self.release.wait(30)
        return "late"


@pytest.fixture
def slow() -> Iterator[Slow]:
    tools = Slow()
    yield tools
    tools.release.set()
    for thread in threading.enumerate():
        if thread.name == "websopy-tool":
            thread.join(5)


def read_until(run: ToolRun, kind: type[BaseException]) -> Any:
    """The error that reading ends with."""
    with pytest.raises(kind) as caught:
        for _ in run:
            pass
    return caught.value


# --- what goes over the wire ---------------------------------------------------------------------


def test_a_run_on_the_wire(client: WebsopyClient, sandbox: Sandbox) -> None:
    """The tool turn and the answer before it, byte for byte."""
    play(sandbox, ASKS, ANSWERS)
    run = client.ai.run("weather in Paris?", tools=[weather], model="m")
    assert list(run) == [
        ContentChunk("let me look"),
        ToolCallChunk(CALL),
        DoneChunk(Usage(1, 2)),
        ContentChunk("sunny"),
        DoneChunk(Usage(3, 4)),
    ]
    tools = json.dumps(sandbox.requests[0].json["tools"], ensure_ascii=False, separators=(",", ":"))
    question = '{"role":"user","content":"weather in Paris?"}'
    call = '{"name":"weather","arguments":"{\\"city\\":\\"Parisé\\"}","id":"call-1"}'
    answer = f'{{"role":"assistant","content":"let me look","toolCalls":[{call}]}}'
    content = '{\\"city\\": \\"Parisé\\", \\"sun\\": true}'
    result = f'{{"role":"tool","toolCallId":"call-1","name":"weather","content":"{content}"}}'
    assert [request.body.decode() for request in sandbox.requests] == [
        f'{{"messages":[{turns}],"model":"m","tools":{tools}}}'
        for turns in (question, f"{question},{answer},{result}")
    ]


def test_what_a_run_knows(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Its turns, its last whole answer, which turn it is; its repr has no text."""
    play(sandbox, ASKS, ANSWERS)
    run = client.ai.run([{"role": "user", "content": PROMPT}], tools=[weather])
    question = {"role": "user", "content": PROMPT}
    assert (run.turn, run.message, run.messages) == (1, Message(), [question])
    assert repr(run) == "<ToolRun turn 1>"
    while next(run).type != "done":
        pass
    assert (run.turn, run.message.tool_calls) == (1, (CALL,))
    assert run.until_done() is run
    assert (run.turn, run.message.content) == (2, "sunny")
    result = {"role": "tool", "tool_call_id": "call-1", "name": "weather"}
    assert run.messages == [
        question,
        Message("let me look", [CALL]).to_dict(),
        {**result, "content": '{"city": "Parisé", "sun": true}'},
        {"role": "assistant", "content": "sunny"},
    ]
    run.messages.clear()
    assert len(run.messages) == 4


def test_the_messages_can_be_continued(client: WebsopyClient, sandbox: Sandbox) -> None:
    """They are those of a chat."""
    play(sandbox, ASKS, ANSWERS, [say("bye"), done()])
    run = client.ai.run("x", tools=[weather]).until_done()
    more = [*run.messages, {"role": "user", "content": "thanks"}]
    assert client.ai.chat(json.loads(json.dumps(more))).content == "bye"
    assert len(sandbox.requests[2].json["messages"]) == 5


def test_the_callers_messages_stay_as_they_are(client: WebsopyClient, sandbox: Sandbox) -> None:
    """The run has its own list."""
    play(sandbox, ASKS, ANSWERS)
    messages = [{"role": "user", "content": "x"}]
    client.ai.run(messages, tools=[weather]).until_done()
    assert messages == [{"role": "user", "content": "x"}]


def test_a_run_ends_by_its_calls(client: WebsopyClient, sandbox: Sandbox) -> None:
    """And not by what the service calls the end."""
    asks_and_stops = [tool("weather", {"city": "a"}), done(finish_reason="stop")]
    play(sandbox, asks_and_stops, [say("sunny"), done(finish_reason="tool_calls")])
    run = client.ai.run("x", tools=[weather]).until_done()
    assert (run.turn, run.message.content) == (2, "sunny")


def test_an_answer_without_calls_is_a_run(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Of one turn."""
    play(sandbox, ANSWERS)
    run = client.ai.run("x", tools=[weather]).until_done()
    assert (run.turn, run.message.content, len(sandbox.requests)) == (1, "sunny", 1)


def test_errors_are_told_to_the_model(client: WebsopyClient, sandbox: Sandbox) -> None:
    """In the order of the calls, and the run goes on."""

    def fail(secret: str) -> None:
        raise OSError(2, "x", f"/home/{secret}")

    calls = [tool("fail", {"secret": KEY}), tool("fail", "["), tool("none", ""), *asks(city="b")]
    play(sandbox, calls, ANSWERS)
    client.ai.run("x", tools=[fail, weather]).until_done()
    results = [turn["content"] for turn in sandbox.requests[1].json["messages"][2:]]
    assert results[0] == "Error: the tool failed (FileNotFoundError)"
    assert results[1].startswith("Error: arguments of tool 'fail': expected a JSON object: ")
    assert results[2] == "Error: there is no tool of this name; the tools are: fail, weather"
    assert results[3] == '{"city": "b", "sun": true}'
    assert KEY not in str(results) and "home" not in str(results)


@each("wire", ["websopy", "openai"])
def test_a_run_over_every_wire(make: Make, wire: str) -> None:
    """The sandbox checks what it is sent against the form of its service."""
    with Sandbox(pause=0, wire=wire) as sandbox:
        sandbox.play([tool("weather", {"city": "a"}, "1"), tool("weather", "{}", "2"), done()])
        results = [expect_tool_result("weather", content='{"city": "a", "sun": true}')]
        sandbox.play([*results, say("sunny"), done()])
        client = make(base_url=sandbox.url, wire=wire)
        run = client.ai.run("x", tools=[weather], model="m").until_done()
    assert run.message.content == "sunny"
    roles = [turn["role"] for turn in run.messages]
    assert roles == ["user", "assistant", "tool", "tool", "assistant"]


def test_each_turn_has_its_own_idempotency_key(make: Make, sandbox: Sandbox) -> None:
    """A user's key is the root of all of them."""
    client = make()
    play(sandbox, ASKS, ANSWERS, ASKS, ANSWERS)
    client.ai.run("x", tools=[weather]).until_done()
    client.ai.run("x", tools=[weather], idempotency_key="job").until_done()
    keys = [request.idempotency_key for request in sandbox.requests]
    assert len(set(keys)) == 4 and all(keys)
    assert keys[2:] == ["job-1", "job-2"]


@each("refusal", [status(429, retry_after=0), status(500, retry_after=0)])
def test_a_retry_has_the_key_of_its_turn(make: Make, refusal: Any) -> None:
    """The service answers each turn once; hooks hear of one request."""
    turns = Turns()
    with Sandbox(pause=0) as sandbox:
        play(sandbox, ASKS, refusal, ANSWERS)
        run = make(turns, base_url=sandbox.url).ai.run("x", tools=[weather]).until_done()
        assert run.message.content == "sunny"
        keys = [request.idempotency_key for request in sandbox.requests]
        assert keys[0] != keys[1] == keys[2]
        assert (turns.asked, turns.ends) == (2, ["done", "done"])


# --- what a run refuses --------------------------------------------------------------------------


@each(
    "options",
    [
        {"max_turns": 0},
        {"max_turns": True},
        {"max_turns": "9"},
        {"parallel": 0},
        {"parallel": 1.5},
        {"tool_timeout": 0},
        {"tool_timeout": -1},
        {"tool_timeout": "9"},
        {"tool_timeout": float("nan")},
        {"strict_tools": 1},
        {"approve": True},
        {"keep_message": False},
        {"keep_message": True},
        {"metadata": 7},
        {"idempotency_key": 7},
        {"timeout": -1},
        {"cancel_token": "x"},
    ],
)
def test_bad_options(client: WebsopyClient, sandbox: Sandbox, options: Body) -> None:
    """Named before anything is sent."""
    (name,) = options
    with pytest.raises(ConfigError, match=name):
        client.ai.run("x", tools=[weather], **options)
    assert not sandbox.requests


@each("name", ["max_turn", "parallell", "tool_timeouts", "strict_tool", "aprove", "cancel_tokens"])
def test_misspelt_options(client: WebsopyClient, sandbox: Sandbox, name: str) -> None:
    """They are no fields of the body."""
    with pytest.raises(ConfigError, match=f"'{name}': did you mean"):
        client.ai.run("x", tools=[weather], **{name: 1})
    assert not sandbox.requests


def test_fields_of_the_body_go_out(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Also those whose names are like an option's, with the request of each turn."""
    play(sandbox, ASKS, ANSWERS)
    fields = {"parallel_tool_calls": False, "max_tokens": 9, "tool_choice": "auto", "strict": True}
    client.ai.run("x", tools=[weather], **fields).until_done()  # type: ignore[arg-type]  # as of PEP 728
    assert [fields.items() <= request.json.items() for request in sandbox.requests] == [True] * 2


def test_approve_may_not_be_async(client: WebsopyClient) -> None:
    """Nothing would await it."""

    async def approve(call: ToolCall) -> bool:
        return True

    with pytest.raises(ConfigError, match=r"approve.*async"):
        client.ai.run("x", tools=[weather], approve=approve)  # type: ignore[arg-type]  # the test


@each("messages", [[], 7, [{"role": "user"}]])
def test_bad_messages(client: WebsopyClient, messages: Any) -> None:
    """As for a chat."""
    with pytest.raises(ConfigError, match="messages"):
        client.ai.run(messages, tools=[weather])


def test_a_refused_key_raises_at_the_call(client: WebsopyClient, sandbox: Sandbox) -> None:
    """The first request is sent by run()."""
    play(sandbox, status(401))
    with pytest.raises(AuthenticationError):
        client.ai.run("x", tools=[weather])


# --- too many turns ------------------------------------------------------------------------------


def test_max_turns(client: WebsopyClient, sandbox: Sandbox) -> None:
    """So many answers; the error has all that is needed to go on."""
    play(sandbox, ASKS, ASKS, ANSWERS)
    run = client.ai.run(PROMPT, tools=[weather], max_turns=2)
    failure = read_until(run, MaxTurnsError)
    assert (failure.turns, len(sandbox.requests), run.turn) == (2, 2, 2)
    assert failure.messages == run.messages and failure.messages[-1]["role"] == "tool"
    assert PROMPT not in str(failure) + repr(failure)
    assert pickle.loads(pickle.dumps(failure)) == failure
    more = client.ai.run(failure.messages, tools=[weather], max_turns=1).until_done()
    assert more.message.content == "sunny"


def test_max_turns_is_enough(client: WebsopyClient, sandbox: Sandbox) -> None:
    """An answer without calls may be the last one."""
    play(sandbox, ASKS, ANSWERS)
    assert client.ai.run("x", tools=[weather], max_turns=2).until_done().turn == 2


# --- hooks ---------------------------------------------------------------------------------------


class Turns(ChunksAndEndings):
    """Notes the metadata of each request and of each stream as well."""

    def __init__(self) -> None:
        super().__init__()
        self.metadata: list[tuple[Any, Any]] = []

    @hookimpl
    def on_request(self, request: Any = None, stream: Any = None) -> None:
        self.asked += 1
        self.metadata.append((dict(request.metadata), dict(stream.metadata)))


def test_hooks_see_one_request_a_turn(make: Make, sandbox: Sandbox) -> None:
    """Each with one end; the metadata tells the turn."""
    turns = Turns()
    play(sandbox, ASKS, ANSWERS)
    mine = {"job": 7, "turn": "mine"}
    make(turns).ai.run("x", tools=[weather], metadata=mine).until_done()
    assert (turns.asked, turns.ends) == (2, ["done", "done"])
    assert turns.chunks == ["content", "tool_call", "done", "content", "done"]
    assert turns.metadata == [({"job": 7, "turn": n}, {"job": 7, "turn": n}) for n in (1, 2)]
    assert mine == {"job": 7, "turn": "mine"}


FAILURES = [
    ([no_ids(), say("half"), cut()], StreamInterruptedError, "half"),
    ([no_ids(), say("half"), reset()], StreamInterruptedError, "half"),
    ([say("half"), error("no")], StreamServerError, "half"),
    (status(500), InternalServerError, ""),
]


@each(("script", "kind", "partial"), FAILURES)
def test_a_failure_in_the_second_turn(
    make: Make, sandbox: Sandbox, script: Any, kind: type[Exception], partial: str
) -> None:
    """It comes out as it is; each turn is told one end; what there was before is kept."""
    turns = Turns()
    play(sandbox, ASKS, script)
    run = make(turns, max_retries=0).ai.run(PROMPT, tools=[weather])
    failure = read_until(run, kind)
    assert failure.partial.content == partial
    assert (turns.asked, turns.ends) == (2, ["done", kind.__name__])
    assert (run.turn, run.message.tool_calls, len(run.messages)) == (2, (CALL,), 3)
    assert_discreet(failure)
    sandbox.requests.clear()


def test_an_answer_that_the_service_cut_in_a_call(make: Make, sandbox: Sandbox) -> None:
    """The tool is not called without the arguments that may be missing."""
    calls: list[None] = []
    play(sandbox, [tool("clear", "", "id"), done(finish_reason="length")], ANSWERS)

    def clear(path: str = "/") -> None:
        calls.append(None)

    run = make().ai.run("x", tools=[clear]).until_done()
    assert not calls and "cut" in run.messages[-2]["content"]


def test_a_cut_in_the_second_turn_is_resumed(make: Make, sandbox: Sandbox) -> None:
    """As for any stream."""
    turns = Turns()
    play(sandbox, ASKS, [say("sun"), cut(), say("ny"), done()])
    run = make(turns).ai.run("x", tools=[weather]).until_done()
    assert run.message.content == "sunny"
    assert turns.ends == ["done", "done"]


# --- cancel --------------------------------------------------------------------------------------


def test_cancelled_before(make: Make, sandbox: Sandbox) -> None:
    """Nothing is sent."""
    turns, token = Turns(), CancelToken()
    token.cancel()
    with pytest.raises(StreamCancelledError):
        make(turns).ai.run("x", tools=[weather], cancel_token=token)
    assert not sandbox.requests and not turns.asked


@attrs.frozen
class Place:
    """Where a run is when it is cancelled, and what there is of it then."""

    answers: list[Any]
    requests: int
    ended_before: int
    turns: int
    partial: str


STALLS = [say("a"), silence()]
PLACES = {
    "first answer": Place([STALLS], 1, ended_before=0, turns=1, partial="a"),
    "between": Place([ASKS], 1, ended_before=1, turns=2, partial="let me look"),
    "tool": Place([ASKS], 1, ended_before=1, turns=2, partial="let me look"),
    "second answer": Place([ASKS, STALLS], 2, ended_before=1, turns=3, partial="a"),
}
WAYS: list[tuple[Callable[..., None], str]] = [
    (lambda run, token, client: run.cancel(), "cancelled"),
    (lambda run, token, client: token.cancel(), "cancelled"),
    (lambda run, token, client: run.close(), "closed"),
    (lambda run, token, client: client.close(), "closed"),
]


def read_until_cancelled(run: ToolRun, place: str, slow: Slow, cancel: Callable[[], None]) -> None:
    """Read, and have the run cancelled at this place."""

    def cancel_later() -> None:
        if place == "tool":
            assert slow.begun.wait(5)
        else:
            time.sleep(0.02)  # the reader waits for the next chunk then
        cancel()

    for chunk in run:
        if chunk.type == "done" and place == "between":
            cancel()
        elif chunk.type == "done" if place == "tool" else chunk == ContentChunk("a"):
            threading.Thread(target=cancel_later).start()


@pytest.mark.timing
@each(("cancel", "reason"), WAYS)
@each(("name", "place"), PLACES.items())
def test_cancel(make: Make, name: str, place: Place, cancel: Any, reason: str) -> None:
    """At once, with one end for each turn, and without a thread or a connection left."""
    hooks, token, slow, times = Turns(), CancelToken(), Slow(), list[float]()
    with Sandbox(pause=0) as sandbox:
        play(sandbox, *place.answers)
        client = make(hooks, base_url=sandbox.url)
        tools = [slow.weather if name == "tool" else weather]
        run = client.ai.run(PROMPT, tools=tools, cancel_token=token)

        def end() -> None:
            times.append(time.monotonic())
            cancel(run, token, client)

        with pytest.raises(StreamCancelledError) as caught:
            read_until_cancelled(run, name, slow, end)
        assert time.monotonic() - times[0] < SOON
        slow.release.set()
        assert len(sandbox.requests) == place.requests
    assert (caught.value.reason, caught.value.partial.content) == (reason, place.partial)
    last = [f"StreamCancelledError {reason}"] * (place.requests - place.ended_before)
    assert hooks.ends == ["done"] * place.ended_before + last
    assert len(run.messages) == place.turns
    assert_discreet(caught.value)
    with pytest.raises(StreamError, match="once"):
        list(run)
    assert not token._callbacks  # nobody else can tell: a token that lives long must not grow


@each("way", ["run", "token"])
def test_cancel_in_a_signal_handler(client: WebsopyClient, sandbox: Sandbox, way: str) -> None:
    """It interrupts the very thread that waits for the tool."""
    play(sandbox, ASKS)
    slow, token, main = Slow(), CancelToken(), threading.get_ident()

    def weather(city: str) -> str:
        signal.pthread_kill(main, signal.SIGALRM)
        return slow.weather(city)

    run = client.ai.run("x", tools=[weather], cancel_token=token)
    cancel = run.cancel if way == "run" else token.cancel
    before = signal.signal(signal.SIGALRM, lambda signum, frame: cancel())
    try:
        assert read_until(run, StreamCancelledError).reason == "cancelled"
    finally:
        signal.signal(signal.SIGALRM, before)
        slow.release.set()


@each("parallel", [1, 4])
def test_a_tool_that_cancels(client: WebsopyClient, sandbox: Sandbox, parallel: int) -> None:
    """Its own result is dropped, in every thread."""

    def weather(city: str) -> None:
        run.cancel()

    play(sandbox, ASKS)
    run: Any = client.ai.run("x", tools=[weather], parallel=parallel)
    assert read_until(run, StreamCancelledError).reason == "cancelled"
    assert len(run.messages) == 2


def test_after_the_end_cancel_does_nothing(client: WebsopyClient, sandbox: Sandbox) -> None:
    """As for a stream."""
    play(sandbox, ASKS, ANSWERS)
    run = client.ai.run("x", tools=[weather])
    for chunk in run:
        if chunk.type == "done" and run.turn == 2:
            run.cancel()
    run.close()
    assert run.message.content == "sunny"


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.timing
@each("place", ["tool", "second answer"])
def test_total_limit(make: Make, place: str) -> None:
    """One for all turns and tools."""
    turns, slow = Turns(), Slow()
    with Sandbox(pause=0) as sandbox:
        play(sandbox, ASKS, [say("a"), silence()])
        tools = [slow.weather if place == "tool" else weather]
        began = time.monotonic()
        run = make(turns, base_url=sandbox.url).ai.run(PROMPT, tools=tools, timeout=0.2)
        failure = read_until(run, APITimeoutError)
        assert 0.2 <= time.monotonic() - began < 0.2 + SOON
        slow.release.set()
    assert failure.phase == "total"
    assert failure.partial.content == ("let me look" if place == "tool" else "a")
    assert turns.ends == (["done"] if place == "tool" else ["done", "APITimeoutError"])
    assert_discreet(failure)


@pytest.mark.timing
def test_each_turn_has_only_what_is_left(make: Make, sandbox: Sandbox) -> None:
    """A tool's time counts for the total limit of the next request."""

    def weather(city: str) -> None:
        time.sleep(0.3)

    play(sandbox, ASKS, ASKS, ANSWERS)
    run = make().ai.run("x", tools=[weather], timeout=0.5)
    assert read_until(run, APITimeoutError).phase == "total"
    assert len(sandbox.requests) == 2


# --- leaving the loop ----------------------------------------------------------------------------


def leave_at(run: Any, kind: str, turn: int, how: str) -> None:
    """Leave the loop at this chunk."""
    for chunk in run:
        if chunk.type == kind and run.turn == turn:
            if how == "error":
                raise ZeroDivisionError
            if how == "close":
                run.close()
            return


LEAVES = [
    ("content", 1, LEFT, 1),
    ("tool_call", 1, LEFT, 1),
    ("done", 1, ["done"], 1),
    ("content", 2, ["done", *LEFT], 2),
    ("done", 2, ["done", "done"], 2),
]


@each("how", ["break", "close", "error"])
@each(("kind", "turn", "ends", "requests"), LEAVES)
def test_leaving_the_loop(
    make: Make, kind: str, turn: int, ends: list[str], requests: int, how: str
) -> None:
    """No further tool is started, no request sent, and the connection closes at once."""
    turns, ran = Turns(), []

    def weather(city: str) -> None:
        ran.append(city)

    with Sandbox(pause=0) as sandbox:
        play(sandbox, [*ASKS[:2], *ASKS[2:]], ANSWERS)
        run = make(turns, base_url=sandbox.url).ai.run("x", tools=[weather])
        try:
            leave_at(run, kind, turn, how)
        except ZeroDivisionError:
            assert how == "error"
        assert (turns.ends, len(sandbox.requests)) == (ends, requests)
        assert len(ran) == turn - 1
        assert not [thread for thread in threading.enumerate() if thread.name == "websopy-tool"]
        assert len(run.messages) == {("done", 1): 2, ("content", 2): 3, ("done", 2): 4}.get(
            (kind, turn), 1
        )


@each("drop", ["unread", "next", "loop", "with"])
def test_a_run_that_is_dropped(make: Make, drop: str) -> None:
    """Its connection closes without the garbage collector."""
    turns = Turns()
    gc.disable()
    try:
        with Sandbox(pause=0) as sandbox:
            play(sandbox, [say("a"), silence()])
            client = make(turns, base_url=sandbox.url)
            run: Any = client.ai.run("x", tools=[weather])
            if drop == "with":
                with run:
                    next(run)
            elif drop == "loop":
                next(iter(run))
            elif drop == "next":
                next(run)
            if drop != "with":
                del run
            assert turns.ends == LEFT
            assert sandbox.wait_disconnect()
    finally:
        gc.enable()


def test_leaving_a_loop_after_next(make: Make) -> None:
    """The connection closes, although the run is still held."""
    turns = Turns()
    with Sandbox(pause=0) as sandbox:
        play(sandbox, [say("a"), say("b"), silence()])
        run = make(turns, base_url=sandbox.url).ai.run("x", tools=[weather])
        next(run)
        for _ in run:
            break
        assert turns.ends == LEFT and sandbox.wait_disconnect()
        assert run.turn == 1


def test_a_failed_run_is_no_reference_cycle(client: WebsopyClient, sandbox: Sandbox) -> None:
    """What it held is free at once, without the garbage collector."""
    play(sandbox, ASKS, status(400))
    run = client.ai.run("x", tools=[weather])
    held = weakref.ref(run._turns)  # all that a run holds
    gc.disable()
    try:
        try:
            for _ in run:
                pass
        except WebsopyError:
            pass
        del run
        assert held() is None
    finally:
        gc.enable()


def test_a_loop_over_a_run_that_nobody_else_holds(client: WebsopyClient, sandbox: Sandbox) -> None:
    """The loop holds what it needs."""
    play(sandbox, ASKS, ANSWERS)
    kinds = [chunk.type for chunk in client.ai.run("x", tools=[weather])]
    assert kinds == ["content", "tool_call", "done", "content", "done"]


# --- who may read --------------------------------------------------------------------------------


def test_a_run_is_read_once(client: WebsopyClient, sandbox: Sandbox) -> None:
    """A second loop gets nothing."""
    play(sandbox, ASKS, ANSWERS)
    run = client.ai.run("x", tools=[weather]).until_done()
    for read in (list, next, ToolRun.until_done):
        with pytest.raises((StreamError, StopIteration), match=r"once|^$"):
            read(run)


def test_a_loop_goes_on_after_next(client: WebsopyClient, sandbox: Sandbox) -> None:
    """As for a stream."""
    play(sandbox, ASKS, ANSWERS)
    run = client.ai.run("x", tools=[weather])
    assert next(run) == ContentChunk("let me look")
    assert [chunk.type for chunk in run] == ["tool_call", "done", "content", "done"]


def test_a_failed_run_does_not_look_complete(client: WebsopyClient, sandbox: Sandbox) -> None:
    """next() raises the error again."""
    play(sandbox, [say("a"), error("no")])
    run = client.ai.run("x", tools=[weather])
    next(run), next(run)
    for _ in range(2):
        with pytest.raises(StreamServerError):
            next(run)


def test_a_tool_does_not_read(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Nor does a second thread: both get a typed error."""
    play(sandbox, ASKS, ANSWERS)
    failures: list[BaseException] = []

    def weather(city: str) -> None:
        for read in (next, list):
            try:
                read(run)
            except WebsopyError as failure:
                failures.append(failure)

    run: Any = client.ai.run("x", tools=[weather])
    while run.turn == 1:
        next(run)
    assert [type(failure) for failure in failures] == [StreamError] * 2
    assert run.until_done().message.content == "sunny"


# --- interrupts ----------------------------------------------------------------------------------


def interrupt(signum: int, frame: Any) -> None:
    raise TimeoutError("the job may take no longer")


@each("parallel", [4, 1])
@each(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGALRM, TimeoutError)])
def test_a_signal_in_a_tool(
    make: Make, number: signal.Signals, kind: type[BaseException], parallel: int
) -> None:
    """What its handler raises comes out at once, from the wait and from the tool."""
    turns, release, main = Turns(), threading.Event(), threading.main_thread()
    assert main.ident == threading.get_ident()

    def weather(city: str) -> None:
        signal.pthread_kill(main.ident or 0, number)
        assert release.wait(5)

    before = signal.signal(signal.SIGALRM, interrupt)
    began = time.monotonic()
    try:
        with Sandbox(pause=0) as sandbox:
            play(sandbox, ASKS, ANSWERS)
            run = make(turns, base_url=sandbox.url).ai.run(
                "x", tools=[weather], parallel=parallel, strict_tools=True
            )
            with pytest.raises(kind):
                list(run)
            release.set()
            assert (turns.ends, len(sandbox.requests)) == (["done"], 1)
    finally:
        release.set()
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 4


def test_a_signal_that_a_tool_wraps(client: WebsopyClient, sandbox: Sandbox) -> None:
    """The handler's own exception comes out: the tool cannot swallow a time limit by accident."""

    def weather(city: str) -> None:
        try:
            signal.raise_signal(signal.SIGALRM)
        except TimeoutError as limit:
            raise ValueError("of a database driver, say") from limit

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        play(sandbox, ASKS, ANSWERS)
        with pytest.raises(TimeoutError, match="the job may take no longer"):
            list(client.ai.run("x", tools=[weather], parallel=1))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(sandbox.requests) == 1


@each("kind", [KeyboardInterrupt, SystemExit])
@each("options", [{}, {"parallel": 1}])
def test_an_interrupt_that_a_tool_raises(
    make: Make, kind: type[BaseException], options: Body
) -> None:
    """It ends the run, which has told each turn its end."""
    turns = Turns()

    def weather(city: str) -> None:
        raise kind

    with Sandbox(pause=0) as sandbox:
        play(sandbox, ASKS, ANSWERS)
        run = make(turns, base_url=sandbox.url).ai.run("x", tools=[weather], **options)
        with pytest.raises(kind):
            list(run)
        assert (turns.ends, len(sandbox.requests)) == (["done"], 1)


# --- threads and variables -----------------------------------------------------------------------


def test_no_thread_is_left(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Once the tools have returned."""
    play(sandbox, [*asks(city="a")[:1] * 9, done()], ANSWERS)
    run = client.ai.run("x", tools=[weather]).until_done()
    assert len(run.messages) == 12
    assert not [thread for thread in threading.enumerate() if thread.name == "websopy-tool"]


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@each("elsewhere", [False, True])
def test_tools_see_the_callers_variables(make: Make, elsewhere: bool) -> None:
    """Also when another thread reads, as a web server does."""
    seen: list[str] = []

    def weather(city: str) -> None:
        seen.append(variable.get())

    with Sandbox(service, pause=0) as sandbox:
        token = variable.set("the caller's")
        try:
            run = make(base_url=sandbox.url).ai.run("x", tools=[weather])
            if elsewhere:
                reader = threading.Thread(target=run.until_done)
                reader.start()
                reader.join()
            else:
                variable.set("the caller's own, later")
                run.until_done()
        finally:
            variable.reset(token)
    assert seen == ["the caller's" if elsewhere else "the caller's own, later"]


def test_strict_tools_in_a_run(make: Make, sandbox: Sandbox) -> None:
    """The error comes out of the loop; the turn before it has ended well."""
    turns = Turns()

    def weather(city: str) -> None:
        raise ValueError("of the tool's own")

    play(sandbox, ASKS, ANSWERS)
    run = make(turns).ai.run(PROMPT, tools=[weather], strict_tools=True)
    failure = read_until(run, ToolError)
    assert failure.call == CALL and isinstance(failure.__cause__, ValueError)
    assert (turns.ends, len(sandbox.requests)) == (["done"], 1)
    assert_discreet(failure)
    own = failure.__cause__.__traceback__
    while own.tb_next is not None:
        own = own.tb_next
    assert own.tb_frame.f_locals == {"city": "Parisé"}  # the tool's author may look


def test_logs_are_discreet(make: Make, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """PROMISE 21: neither key nor prompt nor arguments, at any level."""
    caplog.set_level("DEBUG")

    def weather(city: str) -> None:
        raise ValueError(city)

    play(sandbox, [tool("weather", {"city": PROMPT}), tool(PROMPT, KEY), done()], ANSWERS)
    make(api_key=KEY).ai.run(PROMPT, tools=[weather]).until_done()
    assert "tool 'weather' failed: ValueError at" in caplog.text
    assert PROMPT not in caplog.text and KEY not in caplog.text
