"""Runs the tool calls of one answer, and turns what comes of them into text for the model.

Each call is checked, approved and run: in threads, a bounded number at a time, or in the caller's
thread. Knows nothing of streams, requests and turns.
"""

from __future__ import annotations

import contextvars
import inspect
import logging
import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .cancel import CancelScope, Wake
from .errors import APITimeoutError, ConfigError
from .interrupts import find_interrupt, is_interrupt
from .options import ToolOptions
from .surrogates import scalar_text
from .threads import start_thread
from .tool_call import ToolCall
from .tool_errors import ToolError
from .tool_results import result_text
from .tools import Tool

__all__ = ["FAILED", "MAX_RESULT_SIZE", "REFUSED", "ToolCaller"]

MAX_RESULT_SIZE = 1024 * 1024
"""Most characters of a result. A larger one is reported to the model as an error."""

FAILED = "Error: "
"""How the result of a call that failed begins."""

REFUSED = "The call was refused"
"""How the result of a call that `approve` refused begins."""

_PACKAGE = __name__.partition(".")[0]

_log = logging.getLogger(f"{_PACKAGE}.tools")


class _Failure(Exception):
    """A call that has no result: why, in words for the model, and in words for the log."""

    def __init__(self, told: str, logged: str) -> None:
        super().__init__(told)
        self.told, self.logged = told, logged


class _Job:
    """One call on its way to a result. Its repr shows no text."""

    def __init__(self, call: ToolCall, tool: Tool | None) -> None:
        self.call = call
        self.tool = tool
        self.arguments: dict[str, Any] = {}
        self.deadline = math.inf
        self.abandoned = False
        self.outcome: tuple[str, BaseException | None] | None = None
        """A text or an error. The thread of the tool sets it, also after the run has gone on."""
        self.result: str | None = None

    @property
    def title(self) -> str:
        """What the log calls it. The model may echo the prompt in the name of no tool of ours."""
        return "a tool that is not there" if self.tool is None else f"tool {self.tool.name!r}"

    def prepare(self, names: Iterable[str]) -> None:
        """Read the arguments.

        names: of all tools, for a model that asks for another.
        """
        if self.tool is None:
            there = ", ".join(names) or "none"
            self.fail(f"there is no tool of this name; the tools are: {there}", "no such tool")
            return
        try:
            self.arguments = self.tool.parse_arguments(self.call)
        except Exception as error:  # a class in the annotations may raise any
            if find_interrupt(error) is not None:
                raise
            ours = isinstance(error, ValueError)
            why = scalar_text(str(error)) if ours else f"wrong arguments ({type(error).__name__})"
            self.fail(f"{why:.500}", "wrong arguments", cause=error)

    def check_whole(self) -> None:
        """Refuse a call without arguments: the answer was cut, and perhaps before them."""
        if not self.arguments and self.outcome is None:
            told = "the answer was cut, perhaps before the arguments of this call"
            self.fail(told, "its answer was cut")

    def run(self) -> None:
        """Call the tool, unless the run has gone on without it."""
        try:
            if not self.abandoned:
                assert self.tool is not None  # prepare() fails without one
                self.outcome = _text_of(self.tool.function(**self.arguments)), None
        except BaseException as error:  # noqa: BLE001  # raised in the thread of the run
            self.outcome = "", find_interrupt(error) or error

    def fail(self, told: str, logged: str, *, cause: BaseException | None = None) -> None:
        """Have an error of ours as the outcome."""
        failure = _Failure(told, logged)
        failure.__cause__ = cause
        self.outcome = "", failure

    def refuse(self, reason: str) -> None:
        """Have a refusal as the result, which is no error."""
        self.result = f"{REFUSED}{': ' if reason else ''}{scalar_text(reason)}"


