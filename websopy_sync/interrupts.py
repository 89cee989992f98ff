"""Interrupts: exceptions that the caller's program raises into our frames.

Knows nothing of streams, sockets and plugins, only exceptions and their tracebacks.

An interrupt is one of these. It leaves our code at once, unchanged, and nothing is retried:

- a BaseException that is no Exception: KeyboardInterrupt, SystemExit, `gevent.Timeout`,
  `GreenletExit`. Not GeneratorExit, which Python itself raises.
- any exception of a signal handler: a time limit set with `signal.alarm`, Celery's soft limit. Its
  class may be that of a socket's TimeoutError or of a plugin's failure; the traceback tells.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # typeshed leaves it out
import contextlib
import functools
import inspect
import itertools
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from types import CodeType, FrameType, TracebackType
from typing import ParamSpec, TypeGuard, TypeVar

__all__ = [
    "chain",
    "clear_frames",
    "discreet",
    "find_interrupt",
    "ignoring",
    "is_interrupt",
    "raised_by_signal_handler",
    "run_all",
]


_PACKAGE = __name__.partition(".")[0]
_CALLS_USERS_CODE = (f"{_PACKAGE}.hooks", f"{_PACKAGE}.tool_calls")

Params = ParamSpec("Params")
Result = TypeVar("Result")


def is_interrupt(error: BaseException | None) -> bool:
    """Whether an exception is an interrupt by itself; see `find_interrupt` for wrapped ones."""
    if error is None or isinstance(error, GeneratorExit):
        return False
    return not isinstance(error, Exception) or raised_by_signal_handler(error)


def find_interrupt(error: BaseException) -> BaseException | None:
    """The interrupt that an exception is or wraps; None when there is none.

    A signal handler may raise inside a library, which then wraps the exception in its own: urllib3
    does, and so does a plugin's database driver.
    """
    if is_interrupt(error) and not isinstance(error, Exception):
        return error
    links = [error, *_wrapped(error, sys._getframe(1))]
    # urllib3 gives its wrapper the traceback of the original, so that both have the handler's
    # frame. The last one is the original.
    handlers = [_handler_frame(link) for link in links]
    handler = next(filter(None, handlers), None)
    found = [link for link, frame in zip(links, handlers, strict=True) if frame is handler]
    return found[-1] if handler is not None else None


def _wrapped(error: BaseException, catcher: FrameType) -> Iterator[BaseException]:
    """The exceptions that one wraps, if they were raised below the frame that caught it.

    Python links every new exception to the one that is being handled, also if a caller far above
    handles it. That one is not ours.
    """
    above = set()
    frame = catcher.f_back
    while frame is not None:
        above.add(frame)
        frame = frame.f_back
    for link in itertools.islice(chain(error), 1, None):
        trace = link.__traceback__
        if trace is not None and trace.tb_frame not in above:
            yield link


def raised_by_signal_handler(error: BaseException) -> bool:
    """Whether a frame of a signal handler is in the exception's traceback."""
    return _handler_frame(error) is not None


def clear_frames(error: BaseException) -> None:
    """Clear the local variables in the traceback of an exception and of those it wraps.

    Crash reporters show them. Those of a signal handler, a plugin and a tool stay: they are the
    user's.
    """
    for link in (error, *_wrapped(error, sys._getframe(1))):
        handler = _handler_frame(link)
        module = ""
        for frame, _ in traceback.walk_tb(link.__traceback__):
            caller, module = module, frame.f_globals.get("__name__", "")
            in_package = module.partition(".")[0] == _PACKAGE
            if frame is handler or (caller.startswith(_CALLS_USERS_CODE) and not in_package):
                break
            try:
                frame.clear()
                frame.f_locals  # noqa: B018  # until 3.12 it is a snapshot, which clear() leaves
            except RuntimeError:  # it is still running
                pass


