"""JSON of models and tools, and what of it no page could read."""

from __future__ import annotations

from typing import Any

from tables import each

from websopy_sync.web.page_json import DEEPEST, read_json


def nested(levels: int) -> str:
    """Lists and objects in turn; the outermost is a list if the levels are odd."""
    pairs = '{"a":[' * (levels // 2) + "]}" * (levels // 2)
    return f"[{pairs}]" if levels % 2 else pairs


@each(
    ("text", "value"),
    [
        ("{}", {}),
        (' [1, "a", null, true] ', [1, "a", None, True]),
        ('{"constructor": {"a": 1}, "prototype": 2}', {"constructor": {"a": 1}, "prototype": 2}),
        ('{"a": "__proto__"}', {"a": "__proto__"}),
        ('"text"', "text"),
        ("9" * 4000, int("9" * 4000)),
    ],
)
def test_what_a_page_reads(text: str, value: Any) -> None:
    """It is the value."""
    assert read_json(text) == value


@each(
    "text",
    [
        "",
        "{",
        "{'a': 1}",
        "NaN",
        '{"a": [Infinity]}',
        '{"a": -1e999}',
        "9" * 5000,  # Python reads no longer one
        '{"a": [{"__proto__": {}}]}',
        '{"\\u005f_proto__": 1}',
        '{"a": {"constructor": {"prototype": {}}}}',
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        nested(DEEPEST + 1),
        nested(DEEPEST + 2),
    ],
)
def test_what_no_page_reads(text: str) -> None:
    """It is as good as no JSON."""
    assert read_json(text) is None


def test_depth_is_not_size() -> None:
    """Many brackets side by side are fine, and so is the deepest that is allowed."""
    assert read_json(f"[{'[],' * 10_000}0]") is not None
    assert read_json(nested(DEEPEST)) is not None
