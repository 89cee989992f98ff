"""`--markdown` on a real terminal: what its screen shows, while the answer comes and after it."""

from __future__ import annotations

import io
import os
import re
import threading
import time
from contextlib import redirect_stdout
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from screens import Screen, shown
from tables import each
from test_cli_markdown_blocks import ANSWER

from websopy_sync.cli.markdown import Drawing, MarkdownWriter
from websopy_sync.cli.markdown_lines import Renderer
from websopy_sync.sandbox import Sandbox, Steps, done, say, silence, tool, wait

REAL = """# 人工智能 in short

**重点：**it is *everywhere*, see [the page](https://example.com/ai).

## Steps

1. First 一
   - nested 👩
2. Second

| Name | 值 |
|------|---:|
| a    | 1  |
| 中文 | 22 |

```python
def f(x: int) -> str:
    return f"{x}"  # 注释
```

> quoted

The end."""

SHOWN = """人工智能 in short

重点：it is everywhere, see the page
(https://example.com/ai).

Steps

 1. First 一
     • nested 👩
 2. Second

 Name   值
 ─────────
 a       1
 中文   22

```python
def f(x: int) -> str:
    return f"{x}"  # 注释
```

▌ quoted

The end."""


def chat(sandbox: Sandbox, *, columns: int = 40, rows: int = 24, **more: str) -> Screen:
    """A chat on a terminal."""
    command = ["-m", "websopy_sync", "chat", "--base-url", sandbox.url, "--markdown", "Hi"]
    return Screen(*command, columns=columns, rows=rows, **more)


def pieces(text: str, size: int) -> Steps:
    return [say(text[start : start + size]) for start in range(0, len(text), size)]


def test_an_answer() -> None:
    """Laid out, each line once, on a high screen and on a low one, in pieces of any size."""
    for size, rows, delay in ((1, 40, 0.0), (3, 8, 0.001), (10_000, 5, 0.0)):
        with Sandbox([*pieces(REAL, size), done()], pause=delay) as sandbox:
            with chat(sandbox, rows=rows) as screen:
                assert "\n".join(screen.ended()) == SHOWN, (size, rows)
                assert screen.process.returncode == 0


MARKS = [
    "word ",
    "中文，",
    "**",
    "`",
    "*",
    "\n",
    "\n\n",
    "- ",
    "  - ",
    "1. ",
    "12. ",
    "> ",
    "```\n",
    "```py\n",
    "# ",
    "---\n",
    "x = 1\n",
    "[l](http://x.y)",
    "&#27;",
    "<b>",
    "😀",
    "-",
    "=",
    "1",
    "\\",
    "    ",
]
TABLES = ["|a|b|\n|-|-|\n", "|1|2|\n"]


@settings(max_examples=40, deadline=None)
@given(
    parts=st.lists(st.sampled_from([*MARKS, *TABLES]), max_size=50),
    piece=st.integers(1, 9),
    rows=st.sampled_from([4, 8, 100]),
)
def test_pieces_and_height_do_not_matter(parts: list[str], piece: int, rows: int) -> None:
    """At its end an answer looks as if it had come at once, on a screen that is high enough."""
    text = "".join(parts)
    pieces = [text[start : start + piece] for start in range(0, len(text), piece)]
    drawn = drawn_lines(pieces, rows)
    # A list that was cut aligns the numbers of its parts by themselves.
    assert [line.lstrip() for line in drawn] == [line.lstrip() for line in drawn_lines([text], 100)]


def drawn_lines(pieces: list[str], rows: int) -> list[str]:
    """What the screen shows at the end."""
    out = io.StringIO()
    size = {"TERM": "xterm", "COLUMNS": "60", "LINES": str(rows)}
    with mock.patch.dict(os.environ, size), redirect_stdout(out):
        drawing = Drawing(Renderer())
        for text in pieces:
            drawing.add(text, ended=False)
        drawing.add("", ended=True)
    return shown(out.getvalue(), columns=60, rows=rows)


def test_a_block_is_laid_out_while_it_grows() -> None:
    """Its text is not held back until it is finished."""
    words = [threading.Event(), threading.Event()]
    script = [say("# Ti"), wait(words[0]), say("tle\n\n- a\n- b"), wait(words[1]), say("c"), done()]
    with Sandbox(script) as sandbox:
        with chat(sandbox) as screen:
            screen.until(lambda lines: lines == ["Ti"])
            words[0].set()
            screen.until(lambda lines: lines == ["Title", "", " • a", " • b"])
            words[1].set()
            assert screen.ended() == ["Title", "", " • a", " • bc"]


def test_a_block_higher_than_the_screen() -> None:
    """It scrolls, and every line is there once; what is finished is not drawn again."""
    code = "".join(f"line_{number} = {number}\n" for number in range(60))
    text = f"Before.\n\n```python\n{code}```\n\n" + "".join(
        f"{n}. item {n}\n" for n in range(1, 41)
    )
    with Sandbox([*pieces(text, 40), done()], pause=0.005) as sandbox:
        with chat(sandbox, rows=10) as screen:
            lines = screen.ended()
    assert lines[:3] == ["Before.", "", "```python"]
    assert lines[3:63] == code.split("\n")[:-1]
    assert [line.strip() for line in lines[63:]] == [
        "```",
        "",
        *(f"{n}. item {n}" for n in range(1, 41)),
    ]