def discreet(function: Callable[Params, Result]) -> Callable[Params, Result]:
    """Decorates a function whose arguments are secret: the key, the prompt.

    No exception that leaves it has them, or values made of them, in the locals of its traceback,
    which crash reporters show.
    """

    @functools.wraps(function)
    def call(*args: Params.args, **kwargs: Params.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            clear_frames(error)
            raise
        finally:
            del args, kwargs

    return call


class ignoring(contextlib.suppress):  # noqa: N801  # lower case like its base class
    """`contextlib.suppress` that lets interrupts through."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """True when the exception is suppressed."""
        return super().__exit__(kind, error, trace) and not is_interrupt(error)


def run_all(*calls: Callable[[], object], error: BaseException | None = None) -> None:
    """Make every call, even if one raises, and then raise the most urgent exception.

    Ctrl-C comes before a time limit, and that before a failure; the first of equals wins.

    Args:
        *calls: Functions without arguments.
        error: What the caller raises itself after this. It counts as the first exception, and is
            not raised here.

    Raises:
        BaseException: The most urgent exception, unless that is `error`.
    """
    raised = [] if error is None else [error]
    for call in calls:
        try:
            call()
        except BaseException as failure:  # noqa: BLE001  # the most urgent is raised below
            raised.append(failure)
    if raised:
        most_urgent = max(raised, key=_urgency)  # the first of equals
        if most_urgent is not error:
            raise most_urgent


def _urgency(error: BaseException) -> int:
    """2 for Ctrl-C and its like, 1 for an Exception of a signal handler, 0 for a failure."""
    return is_interrupt(error) + (not isinstance(error, Exception | GeneratorExit))


def chain(error: BaseException | None, depth: int = 8) -> Iterator[BaseException]:
    """An exception and all that it wraps, each once.

    urllib3 and requests keep the original as an argument, a `reason`, a cause or a context.
    """
    seen: set[int] = set()
    level = [] if error is None else [error]
    for _ in range(depth):
        deeper: list[object] = []
        for link in level:
            if id(link) not in seen:
                seen.add(id(link))
                yield link
                deeper += [*link.args, vars(link).get("reason")]
                deeper += [link.__cause__, link.__context__]
                deeper += link.exceptions if isinstance(link, BaseExceptionGroup) else ()
        level = [link for link in deeper if _is_exception(link)]


def _is_exception(value: object) -> TypeGuard[BaseException]:
    # Not isinstance(): that makes a lazy object, such as Django's, evaluate itself.
    return issubclass(type(value), BaseException)


def _handler_frame(error: BaseException) -> FrameType | None:
    """The frame of the signal handler that raised an exception, None if no handler did."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if len(frames) < 2:  # raised in the catcher's own frame: there is no handler's
        return None
    handlers = _handlers()
    for interrupted, frame in itertools.pairwise(frames):
        if frame.f_code in handlers or _handles_signal(frame, interrupted):
            return frame
    return None


def _handles_signal(frame: FrameType, interrupted: FrameType) -> bool:
    """Whether a frame has a handler's arguments, (signal number, interrupted frame).

    A handler that installed another one before it raised is found only by this.
    """
    given = inspect.getargvalues(frame)
    values = [given.locals.get(name) for name in given.args]
    rest = given.locals.get(given.varargs or "")
    values += rest if isinstance(rest, tuple) else ()
    return any(
        issubclass(type(number), int) and value is interrupted  # see `_is_exception`
        for number, value in itertools.pairwise(values)
    )


def _handlers() -> set[CodeType]:
    """The code of every signal handler that is written in Python."""
    # `_signal`, not `signal`: signal.getsignal() makes enum members, which takes ten times as
    # long, and it swallows a ValueError that a handler raises meanwhile.
    handlers = (_signal.getsignal(number) for number in range(1, signal.NSIG))
    codes = (_code_of(handler) for handler in handlers if callable(handler))
    return {code for code in codes if code is not None}


def _code_of(handler: object) -> CodeType | None:
    """The code that runs when a handler is called: a function, a method, a partial, an object."""
    for _ in range(8):
        code = getattr(handler, "__code__", None)
        if isinstance(code, CodeType):
            return code
        if isinstance(handler, functools.partial):
            handler = handler.func
        elif isinstance(handler, type):
            handler = getattr(handler, "__init__", None)
        else:
            handler = getattr(handler, "__func__", None) or type(handler).__call__
    return None
