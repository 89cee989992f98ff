"""Docstrings in Google style, read."""

from __future__ import annotations

import inspect

from tables import each

from websopy_sync.docstrings import entries_of, summary_of

WHOLE = """Look up the weather.

    In two
    lines.

    Args:
        city: The city,
            its name only.
        unit (str, optional): "c" or "f".
        *rest: More.
        **options: Options: any.

            A second paragraph.

    Returns:
        wind: no parameter.

    Keyword Args:
        at: When.
    """


def test_text_before_the_sections() -> None:
    """Paragraphs stay, lines are joined."""
    assert summary_of(WHOLE) == "Look up the weather.\nIn two lines."


def test_entries() -> None:
    """Names with their texts, also over several lines, with types and stars."""
    assert entries_of(WHOLE) == {
        "city": "The city, its name only.",
        "unit": '"c" or "f".',
        "rest": "More.",
        "options": "Options: any. A second paragraph.",
        "at": "When.",
    }


@each(
    ("docstring", "summary", "entries"),
    [
        (None, "", {}),
        ("", "", {}),
        ("One line.", "One line.", {}),
        ("A.\n\nArgs:\n    a: x", "A.", {"a": "x"}),
        ("A.\nAttributes:\n  a:\n    x\n  b : no entry", "A.", {"a": "x b : no entry"}),
        ("Example: not a section\n\nArgs:", "Example: not a section", {}),
        ("A.\n\nArgs:\n    text without a name\n    a: x", "A.", {"a": "x"}),
        ("A.\n\nNote:\n    a: x", "A.", {}),
        ("A.\n\nArgs:\n    größe: 世界", "A.", {"größe": "世界"}),
    ],
)
def test_docstrings(docstring: str | None, summary: str, entries: dict[str, str]) -> None:
    """What is no entry is no error."""
    assert (summary_of(docstring), entries_of(docstring)) == (summary, entries)


def test_own_docstrings_are_read() -> None:
    """Those of this package have this form."""
    docstring = inspect.getdoc(each) or ""
    assert set(entries_of(docstring)) == {"names", "cases"}
