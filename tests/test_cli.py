"""The command line as real processes: what they print, what they exit with, what they survive."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pytest

import websopy_sync
from websopy_sync.chunks import from_dict
from websopy_sync.cli import main, visible
from websopy_sync.sandbox import (
    Sandbox,
    Steps,
    before_headers,
    chunk,
    cut,
    done,
    error,
    no_ids,
    raw,
    say,
    silence,
    status,
    tool,
    wait,
)

GUIDE_QUESTION = "写一篇关于 AI 的文章"
COMMAND = [sys.executable, "-m", "websopy_sync"]
ROOT = str(Path(websopy_sync.__file__).parents[1])
NO_MODEL = "websopy-sync: This is the websopy-sync sandbox, played on this machine: no model.\n"
PATIENCE = 10.0
"""Seconds that a process may take for anything."""

FORBIDDEN = {
    *(chr(code) for code in range(0x20) if chr(code) not in "\n\t"),
    *(chr(code) for code in range(0x7F, 0xA0)),
    *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
}


def environment(**more: str) -> dict[str, str]:
    """What a process of a test sees: a key, UTF-8, no plugin, and Python as it is."""
    strange = ("WEBSOPY_", "PYTHON", "LC_", "LANG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    ours = {"WEBSOPY_API_KEY": "test", "WEBSOPY_PLUGINS": "", "PYTHONPATH": ROOT}
    return {**kept, "LC_ALL": "C.UTF-8", "TERM": "dumb", **ours, **more}


def run(
    *arguments: str,
    typed: bytes = b"",
    stdin: IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """A whole run, its output read as UTF-8."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        **({"stdin": stdin} if stdin else {"input": typed}),
        capture_output=True,
        env=env or environment(),
        timeout=PATIENCE,
        check=False,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in err
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same in this process, which is quicker, for what is the same in any."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    for name in ("WEBSOPY_BASE_URL", "WEBSOPY_LOG"):
        monkeypatch.delenv(name, raising=False)

    def run_here(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = main(arguments)
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return run_here


@pytest.fixture
def chat(here: Run) -> Run:
    """A chat with a sandbox that plays a script."""

    def chat_here(script: Steps, *arguments: str) -> subprocess.CompletedProcess[str]:
        with Sandbox(script) as sandbox:
            return here("chat", "--base-url", sandbox.url, "Hi", *arguments)

    return chat_here


@contextlib.contextmanager
def started(*arguments: str, stdin: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[bytes]]:
    """A process under way, which is gone afterwards."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_until(pipe: IO[bytes] | None, text: str) -> str:
    """What comes on a pipe up to a text, as soon as it is there."""
    assert pipe is not None
    return _until(pipe.fileno(), text)


def _until(descriptor: int, text: str, *, pattern: bytes = b"") -> str:
    data, deadline = b"", time.monotonic() + PATIENCE
    pattern = pattern or re.escape(text.encode())
    while not re.search(pattern, data, re.DOTALL):
        ready, _, _ = select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))
        piece = os.read(descriptor, 65536) if ready else b""
        assert piece, f"expected {text!r}, got {data!r}"
        data += piece
    return data.decode("utf-8", "replace")


# --- chat ----------------------------------------------------------------------------------------


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
    """One chunk a line, which from_dict gives back; ASCII, so that no locale spoils it."""
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
    assert answer.stdout.isascii()
    chunks = [from_dict(json.loads(line)) for line in answer.stdout.splitlines()]
    assert [each.type for each in chunks] == ["content", "tool_call", "mood", "done"]
    assert chunks[0] == websopy_sync.ContentChunk("AI\n\x9b\u202e")
    assert chunks[3] == websopy_sync.DoneChunk(websopy_sync.Usage(20, 150))


def asked(sandbox: Sandbox) -> list[str]:
    """The last question of each request."""
    return [request.json["messages"][-1]["content"] for request in sandbox.requests]


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
    answer = run("chat", "--sandbox", typed=b"a" * (16 * 1024 * 1024))
    assert answer.returncode == 1
    assert "the sandbox reads bodies of at most 16777216 bytes" in answer.stderr


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\n\tb", "a\n\tb"),
        ("a\r\nb", "a\nb"),
        ("safe\rspoof", "safespoof"),
        ("\x1b[2J\x07\x00", "␛[2J␇␀"),
        ("\x7f", "␡"),
        ("\x9b2J\x85", "\ufffd2J\ufffd"),
        ("\u202eevil\u2069", "\ufffdevil\ufffd"),
        ("正在 é 😀 👩\u200d💻 \u200f", "正在 é 😀 👩\u200d💻 \u200f"),
        ("".join(sorted(FORBIDDEN)), None),
    ],
)
def test_visible(text: str, shown: str | None) -> None:
    """Only LF and TAB keep their power; letters of every script stay as they are."""
    assert not FORBIDDEN & set(visible(text))
    assert shown is None or visible(text) == shown


@pytest.mark.parametrize(
    "script",
    [
        [say("".join(FORBIDDEN)), done()],
        [*(say(character) for character in sorted(FORBIDDEN)), done()],
        [tool("".join(FORBIDDEN), "".join(FORBIDDEN)), done()],
        [error("".join(FORBIDDEN), "".join(FORBIDDEN))],
        [status(401, "".join(FORBIDDEN))],
        [status(500, "".join(FORBIDDEN), retry_after=9999)],
        [status(200, "".join(FORBIDDEN), headers={"Content-Type": "text/html"})],
        [raw(b"data: {" + "".join(FORBIDDEN - {"\r"}).encode() + b"}\n\n")],
    ],
)
def test_nothing_sent_rules_the_terminal(chat: Run, script: Steps) -> None:
    """No control character of a model or server comes out, on stdout or on stderr."""
    answer = chat(script)
    assert not FORBIDDEN & set(answer.stdout + answer.stderr)
    assert answer.stderr.count("\n") <= 1


# --- how it ends badly ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "arguments", "stdout", "reason"),
    [
        ([status(401)], [], "", "401"),
        ([say("so far"), error("too\nmany\r\n\nlines", "busy")], [], "so far\n", "too many lines"),
        ([no_ids(), say("so far\n"), cut()], [], "so far\n", "lost"),
        ([before_headers(silence())], ["--timeout", "0.2"], "", "limit"),
        ([status(200, "<html>")], [], "", "text/event-stream"),
    ],
)
def test_error(chat: Run, script: Steps, arguments: list[str], stdout: str, reason: str) -> None:
    """Exit code 1 and one line on stderr; the text so far is a whole line."""
    answer = chat(script, *arguments)
    assert (answer.returncode, answer.stdout) == (1, stdout)
    assert answer.stderr.startswith("websopy-sync: error: ")
    assert answer.stderr.count("\n") == 1
    assert reason in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "COMMAND"),
        (["nonsense"], "nonsense"),
        (["chat", "--nonsense"], "--nonsense"),
        (["chat", "--sandbox", "--base-url", "http://x/v1", "Hi"], "not allowed with"),
        (["chat", "--base-url", "nonsense", "Hi"], "base_url"),
        (["chat", "--sandbox", "--timeout", "soon", "Hi"], "--timeout"),
        (["chat", "--sandbox", "--timeout", "-1", "Hi"], "timeout"),
        (["chat", "--sandbox", "--timeout", "nan", "Hi"], "timeout"),
        (["sandbox", "--port", "65536"], "--port"),
        (["sandbox", "--port", "x"], "--port"),
    ],
)
def test_wrong_usage(here: Run, arguments: list[str], reason: str) -> None:
    """Exit code 2, and the last line on stderr says why."""
    answer = here(*arguments)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert reason in answer.stderr.splitlines()[-1]


def test_no_key(here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key it says where one is looked for."""
    monkeypatch.delenv("WEBSOPY_API_KEY")
    answer = here("chat", "Hi")
    assert answer.returncode == 2
    assert "WEBSOPY_API_KEY" in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_ctrl_c_in_an_answer() -> None:
    """Exit code 130, what came is a whole line, and the service sees the answer cancelled."""
    with Sandbox([say("AI"), silence()]) as sandbox:
        with started("chat", "--base-url", sandbox.url, "Hi") as process:
            assert read_until(process.stdout, "AI") == "AI"
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=PATIENCE) == (b"\n", b"")
            assert process.returncode == 130
            assert sandbox.wait_disconnect()


