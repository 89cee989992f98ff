"""The program as a whole: exit codes, errors, Ctrl-C, odd streams and locales."""

from __future__ import annotations

import signal
import subprocess
import threading
import time

import pytest
from command_line import (
    COMMAND,
    GUIDE_QUESTION,
    NO_MODEL,
    PATIENCE,
    Run,
    environment,
    read_until,
    run,
    started,
)

import websopy_sync
from websopy_sync.sandbox import (
    Sandbox,
    Steps,
    before_headers,
    cut,
    done,
    error,
    no_ids,
    say,
    silence,
    status,
    wait,
)


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


def test_terminated() -> None:
    """SIGTERM ends it as Ctrl-C does; the exit code is the one that a shell shows for it."""
    with Sandbox([say("AI"), silence()]) as sandbox:
        with started("chat", "--base-url", sandbox.url, "Hi") as process:
            assert read_until(process.stdout, "AI") == "AI"
            process.terminate()
            assert process.communicate(timeout=PATIENCE) == (b"\n", b"")
            assert process.returncode == 143
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


def test_version_and_help(here: Run) -> None:
    """Both are no error; help names every command."""
    assert here("--version").stdout == f"websopy-sync {websopy_sync.__version__}\n"
    answer = here("--help")
    assert answer.returncode == 0
    assert all(command in answer.stdout for command in ("chat", "sandbox", "plugins"))
