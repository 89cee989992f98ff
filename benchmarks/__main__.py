"""The one command: `python -m benchmarks`.

Runs the comparison, prints it, and writes what the documentation shows: the numbers as JSON, the
picture, and the tables between the marks of docs/benchmarks.md. A selection, or an earlier run, is
only printed unless --output says where to.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .cases import CASES
from .clients import CLIENTS
from .machine import describe
from .picture import draw
from .report import Report
from .rounds import Run, run_rounds
from .server import running_server

DOCS = Path(__file__).parent.parent / "docs" / "benchmarks"
BEGIN, END = "<!-- python -m benchmarks: begin -->", "<!-- python -m benchmarks: end -->"


def main() -> None:
    """Parse the command line and do as it says."""
    arguments = parse()
    comparison = load(arguments.render) if arguments.render else measure(arguments)
    print("\n".join(caption(comparison["about"])))
    print()
    print(comparison["report"].text())
    print()
    print("\n".join(comparison["report"].verdicts()))
    selected = arguments.clients or arguments.cases or arguments.quick or arguments.render
    if output := arguments.output or (None if selected else DOCS):
        write(comparison, output)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--clients", type=chosen(CLIENTS), default=[], metavar="A,B")
    parser.add_argument("--cases", type=chosen(CASES), default=[], metavar="A,B")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="only show that it runs")
    parser.add_argument("--render", type=Path, metavar="JSON", help="print an earlier run again")
    parser.add_argument("--output", type=Path, metavar="DIR", help=f"default: {DOCS.name} in docs")
    return parser.parse_args()


def chosen(names: Iterable[str]) -> Any:
    """A parser of comma lists of these names."""

    def parse_list(text: str) -> list[str]:
        picked = text.split(",")
        if unknown := set(picked) - set(names):
            known = ", ".join(names)
            raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; there are {known}")
        return picked

    return parse_list


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the chosen cases by the chosen clients that are installed."""
    clients = [name for name in arguments.clients or CLIENTS if CLIENTS[name].installed]
    cases = [CASES[name] for name in arguments.cases or CASES]
    rounds = 1 if arguments.quick else arguments.rounds
    runs: list[Run] = []
    with running_server() as server:
        for run in run_rounds(cases, clients, rounds=rounds, server=server, quick=arguments.quick):
            runs.append(run)
            if sys.stderr.isatty():
                print(f"\r{run.case} {run.round + 1} {run.client:30}", end="", file=sys.stderr)
    about = {**describe(), "rounds": rounds, "quick": arguments.quick}
    return {"about": about, "report": Report(runs)}


def load(path: Path) -> dict[str, Any]:
    """An earlier comparison, as `write` left it."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    for run in stored["runs"]:
        for name, value in run["results"].items():
            run["results"][name] = math.inf if value is None else value
    return {"about": stored["about"], "report": Report([Run(**run) for run in stored["runs"]])}


def caption(about: dict[str, Any]) -> list[str]:
    """When and where, in two lines."""
    return [
        f"{about['date']} · {about['python']} · {about['cores']} cores, {about['cpu']}",
        f"medians of {about['rounds']} interleaved rounds; less is better"
        + (" · QUICK: these numbers mean nothing" if about["quick"] else ""),
    ]


def write(comparison: dict[str, Any], output: Path) -> None:
    """The numbers, the picture and, when the page is there, its tables."""
    about, report = comparison["about"], comparison["report"]
    output.mkdir(parents=True, exist_ok=True)
    runs = [asdict(run) for run in report.runs]
    for run in runs:
        for name, value in run["results"].items():
            run["results"][name] = value if math.isfinite(value) else None
    stored = json.dumps({"about": about, "runs": runs}, indent=1, ensure_ascii=False) + "\n"
    (output / "results.json").write_text(stored, encoding="utf-8")
    (output / "picture.svg").write_text(draw(report, caption(about)), encoding="utf-8")
    page = output.parent / "benchmarks.md"
    if page.exists():
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
        body = f"{'; '.join(caption(about))}.\n\nWith {versions}.\n\n{report.markdown()}"
        page.write_text(f"{before}{BEGIN}\n{body}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
