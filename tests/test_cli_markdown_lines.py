"""Blocks of Markdown as lines: nothing hidden, nothing lost, nothing too wide."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from tables import each
from test_cli_markdown_blocks import ANSWER

from websopy_sync.cli.markdown_blocks import Blocks
from websopy_sync.cli.markdown_lines import Renderer

STYLE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def renderer(monkeypatch: pytest.MonkeyPatch) -> Renderer:
    """One for a terminal with colours."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Renderer()


def styled(renderer: Renderer, text: str, columns: int = 60, *, growing: bool = False) -> list[str]:
    """The lines of a whole text."""
    blocks = Blocks()
    finished = blocks.add(text)
    return [
        line
        for block in [*finished, *blocks.growing(ended=not growing)]
        for line in renderer.lines(block, columns=columns, growing=growing)
    ]


def plain(renderer: Renderer, text: str, columns: int = 60, *, growing: bool = False) -> list[str]:
    """The same without styles."""
    return [STYLE.sub("", line) for line in styled(renderer, text, columns, growing=growing)]


@each(
    ("text", "lines"),
    [
        ("# A *title*", ["A title"]),
        ("one\ntwo\n末行", ["one", "two", "末行"]),
        ("- a\n  - b\n- c", [" • a", "    • b", " • c"]),
        ("9. a\n10. b\n    1. c", ["  9. a", " 10. b", "      1. c"]),
        ("- a\n\n  b", [" • a", "", "   b"]),
        ("> a\n>\n> b", ["▌ a", "▌ ", "▌ b"]),
        ("- ", [" •"]),
        ("```python\nx = 1\n\n\ny\n```\n", ["```python", "x = 1", "", "", "y", "```"]),
        ("```\nstill open", ["```", "still open"]),
        ("- a\n  ```sh\n  ls\n  ```", [" • a", "   ```sh", "   ls", "   ```"]),
        ("    x = 1\n", ["x = 1"]),
        ("***", ["─" * 59]),
        ("<b>x</b> <!-- y -->", ["<b>x</b> <!-- y -->"]),
        ("<div>\n\nx", ["<div>", "x"]),
        (r"\(a_1 \\ \{b\}\) \* \_", [r"\(a_1 \\ \{b\}\) * _"]),
        ("[a]: https://a.example 'b'", ["[a]: https://a.example 'b'"]),
        ("| 值 | b |\n|---|--:|\n| 中文 | 2 |", [" 值     b", " ──────── ", " 中文   2"]),
    ],
)
def test_lines(renderer: Renderer, text: str, lines: list[str]) -> None:
    """How each kind of block looks."""
    assert plain(renderer, text) == lines


@each(
    ("text", "line"),
    [
        ("[here](https://a.example/x)", "here (https://a.example/x)"),
        (
            "[https://good.example](https://evil.example)",
            "https://good.example (https://evil.example)",
        ),
        ("<https://a.example>", "https://a.example"),
        ("<a@b.example>", "a@b.example"),
        ("[https://a.example](https://a.example) [b](c)", "https://a.example b (c)"),
        ("![alt](https://a.example/x.png)", "[image: alt (https://a.example/x.png)]"),
        (
            "[![alt](https://a.example)](https://b.example)",
            "[image: alt (https://a.example)] (https://b.example)",
        ),
        ("[b](javascript:alert)", "[b](javascript:alert)"),
    ],
)
def test_a_link_shows_where_it_goes(renderer: Renderer, text: str, line: str) -> None:
    """Its address is beside its text, and no code makes a link of either."""
    assert plain(renderer, text, 80) == [line]
    assert "\x1b]" not in "".join(styled(renderer, text))


@each(
    "place",
    [
        "{}",
        "`{}`",
        "[{}](https://a.example)",
        "[a](<https://a.example/{}>)",
        "![{}](b)",
        "# {}",
        "- {}",
        "| {} |\n|---|\n| {} |",
        "```{}\n{}\n```",
        "- ```{}\n  {}\n  ```",
        "    {}",
        "[link=https://x]{}[/link]",
    ],
)
@each("entity", ["&#x202e;", "&#8238;", "&#27;[2J", "&#x9b;2J", "&#x2067;"])
def test_entities_have_no_power(renderer: Renderer, place: str, entity: str) -> None:
    """What the parser decodes is made visible like what the model writes."""
    text = "\n".join(plain(renderer, place.replace("{}", entity)))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


@each("growing", [True, False])
def test_deep_nesting_and_wide_tables(renderer: Renderer, growing: bool) -> None:
    """What has no room is shown as it came: rich would leave it out."""
    deep = "".join("  " * level + f"- item{level}\n" for level in range(40))
    table = "|" + "|".join(f"h{number}" for number in range(30)) + "|\n" + "|-" * 30 + "|\n"
    for text in (deep, table, "> " * 40 + "quoted", "*" * 3000, "[" * 3000, "[a](" * 500):
        shown = "".join(plain(renderer, text, growing=growing))
        wanted = re.sub(r"\s", "", text)
        assert re.sub(r"\s", "", shown) == wanted or text.startswith("***")


def test_chinese_beside_english(renderer: Renderer) -> None:
    """A sentence begins on the line where it stands, and no line begins with its full stop."""
    for before, after in (("", ""), ("- ", " • "), ("# ", "")):
        first, second = plain(renderer, f"{before}Use 人工智能正在改变世界。好", 24 + len(after))
        assert first == f"{after}Use 人工智能正在改变世" and second.strip() == "界。好"


def test_a_long_word_in_a_table(renderer: Renderer) -> None:
    """It is folded, not cut off."""
    lines = plain(renderer, f"| a | b |\n|---|---|\n| {'x' * 90} | y |", 40)
    assert "".join(lines).count("x") == 90


CODE = "```python\n" + "x" * 100 + "\n```"


def test_a_long_line_of_code(renderer: Renderer) -> None:
    """The terminal folds it once it is final, so that it is copied as one line."""
    assert plain(renderer, CODE, 41)[1] == "x" * 100
    assert [len(line) for line in plain(renderer, CODE, 41, growing=True)][1:4] == [40, 40, 20]


def test_code_is_highlighted_in_its_context(renderer: Renderer) -> None:
    """The second half of a comment is a comment."""
    blocks = Blocks()
    blocks.add("```c\n/* a\nb\nc\nint d; */ int x;\n```\n")
    (whole,) = blocks.growing()
    lines = renderer.lines(whole, columns=60)
    parts = [*blocks.split(), *blocks.growing()]
    assert len(parts) == 2
    # Before the end of the comment came, its first half could not be known as one.
    assert [line for part in parts for line in renderer.lines(part, columns=60)][3:] == lines[3:]


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR takes the colours, and leaves the layout."""
    monkeypatch.setenv("TERM", "xterm-256color")
    text = "# Title\n\n`code`\n\n```python\nimport re\n```\n"
    monkeypatch.setenv("NO_COLOR", "1")
    codes = {
        code for line in styled(Renderer(), text) for code in re.findall(r"\x1b\[(.*?)m", line)
    }
    assert codes and not [code for code in codes if re.search(r"[349]\d", code)]
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b[36m" in "".join(styled(Renderer(), text))


@given(
    text=st.one_of(
        st.just(ANSWER), st.text(st.sampled_from("ab *_`[]()|-#>!&;\\\n中文。1."), max_size=80)
    ),
    columns=st.integers(4, 50),
)
def test_no_line_is_too_wide(text: str, columns: int) -> None:
    """A growing line is one row, and the last column is free."""
    for line in plain(Renderer(), text, columns, growing=True):
        assert cell_len(line) < columns