def test_ctrl_c_before_the_answer() -> None:
    """The same while nothing has come yet."""
    with Sandbox([before_headers(silence())]) as sandbox:
        with started("chat", "--base-url", sandbox.url, "Hi") as process:
            assert sandbox.wait_request()
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=PATIENCE) == (b"", b"")
            assert process.returncode == 130
            assert sandbox.wait_disconnect()


def test_ctrl_c_twice() -> None:
    """Who presses it again while the first one is at work sees no traceback either."""
    with Sandbox([say("AI"), silence()]) as sandbox:
        with started("chat", "--base-url", sandbox.url, "Hi") as process:
            read_until(process.stdout, "AI")
            process.send_signal(signal.SIGINT)
            assert read_until(process.stdout, "\n") == "\n"
            while process.poll() is None:
                process.send_signal(signal.SIGINT)
                time.sleep(0.001)
            assert process.communicate(timeout=PATIENCE) == (b"", b"")
            assert process.returncode == 130


def test_reader_that_has_enough() -> None:
    """A closed pipe, as of `| head -1`, ends it quietly, and the answer at the service too."""
    word = threading.Event()
    with Sandbox([say("one\n"), wait(word), say("two\n"), silence()]) as sandbox:
        with started("chat", "--base-url", sandbox.url, "Hi") as process:
            assert read_until(process.stdout, "one\n") == "one\n"
            assert process.stdout is not None
            process.stdout.close()
            word.set()
            assert process.wait(PATIENCE) == 0
            assert process.stderr is not None
            assert process.stderr.read() == b""
            assert sandbox.wait_disconnect()


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["chat", "--sandbox", "Hi"], ["plugins"], ["--help"]])
def test_full_disk(arguments: list[str]) -> None:
    """Output that cannot be written is an error, and said in one line."""
    with open("/dev/full", "wb") as full:
        answer = subprocess.run(
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            timeout=PATIENCE,
            check=False,
        )
    lines = answer.stderr.decode().replace(NO_MODEL, "").splitlines()
    assert answer.returncode == 1
    assert lines == ["websopy-sync: error: [Errno 28] No space left on device"]


