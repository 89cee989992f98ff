"""The command `models`: its flags. It writes the names of a service's models, one a line.

Asking for them is the work of the client.
"""

from __future__ import annotations

import argparse
from typing import Any

from .service_flags import add_service_flags, client_of
from .terminal import in_one_line, say


def add_to(commands: Any) -> None:
    """Add the command and its flags."""
    parser = commands.add_parser(
        "models",
        help="list the models that a service offers",
        description="List the models that a service offers, one name a line, as `chat --model` "
        "takes them. Not every service lists its models, and some list models that do not chat.",
    )
    add_service_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command, and give its exit code."""
    with client_of(args, plugins=()) as client:
        names = client.models()
    for name in names:
        print(in_one_line(name))
    if not names:
        say("error: the service has no model")
    return 0 if names else 1
