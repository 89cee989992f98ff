"""What answers cost: a report for each, sums of them, prices and budgets.

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
    """What a model costs for a million tokens, in a currency of your choice."""

    prompt: float = attrs.field(validator=_not_negative)
    completion: float = attrs.field(validator=_not_negative)

    def cost(self, usage: Usage) -> float:
        """The cost of one answer."""
        spent = usage.prompt_tokens * self.prompt + usage.completion_tokens * self.completion
        return spent / 1_000_000


@attrs.frozen
class Budget:
    """How much may be spent; None is no limit. An answer that passes a limit is cancelled.

    answer_tokens: completion tokens of one answer.
    total_tokens: prompt and completion tokens of all answers of the plugin's client.
    total_cost: money for all of them; an answer of a model without a price costs nothing here.
    """

    answer_tokens: int | None = attrs.field(default=None, validator=_not_negative)
    total_tokens: int | None = attrs.field(default=None, validator=_not_negative)
    total_cost: float | None = attrs.field(default=None, validator=_not_negative)


@attrs.frozen
class Report:
    """What one answer took.

    model: as the question named it, "" when it named none.
    usage: the tokens. source: who counted them, "service" or the name of a counter.
    estimated_prompt, estimated_completion: whether that number is an estimate. A prompt that the
    service did not count always is: what it adds around each message is not known.
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
        """Whether any of it is an estimate."""
        return self.estimated_prompt or self.estimated_completion


@attrs.frozen
class Totals:
    """Sums over answers. estimated, unpriced: how many of them were so; cost leaves those out."""

    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: int = 0
    cost: float = 0.0
    unpriced: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, report: Report) -> Totals:
        """The sums with one answer more."""
        return Totals(
            self.answers + 1,
            self.prompt_tokens + report.usage.prompt_tokens,
            self.completion_tokens + report.usage.completion_tokens,
            self.estimated + report.estimated,
            self.cost + (report.cost or 0.0),
            self.unpriced + (report.cost is None),
        )


class Ledger:
    """Adds reports up, from many threads.

    add() takes no lock: a stream that is collected as garbage ends in any thread at any line, in
    the middle of this class too. Who reads the sums adds up what has come meanwhile.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._new: deque[Report] = deque()
        self._totals = Totals()
        self._models: dict[str, Totals] = {}
        self._adding = False

    def add(self, report: Report) -> None:
        """Take in one report."""
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
        if self._adding:  # a destructor reads while this very thread adds: it sees what there is
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
