"""Conversation mode on a real terminal: messages, pastes, commands, Ctrl-C and Ctrl-D."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Terminal, asked
from screens import Screen
from tables import each

from websopy_sync import WebsopyClient
from websopy_sync.cli.commands import last_answer
from websopy_sync.cli.input import path_of
from websopy_sync.sandbox import Sandbox, done, say, silence, status, tool, wait


def test_conversation() -> None:
    """Without MESSAGE on a terminal, one question after the other, each with the turns before."""
    with Sandbox([say("answer"), done()]) as sandbox:
        with Terminal("chat", "--base-url", sandbox.url, "--system", "s") as terminal:
            terminal.until("> ")
            terminal.type("one\n")
            assert "answer\n> " in terminal.until("> ")
            terminal.type("\n 二 \n")
            assert "answer\n> " in terminal.until("answer\r\n> ").replace("\r\n", "\n")
            terminal.type("\x04")
            assert terminal.ended() == 0
    turns = [[turn["content"] for turn in request.json["messages"]] for request in sandbox.requests]
    assert turns == [["s", "one"], ["s", "one", "answer", "二"]]


FOUR_LINES = "  first\n    second\n\nfourth 四"


def in_one_go(terminal: Terminal, text: str) -> None:
    """As a terminal pastes that does not mark what is pasted."""
    terminal.type(text.replace("\n", "\r") + "\r")


def without_its_last_line_end(terminal: Terminal, text: str) -> None:
    """What was copied without one waits for Enter."""
    terminal.type(text.replace("\n", "\r"))
    terminal.until("fourth 四")
    terminal.type("\r")


def in_parts(terminal: Terminal, text: str) -> None:
    """As over a slow line."""
    for line in text.splitlines():
        terminal.type(f"{line}\r")
        time.sleep(0.01)


def marked(terminal: Terminal, text: str) -> None:
    """As a terminal pastes that was told to mark it (bracketed paste), and then Enter."""
    pasted = text.replace("\n", "\r")
    terminal.type(f"\x1b[200~{pasted}\x1b[201~")
    terminal.until("fourth 四")
    terminal.type("\r")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("paste", "kind"),
    [
        (in_one_go, "dumb"),
        (in_parts, "dumb"),
        (without_its_last_line_end, "dumb"),
        (in_one_go, "xterm-256color"),
        (in_parts, "xterm-256color"),
        (without_its_last_line_end, "xterm-256color"),
        (marked, "xterm-256color"),
        (marked, "tmux-256color"),
    ],
)
def test_four_pasted_lines_are_one_message(
    paste: Callable[[Terminal, str], None], kind: str
) -> None:
    """Not four, whichever way the terminal pastes; the next line is the next message."""
    with Sandbox([say("answer"), done()]) as sandbox:
        with Terminal("chat", "--base-url", sandbox.url, TERM=kind) as terminal:
            terminal.until("> ")
            paste(terminal, FOUR_LINES)
            terminal.answered()
            terminal.type("next\r")
            terminal.answered()
            terminal.type("\x04")
            assert terminal.ended() == 0
    assert asked(sandbox) == [FOUR_LINES, "next"]


def test_pasted_lines_and_the_end_of_input() -> None:
    """The lines are asked, and then the conversation is over."""
    with Sandbox([say("answer"), done()]) as sandbox:
        with Terminal("chat", "--base-url", sandbox.url) as terminal:
            terminal.until("> ")
            terminal.type("one\ntwo\n\x04")
            terminal.until("answer")
            assert terminal.ended() == 0
    assert asked(sandbox) == ["one\ntwo"]


def test_pasted_lines_while_the_answer_goes_elsewhere() -> None:
    """`websopy-sync chat > FILE`: the prompt is on stderr then, and the rule is the same."""
    with Sandbox([say("answer"), done()]) as sandbox:
        pasted = f"{sys.executable} -m websopy_sync chat --base-url {sandbox.url} > /dev/null"
        with Terminal(shell=pasted) as terminal:
            terminal.until("> ")
            terminal.type("one\ntwo\nthree\n")
            terminal.until("> ")
            terminal.type("\x04")
            assert terminal.ended() == 0
    assert asked(sandbox) == ["one\ntwo\nthree"]


def test_typed_bytes_that_are_no_text() -> None:
    """They are an error, and the conversation goes on."""
    with Sandbox([say("answer"), done()]) as sandbox:
        with Terminal("chat", "--base-url", sandbox.url) as terminal:
            terminal.until("> ")
            terminal.type_bytes(b"\xff\xfe\n")
            assert "error: message: expected UTF-8 text" in terminal.until("> ")
            terminal.type("two\n")
            terminal.until("answer")
    assert asked(sandbox) == ["two"]


def test_a_locale_that_is_not_utf_8(tmp_path: Path) -> None:
    """What is typed is a message, not keys of readline, and earlier messages come back."""
    path = tmp_path / "websopy-sync" / "chat-messages.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps("早") + "\n")
    more = {"WEBSOPY_CHAT_HISTORY": "1", "XDG_STATE_HOME": str(tmp_path)}
    with Sandbox([say("answer"), done()]) as sandbox:
        arguments = ("chat", "--base-url", sandbox.url)
        with Terminal(*arguments, LC_ALL="C", TERM="xterm-256color", **more) as terminal:
            terminal.until("> ")
            for typed in ("写 é 👩", "\x1b[A", "\x1b[A\x1b[A"):
                terminal.type(f"{typed}\r")
                terminal.answered()
    assert asked(sandbox) == ["写 é 👩", "写 é 👩", "早"]


def test_conversation_goes_on_after_an_error() -> None:
    """A question that failed costs its answer, not the conversation."""
    with Sandbox([say("answer"), done()]) as sandbox:
        sandbox.play(status(400))
        with Terminal("chat", "--base-url", sandbox.url) as terminal:
            terminal.until("> ")
            terminal.type("one\n")
            assert "websopy-sync: error: " in terminal.until("> ")
            terminal.type("two\n")
            terminal.until("answer")


def test_ctrl_c_in_a_conversation() -> None:
    """In an answer it cancels that, at the service too; at the prompt, twice, it ends all."""
    with Sandbox([say("answer"), done()]) as sandbox:
        sandbox.play([say("never"), silence()])
        with Terminal("chat", "--base-url", sandbox.url) as terminal:
            terminal.until("> ")
            terminal.type("one\n")
            terminal.until("never")
            terminal.type("\x03")
            assert "\nwebsopy-sync: cancelled: the part above stays in" in terminal.until("> ")
            assert sandbox.wait_disconnect()
            terminal.type("two\n")
            terminal.until("answer\r\n> ")
            turns = [turn["content"] for turn in sandbox.requests[-1].json["messages"]]
            assert turns == ["one", "never", "two"]
            assert terminal.ended_by(lambda: terminal.type("\x03")) == 130


def turns_of(sandbox: Sandbox) -> list[list[Any]]:
    """The contents of the turns of each request."""
    return [[turn["content"] for turn in request.json["messages"]] for request in sandbox.requests]


def test_questions_typed_while_an_answer_comes() -> None:
    """Each line is a message of its own, and what was begun stands at the prompt."""
    word = threading.Event()
    with Sandbox([say("answer"), done()]) as sandbox:
        sandbox.play([say("slow"), wait(word), say(" answer"), done()])
        with Terminal("chat", "--base-url", sandbox.url, TERM="xterm-256color") as terminal:
            terminal.until("> ")
            terminal.type("one\r")
            terminal.until("slow")
            terminal.type_ahead("two\rthr\x7free\rfou")
            word.set()
            shown = terminal.until("fou")
            assert "slow" not in shown, "what is typed does not stand in the answer"
            assert "answer\n> two\n" in shown and "answer\n> three\n" in shown
            terminal.type("r\r")
            terminal.until("answer")
    assert asked(sandbox) == ["one", "two", "three", "four"]


def test_a_paste_while_an_answer_comes() -> None:
    """It is one message, which waits for Enter."""
    word = threading.Event()
    with Sandbox([say("answer"), done()]) as sandbox:
        for script in ([say("slow"), wait(word), done()], [done()], [say("last"), done()]):
            sandbox.play(script)
        with Terminal("chat", "--base-url", sandbox.url, TERM="xterm-256color") as terminal:
            terminal.until("> ")
            terminal.type("one\r")
            assert "\x1b[?2004h" in terminal.until("slow"), "the terminal is told to mark it"
            terminal.type_ahead("\x1b[200~two\rthree\x1b[201~\rfour\x1b[200~\rfive\x1b[201~")
            word.set()
            terminal.until("five")
            terminal.type("\r")
            terminal.until("last")
    assert asked(sandbox) == ["one", "two\nthree", "four\nfive"]


@pytest.mark.slow
def test_typed_ahead_without_line_editing() -> None:
    """The rule is the same where answers go elsewhere; Ctrl-D typed ahead ends it after them."""
    word = threading.Event()
    with Sandbox([say("answer"), done()]) as sandbox:
        sandbox.play([wait(word), say("slow"), done()])
        command = f"{sys.executable} -m websopy_sync chat --base-url {sandbox.url} > /dev/null"
        with Terminal(shell=command) as terminal:
            terminal.until("> ")
            terminal.type("one\n")
            terminal.until("waiting")
            terminal.type_ahead("two\nthree\n\x04")
            word.set()
            assert terminal.ended() == 0
    assert asked(sandbox) == ["one", "two", "three"]


def test_commands(tmp_path: Path) -> None:
    """Each says what it did; none is sent."""
    path = tmp_path / "chat.json"
    with Sandbox([say("answer"), done(model="large-2")]) as sandbox:
        with Terminal("chat", "--base-url", sandbox.url, "-m", "large") as terminal:
            assert "Model: large\n" in terminal.until("> ")

            def told(line: str) -> str:
                terminal.type(line + "\n")
                return terminal.until("\n> ")

            assert "/retry" in told("/help")
            assert "no question to ask again" in told("/retry")
            assert "no answer to copy" in told("/copy")
            assert "nothing to save" in told("/save")
            assert "model: large\n" in told("/model")
            told("one")
            assert "large (large-2 answered last)" in told("/model")
            told("/model small")
            told("/retry")
            assert "saved 2 turns" in told(f"/save {path}")
            told("//etc is a folder")
            assert "saved 4 turns" in told("/save")
            assert "did you mean /model?" in told("/modell x")
            assert "/help lists them" in told("/etc/passwd")
            assert "expected nothing after it, got 'now'" in told("/quit now")
            assert "not copied: expected" in told("/copy")
            terminal.type("/quit\n")
            assert terminal.ended() == 0
    assert turns_of(sandbox) == [["one"], ["one"], ["one", "answer", "/etc is a folder"]]
    models = [request.json["model"] for request in sandbox.requests]
    assert models == ["large", "small", "small"]
    assert len(json.loads(path.read_text())["messages"]) == 4


@each("kind", ["dumb", "xterm-256color"])
def test_leaving_ends_the_line(kind: str) -> None:
    """Once: the shell's prompt stands on the next line."""
    with Sandbox() as sandbox:
        with Terminal("chat", "--base-url", sandbox.url, TERM=kind) as terminal:
            terminal.until("> ")
            terminal.type("\x04")
            assert terminal.rest().count("\n") == 1
            assert terminal.ended() == 0
        command = f"{sys.executable} -m websopy_sync chat --base-url {sandbox.url} > /dev/null"
        with Terminal(shell=command, TERM=kind) as terminal:
            terminal.until("> ")
            terminal.type("\x04")
            assert terminal.rest().count("\n") == 1


