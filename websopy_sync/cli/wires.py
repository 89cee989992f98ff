"""The command `wires`: its flags, and the table of the services that can be spoken to.

Finding them is the work of `wires/`.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from ..errors import ConfigError
from ..wires import find_wire, wire_names
from .table import print_table
from .terminal import in_one_line


def add_to(commands: Any) -> None:
    """Add the command and its flags."""
    parser = commands.add_parser(
        "wires",
        help="list the services that can be spoken to",
        description="List the wires: the names that `chat --wire` takes, where each goes when no "
        "--base-url is given, and the variable that its key is read from.",
    )
    parser.add_argument("--json", action="store_true", help="write one wire a line, as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command, and give its exit code."""
    rows = [_row(name) for name in wire_names()]
    if args.json:
        for row in rows:
            print(json.dumps(row))
        return 0
    cells = [[in_one_line(cell) or "-" for cell in _cells(row)] for row in rows]
    print_table([["NAME", "ADDRESS", "KEY"], *cells])
    return 0


def _row(name: str) -> dict[str, Any]:
    try:
        wire = find_wire(name)
    except ConfigError as error:  # an installed one that does not load
        return {"name": name, "problem": str(error)}
    remote = wire.needs_key or not wire.base_url  # Azure wants a key, or a token in a header
    variable = wire.key_variable or ("WEBSOPY_API_KEY" if remote else "")
    return {
        "name": name,
        "base_url": wire.base_url,
        "key_variable": variable,
        "has_key": bool(variable and os.environ.get(variable)),
    }


def _cells(row: dict[str, Any]) -> tuple[str, str, str]:
    if "problem" in row:
        return row["name"], f"failed: {row['problem']}", ""
    variable = row["key_variable"]
    key = f"{variable}, {'set' if row['has_key'] else 'not set'}" if variable else "none needed"
    return row["name"], row["base_url"] or "none: pass --base-url", key
