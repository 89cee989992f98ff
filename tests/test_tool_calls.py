"""Tool calls: what the model is told of each, and in which threads they run."""

from __future__ import annotations

import contextvars
import dataclasses
import logging
import math
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from discretion import KEY, PROMPT
from tables import each

from websopy_sync import (
    APITimeoutError,
    ConfigError,
    StreamCancelledError,
    Tool,
    ToolArgumentsError,
    ToolCall,
    ToolError,
)
from websopy_sync.cancel import CancelScope
from websopy_sync.options import ToolOptions
from websopy_sync.tool_calls import MAX_RESULT_SIZE, ToolCaller

SOON = 0.25
"""Seconds in which something happens that does not wait for a tool; tools here take far longer."""


def run(
    function: Callable[..., Any], *arguments: str, scope: CancelScope | None = None, **options: Any
) -> list[str]:
    """The results of one answer's calls of a tool, each with arguments of its own."""
    tool = Tool("t", "", {}, function)
    caller = ToolCaller({"t": tool}, ToolOptions(**options), scope or CancelScope(None))
    calls = [ToolCall("t", text) for text in arguments or [""]]
    return caller.results(calls, contextvars.copy_context())


def raising(error: BaseException) -> Callable[[], None]:
    """A tool that raises."""

    def tool() -> None:
        raise error

    return tool


both = each("options", [{}, {"parallel": 1}, {"parallel": 1, "tool_timeout": 9}])
"""In threads, in the caller's, in one thread."""


@attrs.frozen
class Spot:
    x: int
    inner: Any = None


@dataclasses.dataclass
class Place:
    name: str
    spot: Any


NESTED = '{"x": 1, "inner": {"name": "p", "spot": {"x": 2, "inner": null}}}'


# --- results -------------------------------------------------------------------------------------


@each(
    ("value", "text"),
    [
        ("as it is é", "as it is é"),
        ("", ""),
        (None, "null"),
        (7, "7"),
        (True, "true"),
        ([1, "é", (2,)], '[1, "é", [2]]'),
        ({"a": {"b": None}}, '{"a": {"b": null}}'),
        (Spot(1, Place("p", Spot(2))), NESTED),
        ([Place("é", ())], '[{"name": "é", "spot": []}]'),
    ],
)  # fmt: skip
def test_result_as_text(value: Any, text: str) -> None:
    """A str goes as it is, everything else as JSON."""
    assert run(lambda: value) == [text]


class Broken:
    """Its JSON cannot be made."""

    def __init__(self) -> None:
        self.own = self


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


async def later() -> int:
    return 1


@each(
    ("make", "problem"),
    [
        (lambda: {1}, "set"),
        (lambda: b"x", "bytes"),
        (lambda: "half \ud83d", "lone surrogate"),
        (lambda: math.nan, "ValueError"),
        (lambda: {(1, 2): 3}, "TypeError"),
        (lambda: Spot, "type"),
        (lambda: Broken(), "Broken"),
        (lambda: Spot(1, {2}), "set"),
        (endless, "ValueError"),
        (deep, "RecursionError"),
        (lambda: later(), "coroutine"),
        (lambda: "x" * (MAX_RESULT_SIZE + 1), f"at most {MAX_RESULT_SIZE}"),
    ],
)
def test_result_that_cannot_be_sent(make: Callable[[], Any], problem: str) -> None:
    """The model is told why, and so is the developer who asked for strict_tools."""
    with pytest.raises(ToolError, match=f"^tool 't': result: expected .*{problem}"):
        run(make, strict_tools=True)
    (result,) = run(make)
    assert result.startswith("Error: result: expected ")
    assert len(result) < 300


def test_largest_result() -> None:
    """It is sent."""
    assert run(lambda: "x" * MAX_RESULT_SIZE) == ["x" * MAX_RESULT_SIZE]


# --- failures ------------------------------------------------------------------------------------


@both
def test_a_tool_that_raises(caplog: pytest.LogCaptureFixture, options: dict[str, Any]) -> None:
    """The model gets the class; the log has the line too; neither has the text."""
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    assert run(raising(OSError(2, KEY, "/etc/shadow")), **options) == [
        "Error: the tool failed (FileNotFoundError)"
    ]
    (record,) = [record for record in caplog.records if record.name == "websopy_sync.tools"]
    assert record.levelname == "WARNING" and record.exc_info is None
    line = raising.__code__.co_firstlineno + 4
    assert record.getMessage() == f"tool 't' failed: FileNotFoundError at {__file__}:{line}"


def test_a_tool_says_itself_what_went_wrong(caplog: pytest.LogCaptureFixture) -> None:
    """By ToolError, whose text is for the model and not for the log."""
    assert run(raising(ToolError(f"no such city: {PROMPT}"))) == [f"Error: no such city: {PROMPT}"]
    assert "ToolError at" in caplog.text and PROMPT not in caplog.text


