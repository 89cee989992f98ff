"""Interrupts: what a signal handler raised is one, whatever it looks like; a failure is not."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import signal
import sys
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import greenlet
import pytest

from websopy_sync.interrupts import (
    chain,
    clear_frames,
    find_interrupt,
    ignoring,
    is_interrupt,
    raised_by_signal_handler,
    run_all,
)


@contextlib.contextmanager
def handling(handler: Any) -> Iterator[None]:
    """Install a handler of SIGUSR1."""
    old = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, old)


def ring() -> None:
    """Run the handler of SIGUSR1 here."""
    signal.raise_signal(signal.SIGUSR1)
    for _ in range(3):  # at the latest, it runs at a jump back
        pass


def caught(call: Callable[[], object]) -> BaseException:
    """The exception that a call raises."""
    try:
        call()
    except BaseException as error:  # noqa: BLE001  # that is the test
        return error
    pytest.fail("nothing was raised")


# --- handlers ------------------------------------------------------------------------------------


def plain(signum: int, frame: Any) -> None:
    raise TimeoutError("plain")


def through_others(signum: int, frame: Any) -> None:
    def deeper() -> None:
        raise TimeoutError("a function that the handler calls")

    sorted([2, 1], key=lambda _: deeper())


def with_a_cause(signum: int, frame: Any) -> None:
    try:
        {}["missing"]
    except KeyError as error:
        raise OSError("chained") from error


def that_names_nothing(*_: Any) -> None:
    raise BrokenPipeError("no named arguments")


def that_forgets_its_arguments(signum: int, frame: Any) -> None:
    del signum, frame
    raise TimeoutError


def that_is_replaced(signum: int, frame: Any) -> None:
    signal.signal(signum, signal.SIG_DFL)
    raise TimeoutError("a limit that is used once")


def with_an_own_argument(limit: float, signum: int, frame: Any) -> None:
    raise TimeoutError(f"{limit} s are over")


def decorated(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        function(*args, **kwargs)

    return wrapper


def closure(text: str) -> Callable[[int, Any], None]:
    def handler(signum: int, frame: Any) -> None:
        raise TimeoutError(text)

    return handler


class Limit:
    def __init__(self, signum: int = 0, frame: Any = None) -> None:
        if signum:
            raise TimeoutError("a class")

    def __call__(self, signum: int, frame: Any) -> None:
        raise TimeoutError("an object")

    def method(self, signum: int, frame: Any) -> None:
        raise TimeoutError("a method")

    @classmethod
    def of_class(cls, signum: int, frame: Any) -> None:
        raise TimeoutError("a class method")

    @staticmethod
    def of_nobody(signum: int, frame: Any) -> None:
        raise TimeoutError("a static method")


def raising_handler(kind: type[Exception]) -> Callable[..., None]:
    def handler(*_: Any) -> None:
        raise kind

    return handler


HANDLERS: dict[str, Any] = {
    "function": plain,
    "function that calls others": through_others,
    "chained": with_a_cause,
    "only *args": that_names_nothing,
    "forgets its arguments": that_forgets_its_arguments,
    "replaces itself": that_is_replaced,
    "lambda": lambda *_: (_ for _ in ()).throw(TimeoutError),
    "closure": closure("closure"),
    "decorated": decorated(plain),
    "cached": functools.lru_cache(plain),
    "method": Limit().method,
    "class method": Limit.of_class,
    "static method": Limit.of_nobody,
    "object": Limit(),
    "class": Limit,
    "partial": functools.partial(with_an_own_argument, 1.0),
    "partial of a partial": functools.partial(functools.partial(with_an_own_argument), 1.0),
    "partial of a method": functools.partial(Limit().method),
    "partial of an object": functools.partial(Limit()),
    **{
        kind.__name__: raising_handler(kind)
        for kind in (Exception, OSError, ConnectionResetError, ValueError, StopIteration)
    },
}


@pytest.mark.parametrize("handler", HANDLERS.values(), ids=HANDLERS)
def test_what_a_signal_handler_raises_is_an_interrupt(handler: Any) -> None:
    """The handler may be any callable, its exception of any class."""
    with handling(handler):
        error = caught(ring)
        assert raised_by_signal_handler(error)
        assert is_interrupt(error)
        assert find_interrupt(error) is error


@pytest.mark.parametrize(
    "handler",
    [handler for name, handler in HANDLERS.items() if name != "forgets its arguments"],
    ids=[name for name in HANDLERS if name != "forgets its arguments"],
)
def test_a_handler_that_was_replaced_since_is_known(handler: Any) -> None:
    """A `with` block of a time limit has put the old handler back by now."""
    with handling(handler):
        error = caught(ring)
    assert is_interrupt(error)


def test_a_handler_in_the_middle_of_nested_calls() -> None:
    """The traceback may have frames on both sides of the handler's."""

    def nested(depth: int) -> None:
        nested(depth - 1) if depth else ring()

    with handling(through_others):
        assert is_interrupt(caught(lambda: nested(50)))


