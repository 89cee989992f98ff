"""The command `sandbox`: its flags. It runs the sandbox until Ctrl-C.

The sandbox itself is the package `sandbox/`.
"""

from __future__ import annotations

import argparse
import threading
from typing import Any
from urllib.request import getproxies_environment

from ..sandbox import Sandbox
from ..sandbox.wires.registry import SERVICES
from .terminal import visible

NO_MODEL = "This is the websopy-sync sandbox, played on this machine: no model."


def add_to(commands: Any) -> None:
    """Add the command and its flags."""
    parser = commands.add_parser(
        "sandbox",
        help="play the service on this machine",
        description="Play the service on this machine, until Ctrl-C. It is no model.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=_port, default=8899, help="port to listen on, 0 for a free one (%(default)s)"
    )
    parser.add_argument(
        "--wire",
        default="websopy",
        metavar="NAME",
        help=f"the service to play, by its format: {', '.join(sorted(SERVICES))} (%(default)s)",
    )
    parser.set_defaults(run=run)


def _port(text: str) -> int:
    if text.isdecimal() and int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected 0 to 65535, got {text!r:.20}")


def run(args: argparse.Namespace) -> int:
    """Run the command, and give its exit code."""

    def log(line: str) -> None:
        print(visible(line), flush=True)

    with Sandbox(wire=args.wire, host=args.host, port=args.port, log=log) as sandbox:
        log(f"{NO_MODEL} Ctrl-C stops it.")
        # A client in another process would use the proxy that its environment names.
        direct = f' no_proxy="$no_proxy,{args.host}"' if getproxies_environment() else ""
        wire = "" if args.wire == "websopy" else f" WEBSOPY_WIRE={args.wire}"
        log(f"export{wire} WEBSOPY_BASE_URL={sandbox.url} WEBSOPY_API_KEY=test{direct}")
        threading.Event().wait()
    return 0
