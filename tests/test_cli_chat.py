"""The command `chat`: one answer, piped text, and a conversation on a terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from command_line import (
    COMMAND,
    GUIDE_QUESTION,
    NO_MODEL,
    PATIENCE,
    Run,
    Terminal,
    asked,
    environment,
    read_until,
    run,
    started,
)

import websopy_sync
from websopy_sync import WebsopyClient
from websopy_sync.chunks import from_dict
from websopy_sync.sandbox import (
    Sandbox,
    Steps,
    before_headers,
    chunk,
    cut,
    done,
    no_ids,
    say,
    status,
    tool,
    wait,
)


def test_the_command_of_the_readme() -> None:
    """The guide's answer on stdout; on stderr, first, that no model gave it."""
    answer = run("chat", "--sandbox", GUIDE_QUESTION)
    assert (answer.returncode, answer.stdout) == (0, "AI 正在改变世界...\n")
    assert answer.stderr == NO_MODEL


def test_answer_comes_piece_by_piece() -> None:
    """What has come is written, though the rest is held back, into a pipe too."""
    word = threading.Event()
    with Sandbox([say("AI"), wait(word), say(" 正在"), done()]) as sandbox:
        with started("chat", "--base-url", sandbox.url, "Hi") as process:
            assert read_until(process.stdout, "AI") == "AI"
            word.set()
            assert read_until(process.stdout, "\n") == " 正在\n"
            assert process.wait(PATIENCE) == 0


def test_json(chat: Run) -> None:
    """One chunk a line, which from_dict gives back."""
    answer = chat(
        [
            say("AI\n\x9b\u202e"),
            tool("f", {"q": "正"}),
            chunk("mood", {"is": "good"}),
            done(20, 150),
        ],
        "--json",
    )
    assert answer.returncode == 0
    chunks = [from_dict(json.loads(line)) for line in answer.stdout.splitlines()]
    assert [each.type for each in chunks] == ["content", "tool_call", "mood", "done"]
    assert chunks[0] == websopy_sync.ContentChunk("AI\n\x9b\u202e")
    assert chunks[3] == websopy_sync.DoneChunk(websopy_sync.Usage(20, 150))


def test_question_on_standard_input() -> None:
    """Without MESSAGE what is piped in is asked, without the white space around it."""
    with Sandbox(pause=0) as sandbox:
        answer = run("chat", "--base-url", sandbox.url, typed=f"  {GUIDE_QUESTION}\n".encode())
        assert answer.stdout == "AI 正在改变世界...\n"
        nothing = run("chat", "--base-url", sandbox.url, typed=b" \n")
    assert nothing.returncode == 2
    assert "no message" in nothing.stderr
    assert asked(sandbox) == [GUIDE_QUESTION]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("piped", "message", "question"),
    [
        (b"line 1\nline 2\n", "summarise", "line 1\nline 2\n\nsummarise"),
        (b"no line end", "summarise", "no line end\n\nsummarise"),
        (b"\n  indented\n\n\n", "why?", "\n  indented\n\nwhy?"),
        (b"a\r\nb\r\n", "q", "a\r\nb\n\nq"),
        ("\ufeff一\n".encode(), "二", "一\n\n二"),
        (b"a\0b", "q", "a\0b\n\nq"),
        (b"\x1b[31mred\x7f", "q", "\x1b[31mred\x7f\n\nq"),
        (b"", "q", "q"),
        (b" \n\t\n", " q ", " q "),
        (b"a\r\nb\r\n", "", "a\r\nb"),
        (b"\r\n  a:\n    b\n \n", "", "  a:\n    b"),
        (b"x" * 3_000_000, "q", "x" * 3_000_000 + "\n\nq"),
    ],
    ids=lambda value: ascii(value)[:20],
)
@pytest.mark.parametrize("through", ["pipe", "file"])
def test_a_piped_text_and_an_argument_are_both_sent(
    piped: bytes, message: str, question: str, through: str, tmp_path: Path
) -> None:
    """The text as it is, a blank line, the argument: one message of the user."""
    path = tmp_path / "text"
    path.write_bytes(piped)
    with Sandbox([say("ok"), done()]) as sandbox:
        arguments = ("chat", "--base-url", sandbox.url, message)
        if through == "pipe":
            answer = run(*arguments, typed=piped)
        else:
            with path.open("rb") as file:
                answer = run(*arguments, stdin=file)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "ok\n", "")
    (request,) = sandbox.requests
    assert request.json["messages"] == [{"role": "user", "content": question}]