def test_a_handler_that_interrupts_a_handler() -> None:
    """The inner one's exception is an interrupt, and so is the outer one's."""
    with handling(plain):
        old = signal.signal(signal.SIGUSR2, lambda *_: ring())
        try:
            error = caught(lambda: signal.raise_signal(signal.SIGUSR2))
        finally:
            signal.signal(signal.SIGUSR2, old)
    assert str(error) == "plain" and is_interrupt(error)


# --- what is none --------------------------------------------------------------------------------


def plugin_of_its_own() -> None:
    raise TimeoutError("a failure")


def given_a_frame(frame: Any, number: int) -> None:
    raise TimeoutError("it has its caller's frame, but is no handler")


def swallowed_by_code() -> None:
    """A time limit that passed is no interrupt for a later failure."""
    with contextlib.suppress(TimeoutError):
        ring()
    raise OSError("later, and another")


class Lazy:
    """A lazy object like Django's: it evaluates itself when it is inspected."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("looked at")


def given_what_is_lazy(lazy: Lazy, frame: Any) -> None:
    raise ValueError("a plugin's own", lazy)


class Odd(Exception):
    """It has the attributes in which other exceptions keep what they wrap."""

    exceptions = 3

    @property
    def reason(self) -> str:
        raise RuntimeError("looked at")


def odd() -> None:
    raise Odd


NO_HANDLERS: dict[str, Callable[[], object]] = {
    "raised here": plugin_of_its_own,
    "raised in C": lambda: int("x"),
    "deep recursion": lambda: (lambda f: f(f))(lambda f: f(f)),
    "given its caller's frame": lambda: given_a_frame(sys._getframe(), 14),
    "dealt with before": swallowed_by_code,
    "given what is lazy": lambda: given_what_is_lazy(Lazy(), sys._getframe()),
    "with attributes of its own": odd,
}


@pytest.mark.parametrize("call", NO_HANDLERS.values(), ids=NO_HANDLERS)
def test_any_other_exception_is_none(call: Callable[[], object]) -> None:
    """A failure is no interrupt just because a handler is installed."""
    with handling(plain):
        error = caught(call)
        assert not is_interrupt(error)
        assert find_interrupt(error) is None


@pytest.mark.parametrize(
    ("error", "interrupt"),
    [
        (KeyboardInterrupt(), True),
        (SystemExit(1), True),
        (gevent.Timeout(1), True),
        (greenlet.GreenletExit(), True),
        (asyncio.CancelledError(), True),
        (BaseExceptionGroup("", [KeyboardInterrupt()]), True),
        (GeneratorExit(), False),
        (TimeoutError(), False),
        (ExceptionGroup("", [TimeoutError()]), False),
        (None, False),
    ],
)
def test_kinds_without_a_traceback(error: BaseException | None, interrupt: bool) -> None:
    """A BaseException that is no Exception is an interrupt; GeneratorExit is Python's own."""
    assert is_interrupt(error) is interrupt


# --- in a chain ----------------------------------------------------------------------------------


class PackedError(Exception):
    """Holds the original as urllib3 does, in `reason`, and nowhere else."""

    reason: BaseException | None = None


def from_cause() -> None:
    try:
        ring()
    except OSError as error:
        raise ValueError from error


def from_context() -> None:
    try:
        ring()
    except OSError:
        raise ValueError  # noqa: B904


def from_hidden_context() -> None:
    try:
        ring()
    except OSError:
        raise ValueError from None


def from_argument() -> None:
    failure = None
    try:
        ring()
    except OSError as error:
        failure = ValueError("text", error)
    raise failure


def from_reason() -> None:
    failure = PackedError()
    try:
        ring()
    except OSError as error:
        failure.reason = error
    raise failure


def from_group() -> None:
    failure = None
    try:
        ring()
    except OSError as error:
        failure = ExceptionGroup("", [ValueError(), error])
    raise failure


def from_afar() -> None:
    try:
        from_cause()
    except ValueError as error:
        raise RuntimeError(LookupError(error)) from None


@pytest.mark.parametrize(
    "call",
    [from_cause, from_context, from_hidden_context, from_argument, from_reason, from_group,
     from_afar],
)  # fmt: skip
def test_an_interrupt_is_found_in_what_was_made_from_it(call: Callable[[], None]) -> None:
    """It is the very exception that the handler raised."""
    with handling(plain):
        error = caught(call)
        assert not is_interrupt(error)
        found = find_interrupt(error)
    assert (type(found), str(found)) == (TimeoutError, "plain")