@each("word", ["exit", "quit"])
def test_a_word_that_leaves(word: str) -> None:
    """As in a shell and in other chats; it is not sent. A message with the word in it is one."""
    messages = [f"{word}.", f"how do I {word} vim", f"{word}\n{word}"]
    with Sandbox([say("answer"), done()]) as sandbox:
        with Terminal("chat", "--base-url", sandbox.url) as terminal:
            terminal.until("> ")
            for message in messages:
                terminal.type(f"{message}\n")
                terminal.answered()
            terminal.type(f" {word} \n")
            assert terminal.ended() == 0
    assert asked(sandbox) == messages


def test_retry_after_an_error() -> None:
    """It is offered, and asks the same question once."""
    with Sandbox([say("answer"), done()]) as sandbox:
        sandbox.play(status(400))
        with Terminal("chat", "--base-url", sandbox.url) as terminal:
            terminal.until("> ")
            terminal.type("one\n")
            assert "/retry asks again" in terminal.until("\r\n> ")
            terminal.type("/retry\n")
            terminal.until("answer")
    assert turns_of(sandbox) == [["one"], ["one"]]


def test_ctrl_c_at_the_prompt_clears_the_line() -> None:
    """One that comes as an answer ends costs nothing."""
    with Sandbox([say("answer"), done()]) as sandbox:
        with Terminal("chat", "--base-url", sandbox.url, TERM="xterm-256color") as terminal:
            terminal.until("> ")
            terminal.type("half a que")
            terminal.until("que")
            terminal.interrupt()
            assert "Ctrl-D or /quit leaves" in terminal.until("> ")
            terminal.type("one\r")
            terminal.answered()
            terminal.interrupt()
            terminal.until("> ")
            terminal.type("two\r")
            terminal.answered()
    assert turns_of(sandbox) == [["one"], ["one", "answer", "two"]]


