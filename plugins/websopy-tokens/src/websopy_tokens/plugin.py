"""The plugin: reports the tokens of each answer, and cancels one that exceeds the budget.

Counts nothing itself: counters.py and running.py do. accounts.py has prices and sums.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from websopy_sync import (
    APIConnectionError,
    APIStatusError,
    ConfigError,
    Message,
    StreamCancelledError,
    StreamLocal,
    hookimpl,
)

from .accounts import Budget, Ledger, Price, Report, Totals
from .answers import Answer, prompt_of
from .budgets import BudgetKeeper
from .counters import TokenCounter, best_counter

__all__ = ["TokensPlugin"]

logger = logging.getLogger("websopy_sync.tokens")


class TokensPlugin:
    """Counts the tokens of every answer of a client.

    Several clients may share one plugin; totals and budget are then for all of them.

    Args:
        counter: Counts where the service reports no usage. None: `best_counter(encoding)`.
        encoding: The vocabulary for that.
        prices: By model; "" for requests that name no model.
        budget: What may be spent. None: WEBSOPY_TOKENS_BUDGET, if it is set, as `total_tokens`.
        on_report: Called with the Report of each answer, in the thread that ends it.

    Raises:
        ConfigError: WEBSOPY_TOKENS_BUDGET is no number.
    """

    def __init__(
        self,
        *,
        counter: TokenCounter | None = None,
        encoding: str = "o200k_base",
        prices: Mapping[str, Price] | None = None,
        budget: Budget | None = None,
        on_report: Callable[[Report], None] | None = None,
    ) -> None:
        self._counter = counter
        self._encoding = encoding
        self._prices = dict(prices or {})
        self._on_report = on_report
        self._ledger = Ledger()
        self._open: StreamLocal[Answer] = StreamLocal()
        budget = _budget_of_environment() if budget is None else budget
        self._keeper = BudgetKeeper(
            budget,
            prices=self._prices,
            spent=self._ledger.totals,
            still_open=self._still_open,
        )
        self._lock = threading.RLock()  # reentrant, see _VocabularyCounter

    # Numbers

    @property
    def totals(self) -> Totals:
        """Sums over all answers that have ended."""
        return self._ledger.totals()

    @property
    def by_model(self) -> Mapping[str, Totals]:
        """The same by model; "" for requests that name none."""
        return self._ledger.models()

    @property
    def counter(self) -> TokenCounter:
        """The counter where the service reports no usage; the first use reads its vocabulary."""
        with self._lock:
            if self._counter is None:
                self._counter = best_counter(self._encoding)
            return self._counter

    def tokens_so_far(self, stream: Any) -> int:
        """The completion tokens of an open stream, as counted here; 0 after its end.

        Call it in the thread that reads the stream.

        Args:
            stream: The stream.
        """
        answer = self._open.get(stream)
        return answer.completion_tokens if answer else 0

    # Hooks

    @hookimpl
    def on_request(self, request: Any, stream: Any) -> None:
        """Begin to count a request. One for which no budget is left is not sent."""
        used_up = self._keeper.used_up()
        if used_up:
            logger.warning("%s: the question is not sent", used_up)
            stream.cancel()
            return
        self._open[stream] = Answer(
            model=request.model or "",
            prompt=prompt_of(request.body),
            counter=lambda: self.counter,
        )

    @hookimpl
    def on_chunk(self, chunk: Any, stream: Any) -> None:
        """Add the chunk, and cancel the stream when it exceeds the budget."""
        answer = self._open.get(stream)
        if answer is None:
            return
        if chunk.type == "content":
            answer.add_text(chunk.content)
        elif chunk.type == "reasoning":
            answer.add_reasoning(chunk.text)
        elif chunk.type == "tool_call":
            answer.add_tool_call(chunk.tool.name, chunk.tool.arguments)
        else:
            return
        passed = "" if answer.over_budget else self._keeper.passed_by(answer)
        if passed:
            answer.over_budget = True
            logger.warning("%s: the answer is cancelled", passed)
            stream.cancel()

    @hookimpl
    def on_done(self, message: Message, stream: Any) -> None:
        """Report a complete answer."""
        self._end(stream, message, outcome="done")

    @hookimpl
    def on_error(self, error: BaseException, stream: Any) -> None:
        """Report an answer that ended early. One that never began cost nothing."""
        if _was_refused(error):
            self._open.pop(stream, None)
            return
        outcome = error.reason if isinstance(error, StreamCancelledError) else "error"
        self._end(stream, stream.current_message, outcome=outcome)

    # Reports

    def _end(self, stream: Any, message: Message, *, outcome: str) -> None:
        answer = self._open.get(stream)
        if answer is None:
            return
        report = self._report(answer, message, outcome)
        with self._keeper.books:
            self._open.pop(stream, None)
            self._ledger.add(report)
        logger.info(
            "model %s: %d prompt%s and %d completion tokens%s, %s by %s, %s",
            answer.model or "(none named)",
            report.usage.prompt_tokens,
            _part(report.usage.cached_tokens, "cached"),
            report.usage.completion_tokens,
            _part(report.usage.reasoning_tokens, "of reasoning"),
            "estimated" if report.estimated else "counted",
            report.source,
            outcome,
        )
        if self._on_report:
            self._on_report(report)

    def _still_open(self) -> list[Answer]:
        # Not values(): another answer may end between its key and its value.
        answers = [self._open.get(stream) for stream in self._open]
        return [answer for answer in answers if answer is not None]

    def _report(self, answer: Answer, message: Message, outcome: str) -> Report:
        usage, source, exact = message.usage, "service", True
        reported = usage is not None
        if usage is None:
            usage = answer.final_usage(message)
            source, exact = self.counter.name, self.counter.exact
        price = self._prices.get(answer.model)
        cost = price.cost(usage) if price else None
        return Report(
            answer.model, usage, source, not reported, not (reported or exact), cost, outcome
        )


def _part(tokens: int, name: str) -> str:
    return f" ({tokens} {name})" if tokens else ""


def _was_refused(error: BaseException) -> bool:
    """Whether the service cannot have begun an answer, so that it cost nothing."""
    if isinstance(error, APIConnectionError):
        return not error.sent
    return isinstance(error, APIStatusError | ConfigError)


def _budget_of_environment() -> Budget:
    tokens = os.environ.get("WEBSOPY_TOKENS_BUDGET", "").strip()
    if tokens and not tokens.isdecimal():
        raise ConfigError(
            f"WEBSOPY_TOKENS_BUDGET: expected a number of tokens, got {tokens!r:.200}"
        )
    return Budget(total_tokens=int(tokens) if tokens else None)
