"""The commands of a conversation: what a message that begins with "/" does.

Knows nothing of the terminal's modes or of flags.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from datetime import datetime

from ..conversation import Conversation
from ..errors import ConfigError
from .clipboard import copy
from .input import text_of
from .terminal import in_one_line, say

HELP = """\
/help          shows these lines
/model [NAME]  shows or sets the model
/retry         asks again
/file PATH     adds a file to send
/copy          copies the last answer
/save [PATH]   saves the turns
/quit, /exit   leave; quit, exit too
//text         is sent as /text

Enter sends; a paste is one message.
Alt-Enter begins a new line.
Arrow up and down: earlier messages.
Ctrl-C stops an answer; at the prompt
it clears the line, and twice it leaves.
Ctrl-D leaves.
"""


class Commands:
    """The commands of one conversation.

    Args:
        conversation: The conversation.
        retry: Asks its last question again.
        attach: Sends a file with the next message.

    Attributes:
        left: Whether the user wants to leave.
    """

    def __init__(
        self,
        conversation: Conversation,
        *,
        retry: Callable[[], None],
        attach: Callable[[str], None],
    ) -> None:
        self._conversation = conversation
        self._saved = ""
        self.left: bool = False
        self._with_argument = {"model": self._model, "save": self._save, "file": attach}
        self._alone = {
            "help": show_help,
            "retry": retry,
            "copy": self._copy,
            "quit": self._leave,
            "exit": self._leave,
        }

    def run(self, line: str) -> None:
        """Do what a command says, and say so.

        Args:
            line: The command, with its "/".
        """
        name, _, argument = line[1:].partition(" ")
        argument = argument.strip()
        if name in self._with_argument:
            self._with_argument[name](argument)
        elif name not in self._alone:
            self._refuse(name)
        elif argument:
            say(f"/{name}: expected nothing after it, got {argument!a:.200}")
        else:
            self._alone[name]()

    def _refuse(self, name: str) -> None:
        names = [*self._with_argument, *self._alone]
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean /{close[0]}?" if close else "/help lists them."
        say(f"unknown command /{name:.50}: {hint} To send it as a message, type //{name:.50}")

    def _leave(self) -> None:
        self.left = True

    def _model(self, name: str) -> None:
        if name:
            self._conversation.options["model"] = text_of(name, "/model")
        say(in_one_line(f"model: {model_of(self._conversation)}"), name="")

    def _copy(self) -> None:
        answer = last_answer(self._conversation)
        say(copy(answer) if answer else "there is no answer to copy yet")

    def _save(self, path: str) -> None:
        if not self._conversation.messages:
            say("there is nothing to save yet")
            return
        path = os.path.expanduser(text_of(path, "/save")) or self._saved or _new_name()
        if path != self._saved and os.path.lexists(path):
            say(f"not saved: {path!a:.200} is there already; give another name")
            return
        try:
            self._conversation.save(path)
        except ConfigError as error:
            say(f"error: {error}")
            return
        self._saved = path
        say(f"saved {len(self._conversation.messages)} turns: {os.path.abspath(path)}")


def show_help() -> None:
    """Write the commands and the keys to stderr; each line fits a narrow terminal."""
    say(HELP, name="", end="")


def model_of(conversation: Conversation) -> str:
    """The model of the next question; which one answered last, if that has another name."""
    asked = conversation.options.get("model")
    last = conversation.last_message
    answered = last.model if last else None
    shown = str(asked) if asked is not None else "the service's own choice"
    return f"{shown} ({answered} answered last)" if answered not in (None, asked) else shown


def last_answer(conversation: Conversation) -> str:
    """The text of the last answer, complete or not; "" if there is none."""
    for turn in reversed(conversation.messages):
        if turn["role"] == "assistant" and isinstance(turn.get("content"), str) and turn["content"]:
            answer: str = turn["content"]
            return answer
    return ""


def _new_name() -> str:
    return f"conversation-{datetime.now():%Y-%m-%d-%H%M%S}.json"