@pytest.mark.parametrize("moment", ["prompt", "answer"])
def test_terminated(moment: str) -> None:
    """SIGTERM leaves the terminal as it was, and the exit code is that of a shell."""
    with Sandbox([say("never"), silence()]) as sandbox:
        with Terminal("chat", "--base-url", sandbox.url, TERM="xterm-256color") as terminal:
            before = terminal.modes()
            terminal.until("> ")
            if moment == "answer":
                terminal.type("one\r")
                terminal.until("never")
            assert terminal.modes() != before
            assert terminal.ended_by(terminal.process.terminate) == 143
            assert terminal.modes() == before
            if moment == "answer":
                assert sandbox.wait_disconnect()


def test_tool_calls_get_a_result() -> None:
    """Else the service would refuse the next turn."""
    with Sandbox([say("answer"), done()]) as sandbox:
        sandbox.play([tool("look", {"at": "x"}, "7"), done()])
        with Terminal("chat", "--base-url", sandbox.url) as terminal:
            terminal.until("> ")
            terminal.type("one\n")
            terminal.until("\r\n> ")
            terminal.type("two\n")
            terminal.until("answer")
    roles = [turn["role"] for turn in sandbox.requests[-1].json["messages"]]
    assert roles == ["user", "assistant", "tool", "user"]


