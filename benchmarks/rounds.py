"""Runs cases in rounds, each client once a round, each run a process of its own.

Absolute times drift while a machine warms up or is shared; two clients that are run one after the
other drift together. So ratios are taken within a round, and the order changes with each round.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .cases import Case
from .measure import Results

__all__ = ["Run", "run_rounds"]


@dataclass(frozen=True)
class Run:
    """One client's numbers in one round of one case; `error` tells why there are none."""

    case: str
    client: str
    round: int
    results: Results
    error: str = ""


def run_rounds(
    cases: Iterable[Case], clients: Sequence[str], *, rounds: int, server: str, quick: bool
) -> Iterator[Run]:
    """Every run of the cases by those of the clients who take part, as it is finished."""
    shuffle = random.Random(0).shuffle
    for case in cases:
        members = [client for client in clients if client in case.clients]
        for number in range(1 if case.once else rounds):
            shuffle(members)
            for client in members:
                yield run_one(case, client, number, server=server, quick=quick)


def run_one(case: Case, client: str, number: int, *, server: str, quick: bool) -> Run:
    """One run, in its own process."""
    command = [sys.executable, "-m", "benchmarks.run_one", "--client", client]
    command += ["--case", case.name, "--server", server] + ["--quick"] * quick
    try:
        process = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=case.limit,
            cwd=Path(__file__).parent.parent,
        )
    except subprocess.TimeoutExpired:
        return Run(
            case.name, client, number, {metric.name: float("inf") for metric in case.metrics}
        )
    if process.returncode:
        reason = (process.stderr.strip() or "no word").splitlines()[-1]
        return Run(case.name, client, number, {}, reason)
    return Run(case.name, client, number, json.loads(process.stdout))
