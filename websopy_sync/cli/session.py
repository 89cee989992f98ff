"""Conversation mode: prompt, answer, prompt, until the user leaves.

Knows nothing of flags. What a command does is in commands.py, what is typed comes from prompt.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..conversation import Conversation
from ..errors import ConfigError, WebsopyError
from ..stream import ChatStream
from ..tool_results import open_calls
from .commands import Commands, model_of
from .input import path_of, text_of, trimmed
from .message_history import MessageHistory
from .output import AnswerOutput
from .prompt import PROMPT, Prompt
from .request_flags import parts_of
from .terminal import allow_interrupt, in_one_line, say, terminal_columns

NO_TOOLS = "The command line runs no tools."

WORDS_THAT_LEAVE = ("exit", "quit")
"""Messages that are commands without a "/": they leave a shell, Python and `llm chat` too."""

NewOutput = Callable[[], AnswerOutput]


def write_answer(ask: Callable[[], ChatStream], output: AnswerOutput, *, at_once: bool) -> None:
    """Read one answer, and write it as it comes.

    Args:
        ask: Sends the question.
        output: Writes the answer.
        at_once: Write nothing before the answer is whole.
    """
    with output, ask() as stream:
        for chunk in list(stream) if at_once else stream:
            output.add(chunk)
        output.end(stream.current_message)


class Session:
    """One conversation on a terminal.

    Args:
        conversation: The conversation, with its options and perhaps earlier turns.
        new_output: Makes what writes the next answer.
        parts: Files that go with the first message.
        at_once: Write an answer only once it is whole.
    """

    def __init__(
        self,
        conversation: Conversation,
        new_output: NewOutput,
        *,
        parts: Sequence[Any] = (),
        at_once: bool = False,
    ) -> None:
        self._conversation = conversation
        self._new_output = new_output
        self._parts = list(parts)
        self._at_once = at_once
        self._prompt = Prompt()
        self._history = MessageHistory()
        self._commands = Commands(conversation, retry=self._retry, attach=self._attach)
        self._start = _last_question(conversation.messages)
        self._question: Any = None
        self._stream: ChatStream | None = None
        self._interrupted = False
        if self._start is not None:
            self._question = conversation.messages[self._start]["content"]

    def run(self) -> None:
        """Hold the conversation until the user leaves it.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed twice at the prompt.
        """
        self._greet()
        self._history.load()
        with self._prompt:
            while not self._commands.left:
                try:
                    self._take(self._prompt.read())
                    self._interrupted = False
                except EOFError:
                    return
                except KeyboardInterrupt:
                    self._take_interrupt()

    def _greet(self) -> None:
        say("Enter sends, Ctrl-C stops an answer,\nCtrl-D leaves, /help shows more.", name="")
        say(in_one_line(f"Model: {model_of(self._conversation)}"), name="")
        if self._question is not None:
            shown = self._question if isinstance(self._question, str) else "(with files)"
            say(f"Goes on after {len(self._conversation.messages)} turns. Last question:", name="")
            shown, most = in_one_line(shown), terminal_columns() // 2 - 3  # of two cells each
            say(PROMPT + (shown if len(shown) <= most else f"{shown[:most]}…"), name="")
        if self._parts:
            self._tell_files()

    def _take_interrupt(self) -> None:
        """Ctrl-C outside an answer clears the line; pressed twice in a row, it ends all."""
        say("", name="")
        if self._interrupted and not self._prompt.dropped:
            raise KeyboardInterrupt
        self._interrupted = True
        say("Ctrl-D or /quit leaves, Ctrl-C again too", name="")
        allow_interrupt()

    def _take(self, typed: str) -> None:
        """Do what the user typed: a command, or a message to send."""
        line = trimmed(typed)
        if not line:
            return
        try:
            line = text_of(line, "message")
        except ConfigError as error:
            say(f"error: {error}")
            return
        self._history.add(line)
        if line in WORDS_THAT_LEAVE:
            line = f"/{line}"
        # Several lines were pasted: "// a comment" is no command then.
        if line.startswith("/") and "\n" not in line:
            if not line.startswith("//"):
                self._commands.run(line)
                return
            line = line[1:]
        parts, self._parts = self._parts, []
        self._ask([*parts, line] if parts else line)

    def _ask(self, question: Any) -> None:
        close_tool_calls(self._conversation)
        self._start, self._question = len(self._conversation.messages), question
        self._answer()

    def _attach(self, path: str) -> None:
        if not path:
            say("/file: expected the path of a file, got none")
            return
        try:
            self._parts += parts_of([path_of(text_of(path, "/file"))], name="/file")
        except ConfigError as error:
            say(f"error: {error}")
            return
        self._tell_files()

    def _tell_files(self) -> None:
        say(f"Files that go with the next message: {len(self._parts)}", name="")

    def _retry(self) -> None:
        if self._start is None:
            say("there is no question to ask again yet")
            return
        del self._conversation.messages[self._start :]
        self._answer()

    def _answer(self) -> None:
        """Send the question, and write its answer. What came before a failure is kept."""
        self._stream = None
        try:
            with self._prompt.hidden():
                write_answer(self._send, self._new_output(), at_once=self._at_once)
        except KeyboardInterrupt:
            self._say_cancelled()
            allow_interrupt()
        except WebsopyError as error:
            say(f"error: {error}")
            say(f"{self._kept()}/retry asks again")

    def _send(self) -> ChatStream:
        # A part that was not shown is not kept either.
        keep = not self._at_once
        self._stream = self._conversation.send(self._question, keep_partial=keep)
        return self._stream

    def _say_cancelled(self) -> None:
        if self._stream is None or self._stream.state != "done":  # else Ctrl-C came too late
            say(f"cancelled: {self._kept()}/retry asks again")
        dropped = self._prompt.forget_typed_ahead()
        if dropped:
            say(f"dropped {dropped} message{'s' * (dropped > 1)} that you typed ahead")

    def _kept(self) -> str:
        kept = len(self._conversation.messages) > (self._start or 0) + 1
        return "the part above stays in the conversation; " if kept else ""


def close_tool_calls(conversation: Conversation) -> None:
    """Give each tool call without a result one: else no next turn could be sent."""
    for call in open_calls(conversation.messages):
        conversation.add_tool_result(call, NO_TOOLS)


def _last_question(messages: Sequence[Any]) -> int | None:
    """Where the user's last turn is among the turns; None if there is none."""
    places = (
        place for place in reversed(range(len(messages))) if messages[place]["role"] == "user"
    )
    return next(places, None)
