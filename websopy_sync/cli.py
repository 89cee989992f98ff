"""The command line: chat, sandbox, plugins, and the commands that plugins add.

Turns arguments into calls of the package, and chunks into text for a terminal or a pipe. Knows
nothing of HTTP.

What a model or a server wrote never reaches the terminal as it is: it could move the cursor, set
the title or turn the reading direction round, and so show what is not there. Every text goes
through `visible` first.

Exit codes: 0 done, 1 an error (one line on stderr), 2 wrong usage or settings, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import FrameType, TracebackType
from typing import Any, Self
from urllib.request import getproxies_environment

import attrs

from ._version import __version__
from .client import WebsopyClient
from .conversation import Conversation
from .errors import ConfigError, WebsopyError, described
from .hooks import Hooks, list_plugins
from .sandbox import Sandbox
from .stream import ChatStream

try:
    import readline  # with it loaded, input() can edit its line
except ImportError:  # not on every platform
    HAS_READLINE = False
else:
    HAS_READLINE = True

__all__ = ["main", "visible"]

PROMPT = "> "
GOES_ON = "  "
WAITING = "waiting ..."

PASTED = 0.05
"""Seconds within which a further line belongs to the same message: nobody types so fast."""

MOST_PIPED = 64 * 1024 * 1024
"""Bytes of standard input that are asked at most; `yes` would never end."""

QUIET = 2.0
"""Seconds after which it is said that standard input is being waited for."""

NO_MODEL = "This is the websopy-sync sandbox, played on this machine: no model."

_VISIBLE = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t\r"},
    0x0D: None,  # of a CRLF only the LF is needed; alone it would write over the line
    0x7F: 0x2421,
    **dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD),
}


def visible(text: str) -> str:
    """The text without any power over a terminal.

    Control characters but LF and TAB are shown as their Unicode pictures (U+2400 and on), C1
    controls and those that turn the reading direction as U+FFFD; CR goes.
    """
    return text.translate(_VISIBLE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command (sys.argv's when None), and give its exit code."""
    try:
        _forgive_encodings()
        with _told_of_trouble():
            code = _run(sys.argv[1:] if argv is None else list(argv), own_process=argv is None)
        if sys.stdout:
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        if argv is None:  # this process ends now, and a second Ctrl-C has nothing left to stop
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return 130
    except BrokenPipeError:  # whoever reads has had enough
        _drop_unwritable()
        return 0
    except (WebsopyError, OSError) as error:
        _drop_unwritable()
        _tell(f"error: {str(error) or type(error).__name__}")
        return 2 if isinstance(error, ConfigError) else 1