def test_greeting_fits_a_narrow_terminal() -> None:
    """So do the lines of /help."""
    with Sandbox([say("answer"), done()]) as sandbox:
        with Terminal("chat", "--base-url", sandbox.url) as terminal:
            greeting = terminal.until("> ")
            terminal.type("/help\n")
            lines = (greeting + terminal.until("\n> ")).splitlines()
    assert len(lines) > 10
    assert max(map(len, lines)) <= 40


def test_files_go_with_the_first_message(tmp_path: Path) -> None:
    """And with its retry, but with no other."""
    path = tmp_path / "notes.txt"
    path.write_text("a cat")
    with Sandbox([say("answer"), done()]) as sandbox:
        with Terminal("chat", "--base-url", sandbox.url, "-f", str(path)) as terminal:
            assert "Files that go with the next message: 1" in terminal.until("> ")
            for line in ("/model", "one", "/retry", "two"):
                terminal.type(f"{line}\n")
                terminal.until("\r\n> ")
    first = [{"type": "text", "text": "a cat"}, {"type": "text", "text": "one"}]
    assert turns_of(sandbox) == [[first], [first], [first, "answer", "two"]]


@pytest.mark.slow
def test_file_command(tmp_path: Path) -> None:
    """A file goes with the next message; one that cannot be read costs nothing."""
    path = tmp_path / "the notes.txt"
    path.write_text("a cat")
    with Sandbox([say("answer"), done()]) as sandbox:
        with Terminal("chat", "--base-url", sandbox.url) as terminal:
            terminal.until("> ")
            for line, told in (
                ("/file", "/file: expected the path of a file, got none"),
                (f"/file {tmp_path}/none", "error: /file: cannot read"),
                (f"/file {path}", "Files that go with the next message: 1"),
                ("one", "answer"),
                ("two", "answer"),
            ):
                terminal.type(f"{line}\n")
                assert told in terminal.until("\r\n> ")
    first = [{"type": "text", "text": "a cat"}, {"type": "text", "text": "one"}]
    assert turns_of(sandbox) == [[first], [first, "answer", "two"]]


