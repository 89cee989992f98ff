"""The command `plugins`: its flags, and the table of installed plugins.

Finding them is the work of `hooks/`.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import attrs

from ..hooks import list_plugins
from .table import print_table
from .terminal import in_one_line


def add_to(commands: Any) -> None:
    """Add the command and its flags."""
    parser = commands.add_parser(
        "plugins",
        help="list the plugins that are installed",
        description="List the installed plugins, and whether they load.",
    )
    parser.add_argument("--json", action="store_true", help="write one plugin a line, as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command, and give its exit code."""
    plugins = list_plugins()
    if args.json:
        for plugin in plugins:
            print(json.dumps(attrs.asdict(plugin)))
        return 0
    rows = [("NAME", "DISTRIBUTION", "VERSION", "HOOKS", "STATE")]
    for plugin in plugins:
        state = f"failed: {plugin.problem}" if plugin.state == "failed" else plugin.state
        rows.append(
            (plugin.name, plugin.distribution, plugin.version, " ".join(plugin.hooks), state)
        )
    print_table([[in_one_line(cell) or "-" for cell in row] for row in rows])
    return 0