def test_an_interrupt_that_the_caller_is_handling_is_not_found() -> None:
    """It is the context of all that is raised meanwhile, but it was raised before."""

    def later() -> BaseException | None:
        return find_interrupt(caught(plugin_of_its_own))

    with handling(plain):
        try:
            ring()
        except TimeoutError as error:
            failure = caught(plugin_of_its_own)
            found = later()
            context_is_it = failure.__context__ is error
    assert context_is_it and found is None


def test_what_a_plugin_makes_of_its_own_exit_is_its_failure() -> None:
    """asyncio itself turns its CancelledError into a TimeoutError: no interrupt."""

    async def late() -> None:
        await asyncio.wait_for(asyncio.sleep(5), 0.01)

    error = caught(lambda: asyncio.run(late()))
    assert any(isinstance(link, asyncio.CancelledError) for link in chain(error))
    assert find_interrupt(error) is None


def test_a_chain_that_bites_its_tail_ends() -> None:
    """Each exception comes once, however they refer to each other."""
    first, second = ValueError(), OSError()
    first.__cause__, second.__context__ = second, first
    first.args = (second, first, "text")
    assert list(chain(first)) == [first, second]
    assert list(chain(None)) == []


# --- locals --------------------------------------------------------------------------------------


def holder() -> None:
    secret = "secret"  # noqa: F841  # it is looked for
    ring()


class Held:
    """What a frame holds."""


def test_cleared_frames_hold_nothing() -> None:
    """Also after a look at their locals, of which Python keeps a copy until 3.12."""
    held: list[weakref.ref[Held]] = []

    def fail() -> None:
        local = Held()
        held.append(weakref.ref(local))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        fail()
    assert not is_interrupt(caught.value)
    assert "local" in caught.tb.tb_next.tb_frame.f_locals  # type: ignore[union-attr]  # fail()'s
    clear_frames(caught.value)
    assert held[0]() is None


def test_clear_frames_leaves_a_handlers_own() -> None:
    """Our frames lose their locals; the frames of the user's handler keep theirs."""

    def handler(signum: int, frame: Any) -> None:
        mine = "mine"  # noqa: F841  # it is looked for
        del frame  # its locals are what the test is about
        raise TimeoutError

    with handling(handler):
        error = caught(holder)
        clear_frames(error)
        held = [frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__)][1:]
        assert "secret" not in {str(value) for names in held for value in names.values()}
        assert any(names.get("mine") == "mine" for names in held)
        assert is_interrupt(error)  # it is known as one still
    gc.collect()


# --- failures that are ignored -------------------------------------------------------------------


def test_ignoring_lets_interrupts_through() -> None:
    """It suppresses a failure, and lets a signal handler's exception through."""
    with ignoring(OSError):
        plugin_of_its_own()
    with handling(plain), pytest.raises(TimeoutError, match="plain"), ignoring(OSError):
        ring()
    with pytest.raises(ValueError, match="x"), ignoring(OSError):
        int("x")


# --- all calls -----------------------------------------------------------------------------------


def raises(error: BaseException) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


FIRST, SECOND = ValueError("first"), ValueError("second")
CTRL_C, EXIT = KeyboardInterrupt(), SystemExit()


@pytest.mark.parametrize(
    ("errors", "raised"),
    [
        ([FIRST, SECOND], FIRST),
        ([FIRST, CTRL_C], CTRL_C),
        ([CTRL_C, FIRST], CTRL_C),
        ([CTRL_C, EXIT], CTRL_C),
        ([GeneratorExit(), FIRST, CTRL_C], CTRL_C),
    ],
)
def test_run_all_raises_one_at_the_end(errors: list[BaseException], raised: BaseException) -> None:
    """All are called; the first exception is raised, but an interrupt before others."""
    made: list[str] = []
    calls = [call for error in errors for call in (raises(error), lambda: made.append("x"))]
    assert caught(lambda: run_all(*calls)) is raised
    assert len(made) == len(errors)


def test_run_all_without_a_failure() -> None:
    """Nothing is raised."""
    run_all()
    run_all(lambda: None, error=CTRL_C)


def test_run_all_beside_an_exception() -> None:
    """The caller raises its own exception itself, unless a more urgent one is raised."""
    run_all(raises(FIRST), error=CTRL_C)
    run_all(raises(EXIT), error=CTRL_C)
    assert caught(lambda: run_all(raises(CTRL_C), error=FIRST)) is CTRL_C


def test_run_all_lets_a_time_limit_go_before_a_failure() -> None:
    """Ctrl-C, then a signal handler's exception, then any other."""
    with handling(plain):
        assert str(caught(lambda: run_all(raises(FIRST), ring))) == "plain"
        assert caught(lambda: run_all(ring, raises(CTRL_C))) is CTRL_C
