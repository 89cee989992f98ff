"""Markdown cut into blocks while it comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tables import each

from websopy_sync.cli.markdown_blocks import Block, Blocks

ANSWER = """# Title

A paragraph
of two lines.
- a list
  - nested

  and more of it
- second

1. one
2. two

```python
code

# no heading
```
| a | b |
|---|---|
| 1 | 2 |
> quoted
lazy

Setext
======
    indented

***
[ref]: https://example.com
<div>

last"""


def in_pieces(text: str, size: int) -> list[Block]:
    """All blocks of a text that comes in pieces."""
    blocks = Blocks()
    finished = [
        block
        for start in range(0, len(text), size)
        for block in blocks.add(text[start : start + size])
    ]
    return finished + blocks.growing(ended=True)


def kinds(blocks: list[Block]) -> list[str]:
    return [block.tokens[0].type.removesuffix("_open") for block in blocks]


def test_kinds() -> None:
    """HTML and the definition of a link are paragraphs: nothing is hidden."""
    expected = "heading paragraph bullet_list ordered_list fence table blockquote heading"
    assert kinds(in_pieces(ANSWER, 5)) == [
        *expected.split(),
        *["code_block", "hr", "paragraph", "paragraph"],
    ]


MARKDOWN = st.one_of(
    st.just(ANSWER),
    st.lists(
        st.sampled_from(
            [
                "a",
                " ",
                "\n",
                "\n\n",
                "- ",
                "1. ",
                "> ",
                "```\n",
                "    ",
                "|",
                "|-|\n",
                "# ",
                "---\n",
            ]
        ),
        max_size=30,
    ).map("".join),
)


@given(text=MARKDOWN, size=st.integers(1, 9))
def test_pieces_do_not_matter(text: str, size: int) -> None:
    """A finished block is what it is in the whole text, and no text is lost."""
    blocks = in_pieces(text, size)
    whole = in_pieces(text, max(len(text), 1))
    assert [(block.source, kind) for block, kind in zip(blocks, kinds(blocks), strict=True)] == [
        (block.source, kind) for block, kind in zip(whole, kinds(whole), strict=True)
    ]
    assert "".join(block.source for block in blocks).strip() == text.strip()


def test_a_block_is_finished_by_a_whole_line_of_another() -> None:
    """The first character of a line does not say yet what the line is."""
    blocks = Blocks()
    assert blocks.add("1. a\n\n2") == []
    assert blocks.add(". b\n\nT") == []
    assert kinds(blocks.add("he end\n")) == ["ordered_list"]


@each(
    ("text", "kind", "content"),
    [
        ("Text\n-", "paragraph", "Text"),
        ("Text\n=", "paragraph", "Text"),
        ("Text\n\n12.", "paragraph", "Text"),
        ("Text\n\n``", "paragraph", "Text"),
        ("a **b", "paragraph", "a b"),
        ("a **b ", "paragraph", "a b"),
        ("- a\n- `x", "bullet_list", "ax"),
        ("2 ** 3", "paragraph", "2 ** 3"),
        ("a **", "paragraph", "a **"),
        ("```\n** x", "fence", "** x"),
    ],
)
def test_what_is_shown_of_a_growing_block(text: str, kind: str, content: str) -> None:
    """What it most likely becomes, so that it does not jump; at the end, what it is."""
    blocks = Blocks()
    blocks.add(text)
    (block,) = blocks.growing()
    shown = "".join(part.content for token in block.tokens for part in token.children or [token])
    assert (kinds([block]), shown) == ([kind], content)
    assert "".join(block.source for block in blocks.growing(ended=True)) == text


LARGE = {
    "paragraph": "word **bold** ",
    "long word": "x",
    "list": "- item\n",
    "one item": "- a\n" + "  b\n" * 99,
    "code": "```python\n" + "x = 1\n" * 99,
    "table": "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 99,
    "quote": "> a\n",
    "blank": "\n",
}


@each("kind", LARGE)
def test_a_large_block_is_cut(kind: str) -> None:
    """The growing part stays small, so that the cost of an answer is linear."""
    beginning, largest = LARGE[kind], 400
    text = beginning + beginning[-10:] * (1500 // len(beginning[-10:]))
    blocks, finished = Blocks(largest=largest), []
    for start in range(0, len(text), 90):
        finished += blocks.add(text[start : start + 90])
        assert sum(len(block.source) for block in blocks.growing(ended=True)) <= largest + 100
    if kind != "blank":
        assert len(finished) > 1 and finished[1].continues and not finished[0].ends
    if kind in ("paragraph", "long word", "list", "quote", "one item"):
        sources = [block.source for block in [*finished, *blocks.growing(ended=True)]]
        assert "".join(sources).strip() == text.strip()


def test_split_code() -> None:
    """The first lines are finished, and the next ones know what came before them."""
    blocks = Blocks()
    blocks.add("```c\n/*\nb\nc\nd\n")
    (first,) = blocks.split()
    assert first.source == "```c\n/*\nb\n" and not first.ends
    (rest,) = blocks.add("e\n```\nnext\n\n")
    assert (rest.continues, rest.ends, rest.code_before) == (True, True, "/*\nb\n")
    assert rest.tokens[0].content == "c\nd\ne\n"
    (after,) = blocks.growing()
    assert (after.continues, after.code_before) == (False, "")


def test_split_list() -> None:
    """All items but the last that is sure are finished; the numbers go on."""
    blocks = Blocks()
    blocks.add("1. a\n1. b\n   - c\n1. d\n1. e\n1.")
    (first,) = blocks.split()
    assert first.source == "1. a\n1. b\n   - c\n1. d\n"
    assert blocks.growing()[0].tokens[0].attrs == {"start": 4}
    assert blocks.split() == []
    blocks.add(" f\n1. g\n")
    (second,) = blocks.split()
    assert second.source == "1. e\n1. f\n"
    assert [block.tokens[0].attrs for block in (second, *blocks.growing())] == [
        {"start": 4},
        {"start": 6},
    ]


def test_a_list_is_not_split_at_what_may_be_a_rule() -> None:
    """`-` is an item, `---` is none."""
    blocks = Blocks()
    blocks.add("- a\n-")
    assert blocks.split() == []


@each("text", ["a paragraph\n", "| a |\n|---|\n", "- one item", "```\none line", "", "a\n\nb\n"])
def test_what_is_not_split(text: str) -> None:
    """It can only be shown whole."""
    blocks = Blocks()
    blocks.add(text)
    assert blocks.split() == []


@each(
    ("text", "bold"),
    [
        ("**重点：**内容", ["重点："]),
        ("这是**“重点”**的", ["“重点”"]),
        ("a **b** c", ["b"]),
        ("2 * 3 ** 4 中", []),
        ("中 ** 文 ** 字", []),
        ("snake_case_中文_名", []),
    ],
)
def test_bold_beside_chinese(text: str, bold: list[str]) -> None:
    """Where there are no spaces, punctuation does not keep `**` from its meaning."""
    (block,) = in_pieces(text, 3)
    children = block.tokens[1].children or []
    found = []
    for index, token in enumerate(children):
        if token.type == "strong_open":
            found.append(children[index + 1].content)
    assert found == bold
