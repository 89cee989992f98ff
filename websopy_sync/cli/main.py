"""The command line: finds the command, runs it, and gives its exit code."""

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
from . import chat, plugins, sandbox
from .terminal import drop_unwritable, forgive_encodings, interrupt_once, say


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command (sys.argv's when None), and give its exit code."""
    try:
        forgive_encodings()
        with warnings_shown():
            code = _run(sys.argv[1:] if argv is None else list(argv), own_process=argv is None)
        if sys.stdout:
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        if argv is None:  # this process ends now, and a second Ctrl-C has nothing left to stop
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return 130
    except BrokenPipeError:  # whoever reads has had enough
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
    for command in (chat, sandbox, plugins):
        command.add_to(commands)
    with contextlib.ExitStack() as stack:
        # The commands here need no plugin to be found, and chat's client loads its own.
        if not argv or argv[0] not in commands.choices:
            hooks = stack.enter_context(contextlib.closing(Hooks()))
            add_commands = hooks.notifier("register_commands")
            if add_commands:
                add_commands(commands)
        try:
            args = parser.parse_args(argv)
        except SystemExit as left:  # --help, or wrong usage; argparse has said so
            return left.code if isinstance(left.code, int) else 2
        if own_process and args.run in (chat.run, sandbox.run):
            interrupt_once()
        code: int = args.run(args)
        return code


class WarningHandler(logging.Handler):
    """Tells of a plugin that failed in one line, without its traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the warning and what was raised."""
        error = record.exc_info[1] if record.exc_info else None
        reason = f": {described(error)}" if error else ""
        say(f"warning: {record.getMessage()}{reason}")


@contextlib.contextmanager
def warnings_shown() -> Iterator[None]:
    """Show the package's own warnings. WEBSOPY_LOG asks for all of the log, in its own form."""
    logger, teller = logging.getLogger("websopy_sync"), WarningHandler(logging.WARNING)
    if os.environ.get("WEBSOPY_LOG"):
        yield
        return
    logger.addHandler(teller)
    try:
        yield
    finally:
        logger.removeHandler(teller)