@each("line", ["line_{} = 1", "1. item {}"])
def test_what_scrolled_off_can_be_read(line: str) -> None:
    """While code and lists still grow, their beginning is above the screen already."""
    lines = [line.format(number) for number in range(40)]
    code = "=" in line
    script = [*(say(f"{text}\n") for text in ["```python" if code else "", *lines]), silence()]
    with Sandbox(script, pause=0.005) as sandbox:
        with chat(sandbox, rows=10) as screen:
            words = [f"_{number} " if code else f"item {number}" for number in range(40)]
            screen.until(lambda shown: all(any(w in f"{text} " for text in shown) for w in words))


@pytest.mark.slow
def test_a_high_paragraph() -> None:
    """Its end is shown while it grows, all of it at the end."""
    words = [f"word{number}" for number in range(200)]
    with Sandbox([*(say(f"{word} ") for word in words), done()], pause=0.001) as sandbox:
        with chat(sandbox, rows=6) as screen:
            assert " ".join(screen.ended()).split() == words


@pytest.mark.slow
def test_little_is_written() -> None:
    """Finished lines are written once, and of a growing paragraph only what is new."""
    text = "word " * 400
    with Sandbox([*pieces(text, 5), done()], pause=0.001) as sandbox:
        with chat(sandbox, columns=80, rows=50) as screen:
            screen.ended()
    assert len(screen.written) < 2 * len(text) + 500


def test_ctrl_c() -> None:
    """What came is on the screen, laid out, and nothing is below it."""
    with Sandbox([say("# Title\n\n- a\n- **b"), silence()]) as sandbox:
        with chat(sandbox) as screen:
            screen.until(lambda lines: " • b" in lines)
            screen.type("\x03")
            lines = screen.ended()
            assert [line.replace("^C", "") for line in lines] == ["Title", "", " • a", " • **b"]
            assert screen.process.returncode == 130


@pytest.mark.slow
def test_tool_calls_between_text() -> None:
    """A note stands below what came before it."""
    with Sandbox([say("*a*"), tool("f", {}), say("**b**"), done()]) as sandbox:
        with chat(sandbox) as screen:
            assert screen.ended() == ["a", "websopy-sync: tool call: f({})", "b"]


@pytest.mark.slow
def test_an_empty_answer() -> None:
    """Nothing is written, not even a line end."""
    for text in ("", "\n\n"):
        with Sandbox([say(text), done()]) as sandbox:
            with chat(sandbox) as screen:
                assert screen.ended() == [""]


@each(
    "text",
    ["\n" * 40_000, "x" * 20_000, "> " * 10_000, "- a\n\n" + "      b\n" * 4000, "`" * 20_000],
)
def test_large_and_strange(text: str) -> None:
    """It is drawn, and all of it."""
    lines = drawn_lines([text[start : start + 5000] for start in range(0, len(text), 5000)], 24)
    for mark in "xb`":
        assert "".join(lines).count(mark) == text.count(mark)


def test_resize() -> None:
    """What grows is laid out anew; what is finished stays as it is."""
    word = threading.Event()
    script = [say("one two three four five\n\nsix seven"), wait(word), say(" eight nine"), done()]
    with Sandbox(script) as sandbox:
        with chat(sandbox, columns=40) as screen:
            screen.until(lambda lines: "six seven" in lines)
            screen.resize(12, 24)
            word.set()
            assert screen.ended()[-2:] == ["six seven", "eight nine"]


@pytest.mark.slow
def test_no_colour() -> None:
    """NO_COLOR: laid out all the same."""
    with Sandbox([say(REAL), done()]) as sandbox:
        with chat(sandbox, NO_COLOR="1") as screen:
            assert "\n".join(screen.ended()) == SHOWN
            assert not re.search(r"\x1b\[[0-9;]*[349]\d[;m]", screen.written)


def test_no_code_of_the_model() -> None:
    """Control characters have no power, and no link hides where it goes."""
    text = (
        "\x1b[2J\x1b]8;;https://evil.example\x07x \u202e &#x202e;&#27;[31m [a](https://b.example)"
    )
    with Sandbox([*pieces(text, 1), done()], pause=0) as sandbox:
        with chat(sandbox, columns=120) as screen:
            (line,) = screen.ended()
    assert line == "␛[2J␛]8;;https://evil.example␇x \ufffd \ufffd\ufffd[31m a (https://b.example)"
    assert "\x1b]" not in screen.written and "\u202e" not in screen.written


@pytest.mark.timing
def test_the_reader_never_waits_for_the_drawing() -> None:
    """A large answer is taken as fast as it comes, and drawn in linear time."""
    text = ANSWER * 80
    out = io.StringIO()
    with redirect_stdout(out):
        writer = MarkdownWriter()
        begun = time.monotonic()
        for start in range(0, len(text), 20):
            writer.write(text[start : start + 20])
        assert time.monotonic() - begun < 1
        writer.finish()
    assert time.monotonic() - begun < 10
    assert shown(re.sub(r"\x1b\[\?2026[hl]", "", out.getvalue()), columns=80)[-1] == "last"


def test_a_failure_of_the_drawing() -> None:
    """It is raised where the text is written, not lost in a thread."""

    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with redirect_stdout(Broken()):
        writer = MarkdownWriter()
        writer.write("a")
        with pytest.raises(BrokenPipeError):
            writer.finish()
        with pytest.raises(BrokenPipeError):
            for _ in range(1000):
                writer.write("a")
                time.sleep(0.001)


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is drawn at its end."""

    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    out = io.StringIO()
    with redirect_stdout(out):
        writer = MarkdownWriter()
        for text in ("# a\n\n", "b"):
            writer.write(text)
        writer.finish()
    assert shown(out.getvalue(), columns=80) == ["a", "", "b"]
