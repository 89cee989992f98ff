"""One client in one case, measured in this process: `python -m benchmarks.run_one --help`.

Prints one line of JSON. Started alone it brings its own server.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from dataclasses import replace

from .cases import CASES
from .clients import CLIENTS
from .measure import MEASURES
from .server import running_server


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run_one")
    parser.add_argument("--client", required=True, choices=CLIENTS)
    parser.add_argument("--case", required=True, choices=CASES)
    parser.add_argument("--server", help="URL of a running server of the benchmarks")
    parser.add_argument("--quick", action="store_true", help="only show that it runs")
    arguments = parser.parse_args()
    case = CASES[arguments.case].quick() if arguments.quick else CASES[arguments.case]
    case = replace(case, answer=replace(case.answer, run=str(os.getpid())))
    server = contextlib.nullcontext(arguments.server) if arguments.server else running_server()
    with server as url:
        results = MEASURES[case.kind](CLIENTS[arguments.client], url, case)
    print(json.dumps(results), flush=True)
    sys.stdout.close()
    os._exit(0)  # A reader that could not be cancelled may still hold a thread.


if __name__ == "__main__":
    main()