def _run(argv: list[str], *, own_process: bool) -> int:
    parser = argparse.ArgumentParser("websopy-sync", description="Streaming AI chat.")
    parser.add_argument("--version", action="version", version=f"websopy-sync {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_chat(commands)
    _add_sandbox(commands)
    _add_plugins(commands)
    with contextlib.ExitStack() as stack:
        # The commands here need no plugin to be found, and chat's client loads its own.
        if not argv or argv[0] not in commands.choices:
            hooks = stack.enter_context(contextlib.closing(Hooks()))
            add_commands = hooks.teller("register_commands")
            if add_commands:
                add_commands(commands)
        try:
            args = parser.parse_args(argv)
        except SystemExit as left:  # --help, or wrong usage; argparse has said so
            return left.code if isinstance(left.code, int) else 2
        if own_process and args.run in (_chat, _sandbox):
            _interrupt_once()
        code: int = args.run(args)
        return code


def _interrupt_once() -> None:
    """Have Ctrl-C raise once and be ignored from then on.

    A second one would interrupt the end that the first one began: a lock that is held for a moment
    could stay locked then, and the process would hang. Nothing changes under `nohup`, where it is
    ignored from the start.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


# --- chat ----------------------------------------------------------------------------------------


def _add_chat(commands: Any) -> None:
    parser = commands.add_parser(
        "chat",
        help="ask, and watch the answer come",
        description="Ask, and watch the answer come. Ctrl-C cancels it. The key is taken from "
        "WEBSOPY_API_KEY. What is piped in is asked too, before MESSAGE and a blank line: "
        "cat FILE | websopy-sync chat 'Summarise this'. `< /dev/null` keeps it out. Without "
        "either, on a terminal, a conversation is held; lines that are pasted together are one "
        "message.",
    )
    parser.add_argument(
        "message",
        nargs="?",
        metavar="MESSAGE",
        help="what to ask; standard input, unless it is a terminal, is asked before it",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--sandbox", action="store_true", help="ask the sandbox, which is no model")
    where.add_argument("--base-url", metavar="URL", help="ask there instead of the service")
    parser.add_argument("--json", action="store_true", help="write one chunk a line, as JSON")
    parser.add_argument("--system", metavar="TEXT", help="what the model is told beforehand")
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="limit for each whole answer"
    )
    parser.set_defaults(run=_chat)


def _chat(args: argparse.Namespace) -> int:
    with contextlib.ExitStack() as stack:
        key, url = None, args.base_url
        if args.sandbox:
            key, url = "sandbox-key", stack.enter_context(Sandbox()).url
            _tell(NO_MODEL)
        client = stack.enter_context(WebsopyClient(key, base_url=url, timeout=args.timeout))
        conversation = client.ai.conversation(args.system and _text_of(args.system, "--system"))
        on_terminal = bool(sys.stdin) and sys.stdin.isatty()
        if args.message is None and on_terminal:
            return _converse(conversation, as_json=args.json)
        message = _text_of(args.message or "", "MESSAGE")
        question = _joined("" if on_terminal else _piped(), message)
        _answer(partial(conversation.send, question), as_json=args.json)
    return 0


def _text_of(argument: str, name: str) -> str:
    """An argument as text: where the locale could not decode it, it is taken for UTF-8."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return _decoded(os.fsencode(argument), name)
    return argument


def _decoded(data: bytes, name: str) -> str:
    """Bytes as text. What is no text is an error: a replacement would be asked in its place."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        position = error.start
    raise ConfigError(f"{name}: expected UTF-8 text, got something else at byte {position}")


def _joined(piped: str, message: str) -> str:
    """What to ask: what is piped in, then the argument, with a blank line between them."""
    if not piped.strip():
        piped = ""
    if piped and message.strip():
        return piped.rstrip("\r\n") + "\n\n" + message
    question = piped.strip() or message
    if not question.strip():
        raise ConfigError("no message: give one as an argument or on standard input")
    return question


def _piped() -> str:
    """What standard input holds, "" without one that can be read."""
    if not sys.stdin or sys.stdin.closed:
        return ""
    try:
        if not _waits(QUIET, unknown=True):
            _tell("reading standard input; `< /dev/null` keeps it out")
        data = sys.stdin.buffer.read(MOST_PIPED + 1)
    except OSError as error:
        # Under nohup it is open for writing only. Without a number it is no file, but what a
        # test or a notebook put in its place.
        if error.errno not in (errno.EBADF, None):
            raise
        return ""
    if len(data) > MOST_PIPED:
        raise ConfigError(f"standard input: expected at most {MOST_PIPED} bytes, got more")
    return _decoded(data, "standard input")


def _waits(seconds: float, *, unknown: bool) -> bool:
    """Whether standard input has something to read, its end included, within so many seconds."""
    try:
        return bool(select.select([sys.stdin], [], [], seconds)[0])
    except (OSError, ValueError):  # no file, or a platform that can select sockets only
        return unknown


def _converse(conversation: Conversation, *, as_json: bool) -> int:
    """Ask what is typed until its end. Ctrl-C at an answer ends that, at the prompt all."""
    if HAS_READLINE and os.environ.get("TERM", "dumb") != "dumb":
        # What is pasted can be edited as a whole then, and Enter asks it. Python turns it off.
        readline.parse_and_bind("set enable-bracketed-paste on")
    try:
        for question in _typed():
            if question.strip():
                _try(conversation, question, as_json=as_json)
    except KeyboardInterrupt:
        _tell("", name="")
        raise
    _tell("", name="")
    return 0


def _try(conversation: Conversation, question: str, *, as_json: bool) -> None:
    try:
        text = _text_of(question.strip(), "message")
    except ConfigError as error:
        _tell(f"error: {error}")
        return
    try:
        _answer(partial(conversation.send, text), as_json=as_json)
    except KeyboardInterrupt:
        _tell("cancelled")
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by the one that came
            signal.signal(signal.SIGINT, _interrupt)
    except ConfigError:
        raise
    except WebsopyError as error:
        _tell(f"error: {error}")


def _typed() -> Iterator[str]:
    """What is typed until its end, message by message.

    Lines that wait already when one is read belong to the same message: they were pasted.
    """
    with contextlib.suppress(EOFError):
        while True:
            lines = [_line(PROMPT)]
            try:
                while _waits(PASTED, unknown=False):
                    lines.append(_line(GOES_ON))
            except EOFError:
                yield "\n".join(lines)
                return
            yield "\n".join(lines)


def _line(prompt: str) -> str:
    if sys.stdout and sys.stdout.isatty():
        return input(prompt)
    _tell(prompt, name="", end="")  # input() would write it among the answers
    return input()


def _answer(ask: Callable[[], ChatStream], *, as_json: bool) -> None:
    with _Page() as page, ask() as stream:
        for chunk in stream:
            if as_json:
                page.write(json.dumps(chunk.to_dict()) + "\n")  # all ASCII, so of no power either
            elif chunk.type == "content":
                page.write(visible(chunk.content))
            elif chunk.type == "tool_call":
                page.note(f"tool call: {chunk.tool.name}({chunk.tool.arguments})")


class _Page:
    """What an answer is written on: the text on stdout, what is said about it on stderr.

    Until the first text or note, a terminal shows that the answer is waited for.
    """

    def __init__(self) -> None:
        self._waiting = False
        self._mid_line = False

    def __enter__(self) -> Self:
        if sys.stderr and sys.stderr.isatty():
            self._waiting = True
            _tell(WAITING, name="", end="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_waiting()
        self._end_line()

    def write(self, text: str) -> None:
        """Write text that is visible already."""
        self._end_waiting()
        if text:  # before it is out, or Ctrl-C could come in between
            self._mid_line = not text.endswith("\n")
        print(text, end="", flush=True)

    def note(self, text: str) -> None:
        """Say something about the answer, on a line of its own."""
        self._end_waiting()
        self._end_line()
        _tell(text)

    def _end_waiting(self) -> None:
        if self._waiting:
            self._waiting = False
            blank = " " * len(WAITING)
            print(f"\r{blank}\r", end="", file=sys.stderr, flush=True)

    def _end_line(self) -> None:
        if self._mid_line:
            self._mid_line = False
            print(flush=True)


# --- sandbox and plugins -------------------------------------------------------------------------


def _add_sandbox(commands: Any) -> None:
    parser = commands.add_parser(
        "sandbox",
        help="play the service on this machine",
        description="Play the service on this machine, until Ctrl-C. It is no model.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=_port, default=8899, help="port to listen on, 0 for a free one (%(default)s)"
    )
    parser.set_defaults(run=_sandbox)


def _port(text: str) -> int:
    if text.isdecimal() and int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected 0 to 65535, got {text!r:.20}")


def _sandbox(args: argparse.Namespace) -> int:
    def log(line: str) -> None:
        print(visible(line), flush=True)

    with Sandbox(host=args.host, port=args.port, log=log) as sandbox:
        log(f"{NO_MODEL} Ctrl-C stops it.")
        # Another process would ask by way of a proxy that its environment names.
        direct = f' no_proxy="$no_proxy,{args.host}"' if getproxies_environment() else ""
        log(f"export WEBSOPY_BASE_URL={sandbox.url} WEBSOPY_API_KEY=test{direct}")
        threading.Event().wait()
    return 0


def _add_plugins(commands: Any) -> None:
    parser = commands.add_parser(
        "plugins",
        help="list the plugins that are installed",
        description="List the installed plugins, and whether they load.",
    )
    parser.add_argument("--json", action="store_true", help="write one plugin a line, as JSON")
    parser.set_defaults(run=_plugins)


def _plugins(args: argparse.Namespace) -> int:
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
    _print_table([[_in_one_line(cell) or "-" for cell in row] for row in rows])
    return 0


def _print_table(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    if len(rows) == 1:
        print("(none)")


# --- the streams ---------------------------------------------------------------------------------


def _in_one_line(text: str) -> str:
    return " ".join(visible(text).split())


def _tell(text: str, *, name: str = "websopy-sync: ", end: str = "\n") -> None:
    """Say something in one line on stderr, if there is one."""
    if sys.stderr:
        with contextlib.suppress(OSError):  # nobody listens, and there is nobody else to tell
            line = _in_one_line(text) if name else text
            print(f"{name}{line}", end=end, file=sys.stderr, flush=True)


def _forgive_encodings() -> None:
    """Write `?` for what the locale's encoding lacks, where Python would raise.

    What is typed and is no text in it is kept, for `_text_of` to say so.
    """
    for stream, errors in (
        (sys.stdin, "surrogateescape"),
        (sys.stdout, "replace"),
        (sys.stderr, "replace"),
    ):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=errors)


def _drop_unwritable() -> None:
    """Forget output that cannot be written, or Python would fail at it once more as it ends."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


class _Teller(logging.Handler):
    """Tells of a plugin that failed in one line, without its traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        reason = f": {described(error)}" if error else ""
        _tell(f"warning: {record.getMessage()}{reason}")


@contextlib.contextmanager
def _told_of_trouble() -> Iterator[None]:
    """Show the package's own warnings. WEBSOPY_LOG asks for all of the log, in its own form."""
    logger, teller = logging.getLogger("websopy_sync"), _Teller(logging.WARNING)
    if os.environ.get("WEBSOPY_LOG"):
        yield
        return
    logger.addHandler(teller)
    try:
        yield
    finally:
        logger.removeHandler(teller)
