"""The limits and times of a relay, checked.

Does no I/O.
"""

from __future__ import annotations

import threading
from typing import Any, Literal, TypedDict, get_args

import attrs

from websopy_sync import ConfigError
from websopy_sync.web.async_steps import in_event_loop

OnDisconnect = Literal["cancel", "finish"]


def _seconds(default: float, *, least: float = 0.0) -> Any:
    def check(instance: object, attribute: attrs.Attribute[float], value: object) -> None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not least <= value <= threading.TIMEOUT_MAX:  # type: ignore[operator]  # is_number says so
            raise ConfigError(
                f"{attribute.name}: expected seconds, {least:g} or more, got {value!r:.200}"
            )

    return attrs.field(default=default, validator=check)


def _count(instance: object, attribute: attrs.Attribute[int], value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{attribute.name}: expected a number from 1, got {value!r:.200}")


def _known(instance: object, attribute: attrs.Attribute[str], value: object) -> None:
    if value not in get_args(OnDisconnect):
        raise ConfigError(f"on_disconnect: expected cancel or finish, got {value!r:.200}")


class RelayOptions(TypedDict, total=False):
    """The options of `Relay`, which explains them."""

    lease: float
    grace: float
    keep: float
    heartbeat: float
    on_disconnect: OnDisconnect
    max_unfollowed: int
    max_answers: int
    max_answers_per_owner: int
    max_followers_per_owner: int
    max_events: int
    max_bytes: int


@attrs.frozen(kw_only=True)
class Settings:
    """`RelayOptions` with the default of each."""

    lease: float = _seconds(5.0, least=0.1)
    grace: float = _seconds(30.0)
    keep: float = _seconds(3600.0)
    heartbeat: float = _seconds(15.0, least=0.01)
    on_disconnect: OnDisconnect = attrs.field(default="cancel", validator=_known)
    max_unfollowed: int = attrs.field(default=20, validator=_count)
    max_answers: int = attrs.field(default=100, validator=_count)
    max_answers_per_owner: int = attrs.field(default=8, validator=_count)
    max_followers_per_owner: int = attrs.field(default=32, validator=_count)
    max_events: int = attrs.field(default=100_000, validator=_count)
    max_bytes: int = attrs.field(default=16 * 1024 * 1024, validator=_count)


def check_wait(seconds: object) -> None:
    """Raise ConfigError unless a view can wait so long here."""
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds <= threading.TIMEOUT_MAX:  # type: ignore[operator]  # is_number says so
        raise ConfigError(f"wait_for_status: expected seconds, got {seconds!r:.200}")
    if seconds and in_event_loop():
        raise ConfigError("wait_for_status: would block the event loop; call this in a thread")
