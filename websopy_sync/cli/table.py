"""A table on standard output, its columns as wide as their cells."""

from __future__ import annotations

from collections.abc import Sequence


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Write a table.

    Args:
        rows: The head first; each with the same number of cells, in one line each.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    if len(rows) == 1:
        print("(none)")
