"""Halves of surrogate pairs, which JSON can carry and UTF-8 cannot.

Pure: text in, text out. Knows nothing of JSON or of where a text comes from.
"""

from __future__ import annotations

__all__ = ["scalar_text", "split_half"]


def scalar_text(text: str) -> str:
    """Make a text encodable.

    Returns:
        The same text with surrogate pairs joined and lone halves replaced by U+FFFD, as the Infra
        Standard converts a string into a scalar value string.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def split_half(text: str) -> tuple[str, str]:
    """Split off the first half of a pair at the end of a text.

    JavaScript servers cut text between the halves of a pair. The next piece of text may begin with
    the other half, so a reader puts this half in front of it.

    Returns:
        The text before it, and the half; "" when the text does not end in one.
    """
    return (text[:-1], text[-1]) if "\ud800" <= text[-1:] <= "\udbff" else (text, "")
