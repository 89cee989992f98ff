"""Checks budgets while answers stream, with as little counting as possible.

Knows nothing of hooks or of how tokens are counted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

from websopy_sync import Usage

from .accounts import Budget, Price, Totals
from .answers import Answer

__all__ = ["BudgetKeeper"]

Measure = Callable[[str, Usage], float]


class BudgetKeeper:
    """Compares the open answers of a plugin with its budget.

    Answers may stream in several threads. Each thread counts its own answer only, and takes the
    last noted count of the others, so it may be a chunk late.

    Args:
        budget: The limits.
        prices: By model.
        spent: Returns the sums of the answers that have ended.
        still_open: Returns the open answers.

    Attributes:
        books: The lock for sums, and for moving an answer from the open to the ended ones.
            Reentrant: the garbage collector may end a stream at any line.
    """

    def __init__(
        self,
        budget: Budget,
        *,
        prices: Mapping[str, Price],
        spent: Callable[[], Totals],
        still_open: Callable[[], Iterable[Answer]],
    ) -> None:
        self._budget = budget
        self._prices = prices
        self._spent = spent
        self._still_open = still_open
        self.books = threading.RLock()

    def used_up(self) -> str:
        """The total that nothing is left of for another answer, as a sentence; "" for none."""
        budget, spent = self._budget, self._spent()
        if budget.total_tokens is not None and spent.total_tokens >= budget.total_tokens:
            return f"the budget of {budget.total_tokens} tokens is used up"
        if budget.total_cost is not None and spent.cost > budget.total_cost:
            return f"the budget of {budget.total_cost:g} is used up"
        return ""

    def passed_by(self, answer: Answer) -> str:
        """The limit that a longer `answer` exceeds, as a sentence; "" for none."""
        budget = self._budget
        limit = budget.answer_tokens
        if limit is not None and _answer_passes(limit, answer):
            return f"the budget of {limit} tokens for one answer is passed"
        tokens, cost = budget.total_tokens, budget.total_cost
        if tokens is not None and self._all_pass(tokens, _total_tokens, _tokens, answer):
            return f"the budget of {tokens} tokens is passed"
        if cost is not None and self._all_pass(cost, _total_cost, self._cost, answer):
            return f"the budget of {cost:g} is passed"
        return ""

    def _all_pass(
        self, limit: float, ended: Callable[[Totals], float], measure: Measure, answer: Answer
    ) -> bool:
        with self.books:
            spent, still_open = ended(self._spent()), list(self._still_open())
            if spent + sum(measure(one.model, one.at_most) for one in still_open) <= limit:
                return False
            answer.note()
            return spent + sum(measure(one.model, one.noted) for one in still_open) > limit

    def _cost(self, model: str, usage: Usage) -> float:
        price = self._prices.get(model)
        return price.cost(usage) if price else 0.0


def _answer_passes(limit: int, answer: Answer) -> bool:
    return answer.at_most.completion_tokens > limit and answer.completion_tokens > limit


def _tokens(model: str, usage: Usage) -> float:
    return usage.total_tokens


def _total_tokens(totals: Totals) -> float:
    return totals.total_tokens


def _total_cost(totals: Totals) -> float:
    return totals.cost
