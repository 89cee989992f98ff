"""How an answer is written: to a pipe, to a terminal, as JSON, with its thoughts and its usage."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import threading

import pytest
from command_line import PATIENCE, Run, environment, run, started
from screens import Screen
from tables import each

from websopy_sync import ContentChunk, Usage
from websopy_sync.cli import main
from websopy_sync.cli.output import AnswerOutput
from websopy_sync.cli.usage import usage_line
from websopy_sync.message import Message
from websopy_sync.sandbox import (
    Sandbox,
    done,
    error,
    say,
    silence,
    think,
    tool,
    wait,
)

TEXT = (
    "The quick brown fox jumps over the lazy dog. 人工智能正在改变我们的世界，包括医疗。\n\nLast.\n"
)

REDIRECTED = f"{sys.executable} -m websopy_sync chat --base-url {{url}} Hi > /dev/null"


def chat(sandbox: Sandbox, *arguments: str, columns: int = 40, **more: str) -> Screen:
    """A chat on a terminal."""
    command = ["-m", "websopy_sync", "chat", "--base-url", sandbox.url, "Hi", *arguments]
    return Screen(*command, columns=columns, **more)


def test_words_wrap_on_a_terminal() -> None:
    """At its edge, however the text comes."""
    with Sandbox([*map(say, TEXT), done()], pause=0) as sandbox:
        with chat(sandbox) as screen:
            assert screen.ended() == [
                "The quick brown fox jumps over the lazy",
                "dog. 人工智能正在改变我们的世界，包括医",
                "疗。",
                "",
                "Last.",
            ]


def test_a_pipe_gets_the_text_as_it_is() -> None:
    """No line end is added to it, whatever the width."""
    with Sandbox([*map(say, TEXT * 5), done()], pause=0) as sandbox:
        for flags in ([], ["--markdown"]):
            answer = run(
                "chat", "--base-url", sandbox.url, "Hi", *flags, env=environment(COLUMNS="20")
            )
            assert (answer.stdout, answer.stderr) == (TEXT * 5, "")


@pytest.mark.slow
def test_a_simple_terminal_gets_the_text_as_it_is() -> None:
    """TERM=dumb: no code is sent."""
    with Sandbox([say(TEXT), done()]) as sandbox:
        for flags in ([], ["--markdown"]):
            with chat(sandbox, *flags, TERM="dumb") as screen:
                screen.ended()
                assert "\x1b" not in screen.written and TEXT.replace("\n", "\r\n") in screen.written


def test_a_word_is_not_held_back() -> None:
    """Its beginning is shown before its end has come."""
    word = threading.Event()
    with Sandbox([say("a wo"), wait(word), say("rd"), done()]) as sandbox:
        with chat(sandbox) as screen:
            screen.until(lambda lines: lines == ["a wo"])
            word.set()
            assert screen.ended() == ["a word"]


def test_resize() -> None:
    """The next line has the new width."""
    word = threading.Event()
    words = "one two three four five six seven"
    with Sandbox([say(f"{words}\n"), wait(word), say(words), done()]) as sandbox:
        with chat(sandbox, columns=60) as screen:
            screen.until(lambda lines: lines == [words])
            screen.resize(20, 24)
            word.set()
            assert screen.ended()[1:] == ["one two three four", "five six seven"]


@pytest.mark.slow
def test_notes_wrap_on_a_terminal() -> None:
    """Their words stay whole as well."""
    with Sandbox([say("a"), done(finish_reason="length")]) as sandbox:
        with chat(sandbox) as screen:
            assert screen.ended() == [
                "a",
                "websopy-sync: warning: the answer was",
                "cut: the limit of its length was",
                "reached",
            ]


def test_thoughts_on_a_terminal() -> None:
    """Dimmed under a heading, with a blank line before the answer."""
    script = [think("I should "), think("think about this for a while."), say("Yes."), done()]
    with Sandbox(script) as sandbox:
        with chat(sandbox) as screen:
            assert screen.ended() == [
                "thinking",
                "I should think about this for a while.",
                "",
                "Yes.",
            ]
        assert "\x1b[2mI should \x1b[0m" in screen.written
        assert screen.written.count("waiting ...") == 1


def test_thoughts_beside_an_answer_that_goes_to_a_file() -> None:
    """They have the width of the terminal that shows them."""
    with Sandbox([think("one two three four five"), say("Yes."), done()]) as sandbox:
        code = f"import os; os.execvp('sh', ['sh', '-c', {REDIRECTED.format(url=sandbox.url)!r}])"
        with Screen("-c", code, columns=20) as screen:
            assert screen.ended() == ["thinking", "one two three four", "five"]


def test_rich_is_loaded_when_it_is_needed() -> None:
    """It takes 0.1 s."""
    code = "import sys, websopy_sync.cli; sys.exit('rich' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], timeout=PATIENCE, check=False).returncode == 0
    )


def test_thoughts_in_a_pipe(chat: Run) -> None:
    """They are no part of the answer."""
    answer = chat([think("Hm."), say("Yes."), done()])
    assert (answer.stdout, answer.stderr) == ("Yes.\n", "")


def test_ctrl_c_in_a_think() -> None:
    """The line is ended, and the terminal is not left dimmed."""
    with Sandbox([think("Hm"), silence()]) as sandbox:
        with chat(sandbox) as screen:
            screen.until(lambda lines: "Hm" in lines)
            screen.type("\x03")
            assert screen.ended() == ["thinking", "Hm^C"]
            assert screen.written.rstrip().endswith("\x1b[0m")
            assert screen.process.returncode == 130


def test_ctrl_c_in_the_last_step() -> None:
    """The line is ended all the same, and the exception comes out."""

    class Interrupted:
        finished = 0

        def write(self, text: str) -> None:
            pass

        def finish(self) -> None:
            self.finished += 1
            if self.finished == 1:
                raise KeyboardInterrupt

    writer = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        with AnswerOutput(writer, usage=False) as output:
            output.add(ContentChunk("a"))
    assert writer.finished == 2


@pytest.mark.slow
def test_tool_calls_between_text() -> None:
    """Each has its own line."""
    with Sandbox([say("a"), tool("f", {"x": 1}), say("b"), done()]) as sandbox:
        with chat(sandbox) as screen:
            assert screen.ended() == ["a", 'websopy-sync: tool call: f({"x":1})', "b"]


@each(
    ("reason", "warning"),
    [
        ("length", "the answer was cut: the limit of its length was reached"),
        ("content_filter", "the answer was cut: a content filter stopped it"),
        ("stop", ""),
        ("tool_calls", ""),
        ("a word of the service", ""),
    ],
)
@each("flags", [[], ["--json"], ["--markdown"]])
def test_an_answer_that_was_cut(chat: Run, reason: str, warning: str, flags: list[str]) -> None:
    """A warning says so, and the exit code stays 0: what came is right."""
    answer = chat([say("a"), done(20, 150, finish_reason=reason)], *flags)
    assert answer.returncode == 0
    assert answer.stderr == (f"websopy-sync: warning: {warning}\n" if warning else "")


class Watched(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@each(
    ("flags", "text"),
    [
        ([], "one \n**two** \nthree\n"),
        (["--markdown"], "one two\nthree\n"),
    ],
)
def test_both_streams_on_one_terminal(
    monkeypatch: pytest.MonkeyPatch, flags: list[str], text: str
) -> None:
    """Thoughts, text and notes come in their order, each on its own lines."""
    for name, value in environment(TERM="xterm", COLUMNS="10", NO_COLOR="1").items():
        monkeypatch.setenv(name, value)
    terminal = Watched()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    script = [
        think("Hm hm hm hm."),
        say("one **two** "),
        say("three"),
        tool("f", {}),
        done(finish_reason="length"),
    ]
    with Sandbox(script) as sandbox:
        assert main(["chat", "--base-url", sandbox.url, "Hi", *flags]) == 0
    notes = "websopy-s\nync: tool\ncall:\nf({})\nwebsopy-s\nync:\nwarning:"
    plain = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", terminal.getvalue()).split("waiting ...")[-1]
    assert plain.lstrip("\r ").startswith(f"thinking\nHm hm hm \nhm.\n\n{text}{notes}")


def test_usage(chat: Run) -> None:
    """One line on stderr, after the answer."""
    end = done(20, 150, finish_reason="stop", model="m-1")
    for flags in ([], ["--json"]):
        answer = chat([say("a"), end], "--usage", *flags)
        assert re.fullmatch(
            r"websopy-sync: usage: model m-1, 20 prompt tokens, 150 completion tokens, \d+\.\d s, "
            r"\d+\.\d tokens/s, finish reason stop\n",
            answer.stderr,
        )
    assert chat([say("a"), end]).stderr == ""


@each(
    ("message", "line"),
    [
        (Message("a"), "usage: 2.0 s"),
        (
            Message("a", model="m", finish_reason="stop"),
            "usage: model m, 2.0 s, finish reason stop",
        ),
        (Message("a", usage=Usage(3, 0)), "usage: 3 prompt tokens, 0 completion tokens, 2.0 s"),
        (
            Message("a", usage=Usage(1000, 41, cached_tokens=900, reasoning_tokens=20)),
            "usage: 1000 prompt tokens (900 cached), 41 completion tokens (20 reasoning), 2.0 s, "
            "20.5 tokens/s",
        ),
    ],
)
def test_usage_line(message: Message, line: str) -> None:
    """What the service did not say is left out."""
    assert usage_line(message, seconds=2.0) == line


def test_usage_of_an_answer_that_took_no_time() -> None:
    """No rate can be told then."""
    assert "tokens/s" not in usage_line(Message("a", usage=Usage(1, 1)), seconds=0.0)


def test_json_is_text(chat: Run) -> None:
    """UTF-8, so that people can read it; what a terminal obeys is escaped."""
    answer = chat([say("写 😀\u202e\x1b"), think("嗯"), done()], "--json")
    lines = answer.stdout.splitlines()
    assert lines[0].startswith('{"type": "content", "content": "写 😀\\u202e\\u001b"')
    assert "嗯" in lines[1]
    assert [json.loads(line)["type"] for line in lines] == ["content", "reasoning", "done"]


@pytest.mark.slow
def test_json_in_another_encoding() -> None:
    """What it lacks is escaped: a `?` would be another text."""
    with Sandbox([say("写 é"), done()]) as sandbox:
        answer = run(
            "chat",
            "--base-url",
            sandbox.url,
            "Hi",
            "--json",
            env=environment(PYTHONIOENCODING="latin-1"),
        )
    assert json.loads(answer.stdout.splitlines()[0])["content"] == "写 é"
    assert answer.stdout.isascii()


@each("flags", [[], ["--markdown"]])
def test_an_error_has_its_own_line(flags: list[str]) -> None:
    """What came before it stays."""
    with Sandbox([say("a"), error("x")]) as sandbox:
        with chat(sandbox, *flags, columns=120) as screen:
            first, second = screen.ended()[:2]
            assert first == "a" and second.startswith("websopy-sync: error: ")


def test_markdown_without_rich() -> None:
    """Where it is needed, one line says what to install; nothing is asked."""
    code = (
        "import sys; sys.modules['rich'] = None; import websopy_sync.cli as c; sys.exit(c.main())"
    )
    with Sandbox([say("a"), done()]) as sandbox:
        command = ["-c", code, "chat", "--base-url", sandbox.url, "--markdown", "Hi"]
        with Screen(*command, columns=100) as screen:
            assert screen.ended() == [
                "websopy-sync: error: --markdown: expected rich: pip install 'websopy-sync[cli]'"
            ]
            assert screen.process.returncode == 2
        assert sandbox.requests == []


def test_ctrl_c_in_an_answer() -> None:
    """What came is kept, the line is ended."""
    with Sandbox([say("The beginning"), silence()]) as sandbox:
        with started("chat", "--base-url", sandbox.url, "Hi") as process:
            assert process.stdout is not None
            assert process.stdout.read(13) == b"The beginning"
            process.send_signal(signal.SIGINT)
            assert process.stdout.read() == b"\n"