@each(
    ("typed", "path"),
    [
        ("the notes.txt", "the notes.txt"),
        ("'the notes.txt'", "the notes.txt"),
        ('"the notes.txt"', "the notes.txt"),
        (r"the\ notes.txt", "the notes.txt"),
        ("'quoted'", "'quoted'"),
        ("no notes.txt", "no notes.txt"),
        ("no'notes.txt", "no'notes.txt"),
    ],
)
def test_a_path_that_a_terminal_writes(
    typed: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dropped file comes quoted as for a shell. A file of the very name typed comes first."""
    monkeypatch.chdir(tmp_path)
    for name in ("the notes.txt", "'quoted'"):
        (tmp_path / name).touch()
    assert path_of(typed) == path


def test_ctrl_c_drops_what_was_typed_ahead() -> None:
    """As a terminal does: it stops the answer, and what was to follow."""
    word = threading.Event()
    with Sandbox([say("answer"), done()]) as sandbox:
        sandbox.play([say("slow"), wait(word), done()])
        sandbox.play([say("second"), silence()])
        with Terminal("chat", "--base-url", sandbox.url, TERM="xterm-256color") as terminal:
            terminal.until("> ")
            terminal.type("one\r")
            terminal.until("slow")
            terminal.type_ahead("two\rthree\rfour\r")
            word.set()
            terminal.until("second")
            terminal.type("\x03")
            assert "dropped 2 messages that you typed ahead" in terminal.until("> ")
            terminal.type("five\r")
            terminal.answered()
    assert asked(sandbox) == ["one", "two", "five"]


@pytest.mark.slow
def test_lines_with_a_slash_in_a_paste() -> None:
    """Code that begins with a comment is no command, and keeps both slashes."""
    code = "// a comment\nint main();"
    pasted = code.replace("\n", "\r")
    with Sandbox([say("answer"), done()]) as sandbox:
        with Terminal("chat", "--base-url", sandbox.url, TERM="xterm-256color") as terminal:
            terminal.until("> ")
            terminal.type(f"\x1b[200~{pasted}\x1b[201~\r")
            terminal.answered()
    assert asked(sandbox) == [code]


def test_a_new_line_in_a_message() -> None:
    """Alt-Enter begins it."""
    key = "\x1b\r"
    with Sandbox([say("answer"), done()]) as sandbox:
        with Terminal("chat", "--base-url", sandbox.url, TERM="xterm-256color") as terminal:
            terminal.until("> ")
            terminal.type(f"one{key}二{key}three\r")
            terminal.answered()
    assert asked(sandbox) == ["one\n二\nthree"]


@pytest.mark.slow
def test_ctrl_c_that_clears_a_line_each_time() -> None:
    """Twice leaves only if there was nothing to clear."""
    with Sandbox([say("answer"), done()]) as sandbox:
        with Terminal("chat", "--base-url", sandbox.url, TERM="xterm-256color") as terminal:
            terminal.until("> ")
            for text in ("one", "two", "three"):
                terminal.type(text)
                terminal.until(text)
                terminal.interrupt()
                terminal.until("> ")
            terminal.type("four\r")
            terminal.answered()
            assert terminal.ended_by(lambda: terminal.type("\x03")) == 130
    assert asked(sandbox) == ["four"]


def test_no_stream() -> None:
    """Nothing is shown of an answer that is not whole, and nothing of it stays."""
    with Sandbox([say("an "), say("answer"), done()]) as sandbox:
        sandbox.play([say("never"), silence()])
        with Terminal("chat", "--base-url", sandbox.url, "--no-stream") as terminal:
            terminal.until("> ")
            terminal.type("one\n")
            terminal.until("waiting")
            assert sandbox.wait_request()
            terminal.type("\x03")
            shown = terminal.until("> ")
            assert "cancelled: /retry asks again" in shown and "never" not in shown
            terminal.type("/retry\n")
            assert "an answer\n" in terminal.until("\r\n> ")
    assert turns_of(sandbox) == [["one"], ["one"]]


def test_the_last_answer_is_a_text(client: WebsopyClient) -> None:
    """A turn of tool calls need not have one: `--load` and programs may bring such turns."""
    conversation = client.ai.conversation()
    conversation.messages += [
        {"role": "assistant", "content": "answer"},
        {"role": "assistant", "tool_calls": [{"name": "look", "arguments": "{}"}]},
    ]
    assert last_answer(conversation) == "answer"


@pytest.mark.slow
def test_ctrl_z_and_fg() -> None:
    """The line and its editing are back, although the shell sets the terminal for itself."""
    with Sandbox([say("answer"), done()]) as sandbox:
        command = f"{sys.executable} -m websopy_sync chat --base-url {sandbox.url}"
        shell = f"set -m; {command}; stty sane; echo stopped; fg"
        run = f"import os; os.execvp('sh', ['sh', '-c', {shell!r}])"
        with Screen("-c", run) as screen:
            screen.until(lambda lines: lines[-1] == ">")
            screen.type("thr")
            screen.until(lambda lines: lines[-1] == "> thr")
            time.sleep(0.1)  # see Terminal.interrupt()
            screen.type("\x1a")
            screen.until(lambda lines: "> thrstopped" in lines and lines[-1] == "> thr")
            screen.type("ee\x01one two \r")
            screen.until(lambda lines: lines[-2:] == ["answer", ">"])
            screen.type("\x04")
            screen.ended()
    assert asked(sandbox) == ["one two three"]


@pytest.mark.slow
def test_ctrl_z_without_a_shell() -> None:
    """It changes nothing, as nobody could continue the program."""
    with Sandbox([say("answer"), done()]) as sandbox:
        arguments = ("-m", "websopy_sync", "chat", "--base-url", sandbox.url)
        with Screen(*arguments) as screen:
            screen.until(lambda lines: lines[-1] == ">")
            screen.type("two")
            screen.until(lambda lines: lines[-1] == "> two")
            time.sleep(0.1)  # see Terminal.interrupt()
            screen.type("\x1a\x01one \r")
            assert "> one two" in screen.until(lambda lines: lines[-2:] == ["answer", ">"])
    assert asked(sandbox) == ["one two"]
