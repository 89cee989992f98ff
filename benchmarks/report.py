"""Runs become medians, ratios, tables and sentences.

Knows nothing of how a number was measured. Ratios are taken within a round and then their median:
see `rounds`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

from .cases import CASES, Case, Metric
from .clients import CLIENTS
from .rounds import Run

__all__ = ["Report"]

LATE = 10
"""A peer whose median delay is so many times ours is said to hand over late."""


class Report:
    """All runs of one comparison, and what follows from them."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self._values = {
            (run.case, run.client, run.round, name): value
            for run in runs
            for name, value in run.results.items()
        }

    @property
    def cases(self) -> list[Case]:
        """The cases that were run, in the order of the list."""
        return [case for case in CASES.values() if any(r.case == case.name for r in self.runs)]

    def clients(self, case: Case) -> list[str]:
        """Who took part in a case, in the order of the list."""
        there = {run.client for run in self.runs if run.case == case.name and run.results}
        return [client for client in CLIENTS if client in there]

    def values(self, case: Case, metric: Metric, client: str) -> dict[int, float]:
        """One client's numbers by round, less those of the client that the case takes off."""
        values = {}
        for key, value in self._values.items():
            if key[:2] == (case.name, client) and key[3] == metric.name:
                off = 0.0
                if case.beyond and client != case.beyond:
                    off = self._values.get((case.name, case.beyond, *key[2:]), 0.0)
                values[key[2]] = value - off
        return values

    def median(self, case: Case, metric: Metric, client: str) -> float | None:
        """The median of a client's rounds."""
        values = self.values(case, metric, client)
        return statistics.median(values.values()) if values else None

    def ratios(self, case: Case, metric: Metric, client: str, base: str) -> list[float]:
        """A client's number over another's, round by round."""
        below = self.values(case, metric, base)
        pairs = [
            (value, below[number])
            for number, value in self.values(case, metric, client).items()
            if below.get(number)
        ]
        return [over / under for over, under in pairs if not math.isinf(over) or over != under]

    # The table for a terminal: a block a case, a line a client.

    def text(self) -> str:
        """Everything, for a terminal."""
        return "\n\n".join("\n".join(self._block(case)) for case in self.cases)

    def _block(self, case: Case) -> Iterator[str]:
        yield case.title
        titles = [metric.title for metric in case.metrics]
        yield " " * 36 + "".join(f"{title:>30}" for title in titles)
        for client in self.clients(case):
            cells = "".join(f"{self._cell(case, metric, client):>30}" for metric in case.metrics)
            yield f"  {plain(CLIENTS[client].title):34}{cells}"
        for run in self.runs:
            if run.case == case.name and run.error:
                yield f"  {run.client}: no numbers: {run.error}"

    def _cell(self, case: Case, metric: Metric, client: str) -> str:
        value = self.median(case, metric, client)
        ratios = self.ratios(case, metric, client, case.baseline)
        middle = statistics.median(ratios) if ratios else math.inf
        return number(value, metric) + ("" if math.isinf(middle) else f"  {middle:6.2f}×")

    # The tables for the documentation: a row a number, a column a client.

    def markdown(self) -> str:
        """The medians as one table, and below it in which of them a peer is ahead."""
        columns = [
            name
            for name, client in CLIENTS.items()
            if client.role != "variant" and any(name in self.clients(case) for case in self.cases)
        ]
        lines = ["| | " + " | ".join(CLIENTS[name].title for name in columns) + " |"]
        lines.append("|---" * (len(columns) + 1) + "|")
        for case in self.cases:
            for metric in case.metrics:
                cells = [number(self.median(case, metric, name), metric) for name in columns]
                if set(cells) != {"–"}:
                    lines.append(f"| {case.title}: {metric.title} | " + " | ".join(cells) + " |")
        return "\n".join([*lines, "", *self._variants(), "", *self.verdicts()])

    def _variants(self) -> Iterator[str]:
        for case in self.cases:
            for name in self.clients(case):
                if CLIENTS[name].role == "variant":
                    yield f"- {case.title}, {CLIENTS[name].title}: " + ", ".join(
                        f"{metric.title} {number(self.median(case, metric, name), metric)}"
                        f" ({self._against_ours(case, metric, name)} without)"
                        for metric in case.metrics
                    )

    def _against_ours(self, case: Case, metric: Metric, name: str) -> str:
        return number(self.median(case, metric, "ours"), metric)

    def verdicts(self) -> list[str]:
        """A sentence for each number: ahead of whom, and who is ahead."""
        return [
            self._verdict(case, metric)
            for case in self.cases
            for metric in case.metrics
            if "ours" in self.clients(case) and self._peers(case)
        ]

    def _peers(self, case: Case) -> list[str]:
        return [name for name in self.clients(case) if CLIENTS[name].role == "peer"]

    def _verdict(self, case: Case, metric: Metric) -> str:
        what = f"- {case.title}, {metric.title}: "
        ahead = [
            self._ahead(case, metric, peer)
            for peer in self._peers(case)
            if self._ratio(case, metric, peer) > 1
        ]
        if ahead:
            return what + "**ahead of us:** " + "; ".join(ahead) + "."
        factors = [1 / max(self._ratio(case, metric, peer), 1e-9) for peer in self._peers(case)]
        return what + f"no peer is ahead; the best takes {min(factors):.2f}× ours."

    def _ratio(self, case: Case, metric: Metric, peer: str) -> float:
        ratios = self.ratios(case, metric, "ours", peer)
        return statistics.median(ratios) if ratios else 0.0

    def _ahead(self, case: Case, metric: Metric, peer: str) -> str:
        ratios = self.ratios(case, metric, "ours", peer)
        rounds = f"in {sum(ratio > 1 for ratio in ratios)} of {len(ratios)} rounds"
        late = self._late(case, peer)
        share = 1 / self._ratio(case, metric, peer)
        return f"{CLIENTS[peer].title} ({share:.2f}× ours, {rounds}{late})"

    def _late(self, case: Case, peer: str) -> str:
        for metric in case.metrics:
            ours, theirs = (self.median(case, metric, name) for name in ("ours", peer))
            if metric.name == "p50_us" and ours and theirs and theirs > LATE * ours:
                return f", but it hands over {theirs / 1e3:.0f} ms late"
        return ""


def number(value: float | None, metric: Metric) -> str:
    """A number as the table prints it."""
    if value is None:
        return "–"
    return metric.endless if math.isinf(value) else f"{value:,.{metric.digits}f}"


def plain(title: str) -> str:
    """A title without Markdown."""
    return title.replace("*", "").replace("`", "")