@pytest.mark.slow
def test_a_piped_text_and_an_argument_for_the_sandbox() -> None:
    """As the first thing that one tries."""
    answer = run("chat", "--sandbox", "summarise", typed=b"the file\n")
    assert (answer.returncode, answer.stderr) == (0, NO_MODEL)
    assert "the file" in answer.stdout and "summarise" in answer.stdout


@pytest.mark.slow
@pytest.mark.parametrize("message", [[], ["summarise"]], ids=["alone", "with MESSAGE"])
@pytest.mark.parametrize(
    ("piped", "reason"),
    [
        (b"a\nb\xff", "standard input: expected UTF-8 text, got something else at byte 3"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "at byte 0"),
        ("汉字".encode("gbk"), "at byte 0"),
        ("写".encode("utf-16"), "at byte 0"),
        ("写".encode()[:2], "at byte 0"),
        (b"\xed\xa0\x80", "at byte 0"),  # half a surrogate pair
    ],
    ids=ascii,
)
def test_a_piped_text_that_is_no_text(piped: bytes, reason: str, message: list[str]) -> None:
    """Nothing is sent, as a part of it would be lost; one line says why."""
    with Sandbox() as sandbox:
        answer = run("chat", "--base-url", sandbox.url, *message, typed=piped)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("websopy-sync: error: standard input: expected UTF-8 text")
    assert reason in answer.stderr and answer.stderr.count("\n") == 1
    assert sandbox.requests == []


@pytest.mark.slow
def test_an_argument_that_is_no_text() -> None:
    """The same for the command line's own bytes."""
    for arguments in (["a\udcff"], ["--system", "\udcff", "a"]):
        answer = run("chat", "--sandbox", *arguments)
        assert (answer.returncode, answer.stdout) == (2, "")
        assert "expected UTF-8 text" in answer.stderr


@pytest.mark.slow
def test_a_pipe_that_floods() -> None:
    """`yes | websopy-sync chat "stop"` ends, and says so."""
    flood = ["sh", "-c", 'yes | "$@"', "sh", *COMMAND, "chat", "--sandbox", "stop"]
    answer = subprocess.run(flood, capture_output=True, env=environment(), timeout=30, check=False)
    assert answer.returncode == 2
    assert b"standard input: expected at most 67108864 bytes, got more" in answer.stderr


def test_what_the_sandbox_refuses_is_told_whole() -> None:
    """Its own name is not taken for the key, which would be hidden."""
    answer = run("chat", "--sandbox", typed=b"a" * (32 * 1024 * 1024))
    assert answer.returncode == 1
    assert "the sandbox reads bodies of at most 33554432 bytes" in answer.stderr


@pytest.mark.slow
def test_a_pipe_that_never_ends() -> None:
    """After a while it says what it waits for, and Ctrl-C ends it; nothing was sent."""
    ours, theirs = os.pipe()
    with Sandbox() as sandbox:
        with started("chat", "--base-url", sandbox.url, "summarise", stdin=ours) as process:
            assert "reading standard input" in read_until(process.stderr, "keeps it out\n")
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=PATIENCE) == (b"", b"")
            assert process.returncode == 130
    os.close(ours)
    os.close(theirs)
    assert sandbox.requests == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "shell",
    ['exec "$@" </dev/null', 'exec "$@" <&-', 'exec "$@" 0>/dev/null'],
    ids=["/dev/null", "closed", "nohup"],
)
def test_no_standard_input_beside_an_argument(shell: str) -> None:
    """As from cron, from a service, or under nohup, which opens it for writing only."""
    with Sandbox([say("ok"), done()]) as sandbox:
        command = ["sh", "-c", shell, "sh", *COMMAND, "chat", "--base-url", sandbox.url]
        options: Any = {"capture_output": True, "env": environment(), "timeout": PATIENCE}
        answer = subprocess.run([*command, "Hi"], check=False, **options)
        alone = subprocess.run(command, check=False, **options)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, b"ok\n", b"")
    assert asked(sandbox) == ["Hi"]
    assert (alone.returncode, b"no message" in alone.stderr) == (2, True)


