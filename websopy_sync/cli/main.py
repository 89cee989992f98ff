"""The program: picks the command, runs it, and turns errors into exit codes.

Exit codes: 0 done, 1 an error (one line on stderr), 2 wrong usage or settings, 130 Ctrl-C, 143
terminated. Knows no flag of a command: each is in the command's own file.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence

from .._version import __version__
from ..errors import ConfigError, WebsopyError, described
from ..hooks import Hooks
from . import chat, models, plugins, sandbox, wires
from .terminal import drop_unwritable, end_when_terminated, forgive_encodings, interrupt_once, say


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments without the program's name; None takes them from `sys.argv`, and lets
            the command handle Ctrl-C for the whole process.

    Returns:
        The exit code.
    """
    try:
        forgive_encodings()
        with warnings_shown():
            code = _run(sys.argv[1:] if argv is None else list(argv), own_process=argv is None)
        if sys.stdout:
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        if argv is None:  # the process exits now: a second Ctrl-C would only add a traceback
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return 130
    except BrokenPipeError:  # the reader of our output has closed it, like `head`
        drop_unwritable()
        return 0
    except (WebsopyError, OSError) as error:
        drop_unwritable()
        say(f"error: {str(error) or type(error).__name__}")
        return 2 if isinstance(error, ConfigError) else 1


def _run(argv: list[str], *, own_process: bool) -> int:
    parser = argparse.ArgumentParser("websopy-sync", description="Streaming AI chat.")
    parser.add_argument("--version", action="version", version=f"websopy-sync {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (chat, models, sandbox, plugins, wires):
        command.add_to(commands)
    with contextlib.ExitStack() as stack:
        # Plugins load only for a command that is not ours. The client of chat loads its own.
        if not argv or argv[0] not in commands.choices:
            hooks = stack.enter_context(contextlib.closing(Hooks(lists=True)))
            add_commands = hooks.notifier("register_commands")
            if add_commands:
                add_commands(commands)
        try:
            args = parser.parse_args(argv)
        except SystemExit as left:  # --help or wrong usage: argparse has printed it
            return left.code if isinstance(left.code, int) else 2
        if own_process and args.run in (chat.run, models.run, sandbox.run):
            interrupt_once()
        if own_process and args.run is chat.run:
            end_when_terminated()
        code: int = args.run(args)
        return code


class WarningHandler(logging.Handler):
    """Writes a warning and its exception in one line, without the traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one warning to stderr."""
        error = record.exc_info[1] if record.exc_info else None
        reason = f": {described(error)}" if error else ""
        say(f"warning: {record.getMessage()}{reason}")


@contextlib.contextmanager
def warnings_shown() -> Iterator[None]:
    """Show the package's warnings. With WEBSOPY_LOG the client shows the whole log instead."""
    logger, handler = logging.getLogger("websopy_sync"), WarningHandler(logging.WARNING)
    if os.environ.get("WEBSOPY_LOG"):
        yield
        return
    # The lines that websopy-logging writes for each request: the command says the same.
    handler.addFilter(lambda record: record.name != "websopy_sync.chat")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
