"""The command `chat`: its flags, and what they put together.

Knows nothing of HTTP. Conversation mode is in session.py; output.py writes the answers.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

from ..client import WebsopyClient
from ..conversation import Conversation
from ..errors import ConfigError
from .input import joined, piped, text_of
from .output import output_for
from .request_flags import Part, keeps_history, parameters_of, parts_of, stored_conversation
from .service_flags import add_service_flags, client_of
from .session import Session, close_tool_calls, write_answer
from .terminal import say

DESCRIPTION = """\
Ask a model, and watch the answer come. What is piped in is sent too, before
MESSAGE and a blank line: cat FILE | websopy-sync chat 'Summarise this'.
Without either, on a terminal, it holds a conversation, in which /help lists
the commands. The key is taken from WEBSOPY_API_KEY."""

EXAMPLES = """\
examples:
  websopy-sync chat 'Name a river'
  websopy-sync chat -m large -o temperature=0.2 -o 'stop=["END"]' 'Name a river'
  websopy-sync chat -f photo.png -f notes.txt 'Do the notes fit the photo?'
  websopy-sync chat --continue 'And a lake?'

exit codes: 0 done, 1 no complete answer, 2 wrong usage or settings,
130 Ctrl-C, 143 terminated"""


def add_to(commands: Any) -> None:
    """Add the command and its flags."""
    parser = commands.add_parser(
        "chat",
        help="ask, and watch the answer come",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "message",
        nargs="?",
        metavar="MESSAGE",
        help="what to ask; standard input, unless it is a terminal, is sent before it",
    )
    _add_flags_of_request(parser)
    _add_flags_of_history(parser)
    _add_flags_of_output(parser)
    add_service_flags(parser)
    parser.set_defaults(run=run)


def _add_flags_of_request(parser: argparse.ArgumentParser) -> None:
    flags = parser.add_argument_group("what is sent")
    flags.add_argument("-m", "--model", metavar="NAME", help="the model that answers")
    flags.add_argument(
        "-o",
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the request, such as temperature=0.2; JSON, or else a text; may be "
        "given more than once",
    )
    flags.add_argument(
        "-f",
        "--file",
        action="append",
        default=[],
        metavar="FILE",
        help="a text file, an image or another file that goes with MESSAGE; may be given more "
        "than once",
    )
    flags.add_argument(
        "-s", "--system", metavar="TEXT", help="what the model is told before the conversation"
    )


def _add_flags_of_history(parser: argparse.ArgumentParser) -> None:
    flags = parser.add_argument_group("history (with the plugin websopy-persistence)")
    which = flags.add_mutually_exclusive_group()
    which.add_argument(
        "-c",
        "--continue",
        action="store_true",
        dest="latest",
        help="continue the latest conversation",
    )
    which.add_argument("--conversation", metavar="ID", help="continue this conversation")
    which.add_argument(
        "--load", metavar="FILE", help="continue what /save wrote; this needs no plugin"
    )


def _add_flags_of_output(parser: argparse.ArgumentParser) -> None:
    flags = parser.add_argument_group("what is written")
    form = flags.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="write one chunk a line, as JSON")
    form.add_argument(
        "--markdown", action="store_true", help="lay the answer out, if a terminal shows it"
    )
    flags.add_argument(
        "--usage", action="store_true", help="write tokens, time and finish reason to stderr"
    )
    flags.add_argument(
        "--no-stream",
        action="store_true",
        help="write the answer at once when it is whole, and nothing of one that fails",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command, and give its exit code."""
    new_output = partial(output_for, as_json=args.json, markdown=args.markdown, usage=args.usage)
    new_output()  # before anything is asked, it says what is not installed
    options, parts = _options(args), parts_of(args.file)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(client_of(args))
        conversation = _conversation(client, args, options)
        on_terminal = bool(sys.stdin) and sys.stdin.isatty()
        if args.message is None and on_terminal:
            stack.callback(_tell_how_to_continue, client, conversation)
            Session(conversation, new_output, parts=parts, at_once=args.no_stream).run()
            return 0
        question = _question(args.message, parts, on_terminal=on_terminal)
        close_tool_calls(conversation)
        ask = partial(conversation.send, question)
        write_answer(ask, new_output(), at_once=args.no_stream)
    return 0


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of each turn that the flags give."""
    fields = parameters_of(args.option)
    model = None if args.model is None else text_of(args.model, "--model")
    if model is not None and not model.strip():
        raise ConfigError("--model: expected a name, got an empty text")
    if model is not None and "model" in fields:
        raise ConfigError("model: expected it from --model or from -o, got both")
    # Beside the other fields it could not be changed by /model, which they would replace.
    model = fields.pop("model", model)
    options: dict[str, Any] = {} if model is None else {"model": model}
    return {**options, "extra_body": fields} if fields else options


def _conversation(
    client: WebsopyClient, args: argparse.Namespace, options: Mapping[str, Any]
) -> Conversation:
    """A new conversation, one from the history or a file. Each turn tells plugins its id."""
    id, turns, options = str(uuid.uuid4()), [], dict(options)
    if args.latest or args.conversation is not None:
        wanted = None if args.latest else text_of(args.conversation, "--conversation")
        stored = stored_conversation(client, wanted)
        id, turns = stored["id"], stored["messages"]
        if "model" in stored and not os.environ.get("WEBSOPY_MODEL"):
            options.setdefault("model", stored["model"])
    elif args.load is not None:
        turns = Conversation.load(text_of(args.load, "--load"), client).messages
    system = args.system and text_of(args.system, "--system")
    if system and turns and turns[0]["role"] == "system":
        turns = turns[1:]
    conversation = client.ai.conversation(system, metadata={"conversation": id}, **options)
    conversation.messages += turns
    return conversation


def _question(message: str | None, parts: list[Part], *, on_terminal: bool) -> str | list[Any]:
    """What to send: files, then the piped text and the argument."""
    text = text_of(message or "", "MESSAGE")
    before = "" if on_terminal else piped()
    if parts and not (before.strip() or text.strip()):
        return list(parts)
    question = joined(before, text)
    return [*parts, question] if parts else question


def _tell_how_to_continue(client: WebsopyClient, conversation: Conversation) -> None:
    if conversation.last_message is not None and keeps_history(client):
        metadata = conversation.options.get("metadata") or {}
        say(f"To go on: websopy-sync chat --conversation {metadata.get('conversation')}", name="")
