"""Cuts Markdown that is still coming into blocks: those that are finished, and the growing one.

Pure. Knows nothing of how a block looks. Nothing the model writes is hidden: HTML is text, and so
is the definition of a link.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

import attrs
from markdown_it import MarkdownIt
from markdown_it.rules_inline.state_inline import Delimiter, StateInline
from markdown_it.token import Token

LARGEST = 8 * 1024
"""Default limit for the characters of a growing block: drawing it again costs about 50 ms."""

CONTEXT = 300
"""Lines of code that are kept, so that the next ones are highlighted as what they are."""

# "Text\n-" would be a heading for a moment, before it is a paragraph and a list.
_UNDECIDED = re.compile(r"(?:^|\n)[ \t>]*(?:[-=+*#`~|:]+|\d{1,2}[.)]?)[ \t]*\Z")


@attrs.frozen
class Block:
    """A block of the text.

    Attributes:
        source: Its Markdown.
        tokens: The same, parsed.
        continues: Whether it is the next part of a block that was cut.
        ends: Whether nothing of the same block follows.
        code_before: The code before that of this part.
    """

    source: str
    tokens: Sequence[Token]
    continues: bool = False
    ends: bool = True
    code_before: str = ""


class Blocks:
    """Takes a text in pieces, and gives its blocks.

    A block is finished once a whole line after it belongs to another one: CommonMark closes blocks
    line by line, and opens none again.

    Args:
        largest: Characters of a growing block, above which its beginning counts as finished.
    """

    def __init__(self, *, largest: int = LARGEST) -> None:
        self._largest = largest
        self._parser = _parser()
        self._source = ""
        self._continues = False
        self._code_before = ""
        self._number: int | None = None

    def add(self, text: str) -> list[Block]:
        """Add the next piece of the text; the blocks that are finished now."""
        finished: list[Block] = []
        for start in range(0, len(text), self._largest):
            piece = text[start : start + self._largest]
            self._source += piece
            if "\n" in piece:
                finished += self._finished()
            while len(self._source) > self._largest:
                finished += self._split_anywhere()
        return finished

    def growing(self, *, ended: bool = False) -> list[Block]:
        """What came after the finished blocks: mostly one block, and the first line of another.

        Args:
            ended: Nothing more comes. Otherwise a mark alone on its line waits for what follows
                it, and `**` or a backquote without its partner is taken for one that will have it.
        """
        if ended:
            return self._blocks(self._source)
        source = _UNDECIDED.sub("", self._source)
        blocks = self._blocks(source)
        line = source.rpartition("\n")[2]
        mark = "`" if line.count("`") % 2 else "**" if line.count("**") % 2 else ""
        if not mark or not blocks or any(token.type == "fence" for token in blocks[-1].tokens):
            return blocks
        closed = self._blocks(source.rstrip() + mark)
        return closed if _count_spans(closed) > _count_spans(blocks) else blocks

    def split(self) -> list[Block]:
        """The beginning of the growing block, as finished; none if it can only be shown whole."""
        whole = self._whole_lines()
        blocks = self._blocks(whole)
        if len(blocks) != 1:
            return []
        tokens = blocks[0].tokens
        lines = whole.split("\n")
        first = len(lines) - len(whole.lstrip("\n").split("\n"))
        if tokens[0].type == "fence":
            return self._split_fence(lines, first)
        items = [token.map[0] for token in tokens if _is_item(token) and token.map]
        if len(items) < 2:
            return []
        parts = self._cut(lines, items[-1])
        self._number = int(tokens[0].attrs.get("start", 1)) + len(items) - 1
        return parts

    def _whole_lines(self) -> str:
        return self._source[: self._source.rfind("\n") + 1]

    def _finished(self) -> list[Block]:
        """Cut off all blocks but the last, of the lines that are complete."""
        blocks = self._blocks(self._whole_lines())
        if len(blocks) < 2:
            return []
        self._source = self._source[sum(len(block.source) for block in blocks[:-1]) :]
        self._continues, self._code_before, self._number = False, "", None
        return blocks[:-1]

    def _blocks(self, source: str) -> list[Block]:
        """The blocks of a text; the source of each reaches to the beginning of the next."""
        groups = list(_groups(self._parser.parse(source)))
        lines = source.split("\n")
        starts = [0, *(group[0].map[0] for group in groups[1:] if group[0].map), len(lines)]
        blocks = []
        for index, group in enumerate(groups):
            part = "\n".join(lines[starts[index] : starts[index + 1]])
            source_of = part if starts[index + 1] == len(lines) else part + "\n"
            begun = not index and self._continues
            if begun and self._number is not None and group[0].type == "ordered_list_open":
                group[0].attrSet("start", self._number)  # models write "1." before each item
            blocks.append(Block(source_of, group, begun, True, self._code_before if begun else ""))
        return blocks

    def _split_fence(self, lines: list[str], first: int) -> list[Block]:
        """Finish the first half of the lines of code."""
        code = len(lines) - first - 2  # without the opening line, and the one that is incomplete
        if code < 2:
            return []
        opening, before = lines[first], self._code_before
        cut = first + 1 + max(code // 2, 1)
        parts = self._cut(lines, cut)
        self._source = f"{opening}\n{self._source}"
        code_so_far = before.split("\n")[:-1] + lines[first + 1 : cut]
        self._code_before = "".join(f"{line}\n" for line in code_so_far[-CONTEXT:])
        return parts

    def _split_anywhere(self) -> list[Block]:
        """The beginning of a block that grew too large."""
        parts = self.split()
        if parts:
            return parts
        lines = self._source.split("\n")
        tokens = self._parser.parse(self._source)
        if tokens and tokens[0].type == "table_open" and len(lines) > 4:
            parts = self._cut(lines, len(lines) - 1)
            self._source = "\n".join([*lines[:2], self._source])
            return parts
        cut = (
            self._source.rfind("\n", 0, self._largest) + 1
            or self._source.rfind(" ", 0, self._largest) + 1
        )
        return self._cut_source(cut or self._largest)

    def _cut(self, lines: list[str], line: int) -> list[Block]:
        return self._cut_source(len("\n".join(lines[:line])) + 1)

    def _cut_source(self, end: int) -> list[Block]:
        source, self._source = self._source[:end], self._source[end:]
        blocks = self._blocks(source)
        self._continues, self._code_before = bool(blocks), ""
        return [*blocks[:-1], *(attrs.evolve(last, ends=False) for last in blocks[-1:])]


def _count_spans(blocks: Sequence[Block]) -> int:
    """How many pieces of bold text and of code stand in the blocks' lines."""
    tokens = (token for block in blocks for token in block.tokens)
    inline = (child for token in tokens for child in token.children or ())
    return sum(child.type in ("strong_open", "code_inline") for child in inline)