def test_a_failure_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """And without arguments, whatever is wrong with them."""

    def tool(city: str) -> None:
        raise ValueError(city)

    secret = f'{{"city": "{PROMPT}"}}'
    results = run(tool, secret, "{}", f'{{"town": "{KEY}"}}', f"[{KEY}")
    assert all(result.startswith("Error: ") for result in results)
    records = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(records) == 4
    assert PROMPT not in caplog.text and KEY not in caplog.text


def test_a_tool_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    """The model is told which there are; the log does not have the word that it made up."""
    tools = {name: Tool(name, "", {}, lambda: "x") for name in ("a", "b")}
    caller = ToolCaller(tools, ToolOptions(), CancelScope(None))
    results = caller.results(
        [ToolCall(PROMPT, "{}"), ToolCall("a", "{}")], contextvars.copy_context()
    )
    assert results == ["Error: there is no tool of this name; the tools are: a, b", "x"]
    assert "no such tool" in caplog.text and PROMPT not in caplog.text
    caller = ToolCaller({}, ToolOptions(), CancelScope(None))
    (result,) = caller.results([ToolCall("a", "{}")], contextvars.copy_context())
    assert result.endswith("the tools are: none")


@both
def test_strict_tools(options: dict[str, Any]) -> None:
    """The error has the call and the tool's exception; it pickles, but for that."""
    own = OSError(2, "no")
    with pytest.raises(ToolError, match=r"^tool 't': the tool failed \(FileNotFound") as caught:
        run(raising(own), "{}", strict_tools=True, **options)
    error = caught.value
    assert error.__cause__ is own
    assert error.call == ToolCall("t", "{}")
    assert pickle.loads(pickle.dumps(error)) == error


def test_strict_tools_and_a_tools_own_error() -> None:
    """A ToolError of the tool is raised itself."""
    own = ToolError("no such city")
    with pytest.raises(ToolError) as caught:
        run(raising(own), "{}", strict_tools=True)
    assert caught.value is own and own.call == ToolCall("t", "{}")


@each("arguments", ["[", '{"x": 1}'])
def test_strict_tools_and_arguments(arguments: str) -> None:
    """No tool of the answer has run then."""
    ran: list[int] = []
    with pytest.raises(ToolError, match="arguments") as caught:
        run(lambda: ran.append(1), "", arguments, strict_tools=True)
    assert caught.value.call == ToolCall("t", arguments)
    assert isinstance(caught.value.__cause__, ValueError)
    assert isinstance(caught.value.__cause__, ToolArgumentsError) == (arguments == "[")
    assert not ran


@both
@each("error", [KeyboardInterrupt(), SystemExit(3)])
def test_an_interrupt_in_a_tool_comes_out(error: BaseException, options: dict[str, Any]) -> None:
    """As it is, also from another thread."""
    with pytest.raises(type(error)) as caught:
        run(raising(error), **options)
    assert caught.value is error


def test_a_tools_error_without_a_text() -> None:
    """Whatever a tool puts there, the model gets some text."""
    assert run(raising(ToolError())) == ["Error: the tool failed (ToolError)"]
    assert run(raising(ToolError(7))) == ["Error: 7"]  # type: ignore[arg-type]  # that is the test


@both
def test_generator_exit_is_a_failure(options: dict[str, Any]) -> None:
    """It means nothing in a thread of a tool."""
    assert run(raising(GeneratorExit()), **options) == ["Error: the tool failed (GeneratorExit)"]


# --- approve -------------------------------------------------------------------------------------


@each(
    ("answer", "result"),
    [
        (True, "done"),
        (False, "The call was refused"),
        ("", "The call was refused"),
        ("not now", "The call was refused: not now"),
    ],
)
def test_approve(caplog: pytest.LogCaptureFixture, answer: bool | str, result: str) -> None:
    """A refusal is the call's result, and no failure."""
    asked: list[ToolCall] = []

    def approve(call: ToolCall) -> bool | str:
        asked.append(call)
        return answer

    for options in ({}, {"strict_tools": True}, {"parallel": 1}):
        assert run(lambda: "done", "{}", approve=approve, **options) == [result]
        assert asked.pop() == ToolCall("t", "{}")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_approve_is_asked_before_any_tool_runs() -> None:
    """In order, in the caller's thread, and not about a call that cannot be made."""
    seen: list[object] = []

    def approve(call: ToolCall) -> bool:
        seen.append((threading.get_ident(), call.arguments))
        return True

    run(lambda **given: seen.append("ran"), '{"a": 1}', "[", '{"a": 2}', approve=approve)
    here = threading.get_ident()
    assert seen == [(here, '{"a": 1}'), (here, '{"a": 2}'), "ran", "ran"]


