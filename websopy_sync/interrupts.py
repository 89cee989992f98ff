"""What the caller's own program raises into our frames, told apart from what fails in them.

Knows nothing of streams, sockets and plugins: it looks at exceptions and their tracebacks.

An interrupt is either

- a BaseException that is no Exception, such as KeyboardInterrupt, SystemExit, `gevent.Timeout` and
  `GreenletExit` (but not GeneratorExit, which Python itself raises), or
- whatever a signal handler raised: a time limit of `signal.alarm`, Celery's soft limit. By its
  class alone it may look like a socket's TimeoutError or like a plugin's failure.

An interrupt comes out as it is, at once, and nothing is tried again after it.
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
_HOOKS = f"{_PACKAGE}.hooks"

Params = ParamSpec("Params")
Result = TypeVar("Result")


def is_interrupt(error: BaseException | None) -> bool:
    """Whether the caller's own program raised this exception into our frames."""
    if error is None or isinstance(error, GeneratorExit):
        return False
    return not isinstance(error, Exception) or raised_by_signal_handler(error)


def find_interrupt(error: BaseException) -> BaseException | None:
    """The interrupt that an exception is or was made from; None when there is none.

    Libraries wrap what a signal handler raised into their receive: urllib3 in its own errors, and
    a plugin's database driver likewise. urllib3 gives the wrapper the traceback of the original.
    """
    if is_interrupt(error) and not isinstance(error, Exception):
        return error
    links = [error, *_made_from(error, sys._getframe(1))]
    handlers = [_handler_frame(link) for link in links]
    handler = next(filter(None, handlers), None)
    found = [link for link, frame in zip(links, handlers, strict=True) if frame is handler]
    return found[-1] if handler is not None else None


def _made_from(error: BaseException, catcher: FrameType) -> Iterator[BaseException]:
    """What an exception was made from, below the frame that caught it.

    An exception that was being handled above that frame is a context of all that is raised below.
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
    """Forget the local variables of the frames that an exception came through.

    The frames of a signal handler and of a plugin keep theirs: they are the caller's.
    """
    for link in (error, *_made_from(error, sys._getframe(1))):
        handler = _handler_frame(link)
        module = ""
        for frame, _ in traceback.walk_tb(link.__traceback__):
            caller, module = module, frame.f_globals.get("__name__", "")
            in_plugin = caller.startswith(_HOOKS) and not module.startswith(_PACKAGE)
            if frame is handler or in_plugin:
                break
            try:
                frame.clear()
            except RuntimeError:  # it is still running
                pass


def discreet(function: Callable[Params, Result]) -> Callable[Params, Result]:
    """Let no exception out of a function with its arguments, or what was made of them, in reach.

    They are the key and the prompt, and crash reporters show the locals of every frame.
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


class ignoring(contextlib.suppress):  # noqa: N801  # as the one that it stands for
    """`contextlib.suppress` that lets interrupts through."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Whether the exception is dropped."""
        return super().__exit__(kind, error, trace) and not is_interrupt(error)


def run_all(*calls: Callable[[], object], error: BaseException | None = None) -> None:
    """Make every call, whatever the others raise, and raise one exception at the end.

    The first one, but an interrupt before any other exception. `error` is what the caller is
    about to raise by itself: it stands in front of the calls' own, and is not raised here.

    Raises:
        BaseException: what one of the calls raised.
    """
    raised = [] if error is None else [error]
    for call in calls:
        try:
            call()
        except BaseException as failure:  # noqa: BLE001  # one of them is raised below
            raised.append(failure)
    if raised:
        worst = max(raised, key=_rank)  # the first of equals
        if worst is not error:
            raise worst


def _rank(error: BaseException) -> int:
    """How much an exception has to come out: Ctrl-C before a time limit before a failure."""
    return is_interrupt(error) + (not isinstance(error, Exception | GeneratorExit))


def chain(error: BaseException | None, depth: int = 8) -> Iterator[BaseException]:
    """An exception and all it was made from, without the doubles.

    urllib3 and requests pack the original as an argument, a `reason`, a cause or a context.
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
    # Not isinstance(): it would have a lazy object, such as Django's, find out what it stands for.
    return issubclass(type(value), BaseException)


def _handler_frame(error: BaseException) -> FrameType | None:
    """The frame of the signal handler that an exception came out of."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if len(frames) < 2:  # raised right here, by something written in C
        return None
    handlers = _handlers()
    for interrupted, frame in itertools.pairwise(frames):
        if frame.f_code in handlers or _handles_signal(frame, interrupted):
            return frame
    return None


def _handles_signal(frame: FrameType, interrupted: FrameType) -> bool:
    """Whether a frame has a handler's arguments, (signal number, interrupted frame).

    So a handler is known that has put another one in its place before it raised.
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
    # The function in C: the one in Python around it makes enum members, which takes ten times as
    # long, and swallows a ValueError that a handler raises meanwhile.
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
