"""The project's documents, and the fenced blocks and files in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "plugins/*/README.md", "examples/**/*.md")
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts
)


def saved_files(document: str) -> dict[int, tuple[str, str]]:
    """Name and text of each file that a document says to save, by its line number."""
    text = (ROOT / document).read_text("utf-8")
    saved = r"this\s+as `([^`]+)`.*?:\n\n(?:<!-- skip: next -->\n\n)?```python\n(.*?)^```$"
    return {
        text.count("\n", 0, match.start(2)) + 1: (match[1], match[2])
        for match in re.finditer(saved, text, re.M | re.S)
    }


def blocks(document: str) -> Iterator[tuple[str, int, list[str]]]:
    """Language, line number and lines of each fenced block."""
    language, begun, lines = None, 0, []
    for number, line in enumerate((ROOT / document).read_text("utf-8").splitlines(), 1):
        fence = re.fullmatch(r" *```(.*)", line)
        if fence is None:
            lines.append(line)
        elif language is None:
            language, begun, lines = fence[1], number + 1, []
        else:
            yield language, begun, lines
            language, lines = None, []
