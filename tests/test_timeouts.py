"""Timeouts, and the deadlines of one call: arithmetic, no waiting."""

from __future__ import annotations

import math
import pickle
import re
import threading
from typing import Any

import pytest
from tables import each

from websopy_sync.errors import ConfigError
from websopy_sync.timeouts import LATE, Deadlines, Timeouts

LIMITS = ("connect", "first_chunk", "idle", "total")


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


# --- Timeouts ------------------------------------------------------------------------------------


def test_defaults() -> None:
    """The defaults are as documented, in seconds."""
    assert Timeouts() == Timeouts(connect=5, first_chunk=120, idle=60, total=600)


@each("name", LIMITS)
@each("value", [0.001, 1, 86400, 1e9, None])
def test_good_limits(name: str, value: float | None) -> None:
    """Any positive number of seconds, or None for no limit."""
    assert getattr(Timeouts(**{name: value}), name) == value


@each("name", LIMITS)
@each(
    "value",
    [0, 0.0, -0.0, -1, -1e-9, math.nan, -math.inf, True, False, "5", b"5", [5], (5,), 5j, object()],
)
def test_bad_limits(name: str, value: Any) -> None:
    """A ConfigError names the limit."""
    with pytest.raises(ConfigError, match=name):
        Timeouts(**{name: value})


@pytest.mark.parametrize(
    ("value", "shown"),
    [(-5, "-5"), (0.0, "0.0"), (-1e300, "-1e+300"), (10**400, "too many"), ("5", "str")],
    ids=range(5),
)
def test_the_error_shows_the_value(value: Any, shown: str) -> None:
    """But no integer of many digits."""
    with pytest.raises(ConfigError, match=f"timeout idle: .*, got {re.escape(shown)}$"):
        Timeouts(idle=value)


@each("name", LIMITS)
@each("value", [math.inf, 1e20, 1e300, 10**400, -(10**5000)])
def test_limits_no_clock_can_hold(name: str, value: Any) -> None:
    """Each is refused, or no limit, or one that sockets take: no OverflowError comes later."""
    try:
        limits = Timeouts(**{name: value})
    except ConfigError as error:
        assert name in str(error)  # noqa: PT017  # either is good
    else:
        limit = getattr(limits, name)
        assert limit in (None, math.inf) or limit <= threading.TIMEOUT_MAX


@pytest.mark.parametrize(
    ("given_", "limits"),
    [
        (None, Timeouts()),
        (30, Timeouts(total=30)),
        (2.5, Timeouts(total=2.5)),
        (Timeouts(idle=1), Timeouts(idle=1)),
    ],
)
def test_what_a_timeout_argument_means(given_: Any, limits: Timeouts) -> None:
    """None stands for the defaults, a number for the total, Timeouts for themselves."""
    assert Timeouts.of(given_) == limits


@each("bad", [0, -1, math.nan, "5", True, (5, 30), {"total": 5}])
def test_bad_timeout_arguments(bad: Any) -> None:
    """Anything else is refused, a pair as requests takes it included."""
    with pytest.raises(ConfigError, match="timeout"):
        Timeouts.of(bad)


@each("bad", ["5", (5, 30), {"total": 5}])
def test_what_other_clients_take_as_a_timeout(bad: Any) -> None:
    """The error names the class that has a limit for each part."""
    with pytest.raises(ConfigError, match=r"^timeout: expected seconds, Timeouts\(…\) or None"):
        Timeouts.of(bad)


def test_timeouts_are_values() -> None:
    """They are frozen, comparable, hashable and picklable."""
    limits = Timeouts(connect=1)
    with pytest.raises(AttributeError):
        limits.connect = 2  # type: ignore[misc]  # that is the test
    assert pickle.loads(pickle.dumps(limits)) == limits
    assert hash(limits) == hash(Timeouts(connect=1))
    assert limits != Timeouts(connect=2)


# --- Deadlines -----------------------------------------------------------------------------------


def test_without_limits_there_is_no_end(clock: Clock) -> None:
    """None is no limit, for a phase and for the whole."""
    deadlines = Deadlines(None, clock=clock)
    deadlines.limit("connect", None)
    clock.now += 1e9
    assert deadlines.remaining() == math.inf
    assert deadlines.timeout() is None
    assert deadlines.allows(1e12)


def test_no_phase_has_begun_at_first(clock: Clock) -> None:
    """The idle limit counts from the first chunk on."""
    assert Deadlines(None, idle=4, clock=clock).remaining() == math.inf


def test_remaining_is_the_nearest_limit(clock: Clock) -> None:
    """The phase or the total, whichever is nearer."""
    deadlines = Deadlines(100, clock=clock)
    assert deadlines.remaining() == 100
    deadlines.limit("connect", 5)
    clock.now += 2
    assert deadlines.remaining() == 3
    deadlines.limit("idle", 200)
    assert deadlines.remaining() == 98
    assert deadlines.nearest == "total"