def test_system(here: Run) -> None:
    """--system goes before the question."""
    with Sandbox([done()]) as sandbox:
        here("chat", "--base-url", sandbox.url, "--system", "Be short.", "Hi")
    assert sandbox.requests[0].json["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Hi"},
    ]


def test_tool_call(chat: Run) -> None:
    """It is told of on stderr; stdout has the text only."""
    answer = chat([say("a"), tool("search", {"q": "x"}), say("b"), done()])
    assert answer.stdout == "a\nb\n"
    assert answer.stderr == 'websopy-sync: tool call: search({"q":"x"})\n'


def test_waiting_shows_on_a_terminal() -> None:
    """While nothing has come it says so, and takes that back before the text."""
    word = threading.Event()
    with Sandbox([before_headers(wait(word)), say("AI"), done()]) as sandbox:
        with Terminal("chat", "--base-url", sandbox.url, "Hi") as terminal:
            assert terminal.until("waiting ...") == "waiting ..."
            assert sandbox.wait_request()
            word.set()
            assert terminal.until("AI\r\n") == f"\r{' ' * 11}\rAI\n"
            assert terminal.ended() == 0


@pytest.mark.parametrize("script", [[status(401)], [no_ids(), cut()]])
def test_waiting_is_taken_back_for_an_error(script: Steps) -> None:
    """An error's line does not begin behind it."""
    with Sandbox(script) as sandbox:
        with Terminal("chat", "--base-url", sandbox.url, "Hi") as terminal:
            assert f"waiting ...\r{' ' * 11}\rwebsopy-sync: error: " in terminal.until("error: ")


def test_an_argument_on_a_terminal() -> None:
    """The terminal is not read: one question, one answer."""
    with Sandbox([say("answer"), done()]) as sandbox:
        with Terminal("chat", "--base-url", sandbox.url, "Hi") as terminal:
            terminal.type("typed ahead\n")
            terminal.until("answer")
            assert terminal.ended() == 0
    assert asked(sandbox) == ["Hi"]


def test_no_stream(chat: Run) -> None:
    """The answer is written once it is whole; of one that fails there is nothing."""
    whole = chat([say("AI "), say("正在"), done()], "--no-stream")
    assert (whole.returncode, whole.stdout) == (0, "AI 正在\n")
    failed = chat([no_ids(), say("so far"), cut()], "--no-stream")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("websopy-sync: error: ")


def test_each_turn_has_the_id_of_its_conversation(here: Run) -> None:
    """For plugins only: the service does not get it."""
    with Sandbox([say("ok"), done()]) as sandbox:
        here("chat", "--base-url", sandbox.url, "Hi")
    assert list(sandbox.requests[0].json) == ["messages"]


def test_load(here: Run, tmp_path: Path) -> None:
    """A saved conversation goes on, and its file stays as it is."""
    path = tmp_path / "河.json"
    with Sandbox([say("ok"), done()]) as sandbox:
        with WebsopyClient("test", base_url=sandbox.url, plugins=[]) as client:
            conversation = client.ai.conversation("Be brief")
            conversation.send("Name a river").until_done()
            conversation.save(path)
        saved = path.read_bytes()
        answer = here("chat", "--base-url", sandbox.url, "--load", str(path), "And a lake?")
    assert (answer.returncode, answer.stdout, path.read_bytes()) == (0, "ok\n", saved)
    turns = [turn["content"] for turn in sandbox.requests[1].json["messages"]]
    assert turns == ["Be brief", "Name a river", "ok", "And a lake?"]


def test_another_wire(here: Run) -> None:
    """Of the service that is asked, and of the sandbox, whatever WEBSOPY_WIRE says."""
    with Sandbox([say("ok"), done()], wire="openai") as sandbox:
        flags = ["--base-url", sandbox.url, "--wire", "openai", "-m", "large"]
        answer = here("chat", *flags, "Hi")
    assert (answer.returncode, answer.stdout) == (0, "ok\n")
    assert sandbox.requests[0].json["stream"] is True
    assert here("chat", "--sandbox", "--wire", "openai", "-m", "x", GUIDE_QUESTION).returncode == 0
    wrong = here("chat", "--wire", "nonsense", "Hi")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
