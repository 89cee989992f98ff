"""The messages that a user types at a terminal, or pastes, or types ahead.

Knows nothing of conversations, nor of the commands that a message may be.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

from .input import for_readline, waits
from .terminal import say

try:
    import readline  # once it is imported, input() has line editing
except ImportError:  # not on every platform
    HAS_READLINE = False
else:
    HAS_READLINE = True

try:
    import termios
except ImportError:  # Windows
    HAS_TERMIOS = False
else:
    HAS_TERMIOS = True

PROMPT = "> "
PROMPT_OF_NEXT_LINE = "  "

PASTED = 0.05
"""Seconds in which a next line belongs to the same message: nobody types so fast."""

_MARKS_ON, _MARKS_OFF = "\x1b[?2004h", "\x1b[?2004l"
_BEGIN, _END = "\x1b[200~", "\x1b[201~"
_MARK = re.compile("(\x1b\\[20[01]~)")

# Arrow keys and the like, which only readline obeys, and other control characters.
_KEYS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O?[^\n])?|[\x00-\x08\x0b-\x1f\x7f]")


class Prompt:
    """Reads one message after the other.

    The rule for lines: what is pasted is one message, and so are lines that come at once while the
    prompt is shown, as a terminal pastes that does not mark it. Lines that were typed before the
    prompt, while an answer was written, are a message each.

    Attributes:
        dropped: Whether the last Ctrl-C took a text away that was typed already.
    """

    def __init__(self) -> None:
        self.dropped: bool = False
        self._on_terminal = bool(sys.stdout) and sys.stdout.isatty()
        self._edits = HAS_READLINE and self._on_terminal
        self._marks = self._edits and os.environ.get("TERM", "dumb") != "dumb"
        self._ahead: deque[str] = deque()
        self._begun = ""
        self._editing = ""  # the prompt, while readline shows it
        self._ended = False

    def __enter__(self) -> Self:
        if HAS_READLINE:
            readline.set_auto_history(False)  # `MessageHistory` keeps a pasted message as one
            # Alt-Enter begins a new line: the macro types Ctrl-V, which takes the next key as it
            # is, and Ctrl-J.
            readline.parse_and_bind(r'"\e\C-m": "\C-v\C-j"')
            for setting in ("input-meta on", "convert-meta off", "output-meta on"):
                # Else readline takes the bytes of UTF-8 for keys with Alt, where LC_ALL is C.
                readline.parse_and_bind(f"set {setting}")
        if self._marks:
            # The user can edit a paste as a whole before Enter sends it. Python turns this off.
            readline.parse_and_bind("set enable-bracketed-paste on")
        if HAS_TERMIOS and signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
            signal.signal(signal.SIGTSTP, self._stop)
        return self

    def __exit__(self, *exception: object) -> None:
        if HAS_TERMIOS and signal.getsignal(signal.SIGTSTP) == self._stop:
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        if self._marks:
            print(_MARKS_OFF, end="", flush=True)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Stop at Ctrl-Z. After `fg`, put back the modes, which the shell has set for itself."""
        modes, resumed = _attributes(), list[int]()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.signal(signal.SIGCONT, lambda number, frame: resumed.append(number))
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGCONT, signal.SIG_DFL)
        signal.signal(signal.SIGTSTP, self._stop)
        if modes is None or not resumed:
            return  # where no shell could continue it, the system does not stop it
        if os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp():
            return  # `bg`: the modes are the shell's
        termios.tcsetattr(sys.stdin, termios.TCSANOW, modes)
        shown = _MARKS_ON if self._marks else ""
        if self._editing:  # readline believes that its line is still there
            shown += self._editing + readline.get_line_buffer()
        if shown:
            # Not print(): the signal may come in the middle of one, and it cannot be entered twice.
            os.write(sys.stdout.fileno(), shown.encode(sys.stdout.encoding, "replace"))

    def read(self) -> str:
        """The next message.

        Raises:
            EOFError: The input has ended.
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        lines: list[str] = []
        try:
            return self._next(lines)
        except KeyboardInterrupt:
            # After Ctrl-C readline still has the line that it interrupted.
            self.dropped = bool(lines or (self._edits and readline.get_line_buffer()))
            raise

    def _next(self, lines: list[str]) -> str:
        self._take_typed_ahead()
        if self._ahead:
            text = self._ahead.popleft()
            self._show(text)
            return text
        if self._ended:
            raise EOFError
        lines.append(self._line(PROMPT))
        self._add_pasted_to(lines)
        return "\n".join(lines)

    def forget_typed_ahead(self) -> int:
        """Drop the messages that were typed ahead, as the terminal does with the rest at Ctrl-C.

        Returns:
            How many there were.
        """
        count = len(self._ahead)
        self._ahead.clear()
        return count

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Do not show what is typed meanwhile: it would stand in the middle of the answer."""
        if self._marks:
            print(_MARKS_ON, end="", flush=True)  # readline turned it off after the line
        with _mode(echo=False):
            yield

    def _take_typed_ahead(self) -> None:
        """Take the lines that wait already; the beginning of a next one goes to the prompt."""
        try:
            data = self._waiting()
        except OSError:  # the terminal is gone
            self._ended = True
            return
        encoding = getattr(sys.stdin, "encoding", None) or "utf-8"
        text = data.decode(encoding, "surrogateescape")
        lines, self._begun = typed_lines(text, begun=self._begun)
        self._ahead += lines

    def _waiting(self) -> bytes:
        if not HAS_TERMIOS:
            return b""
        data = b""
        # The terminal gives whole lines here, and b"" for Ctrl-D.
        while not self._ended and waits(0, unknown=False):
            piece = os.read(sys.stdin.fileno(), 65536)
            self._ended = not piece
            data += piece
        if self._edits and not self._ended:
            with _mode(lines=False, echo=False):
                while waits(PASTED if _in_paste(data) else 0, unknown=False):
                    data += os.read(sys.stdin.fileno(), 65536)
        return data

    def _add_pasted_to(self, lines: list[str]) -> None:
        """Add the lines that come at once after the first one."""
        try:
            while waits(PASTED, unknown=False):
                lines.append(self._line(PROMPT_OF_NEXT_LINE))
        except EOFError:
            self._ended = True

    def _line(self, prompt: str) -> str:
        try:
            return self._edited_line(prompt) if self._on_terminal else self._plain_line(prompt)
        except EOFError:
            if not self._marks:  # readline ends the line itself where it turns the marks off
                say("", name="")
            raise

    def _plain_line(self, prompt: str) -> str:
        say(prompt, name="", end="")  # input() would write it to stdout, into the answers
        begun, self._begun = self._begun, ""
        return begun + input()

    def _edited_line(self, prompt: str) -> str:
        begun, self._begun = self._begun, ""
        if self._edits and begun:
            readline.set_startup_hook(lambda: readline.insert_text(for_readline(begun)))
        try:
            self._editing = prompt if self._edits else ""
            return input(prompt)
        finally:
            self._editing = ""
            if self._edits:
                readline.set_startup_hook()

    def _show(self, text: str) -> None:
        """Show a message that was typed ahead, as if it were typed now."""
        shown = PROMPT + text.replace("\n", "\n" + PROMPT_OF_NEXT_LINE)
        if self._on_terminal:
            print(shown, flush=True)
        else:
            say(shown, name="")


