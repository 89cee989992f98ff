"""One plain form for every writing of a text."""

from __future__ import annotations

import html
import json
from urllib.parse import quote, quote_plus

from hypothesis import given
from hypothesis import strategies as st
from tables import each

from websopy_sync.plain_form import PlainText, plain_form

TEXTS = [
    "plain",
    "two\nlines",
    'a "b" <c> & d',
    "it's",
    "a\\b\\new",
    "秘密",
    "😀é",
    "100% + 5",
    "/a/b",
]

WRITINGS = {
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON of JSON": lambda text: json.dumps(json.dumps(text)),
    "JSON of JSON of JSON": lambda text: json.dumps(json.dumps(json.dumps(text))),
    "Go": lambda text: json.dumps(text, ensure_ascii=False).replace("<", "\\u003c"),
    "PHP": lambda text: json.dumps(text).replace("/", "\\/"),
    "HTML": html.escape,
    "HTML by number": lambda text: "".join(f"&#{ord(it)};" for it in text),
    "HTML by hex": lambda text: "".join(f"&#x{ord(it):X};" for it in text),
    "HTML in JSON": lambda text: json.dumps(html.escape(text)).replace("&", "\\u0026"),
    "URL": quote,
    "whole URL": lambda text: quote(text, safe=""),
    "form": quote_plus,
    "URL twice": lambda text: quote(quote(text)),
    "repr": repr,
    "ascii": ascii,
    "repr of bytes": lambda text: repr(text.encode())[1:],
    "JavaScript": lambda text: "".join(f"\\u{{{ord(it):x}}}" for it in text),
    "UTF-16": lambda text: (
        text.encode("utf-16-be").hex("|", 2).replace("|", "\\u").join(["\\u", ""])
    ),
    "white space collapsed": lambda text: " ".join(text.split()),
}


@each("name", WRITINGS)
@each("text", TEXTS)
def test_every_writing_has_one_form(name: str, text: str) -> None:
    """Whatever wrote the text, and however often."""
    written = WRITINGS[name](text)
    for case in (written, written.encode().decode()):
        assert plain_form(case.encode()) == plain_form(text.encode())
        assert PlainText.of(case.encode()).data == plain_form(text.encode())


@each("digits", ["\\u4E2D", "\\u4e2d", "%E4%B8%AD", "%e4%b8%ad", "%u4E2D", "&#20013;"])
def test_hex_in_upper_and_lower_case(digits: str) -> None:
    """Case says nothing."""
    assert plain_form(digits.encode()) == "中".encode()


@each(
    "text",
    ["\\", "\\u12", "%", "%4", "&", "&amp", "&nothing;", "\\ud83d", "\\ude00x", "&#xffffff;"],
)
def test_what_is_no_escape(text: str) -> None:
    """Halves of escapes, and what only looks like one, are no error."""
    assert PlainText.of(text.encode()).data == plain_form(text.encode())


@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda it: it.encode("utf-8", "replace")))
def test_places(data: bytes) -> None:
    """Each byte of the plain form knows its place, in order, and any bytes have one."""
    plain = PlainText.of(data)
    assert plain.data == plain_form(data)
    assert len(plain.starts) == len(plain.ends) == len(plain.data)
    assert all(0 <= a < b <= len(data) for a, b in zip(plain.starts, plain.ends, strict=True))
    assert list(plain.starts) == sorted(plain.starts) and list(plain.ends) == sorted(plain.ends)


@each(("text", "alone"), [
        ("rate", True), ("a rate limit", True), ("rate_limit", False), ("rate-limit", False),
        ("pirate", False), ("rated", False), ('"rate"', True), ("(rate)", True), ("rate.", True),
        ("\\nrate", True), ("x%20rate%20y", True), ("中rate", False), ("5rate", False),
    ])  # fmt: skip
def test_what_stands_alone(text: str, alone: bool) -> None:
    """A word stands alone when nothing that may be part of a word touches it."""
    plain = PlainText.of(text.encode())
    at = plain.data.index(b"rate")
    assert plain.stands_alone(at, at + 4) is alone
