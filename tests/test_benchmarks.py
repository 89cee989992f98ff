"""The benchmarks: that they run and say what the numbers say. No time is held against anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parent.parent


def benchmarks(*arguments: object) -> str:
    """What `python -m benchmarks` prints."""
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def run(client: str, number: int, cpu_us: float | None, **fields: Any) -> dict[str, Any]:
    """One run as a results file holds it."""
    results = {"cpu_us": cpu_us}
    run = {"case": "at-once-1", "client": client, "round": number, "results": results, "error": ""}
    return run | fields


@pytest.fixture
def rendered(tmp_path: Path) -> Any:
    """A function that prints the runs it is given, as if they had just been measured."""

    def render(*runs: dict[str, Any]) -> str:
        about = {"date": "d", "python": "p", "cores": 1, "cpu": "c", "rounds": 3, "quick": False}
        path = tmp_path / "results.json"
        path.write_text(json.dumps({"about": about, "runs": runs}), encoding="utf-8")
        return benchmarks("--render", path)

    return render


@pytest.mark.slow
def test_the_relays_benchmark_runs() -> None:
    """It prints a delay for each log and number of answers, here and elsewhere."""
    options = ("--logs", "memory,sqlite", "--answers", "1,3", "--seconds", "0.5")
    command = [sys.executable, "-m", "benchmarks.relay", *options]
    said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert [line.split(":")[0].strip() for line in said.splitlines()] == [
        *("memory", "1 answers", "3 answers", "sqlite", "1 answers", "3 answers"),
        "one more follower",
    ]
    assert said.count(" ms") == 6 and said.count("elsewhere -") == 2


@pytest.mark.slow
def test_every_case_runs_with_the_clients_that_are_there(tmp_path: Path) -> None:
    """The command measures, and writes numbers for every client and a picture."""
    clients = {"socket", "ours", "ours-1", "openai"}
    cases = {"at-once-1", "paced-length", "threads-50", "first-chunk", "cancel", "client"}
    selection = ("--clients", ",".join(clients), "--cases", ",".join(cases))
    (tmp_path / "benchmarks.md").write_text("before\n", encoding="utf-8")
    benchmarks("--quick", *selection, "--output", tmp_path / "benchmarks")
    stored = json.loads((tmp_path / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    runs = {(run["case"], run["client"]) for run in stored["runs"]}
    assert {run["error"] for run in stored["runs"]} == {""}
    assert {case for case, client in runs if client == "ours"} == cases
    assert all(any(run["results"].values()) for run in stored["runs"] if run["client"] == "ours")
    ElementTree.parse(tmp_path / "benchmarks" / "picture.svg")
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert page.startswith("before\n") and "websopy-sync" in page


def test_ratios_are_taken_within_a_round(rendered: Any) -> None:
    """A machine that slows down in a round slows both clients."""
    runs = [("read1", 10.0, 20.0, 90.0), ("openai", 20.0, 160.0, 180.0)]
    text = rendered(*(run(name, at, cpu) for name, *cpus in runs for at, cpu in enumerate(cpus)))
    line = next(line for line in text.splitlines() if line.split()[:1] == ["openai"])
    assert line.split() == ["openai", "160.0", "2.00×"]


def test_a_peer_that_is_ahead_is_named(rendered: Any) -> None:
    """The verdict says who is ahead, by how much and in how many rounds."""
    text = rendered(
        *(run("ours", at, 10.0) for at in range(3)),
        *(run("iter-lines", at, cpu) for at, cpu in enumerate((8.0, 9.0, 11.0))),
        *(run("openai", at, 50.0) for at in range(3)),
    )
    assert "**ahead of us:** requests `iter_lines` (0.90× ours, in 2 of 3 rounds)." in text


def test_no_peer_ahead(rendered: Any) -> None:
    """The verdict says so, and how near the best one is."""
    text = rendered(run("ours", 0, 10.0), run("iter-lines", 0, 12.0), run("openai", 0, 50.0))
    assert "no peer is ahead; the best takes 1.20× ours" in text


def test_a_peer_that_never_ends_is_behind(rendered: Any) -> None:
    """What is infinite is stored as null, and printed as a word."""
    text = rendered(run("ours", 0, 10.0), run("openai", 0, None))
    assert "never" in text
    assert "no peer is ahead" in text


def test_a_client_that_fails_gives_no_numbers_but_its_reason(rendered: Any) -> None:
    """One broken client does not end the comparison."""
    text = rendered(run("ours", 0, 10.0), run("openai", 0, None, results={}, error="it is gone"))
    assert "openai: no numbers: it is gone" in text


def test_a_name_that_is_none_is_refused() -> None:
    """A misspelt case must not look like one that was measured."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        benchmarks("--cases", "at-onse")
    assert "at-once-1" in caught.value.stderr


def test_threads_that_end_while_they_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's threads come and go: one that is gone has no children."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.processes import threads_of  # noqa: PLC0415  it is not installed

    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            thread = threading.Thread(target=int)
            thread.start()
            thread.join()

    coming = threading.Thread(target=come_and_go)
    coming.start()
    try:
        for _ in range(1000):
            assert threads_of(os.getpid()) > 0
    finally:
        over.set()
        coming.join()


@pytest.mark.slow
def test_the_table_of_servers() -> None:
    """One server, measured once, in the background: each column has something in it."""
    command = ("nohup", sys.executable, "-m", "benchmarks.servers", "cheroot", "--rounds=1")
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    head, _, row = (line.split(" | ") for line in done.stdout.splitlines()[1:])
    assert len(head) == len(row) == 12
    assert row[0] == "| cheroot" and 0 < float(row[1]) < 1000
    assert all(float(cell) < 3 for cell in row[2:6])
    assert -1 < float(row[8]) < 10
    assert row[9].startswith("cut") and row[10].startswith(("restarting", "interrupted"))
    assert row[11].startswith("cut")  # cheroot has no handler for SIGHUP
