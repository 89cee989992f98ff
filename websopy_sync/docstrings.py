"""What a docstring in Google style says: its text, and a text for each parameter or attribute.

Pure. Knows nothing of functions and types.
"""

from __future__ import annotations

import inspect
import re

__all__ = ["entries_of", "summary_of"]

_LISTS = {"Args", "Arguments", "Parameters", "Attributes", "Keyword Args", "Keyword Arguments"}
"""Sections with an entry for each name."""

_HEADER = re.compile(r"([A-Z][A-Za-z]*(?: [A-Z][A-Za-z]*)?):$")
_ENTRY = re.compile(r"\*{0,2}(\w+)(?: *\(.*?\))?:(?: +(.*))?$")


def summary_of(docstring: str | None) -> str:
    """The text before the first section, in one line for each paragraph."""
    lines: list[str] = []
    for line in inspect.cleandoc(docstring or "").splitlines():
        if _HEADER.match(line):
            break
        lines.append(line.strip())
    paragraphs = "\n".join(lines).strip().split("\n\n")
    return "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def entries_of(docstring: str | None) -> dict[str, str]:
    """The text of each name under `Args:` or `Attributes:`, in one line."""
    entries: dict[str, list[str]] = {}
    texts: list[str] | None = None
    inside, margin = False, 0
    for line in inspect.cleandoc(docstring or "").splitlines():
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if text and indent == 0:
            header = _HEADER.match(text)
            inside, margin, texts = bool(header and header[1] in _LISTS), 0, None
        elif inside and text:
            margin = margin or indent
            entry = _ENTRY.match(text) if indent == margin else None
            if entry:
                texts = entries[entry[1]] = [entry[2] or ""]
            elif texts is not None:
                texts.append(text)
    return {name: " ".join(texts).strip() for name, texts in entries.items()}