@each("answer", [None, 1, 0, object()])
def test_approve_that_says_nothing(answer: Any) -> None:
    """A forgotten `return` neither approves nor refuses."""
    ran: list[int] = []
    with pytest.raises(ConfigError, match=f"approve: .*{type(answer).__name__}"):
        run(lambda: ran.append(1), approve=lambda call: answer)
    assert not ran


def test_approve_that_raises() -> None:
    """It is the caller's, and comes out."""
    with pytest.raises(ZeroDivisionError):
        run(lambda: "", approve=lambda call: bool(1 / 0))


# --- threads -------------------------------------------------------------------------------------


def test_results_are_in_the_order_of_the_calls() -> None:
    """Whichever is ready first."""
    turn = [threading.Event() for _ in range(4)]
    turn[3].set()

    def tool(n: int) -> int:
        assert turn[n].wait(5)
        if n:
            turn[n - 1].set()
        return n

    assert run(tool, *(f'{{"n": {n}}}' for n in range(4))) == ["0", "1", "2", "3"]


@each(("parallel", "calls", "most"), [(4, 9, 4), (2, 3, 2), (4, 2, 2), (9, 5, 5)])
def test_so_many_tools_at_a_time(parallel: int, calls: int, most: int) -> None:
    """`parallel` is the most, and it is reached."""
    running: list[int] = []
    peak: list[int] = []
    full = threading.Event()

    def tool() -> None:
        running.append(1)
        peak.append(len(running))
        if len(running) >= most:
            full.set()
        assert full.wait(5)
        time.sleep(0.01)
        running.pop()

    run(tool, *[""] * calls, parallel=parallel)
    assert max(peak) == most and len(peak) == calls


def test_the_callers_own_thread() -> None:
    """parallel=1 without a limit: for SQLite, and for what else belongs to a thread."""
    threads: list[int] = []

    def tool() -> None:
        threads.append(threading.get_ident())

    run(tool, "", "", parallel=1)
    assert threads == [threading.get_ident()] * 2
    for options in ({}, {"parallel": 1, "tool_timeout": 5}):
        threads.clear()
        run(tool, **options)
        assert threads != [threading.get_ident()]


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@both
def test_context_variables(options: dict[str, Any]) -> None:
    """A tool has the caller's, and keeps to itself what it sets."""

    def tool(n: int) -> str:
        before = variable.get()
        variable.set(str(n))
        return before

    token = variable.set("the caller's")
    try:
        assert run(tool, '{"n": 1}', '{"n": 2}', **options) == ["the caller's"] * 2
        assert variable.get() == "the caller's"
    finally:
        variable.reset(token)