def typed_lines(text: str, *, begun: str = "") -> tuple[list[str], str]:
    """The messages in what was typed ahead, and the beginning of a next one.

    Args:
        text: As the terminal gives it: a paste is between marks, if the terminal marks it.
        begun: The beginning of the first message.
    """
    lines: list[str] = []
    line, pasting = begun, False
    for piece in _MARK.split(text):
        if piece in (_BEGIN, _END):
            pasting = piece == _BEGIN
        elif pasting:
            line += piece.replace("\r", "\n")
        else:
            *ended, rest = _KEYS.sub("", piece.replace("\r", "\n")).split("\n")
            for end in ended:
                lines.append(line + end)
                line = ""
            line += rest
    return lines, line


def _in_paste(data: bytes) -> bool:
    """Whether the end of a paste is still to come."""
    return data.rfind(_BEGIN.encode()) > data.rfind(_END.encode())


@contextlib.contextmanager
def _mode(*, lines: bool = True, echo: bool = True) -> Iterator[None]:
    """Let the terminal give single characters instead of lines, or not show what is typed."""
    before = _attributes()
    if before is None:
        yield
        return
    changed = [*before[:6], [*before[6]]]
    changed[3] &= ~((0 if lines else termios.ICANON) | (0 if echo else termios.ECHO))
    if not lines:
        changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
    try:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, changed)
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(sys.stdin, termios.TCSANOW, before)


def _attributes() -> list[Any] | None:
    """The modes of the terminal on standard input; None if there is none."""
    if not HAS_TERMIOS:
        return None
    try:
        return termios.tcgetattr(sys.stdin)
    except (OSError, ValueError, termios.error):
        return None
