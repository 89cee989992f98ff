"""Turns blocks of Markdown into lines for a terminal, with rich.

Knows nothing of the cursor. It writes nothing itself, and never a link whose text hides its
address.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from typing import ClassVar

from markdown_it.token import Token
from rich import box, markdown
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from .markdown_blocks import Block
from .terminal import visible
from .wrap import line_starts

THEME = Theme(
    {
        "markdown.h1": "bold underline magenta",
        "markdown.h2": "bold magenta",
        "markdown.h3": "bold",
        "markdown.h4": "bold italic",
        "markdown.h5": "italic",
        "markdown.h6": "italic",
        "markdown.code": "cyan",
        "markdown.block_quote": "dim",
        "markdown.item.number": "none",
        "markdown.item.bullet": "none",
        "markdown.link": "bold",
        "markdown.link_url": "cyan",
        "markdown.table.border": "dim",
        "markdown.table.header": "bold",
    }
)

_PADDING = re.compile(r"(?: |\x1b\[[0-9;]*m +\x1b\[0m)+$")


class Renderer:
    """Lays blocks out, with the colours that stdout's terminal and NO_COLOR allow."""

    def __init__(self) -> None:
        self._console = Console(
            file=sys.stdout,
            theme=THEME,
            force_terminal=True,
            legacy_windows=False,
            highlight=False,
            markup=False,
            emoji=False,
            width=80,
        )

    def lines(self, block: Block, *, columns: int, growing: bool = False) -> list[str]:
        """The lines of a block. None is wider than the terminal, except finished lines of code.

        Args:
            block: What to lay out. Its source went through `visible`.
            columns: The width of the terminal.
            growing: The block may change, so each line must be one row of the terminal.
        """
        # The last column stays free: see wrap.py.
        self._console.width = width = max(columns - 1, 2)
        try:
            if block.tokens[0].type in ("fence", "code_block"):
                return [self._line(text) for text in _code_lines(block, width, fold=growing)]
            if _fits(block.tokens, width):
                return self._rendered(_Answer(block.tokens))
        except Exception:  # noqa: BLE001  what rich or a lexer fails at is shown as it came
            pass
        return self._rendered(Text(block.source.strip("\n"), overflow="fold"))

    def _rendered(self, renderable: RenderableType) -> list[str]:
        with self._console.capture() as capture:
            self._console.print(renderable, crop=False)
        lines = "\n".join(_PADDING.sub("", line) for line in capture.get().split("\n"))
        return lines.strip("\n").split("\n")

    def _line(self, text: Text) -> str:
        with self._console.capture() as capture:
            self._console.print(text, soft_wrap=True, end="")
        return capture.get()


def _fits(tokens: Sequence[Token], width: int) -> bool:
    """Whether all its columns and indents have room. What rich has no room for, it leaves out."""
    columns = sum(token.type == "th_open" for token in tokens)
    return columns * 5 < width and max(token.level for token in tokens) * 2 < width // 2


def _code_lines(block: Block, width: int, *, fold: bool) -> Iterator[Text]:
    """The code, highlighted, between its fences. A part of a block has its own fences only."""
    token = block.tokens[0]
    language = token.info.strip()
    if token.type == "fence" and not block.code_before:
        yield from _folded(Text(f"{token.markup}{language}", "dim"), width, fold=fold)
    syntax = Syntax("", language.partition(" ")[0] or "text", theme="ansi_dark")
    before = block.code_before
    lines = syntax.highlight(before + token.content).split("\n", allow_blank=True)
    count = token.content.removesuffix("\n").count("\n") + bool(token.content)
    for line in lines[before.count("\n") :][:count]:
        yield from _folded(line, width, fold=fold)
    if token.type == "fence" and block.ends and _is_closed(block):
        yield Text(token.markup, "dim")


def _is_closed(block: Block) -> bool:
    last = block.source.rstrip().rpartition("\n")[2].strip()
    token = block.tokens[0]
    return "\n" in block.source.strip() and last.startswith(token.markup) and not last.strip("`~")


def _folded(line: Text, width: int, *, fold: bool) -> Iterator[Text]:
    """A line in rows of this width, if it must be folded. A finished one is left to the terminal.

    So what is copied from the terminal has the lines that the model wrote.
    """
    line.expand_tabs(4)
    if not fold or line.cell_len <= width:
        yield line
        return
    cuts, used = [], 0
    for index, character in enumerate(line.plain):
        size = cell_len(character)
        if used + size > width:
            cuts.append(index)
            used = 0
        used += size
    yield from line.divide(cuts)