def test_no_thread_to_be_had(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That call failed; the others go on."""
    start = threading.Thread.start
    begun: list[int] = []

    def limited(thread: threading.Thread) -> None:
        begun.append(1)
        if len(begun) == 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    begun[:] = [1]
    assert run(lambda: "ok") == ["Error: the tool could not be started"]
    begun.clear()
    assert run(lambda: "ok", "", "", "") == ["ok", "Error: the tool could not be started", "ok"]
    assert "no thread to be had" in caplog.text


def test_a_thread_that_begins_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool of a call that the model was told has failed never begins."""
    start, ran = threading.Thread.start, []
    late: list[threading.Thread] = []

    def first_one_late(thread: threading.Thread) -> None:
        late.append(thread)
        if len(late) > 1:
            start(late[0])
            late[0].join()
            start(thread)

    monkeypatch.setattr(threading.Thread, "start", first_one_late)
    calls = ['{"n": 1}', '{"n": 2}']
    results = run(lambda n: ran.append(n), *calls, parallel=1, tool_timeout=0.05)
    assert results == ["Error: the tool took longer than 0.05 seconds", "null"]
    assert ran == [2]


# --- limits and cancel ---------------------------------------------------------------------------


class Slow:
    """A tool that takes until it is released."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.release = threading.Event()
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        self.begun.set()
        assert self.release.wait(30)
        return "late"


@pytest.fixture
def slow() -> Any:
    tool = Slow()
    yield tool
    tool.release.set()


@pytest.mark.timing
def test_tool_timeout(slow: Slow, caplog: pytest.LogCaptureFixture) -> None:
    """The call is reported; what waits for its place runs."""

    def tool(fast: bool) -> str:
        return "fast" if fast else slow()

    began = time.monotonic()
    results = run(tool, *['{"fast": false}', '{"fast": true}'] * 2, parallel=1, tool_timeout=0.05)
    assert time.monotonic() - began < 0.1 + SOON
    assert results == ["Error: the tool took longer than 0.05 seconds", "fast"] * 2
    assert caplog.text.count("took longer") == 2


def test_tool_timeout_is_an_error_with_strict_tools(slow: Slow) -> None:
    """A typed one."""
    with pytest.raises(ToolError, match=r"'t': the tool took longer than 0.01 seconds"):
        run(slow, tool_timeout=0.01, strict_tools=True)


def test_a_late_result_is_dropped(slow: Slow) -> None:
    """Also while other calls of the answer go on."""

    def tool(n: int) -> str:
        if n == 0:
            return slow()
        slow.release.set()
        for thread in threading.enumerate():
            if thread.name == "websopy-tool" and thread is not threading.current_thread():
                thread.join(5)
        return "second"

    results = run(tool, '{"n": 0}', '{"n": 1}', parallel=1, tool_timeout=0.05)
    assert results == ["Error: the tool took longer than 0.05 seconds", "second"]


def test_a_late_failure_is_dropped(caplog: pytest.LogCaptureFixture, slow: Slow) -> None:
    """Of an abandoned tool nobody hears again."""

    def tool() -> None:
        slow()
        raise ValueError

    run(tool, tool_timeout=0.01)
    caplog.clear()
    slow.release.set()
    for thread in threading.enumerate():
        if thread.name == "websopy-tool":
            thread.join(5)
    assert not caplog.records


@pytest.mark.timing
@each("reason", ["cancelled", "closed"])
def test_cancel_in_a_tool(reason: Any) -> None:
    """The wait is over at once; what had not begun never does."""
    slow, scope = Slow(), CancelScope(None)
    ended: list[float] = []

    def end() -> None:
        assert slow.begun.wait(5)
        ended.append(time.monotonic())
        scope.abort(reason)

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(StreamCancelledError) as caught:
        run(slow, "", "", "", parallel=2, scope=scope)
    assert time.monotonic() - ended[0] < SOON
    assert caught.value.reason == reason
    slow.release.set()
    thread.join()
    assert slow.count <= 2


@both
def test_cancelled_before(options: dict[str, Any]) -> None:
    """No tool runs, and nobody is asked."""
    scope = CancelScope(None)
    scope.abort("cancelled")
    ran: list[int] = []
    with pytest.raises(StreamCancelledError):
        run(lambda: ran.append(1), scope=scope, approve=lambda call: bool(ran.append(2)), **options)
    assert not ran


@each("where", ["tool", "approve"])
def test_cancel_between_two_tools(where: str) -> None:
    """In the caller's thread it is noticed after each."""
    scope, ran = CancelScope(None), []

    def note(*call: object) -> bool:
        ran.append(1)
        scope.abort("cancelled")
        return True

    given: dict[str, Any] = {"approve": note} if where == "approve" else {}
    with pytest.raises(StreamCancelledError):
        run(note, "", "", parallel=1, scope=scope, **given)
    assert ran == [1]


@pytest.mark.timing
def test_total_limit_in_a_tool(slow: Slow) -> None:
    """It ends the wait."""
    began = time.monotonic()
    with pytest.raises(APITimeoutError, match="total") as caught:
        run(slow, scope=CancelScope(0.1))
    assert 0.1 <= time.monotonic() - began < 0.1 + SOON
    assert (caught.value.phase, caught.value.sent) == ("total", True)


def test_total_limit_in_the_callers_thread() -> None:
    """It is noticed once the tool has returned; the next one does not begin."""
    ran: list[int] = []

    def tool() -> None:
        ran.append(1)
        time.sleep(0.06)

    with pytest.raises(APITimeoutError, match="total"):
        run(tool, "", "", parallel=1, scope=CancelScope(0.05))
    assert ran == [1]


def test_the_idle_limit_is_not_for_tools() -> None:
    """It is for the service."""
    scope = CancelScope(None, idle=0.01)
    scope.limit("idle", 0.01)
    scope.progress = True
    assert run(lambda: time.sleep(0.05), scope=scope) == ["null"]


CUT = "Error: the answer was cut, perhaps before the arguments of this call"


@each(
    ("arguments", "truncated", "last"),
    [
        (["", '{"n": 1}'], True, "1"),
        (['{"n": 1}', ""], True, CUT),
        (["", "{}"], True, CUT),
        (["", ""], False, "0"),
        ([""], True, CUT),
    ],
)
def test_the_last_call_of_an_answer_that_was_cut(
    arguments: list[str], truncated: bool, last: str
) -> None:
    """A call that may be cut before its arguments is not run without them; the model is told."""

    def tool(n: int = 0) -> int:
        return n

    caller = ToolCaller({"t": Tool("t", "", {}, tool)}, ToolOptions(), CancelScope(None))
    calls = [ToolCall("t", text) for text in arguments]
    results = caller.results(calls, contextvars.copy_context(), truncated=truncated)
    assert results[-1] == last and CUT not in results[:-1]
    assert caller.results([], contextvars.copy_context(), truncated=True) == []