@pytest.mark.parametrize(
    ("closed", "code", "stdout"), [(0, 2, ""), (1, 0, ""), (2, 0, "AI 正在改变世界...\n")]
)
def test_without_a_standard_stream(closed: int, code: int, stdout: str) -> None:
    """A process may be started without stdin, stdout or stderr."""
    question = [] if closed == 0 else [GUIDE_QUESTION]
    answer = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *COMMAND, "chat", "--sandbox", *question],
        capture_output=True,
        env=environment(),
        timeout=PATIENCE,
        check=False,
    )
    assert (answer.returncode, answer.stdout.decode()) == (code, stdout)
    assert b"Traceback" not in answer.stderr


def test_locale_without_unicode() -> None:
    """Under LANG=C what cannot be written is a question mark; what is asked stays as typed."""
    ascii_only = environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    with Sandbox([say("正\x1b AI"), done()]) as sandbox:
        answer = run("chat", "--base-url", sandbox.url, GUIDE_QUESTION, env=ascii_only)
    assert (answer.returncode, answer.stdout) == (0, "?? AI\n")
    assert sandbox.requests[0].json["messages"][0]["content"] == GUIDE_QUESTION


# --- on a terminal -------------------------------------------------------------------------------


class Terminal:
    """A process on a terminal of its own, with Ctrl-C and all."""

    TAKE = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        "os.execv(sys.executable, [sys.executable, '-m', 'websopy_sync', *sys.argv[1:]])"
    )

    def __init__(self, *arguments: str, shell: str = "", **more: str) -> None:
        self._ours, theirs = pty.openpty()
        command = ["sh", "-c", shell] if shell else [sys.executable, "-c", self.TAKE, *arguments]
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env=environment(**more),
        )
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def until(self, text: str) -> str:
        """What appears up to a text, line ends as LF."""
        return _until(self._ours, text).replace("\r\n", "\n")

    def answered(self) -> None:
        """Wait for an answer and the prompt after it."""
        _until(self._ours, "an answer, and a prompt", pattern=rb"answer\r\n(\x1b\[\?2004h)?> $")

    def type(self, text: str) -> None:
        """Type; \x03 is Ctrl-C, \x04 Ctrl-D."""
        self.type_bytes(text.encode())

    def type_bytes(self, data: bytes) -> None:
        """Type what need not be text."""
        os.write(self._ours, data)

    def ended(self) -> int:
        """The exit code, once there is one."""
        return self.process.wait(PATIENCE)


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