def _is_item(token: Token) -> bool:
    return token.type == "list_item_open" and token.level == 1


def _groups(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """The tokens of each block that stands in no other."""
    group: list[Token] = []
    for token in tokens:
        group.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield group
            group = []


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 100})
    parser.enable(["table", "strikethrough"])
    parser.disable(["reference", "html_block", "html_inline"])
    parser.inline.ruler.at("emphasis", _emphasis)
    parser.inline.ruler.before("escape", "formula", _formula)
    return parser


def _emphasis(state: StateInline, silent: bool) -> bool:
    """CommonMark's rule for `*` and `_`, mended for Chinese, Japanese and Korean.

    Between `**重点：**内容` there is no space, and CommonMark takes the second `**` for text
    (github.com/commonmark/commonmark-spec/issues/650).
    """
    marker = state.src[state.pos]
    if silent or marker not in "*_":
        return False
    scanned = state.scanDelims(state.pos, marker == "*")
    before = state.src[state.pos - 1] if state.pos else " "
    end = state.pos + scanned.length
    after = state.src[end] if end < state.posMax else " "
    mend = marker == "*" and (_is_wide(before) or _is_wide(after))
    for _ in range(scanned.length):
        token = state.push("text", "", 0)
        token.content = marker
        state.delimiters.append(
            Delimiter(
                marker=ord(marker),
                length=scanned.length,
                token=len(state.tokens) - 1,
                end=-1,
                open=scanned.can_open or (mend and not after.isspace()),
                close=scanned.can_close or (mend and not before.isspace()),
            )
        )
    state.pos = end
    return True


def _formula(state: StateInline, silent: bool) -> bool:
    """Keeps the backslash of `\\(`, `\\[`, `\\{`, and the like, which formulas have."""
    pair = state.src[state.pos : state.pos + 2]
    if pair[:1] != "\\" or pair[1:] not in tuple("()[]{}\\,;:!"):
        return False
    if not silent:
        state.pending += pair
    state.pos += 2
    return True


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"