@pytest.mark.parametrize("phase", ["connect", "first_chunk", "idle"])
def test_nearest_names_the_phase_that_passed(clock: Clock, phase: str) -> None:
    """remaining() raises TimeoutError, and `nearest` is the phase."""
    deadlines = Deadlines(100, clock=clock)
    deadlines.limit(phase, 5)  # type: ignore[arg-type]  # one of Phase
    clock.now += 5
    with pytest.raises(TimeoutError, match=phase):
        deadlines.remaining()
    assert deadlines.nearest == phase


def test_total_wins_over_a_phase_that_ends_later(clock: Clock) -> None:
    """The call is over, whatever its phase."""
    deadlines = Deadlines(10, clock=clock)
    deadlines.limit("idle", 60)
    clock.now += 10
    with pytest.raises(TimeoutError):
        deadlines.remaining()
    assert deadlines.nearest == "total"


def test_a_new_phase_begins_anew_but_the_total_goes_on(clock: Clock) -> None:
    """Each chunk moves idle; nothing moves total."""
    deadlines = Deadlines(10, clock=clock)
    for _ in range(3):
        deadlines.limit("idle", 4)
        clock.now += 3
    assert deadlines.remaining() == 1


def test_nearest_without_limits_is_the_phase(clock: Clock) -> None:
    """If none of our limits is set, the timeout was not the total one."""
    assert Deadlines(None, clock=clock).nearest == "connect"


def test_progress_begins_the_idle_phase_with_the_next_wait(clock: Clock) -> None:
    """The time between the chunk and the next wait does not count."""
    deadlines = Deadlines(100, idle=4, clock=clock)
    deadlines.limit("first_chunk", 2)
    deadlines.progress = True
    clock.now += 50
    assert deadlines.remaining() == 4
    clock.now += 3
    assert deadlines.remaining() == 1
    clock.now += 1
    with pytest.raises(TimeoutError, match="idle"):
        deadlines.remaining()


def test_a_new_phase_forgets_progress_made_before_it(clock: Clock) -> None:
    """The short limit for draining a connection does not become an idle phase."""
    deadlines = Deadlines(None, idle=4, clock=clock)
    deadlines.progress = True
    deadlines.limit("idle", 0.002)
    assert deadlines.remaining() == pytest.approx(0.002)


@pytest.mark.parametrize("phase", ["first_chunk", "idle"])
def test_late_bytes_are_allowed(clock: Clock, phase: str) -> None:
    """As many as fit into a socket's buffer."""
    deadlines = Deadlines(100, idle=4, clock=clock)
    deadlines.limit("first_chunk", 4, late=LATE if phase == "first_chunk" else 0)
    if phase == "idle":
        deadlines.progress = True
        deadlines.remaining()
    deadlines.allow_late(1 << 30)  # not late at all
    clock.now += 5
    for _ in range(8):
        deadlines.allow_late(LATE // 8)
    with pytest.raises(TimeoutError, match=phase):
        deadlines.allow_late(1)


def test_late_bytes_after_progress_begin_the_idle_phase(clock: Clock) -> None:
    """A piece that follows a chunk is not late, whatever the phase before allowed."""
    deadlines = Deadlines(100, idle=4, clock=clock)
    deadlines.limit("first_chunk", 2)
    deadlines.progress = True
    clock.now += 50
    deadlines.allow_late(1 << 30)
    clock.now += 3
    assert deadlines.remaining() == 1
    clock.now += 1
    deadlines.allow_late(LATE)
    with pytest.raises(TimeoutError, match="idle"):
        deadlines.allow_late(1)


def test_a_late_trickle_ends(clock: Clock) -> None:
    """Each late piece counts 512 bytes at least."""
    deadlines = Deadlines(100, clock=clock)
    deadlines.limit("first_chunk", 4, late=LATE)
    clock.now += 5
    with pytest.raises(TimeoutError):
        for _ in range(2000):
            deadlines.allow_late(1)


def test_a_strict_phase_and_the_total_limit_allow_nothing_late(clock: Clock) -> None:
    """Draining a connection, and the whole call, end exactly at their limits."""
    deadlines = Deadlines(100, clock=clock)
    deadlines.limit("idle", 4)
    clock.now += 5
    with pytest.raises(TimeoutError):
        deadlines.allow_late(1)
    deadlines.limit("idle", 4, late=LATE)
    clock.now += 100
    with pytest.raises(TimeoutError):
        deadlines.allow_late(1)


def test_paused_time_does_not_count(clock: Clock) -> None:
    """It counts for the total limit alone."""
    deadlines = Deadlines(100, clock=clock)
    deadlines.limit("idle", 4)
    clock.now += 1
    with deadlines.paused():
        clock.now += 50
    assert deadlines.remaining() == 3
    clock.now += 2
    with deadlines.paused():
        clock.now += 46.5
    assert deadlines.remaining() == 0.5


def test_a_wait_must_end_before_the_total(clock: Clock) -> None:
    """A wait that leaves no time for the retry is not allowed."""
    deadlines = Deadlines(10, clock=clock)
    assert deadlines.allows(9.9)
    assert not deadlines.allows(10)
    clock.now += 5
    assert not deadlines.allows(5)
