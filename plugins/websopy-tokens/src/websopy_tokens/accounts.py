"""Prices, budgets, the report of each answer, and sums of reports.

Values and their sums. Knows nothing of counting, streams or plugins.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

import attrs

from websopy_sync import Usage

__all__ = ["Budget", "Ledger", "Price", "Report", "Totals"]


def _not_negative(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if not isinstance(value, int | float) or not value >= 0:  # NaN as well
        raise ValueError(f"{attribute.name}: expected 0 or more, got {value!r:.200}")


@attrs.frozen
class Price:
    """The price of a model for a million tokens, in a currency of your choice.

    Attributes:
        prompt: For a million prompt tokens.
        completion: For a million completion tokens, reasoning included.
        cached: For a million prompt tokens that the service had in its cache; None for no discount.
    """

    prompt: float = attrs.field(validator=_not_negative)
    completion: float = attrs.field(validator=_not_negative)
    cached: float | None = attrs.field(default=None, validator=_not_negative)

    def cost(self, usage: Usage) -> float:
        """The cost of one answer."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        spent = (usage.prompt_tokens - cached) * self.prompt
        spent += cached * (self.prompt if self.cached is None else self.cached)
        spent += usage.completion_tokens * self.completion
        return spent / 1_000_000


@attrs.frozen
class Budget:
    """Limits; None is no limit. An answer that exceeds one is cancelled.

    Attributes:
        answer_tokens: Completion tokens of one answer.
        total_tokens: Prompt and completion tokens of all answers.
        total_cost: Money for all answers; a model without a price costs nothing here.
    """

    answer_tokens: int | None = attrs.field(default=None, validator=_not_negative)
    total_tokens: int | None = attrs.field(default=None, validator=_not_negative)
    total_cost: float | None = attrs.field(default=None, validator=_not_negative)


@attrs.frozen
class Report:
    """The tokens and the cost of one answer.

    Attributes:
        model: As the request named it; "" for none.
        usage: The tokens. Of an estimate, `reasoning_tokens` are counted here; `cached_tokens` are
            known to the service alone.
        source: Who counted them: "service", or the name of a counter.
        estimated_prompt: Whether the prompt tokens are an estimate. They are, unless the service
            counted them: it adds tokens around each message, and nobody else knows how many.
        estimated_completion: Whether the completion tokens are an estimate.
        cost: None when the model has no price.
        outcome: "done", "error", "cancelled" or "closed".
    """

    model: str
    usage: Usage
    source: str
    estimated_prompt: bool
    estimated_completion: bool
    cost: float | None
    outcome: str

    @property
    def estimated(self) -> bool:
        """Whether either number is an estimate."""
        return self.estimated_prompt or self.estimated_completion


@attrs.frozen
class Totals:
    """Sums over answers.

    Attributes:
        answers: How many.
        prompt_tokens: Of all of them.
        completion_tokens: Of all of them.
        estimated: Answers with an estimated number.
        cost: Of the answers whose model has a price.
        unpriced: Answers whose model has no price.
        cached_tokens: Those of the prompts that the service had in its cache.
        reasoning_tokens: Those of the completions that went into reasoning.
    """

    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: int = 0
    cost: float = 0.0
    unpriced: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, report: Report) -> Totals:
        """The sums with one more answer."""
        return Totals(
            self.answers + 1,
            self.prompt_tokens + report.usage.prompt_tokens,
            self.completion_tokens + report.usage.completion_tokens,
            self.estimated + report.estimated,
            self.cost + (report.cost or 0.0),
            self.unpriced + (report.cost is None),
            self.cached_tokens + report.usage.cached_tokens,
            self.reasoning_tokens + report.usage.reasoning_tokens,
        )


class Ledger:
    """Adds up reports from many threads.

    add() takes no lock: the garbage collector may end a stream at any line, in this class too.
    Reading the sums adds up the reports that have come since.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._new: deque[Report] = deque()
        self._totals = Totals()
        self._models: dict[str, Totals] = {}
        self._adding = False

    def add(self, report: Report) -> None:
        """Add one report."""
        self._new.append(report)

    def totals(self) -> Totals:
        """The sums of all answers."""
        with self._lock:
            self._add_up()
            return self._totals

    def models(self) -> Mapping[str, Totals]:
        """The sums by model."""
        with self._lock:
            self._add_up()
            return dict(self._models)

    def _add_up(self) -> None:
        if self._adding:  # a destructor in this thread reads the sums so far
            return
        self._adding = True
        try:
            self._take_new()
        finally:
            self._adding = False

    def _take_new(self) -> None:
        while self._new:
            report = self._new.popleft()
            self._totals = self._totals.plus(report)
            before = self._models.get(report.model, Totals())
            self._models[report.model] = before.plus(report)