def _wrapped(text: Text, width: int) -> Iterator[Text]:
    """The rows of a text. rich would take a Chinese sentence for one word."""
    for line in text.split("\n", allow_blank=True):
        for row in line.divide(line_starts(line.plain, width)):
            row.rstrip()
            yield row


class _Paragraph(markdown.Paragraph):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from _wrapped(self.text, options.max_width)


class _Heading(markdown.Heading):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from _wrapped(self.text, options.max_width)


class _BlockQuote(markdown.BlockQuote):
    _last: markdown.MarkdownElement | None = None

    def on_child_close(
        self, context: markdown.MarkdownContext, child: markdown.MarkdownElement
    ) -> bool:
        if isinstance(self._last, markdown.Paragraph) and isinstance(child, markdown.Paragraph):
            self.elements.append(Text(""))  # rich sets two paragraphs without a blank line
        self._last = child
        self.elements.append(child)
        return False


class _ListItem(markdown.ListItem):
    _last: markdown.MarkdownElement | None = None
    on_child_close = _BlockQuote.on_child_close

    def render_bullet(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._render(console, options, " • ")

    def render_number(
        self, console: Console, options: ConsoleOptions, number: int, last_number: int
    ) -> RenderResult:
        size = len(str(last_number - 1)) + 3
        yield from self._render(console, options, f"{number}. ".rjust(size))

    def _render(self, console: Console, options: ConsoleOptions, label: str) -> RenderResult:
        """The item after its label; rich leaves out the label of an item that is empty yet."""
        inner = options.update(width=options.max_width - len(label))
        lines = console.render_lines(self.elements, inner, style=self.style) or [[]]
        for index, line in enumerate(lines):
            yield Segment(" " * len(label) if index else label)
            yield from line
            yield Segment.line()


class _Rule(markdown.HorizontalRule):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text("─" * options.max_width, "dim")


class _Table(markdown.TableElement):
    """Folds a long word into its column, where rich would cut it off."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, border_style="markdown.table.border")
        for cell in self.header.row.cells if self.header and self.header.row else ():
            heading = cell.content.copy()
            heading.stylize("markdown.table.header")
            table.add_column(heading, overflow="fold")
        for row in self.body.rows if self.body else ():
            table.add_row(*(cell.content for cell in row.cells))
        yield table


class _Code(markdown.CodeBlock):
    """Code in a list or a quotation."""

    fence = "```"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        syntax = Syntax("", self.lexer_name, theme="ansi_dark")
        code = syntax.highlight(str(self.text).rstrip())
        lines = code.split("\n", allow_blank=True)[: str(self.text).rstrip().count("\n") + 1]
        language = "" if self.lexer_name == "text" else self.lexer_name
        if self.fence:
            yield Text(f"{self.fence}{language}", "dim")
        for line in lines:
            yield from _folded(line, options.max_width, fold=True)
        if self.fence:
            yield Text(self.fence, "dim")


class _IndentedCode(_Code):
    fence = ""


class _Answer(markdown.Markdown):
    """rich's Markdown, of parsed tokens."""

    elements: ClassVar = {
        **markdown.Markdown.elements,
        "paragraph_open": _Paragraph,
        "heading_open": _Heading,
        "blockquote_open": _BlockQuote,
        "list_item_open": _ListItem,
        "hr": _Rule,
        "table_open": _Table,
        "fence": _Code,
        "code_block": _IndentedCode,
    }

    def __init__(self, tokens: Sequence[Token]) -> None:
        super().__init__("", hyperlinks=False)
        self.parsed = [_shown(token) for token in tokens]


def _shown(token: Token) -> Token:
    """A token whose text is visible: an entity such as `&#x202e;` was decoded by the parser."""
    children = token.children
    if token.type == "image":
        content = f"[image: {token.content} ({token.attrs.get('src', '')})]"
        return Token("text", "", 0, content=visible(content))
    return token.copy(
        # The model ended the line: joined with a space, Chinese would get one too many.
        type="hardbreak" if token.type == "softbreak" else token.type,
        content=visible(token.content),
        children=None if children is None else list(map(_shown, _without_known_links(children))),
    )


def _without_known_links(tokens: Sequence[Token]) -> Iterator[Token]:
    """The tokens without the links whose text is their address: it is shown once."""
    known = False
    for index, token in enumerate(tokens):
        if token.type == "link_open":
            inside = tokens[index + 1 : index + 3]
            texts = [token.content if token.type == "text" else None for token in inside]
            known = texts == [token.attrs.get("href"), None] or token.markup == "autolink"
        if not (known and token.type.startswith("link_")):
            yield token