FOUR_LINES = "first\n  second\n\nfourth 四"


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


def test_an_argument_on_a_terminal() -> None:
    """The terminal is not read: one question, one answer."""
    with Sandbox([say("answer"), done()]) as sandbox:
        with Terminal("chat", "--base-url", sandbox.url, "Hi") as terminal:
            terminal.type("typed ahead\n")
            terminal.until("answer")
            assert terminal.ended() == 0
    assert asked(sandbox) == ["Hi"]


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
    """In an answer it cancels that, at the service too; at the prompt it ends the conversation."""
    with Sandbox([say("answer"), done()]) as sandbox:
        sandbox.play([say("never"), silence()])
        with Terminal("chat", "--base-url", sandbox.url) as terminal:
            terminal.until("> ")
            terminal.type("one\n")
            terminal.until("never")
            terminal.type("\x03")
            assert "\nwebsopy-sync: cancelled\n" in terminal.until("> ")
            assert sandbox.wait_disconnect()
            terminal.type("two\n")
            terminal.until("answer\r\n> ")
            # CPython loses a signal that comes between readline's prompt and its first select().
            while terminal.process.poll() is None:
                terminal.type("\x03")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    terminal.process.wait(1.0)
            assert terminal.ended() == 130


# --- sandbox -------------------------------------------------------------------------------------


def test_sandbox_command() -> None:
    """It says what it is and where, serves, and stops at Ctrl-C."""
    with started("sandbox", "--port", "0") as process:
        said = read_until(process.stdout, "WEBSOPY_API_KEY=test\n")
        assert "no model" in said.splitlines()[0]
        url = said.partition("WEBSOPY_BASE_URL=")[2].split()[0]
        answer = run("chat", "--base-url", url, GUIDE_QUESTION)
        assert answer.stdout == "AI 正在改变世界...\n"
        assert read_until(process.stdout, "\n") == "POST /v1/ai/chat 200\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=PATIENCE) == (b"", b"")
        assert process.returncode == 130


def test_sandbox_port_that_is_taken(here: Run) -> None:
    """One line says so."""
    with Sandbox() as sandbox:
        answer = here("sandbox", "--port", str(sandbox.port))
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "in use" in answer.stderr
    assert answer.stderr.count("\n") == 1


# --- plugins -------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """An environment with four plugins: one good, one with commands, one broken, one off."""
    (tmp_path / "plugs.py").write_text(
        textwrap.dedent("""
        import sys
        from websopy_sync import hookimpl

        print("plugin imported", file=sys.stderr)

        class Good:
            @hookimpl
            def on_chunk(self, chunk, stream): pass
            @hookimpl
            def on_done(self, message, stream): raise KeyError("of the plugin")

        class Commands:
            @hookimpl
            def register_commands(self, subparsers):
                parser = subparsers.add_parser("hello", help="say hello")
                parser.add_argument("name")
                parser.set_defaults(run=lambda args: print("hello", args.name) or 3)

        class Broken:
            def __init__(self):
                raise RuntimeError("no\\x1b[2J\\nluck")
        """)
    )
    metadata = tmp_path / "plugs-1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugs\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text(
        "[websopy_sync]\ngood = plugs:Good\ncommands = plugs:Commands\n"
        "broken = plugs:Broken\nspare = plugs:Good\n"
    )
    return environment(
        PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path}", WEBSOPY_PLUGINS="good,commands,broken"
    )


