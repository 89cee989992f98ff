"""One answer, from before its request to its end: opened in one thread, ended from any.

Knows nothing of events, buffers and threads.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable

from ..cancel import CancelToken
from ..errors import ConfigError
from ..interrupts import find_interrupt
from ..run import ToolRun
from ..stream import ChatStream
from ..tools import function_problem

logger: logging.Logger = logging.getLogger("websopy_sync.web")

Answer = ChatStream | ToolRun

AnswerSource = Answer | Callable[[CancelToken], Answer]
"""What a body streams: an answer, not read yet, or a function that opens one.

The function gets a cancel token and has to pass it on, as
`lambda cancel: client.ai.chat_stream(messages, cancel_token=cancel)` does.
"""


class Opening:
    """One answer of a source.

    Args:
        source: As a user passed it.

    Raises:
        ConfigError: It is nothing that can be opened.
    """

    def __init__(self, source: AnswerSource) -> None:
        self._answer: Answer | None = None
        self._open: Callable[[CancelToken], Answer] | None = None
        self._token = CancelToken()
        if isinstance(source, Answer):
            self._answer = source
        else:
            self._open = _checked_function(source)

    @property
    def done(self) -> bool:
        """Whether there is an answer."""
        return self._answer is not None

    @property
    def cancelled(self) -> bool:
        """Whether the answer was cancelled, by cancel() or by who has its token."""
        return self._token.cancelled

    def open(self) -> Answer:
        """The answer. Blocks until the function of the source returns.

        Raises:
            ConfigError: The function returned something else.
            BaseException: Whatever it raises.
        """
        if self._open is not None:
            try:
                self._answer = _checked_answer(self._open(self._token))
            finally:
                self._open = None  # it may hold much
        assert self._answer is not None  # a source is one or the other
        if self.cancelled:  # cancel() may have come too early to find the answer
            self._answer.cancel()
        return self._answer

    def cancel(self) -> None:
        """Cancel the answer, also while it is being opened. Returns at once."""
        try:
            self._token.cancel()
        except Exception as error:  # a callback of the source's own
            if find_interrupt(error) is not None:
                raise
            # The threads that cancel have other work.
            logger.exception("a callback of a cancel token raised")
        finally:
            if self._answer is not None:
                self._answer.cancel()

    def close(self) -> None:
        """Close an answer that nobody reads."""
        if self._answer is not None:
            self._answer.close()


def _checked_function(source: object) -> Callable[[CancelToken], Answer]:
    problem = function_problem(source)
    if problem or not callable(source):
        raise ConfigError(
            f"source: expected a ChatStream, a ToolRun or a function that opens one, got {problem}"
        )
    try:
        inspect.signature(source).bind(None)
    except TypeError as error:
        problem = str(error)
    except ValueError:  # a function written in C may have no signature
        pass
    if problem:
        raise ConfigError(f"source: expected a function of a cancel token: {problem:.200}")
    return source


def _checked_answer(opened: object) -> Answer:
    if isinstance(opened, Answer):
        return opened
    close = getattr(opened, "close", None)  # a native stream has a connection
    if callable(close):
        close()
    got = type(opened).__name__
    raise ConfigError(f"source: its function must return a ChatStream or a ToolRun, got {got}")
