"""The command `chat`: its flags, and how a conversation is held.

Knows nothing of HTTP. What the user types comes from input.py; output.py writes the answers.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from ..client import WebsopyClient
from ..conversation import Conversation
from ..errors import ConfigError, WebsopyError
from ..sandbox import Sandbox
from ..stream import ChatStream
from .input import joined, piped, text_of, typed
from .output import AnswerOutput, output_for
from .sandbox import NO_MODEL
from .terminal import allow_interrupt, say

try:
    import readline  # once it is imported, input() has line editing
except ImportError:  # not on every platform
    HAS_READLINE = False
else:
    HAS_READLINE = True

NewOutput = Callable[[], AnswerOutput]


def add_to(commands: Any) -> None:
    """Add the command and its flags."""
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
    _add_flags_of_output(parser)
    parser.add_argument("--system", metavar="TEXT", help="what the model is told beforehand")
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="limit for each whole answer"
    )
    parser.set_defaults(run=run)


def _add_flags_of_output(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="write one chunk a line, as JSON")
    form.add_argument(
        "--markdown", action="store_true", help="lay the answer out, if a terminal shows it"
    )
    parser.add_argument(
        "--usage", action="store_true", help="write tokens, time and finish reason to stderr"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command, and give its exit code."""
    new_output = partial(output_for, as_json=args.json, markdown=args.markdown, usage=args.usage)
    new_output()  # before anything is asked, it says what is not installed
    with contextlib.ExitStack() as stack:
        key, url = None, args.base_url
        if args.sandbox:
            key, url = "sandbox-key", stack.enter_context(Sandbox()).url
            say(NO_MODEL)
        client = stack.enter_context(WebsopyClient(key, base_url=url, timeout=args.timeout))
        conversation = client.ai.conversation(args.system and text_of(args.system, "--system"))
        on_terminal = bool(sys.stdin) and sys.stdin.isatty()
        if args.message is None and on_terminal:
            return _converse(conversation, new_output)
        message = text_of(args.message or "", "MESSAGE")
        question = joined("" if on_terminal else piped(), message)
        _answer(partial(conversation.send, question), new_output())
    return 0


def _converse(conversation: Conversation, new_output: NewOutput) -> int:
    """Hold a conversation. Ctrl-C ends the answer that is being written, or at the prompt all."""
    if HAS_READLINE and os.environ.get("TERM", "dumb") != "dumb":
        # The user can edit a paste as a whole before Enter sends it. Python turns this off.
        readline.parse_and_bind("set enable-bracketed-paste on")
    try:
        for question in typed():
            if question.strip():
                _converse_once(conversation, question, new_output())
    except KeyboardInterrupt:
        say("", name="")
        raise
    say("", name="")
    return 0


def _converse_once(conversation: Conversation, question: str, output: AnswerOutput) -> None:
    try:
        text = text_of(question.strip(), "message")
    except ConfigError as error:
        say(f"error: {error}")
        return
    try:
        _answer(partial(conversation.send, text), output)
    except KeyboardInterrupt:
        say("cancelled")
        allow_interrupt()
    except ConfigError:
        raise
    except WebsopyError as error:
        say(f"error: {error}")


def _answer(ask: Callable[[], ChatStream], output: AnswerOutput) -> None:
    with output, ask() as stream:
        for chunk in stream:
            output.add(chunk)
        output.end(stream.current_message)
