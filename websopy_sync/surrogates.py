"""Halves of surrogate pairs, which JSON can carry and UTF-8 cannot.

Pure: text in, text out. Knows nothing of JSON or of where a text comes from.
"""

from __future__ import annotations

__all__ = ["SurrogateJoiner", "scalar_text"]


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


class SurrogateJoiner:
    """Joins the pairs that a service cut between two pieces of one text.

    JavaScript servers cut text in UTF-16. A first half at the end of a piece is held until the next
    piece, which may begin with the other half.

    Attributes:
        half: The half that is held, "" for none.
    """

    def __init__(self) -> None:
        self.half: str = ""

    def join(self, piece: str) -> str:
        """Add the next piece.

        Returns:
            The text up to here that can be encoded; "" while all of it is held.
        """
        text, self.half = self.half + piece, ""
        if "\ud800" <= text[-1:] <= "\udbff":
            text, self.half = text[:-1], text[-1]
        return scalar_text(text)

    def flush(self) -> str:
        """End the text. Returns U+FFFD for a half that is still held, else ""."""
        half, self.half = self.half, ""
        return "\ufffd" if half else ""
