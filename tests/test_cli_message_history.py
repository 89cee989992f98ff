"""The file of typed messages: whose it is, what is kept, and what is wrong with it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Terminal
from tables import each

from websopy_sync import ConfigError
from websopy_sync.cli import message_history
from websopy_sync.cli.message_history import LONGEST, MOST_MESSAGES, MessageHistory
from websopy_sync.sandbox import Sandbox, done, say

readline = pytest.importorskip("readline")


@pytest.fixture
def history(tmp_path: Path) -> Callable[[], MessageHistory]:
    """Opens the history of a user whose state is in this folder."""
    readline.clear_history()
    return lambda: MessageHistory({"XDG_STATE_HOME": str(tmp_path)})


def remembered() -> list[str]:
    """What the arrow keys bring back, oldest first."""
    count = readline.get_current_history_length()
    return [readline.get_history_item(number) for number in range(1, count + 1)]


def file_in(folder: Path) -> Path:
    """The file."""
    return folder / "websopy-sync" / "chat-messages.jsonl"


def test_messages_come_back(history: Callable[[], MessageHistory], tmp_path: Path) -> None:
    """Each as it was, lines and all; the same one again is not kept twice."""
    messages = ["one", "two\n  lines\n\nmore", "写 \u2028 '\"\\", "half \udcff"]
    first = history()
    first.load()
    for message in [*messages, messages[-1], ""]:
        first.add(message)
    assert remembered() == messages
    readline.clear_history()
    history().load()
    assert remembered() == messages
    assert stat.S_IMODE(file_in(tmp_path).stat().st_mode) == 0o600
    assert stat.S_IMODE(file_in(tmp_path).parent.stat().st_mode) == 0o700


def test_two_conversations_at_once(history: Callable[[], MessageHistory], tmp_path: Path) -> None:
    """Neither loses what the other adds."""
    one, other = history(), history()
    for number in range(10):
        (one, other)[number % 2].add(str(number))
    lines = file_in(tmp_path).read_text().splitlines()
    assert [json.loads(line) for line in lines] == list("0123456789")


def test_it_is_bounded(history: Callable[[], MessageHistory], tmp_path: Path) -> None:
    """The oldest messages leave the file, and a very long one never enters it."""
    first = history()
    for number in range(MOST_MESSAGES + 5):
        first.add(f"message {number}")
    first.add("x" * (LONGEST + 1))
    readline.clear_history()
    history().load()
    assert len(remembered()) == MOST_MESSAGES
    assert remembered()[-1] == f"message {MOST_MESSAGES + 4}"
    assert len(file_in(tmp_path).read_text().splitlines()) == MOST_MESSAGES
    assert stat.S_IMODE(file_in(tmp_path).stat().st_mode) == 0o600


def test_lines_that_are_none(history: Callable[[], MessageHistory], tmp_path: Path) -> None:
    """They are passed over: a full disk may have cut one."""
    file_in(tmp_path).parent.mkdir()
    good, deep = b'"one"\n', b"[" * 100_000
    lines = b'{"a": 1}\n"cut' + b"\n" + b"\xff\n" + deep + b"\n\n" + b'"a\\u0000b"\n'
    file_in(tmp_path).write_bytes(good + lines + b'"two"')
    history().load()
    assert remembered() == ["one", "two"]


def test_a_file_that_cannot_be_used(
    history: Callable[[], MessageHistory], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One warning; the messages of this conversation come back all the same."""
    (tmp_path / "websopy-sync").touch()
    broken = history()
    broken.load()
    broken.add("one")
    broken.add("two")
    assert remembered() == ["one", "two"]
    told = capsys.readouterr().err
    assert told.startswith("websopy-sync: warning: message history: cannot write: ")
    assert told.count("\n") == 1


def test_a_folder_in_its_place(
    history: Callable[[], MessageHistory], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same for reading."""
    file_in(tmp_path).mkdir(parents=True)
    broken = history()
    broken.load()
    broken.add("one")
    assert remembered() == ["one"]
    assert capsys.readouterr().err.count("warning: ") == 1


@each("value", ["0", "no", "off", "False", " 0 "])
def test_turned_off(tmp_path: Path, value: str) -> None:
    """Nothing is read or written; the arrow keys still work within the conversation."""
    readline.clear_history()
    environ = {"XDG_STATE_HOME": str(tmp_path), message_history.VARIABLE: value}
    off = MessageHistory(environ)
    off.load()
    off.add("one")
    assert remembered() == ["one"]
    assert os.listdir(tmp_path) == []


def test_neither_on_nor_off() -> None:
    """The error says what was expected and what came."""
    with pytest.raises(ConfigError, match="WEBSOPY_CHAT_HISTORY: expected 0 or 1, got 'perhaps'"):
        MessageHistory({message_history.VARIABLE: "perhaps"})


@each("folder", ["", "relative/path"])
def test_without_a_state_folder(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the home; a relative path is ignored, as the XDG specification says."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    MessageHistory({"XDG_STATE_HOME": folder}).add(folder or "one")
    assert file_in(tmp_path / ".local" / "state").exists()
    assert not (tmp_path / "relative").exists()


def test_the_arrow_keys_of_the_next_conversation(tmp_path: Path) -> None:
    """A message of several lines comes back as one, and each of them once."""
    variables = {"WEBSOPY_CHAT_HISTORY": "1", "XDG_STATE_HOME": str(tmp_path)}
    with Sandbox([say("answer"), done()]) as sandbox:
        arguments = ("chat", "--base-url", sandbox.url)
        with Terminal(*arguments, TERM="xterm-256color", **variables) as terminal:
            terminal.until("> ")
            for typed in ("zero\r", "\x1b[200~one\rtwo\x1b[201~\r", "\x1b[A\x1b[A\r"):
                terminal.type(typed)
                terminal.answered()
            terminal.type("\x04")
            assert terminal.ended() == 0
        with Terminal(*arguments, TERM="xterm-256color", **variables) as terminal:
            terminal.until("> ")
            terminal.type("\x1b[A\x1b[A")
            terminal.until("two")
            terminal.type("\r")
            terminal.answered()
    asked = [request.json["messages"][-1]["content"] for request in sandbox.requests]
    assert asked == ["zero", "one\ntwo", "zero", "one\ntwo"]
