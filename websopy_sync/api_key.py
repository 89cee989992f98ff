"""The API keys of one call: one str, or what a function of the user's returns for each request.

Knows nothing of requests and retries: `event_source` says when a key is needed.
"""

from __future__ import annotations

from collections.abc import Callable

from .cancel import CancelScope
from .errors import APITimeoutError
from .headers import header_problem
from .interrupts import find_interrupt
from .secret import Secret

__all__ = ["KeyRing", "KeySource"]

KeySource = str | Callable[[], str]
"""A key, or a function that returns the one to use now."""


class KeyRing:
    """The keys of one call. It remembers each of them, as a server may echo any.

    Args:
        source: The key, or the function to ask for it.
    """

    def __init__(self, source: Secret[KeySource]) -> None:
        self._source = source
        key = source.value
        self.keys: list[Secret[str]] = [Secret(key)] if isinstance(key, str) else []
        """All keys so far, the newest last. One that came again in a row is there once."""

    @property
    def current(self) -> Secret[str]:
        """The key of the next request."""
        return self.keys[-1]

    def renew(self, scope: CancelScope, *, sent: bool) -> str:
        """Get the key of the next request. Returns why there is none, "" if there is one.

        Args:
            scope: Of the call. The function cannot be interrupted, so it is looked at afterwards.
            sent: Whether a request of the call was sent already.

        Raises:
            StreamCancelledError: The call was cancelled meanwhile.
            APITimeoutError: Its total limit passed meanwhile.
        """
        source = self._source.value
        if isinstance(source, str):
            return ""
        problem = self._ask(source)
        scope.raise_aborted()
        if not scope.allows(0.0):
            why = "the total limit passed in the function of api_key"
            raise APITimeoutError(why, phase="total", sent=sent)
        return problem

    def _ask(self, function: Callable[[], str]) -> str:
        interrupt = None
        try:
            key = Secret(function())
        except Exception as error:  # noqa: BLE001  # the user's own; its frames may hold the key
            interrupt = find_interrupt(error)
            problem = f"api_key: the function raised {type(error).__name__:.200}"
        else:
            problem = header_problem("api_key: what the function returned", key.value)
        if interrupt is not None:
            raise interrupt
        if not problem and (not self.keys or key.value != self.current.value):
            self.keys.append(key)
        return problem