class ToolCaller:
    """Runs tool calls, those of one answer at a time.

    Args:
        tools: By their names.
        options: How they are called.
        scope: Ends the wait for them: by its total limit, or when it is aborted.
    """

    def __init__(self, tools: Mapping[str, Tool], options: ToolOptions, scope: CancelScope) -> None:
        self._tools = tools
        self._options = options
        self._scope = scope
        self._wake = Wake()

    def results(
        self, calls: Sequence[ToolCall], context: contextvars.Context, *, truncated: bool = False
    ) -> list[str]:
        """The results of these calls, in their order.

        Args:
            calls: What the model asks for.
            context: Each call runs in a copy of it.
            truncated: Whether the service cut the answer, so that the last call may be in part.

        Raises:
            ToolError: A call failed, and `strict_tools` was asked for.
            ConfigError: `approve` returned neither a bool nor a str.
            APITimeoutError: The total limit passed.
            StreamCancelledError: The scope was aborted.
            BaseException: What `approve` raises, and an interrupt in a tool.
        """
        self._scope.limit("idle", None)  # only the total limit is left
        self._check_limits()
        jobs = [_Job(call, self._tools.get(call.name)) for call in calls]
        try:
            for job in jobs:
                job.prepare(self._tools)
                if truncated and job is jobs[-1]:
                    job.check_whole()
                self._settle(job)
            for job in jobs:
                self._approve(job)
            self._run(deque(job for job in jobs if job.result is None), context)
            return [job.result or "" for job in jobs]
        finally:
            for job in jobs:
                job.abandoned = True

    def _approve(self, job: _Job) -> None:
        if self._options.approve is None or job.result is not None:
            return
        answer: object = self._options.approve(job.call)
        if isinstance(answer, str):
            job.refuse(answer)
        elif not isinstance(answer, bool):
            got = type(answer).__name__
            raise ConfigError(f"approve: expected it to return a bool or a str, got {got}")
        elif not answer:
            job.refuse("")
        self._check_limits()

    def _run(self, waiting: deque[_Job], context: contextvars.Context) -> None:
        if self._options.parallel == 1 and self._options.tool_timeout is None:
            for job in waiting:
                context.copy().run(job.run)
                self._settle(job)
                self._check_limits()
            return
        running: list[_Job] = []
        while waiting or running:
            # A new one before the jobs are looked at: a job sets its outcome, and then wakes us.
            self._wake = wake = Wake()
            left = self._check_limits()
            running = [job for job in running if not self._is_over(job)]
            while waiting and len(running) < self._options.parallel:
                running.append(self._started(waiting.popleft(), context.copy()))
            if running:
                nearest = min(job.deadline for job in running) - time.monotonic()
                self._scope.wait(min(nearest, left), wake)

    def _started(self, job: _Job, context: contextvars.Context) -> _Job:
        """The job, running in a thread of its own."""

        def work() -> None:
            context.run(job.run)
            self._wake.set()

        if self._options.tool_timeout is not None:
            job.deadline = time.monotonic() + self._options.tool_timeout
        error = start_thread(threading.Thread(target=work, name="websopy-tool", daemon=True))
        if error is not None:
            job.fail("the tool could not be started", "no thread to be had", cause=error)
            self._wake.set()
        return job

    def _is_over(self, job: _Job) -> bool:
        """Whether the run goes on without this job, as it is finished or takes too long."""
        if job.outcome is None and time.monotonic() >= job.deadline:
            job.abandoned = True  # Python cannot stop a thread
            seconds = f"{self._options.tool_timeout:g} seconds"
            job.fail(f"the tool took longer than {seconds}", f"took longer than {seconds}")
        self._settle(job)
        return job.result is not None

    def _settle(self, job: _Job) -> None:
        """Make a result of a job's outcome, if there is one. Raises what has to come out."""
        if job.outcome is None:
            return
        text, error = job.outcome
        job.outcome = None  # the error's frames hold the job, which would be a cycle
        if error is None:
            job.result = text
            return
        if is_interrupt(error):
            raise error
        told, logged = _words(error)
        if self._options.strict_tools:
            raise _strict(error, job, told)
        _log.warning("%s failed: %s", job.title, logged)
        job.result = f"{FAILED}{told}"

    def _check_limits(self) -> float:
        """The seconds that are left. Raises when there are none, or the scope was aborted."""
        self._scope.raise_aborted()
        try:
            return self._scope.remaining()
        except TimeoutError as error:
            if is_interrupt(error):
                raise
        raise APITimeoutError("total limit passed while tools ran", phase="total", sent=True)


def _words(error: BaseException) -> tuple[str, str]:
    """What the model is told of a failure, and what the log says.

    The text of a tool's exception may hold paths, keys and the prompt: neither has it.
    """
    if isinstance(error, _Failure):
        return error.told, error.logged
    kind = type(error).__name__
    said = f"{error.message}" if isinstance(error, ToolError) else ""
    told = said or f"the tool failed ({kind})"
    return scalar_text(told[:MAX_RESULT_SIZE]), kind + _place(error)


def _place(error: BaseException) -> str:
    """The line of the tool that raised, " at /path/file.py:12"; "" when none of its lines ran."""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__")).partition(".")[0] != _PACKAGE:
            return f" at {frame.f_code.co_filename}:{line}"
    return ""


def _strict(error: BaseException, job: _Job, told: str) -> ToolError:
    """The error that `strict_tools` raises."""
    if isinstance(error, ToolError):
        error.call = job.call
        return error
    strict = ToolError(f"{job.title}: {told}", call=job.call)
    strict.__cause__ = error.__cause__ if isinstance(error, _Failure) else error
    return strict


def _text_of(result: object) -> str:
    """A result as text, JSON if it is none."""
    if inspect.iscoroutine(result):
        result.close()  # else Python warns that nobody awaited it
    text = result_text(result)
    if isinstance(text, ConfigError):
        problem = text.message
    elif len(text) > MAX_RESULT_SIZE:
        problem = f"result: expected at most {MAX_RESULT_SIZE} characters, got {len(text)}"
    else:
        return text
    raise _Failure(problem, problem)
