"""Secrets: kept out of what our frames show, and taken out of what a server sent back.

Error reporters show the local variables of every frame that an exception passed through. So the
key and the prompts travel in objects whose repr shows nothing.
"""

from __future__ import annotations

import json
from typing import Generic, TypeVar
from urllib.parse import quote, quote_plus

__all__ = ["Secret", "redact"]

Value = TypeVar("Value")

SHORTEST = 4
"""Characters a secret must have to be taken out of a text: less would hit parts of words."""


class Secret(Generic[Value]):
    """Holds a secret; its repr shows none of it, and it does not pickle."""

    __slots__ = ("value",)

    def __init__(self, value: Value) -> None:
        self.value: Value = value

    def __reduce__(self) -> str:
        raise TypeError("a secret does not pickle")


def redact(secrets: Secret[list[str]], text: str) -> str:
    """The text without the secrets, however they are written: plain, in JSON, in a URL, in a repr.

    What a text that was cut ends with may be the beginning of one, and goes too.
    """
    for secret in secrets.value:
        # Of a secret longer than the text only a beginning can be in it.
        for form in _forms(secret[: len(text)]):
            if len(secret) <= len(text):
                text = text.replace(form, "***")
            text = _without_beginning(form, text)
    return text


def _without_beginning(form: str, text: str) -> str:
    """The text without the beginning of a secret at its end."""
    head = form[: SHORTEST * 2]
    if len(head) < SHORTEST * 2:
        return text
    start = text.find(head, max(len(text) - len(form), 0))
    while start >= 0:
        if form.startswith(text[start:]):
            return text[:start] + "***"
        start = text.find(head, start + 1)
    return text


def _forms(secret: str) -> list[str]:
    """Every way to write a secret, longest first, so that none hides behind a shorter one."""
    if len(secret) < SHORTEST:
        return []
    in_urls = (quote(secret, safe, errors="replace") for safe in ("/", ""))
    in_json = (json.dumps(secret, ensure_ascii=ascii)[1:-1] for ascii in (True, False))
    forms = {secret, *in_urls, quote_plus(secret, errors="replace"), *in_json}
    # A repr of a text with both quotes in it escapes one of them.
    in_reprs = {repr(form)[1:-1] for form in forms} | {repr("'\"" + form)[4:-1] for form in forms}
    return sorted(forms | in_reprs, key=len, reverse=True)