def test_plugins(installed: dict[str, str]) -> None:
    """A table of what is installed: whence, its hooks, and whether it loads."""
    answer = run("plugins", env=installed)
    assert answer.returncode == 0
    head, *rows = [re.split("  +", line) for line in answer.stdout.splitlines()]
    assert head == ["NAME", "DISTRIBUTION", "VERSION", "HOOKS", "STATE"]
    # Beside them may stand the plugins of this environment, which WEBSOPY_PLUGINS leaves off.
    assert sorted(row for row in rows if row[1] == "plugs") == [
        ["broken", "plugs", "1.2", "-", "failed: RuntimeError: no␛[2J luck"],
        ["commands", "plugs", "1.2", "register_commands", "loaded"],
        ["good", "plugs", "1.2", "on_chunk on_done", "loaded"],
        ["spare", "plugs", "1.2", "-", "off"],
    ]
    assert {row[4] for row in rows if row[1] != "plugs"} <= {"off"}


def test_plugins_json(installed: dict[str, str]) -> None:
    """The same for programs, one plugin a line."""
    answer = run("plugins", "--json", env=installed)
    plugins = {entry["name"]: entry for entry in map(json.loads, answer.stdout.splitlines())}
    assert plugins["good"] == {
        "name": "good",
        "distribution": "plugs",
        "version": "1.2",
        "hooks": ["on_chunk", "on_done"],
        "state": "loaded",
        "problem": "",
    }
    assert plugins["broken"]["problem"] == "RuntimeError: no\x1b[2J\nluck"
    assert {
        name: entry["state"] for name, entry in plugins.items() if entry["distribution"] == "plugs"
    } == {
        "good": "loaded",
        "commands": "loaded",
        "broken": "failed",
        "spare": "off",
    }


def test_no_plugins() -> None:
    """An empty table says that it is empty."""
    # Whatever this environment has: the interpreter is told of no entry point.
    program = (
        "import importlib.metadata as metadata, sys; metadata.entry_points = lambda **_: ();"
        "from websopy_sync.cli import main; sys.exit(main(['plugins']))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(PYTHONPATH=ROOT),
        capture_output=True,
        text=True,
        check=True,
    )
    head, line = answer.stdout.splitlines()
    assert head.startswith("NAME")
    assert line == "(none)"


def test_plugins_in_trouble_are_named(installed: dict[str, str]) -> None:
    """A chat goes on without them, and says of each in one line what it was."""
    answer = run("chat", "--sandbox", GUIDE_QUESTION, env=installed)
    assert (answer.returncode, answer.stdout) == (0, "AI 正在改变世界...\n")
    left_out, failed = (line for line in answer.stderr.splitlines() if "warning" in line)
    assert left_out == (
        "websopy-sync: warning: plugin broken is left out: RuntimeError: no␛[2J luck"
    )
    assert failed.startswith("websopy-sync: warning: plugin good failed in on_done")
    assert failed.endswith(": KeyError: 'of the plugin'")


def test_commands_of_plugins(installed: dict[str, str]) -> None:
    """A plugin can add commands; what they return is the exit code."""
    answer = run("hello", "you", env=installed)
    assert (answer.returncode, answer.stdout) == (3, "hello you\n")
    assert "say hello" in run("--help", env=installed).stdout


def test_own_commands_look_for_no_plugin(installed: dict[str, str]) -> None:
    """Only a command that is not known here makes the plugins load."""
    assert "plugin imported" not in run("chat", "--help", env=installed).stderr
    assert "plugin imported" in run("--help", env=installed).stderr


# --- the rest ------------------------------------------------------------------------------------


def test_version_and_help(here: Run) -> None:
    """Both are no error; help names every command."""
    assert here("--version").stdout == f"websopy-sync {websopy_sync.__version__}\n"
    answer = here("--help")
    assert answer.returncode == 0
    assert all(command in answer.stdout for command in ("chat", "sandbox", "plugins"))
