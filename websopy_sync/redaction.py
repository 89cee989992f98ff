"""Secrets removed from what a server sent back, so that an error may show the rest.

`request_secrets` says what is secret of a request. Its echo is found in a server's text like this:

- Both are compared in their plain form, so any way of escaping is found.
- Servers truncate what they echo, so each piece of a secret counts that has a certain length.
- In a body that is JSON, each string is searched by itself, and the structure stays. Field names,
  and identifiers in fields such as `code` and `type`, are searched for credentials only.

The work is linear in the server's text, which is bounded, and in the request.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

from .interrupts import is_interrupt
from .plain_form import PlainText
from .request_secrets import GRAM, IDENTIFIER, KnownSecret, SentRequest, known_secrets
from .secret import Secret

__all__ = ["Redactor"]

MASK = "***"
"""Stands for a secret, or a piece of one."""

MAX_TEXT = 65536
"""Characters of a server's text that are kept and searched."""

MAX_HEADER = 4096
"""Characters of one header's value that are kept; of all together at most MAX_TEXT."""

MAX_MESSAGE = 300
"""Characters of an error's message that quotes an event's data."""

SHORTEST = 4
"""Bytes of plain form that a secret has at least: anything shorter occurs in any text."""

# --- the parts of a server's text ----------------------------------------------------------------

_LABEL = re.compile(r"(?:code|type|id|status|param|model|object|role)$", re.IGNORECASE)
"""Names of fields with identifiers that programs compare."""

_JSON_TOKEN = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"(?=(\s*:)?)|[^\s\[\]{},:"]{8,}', re.DOTALL)

Scope = Literal["all", "pieces", "credentials"]
"""What a part is searched for: all secrets, those of GRAM bytes and more, or credentials alone."""


class _Part:
    """A part of a server's text that is searched by itself.

    Args:
        text: The part.
        scope: What it is searched for.
        latin: Whether it came as Latin-1, as headers do; otherwise as UTF-8.
        whole: Whether it is replaced as a whole and in quotes, as a number in JSON must be.
    """

    def __init__(
        self, text: str, scope: Scope, *, latin: bool = False, whole: bool = False
    ) -> None:
        self.scope: Scope = scope
        self._text = text
        self._whole = whole
        self._encoding = "latin-1" if latin else "utf-8"
        self._data = text.encode(self._encoding, "replace")
        self.plain = PlainText.of(self._data)
        self._spans: list[tuple[int, int]] = []

    def mark(self, first: int, end: int) -> None:
        """Mark these bytes of the plain form as a secret, or a piece of one."""
        self._spans.append((self.plain.starts[first], self.plain.ends[end - 1]))

    def redacted(self) -> str:
        """The text with a mask for each run of marked bytes."""
        if self._whole and self._spans:
            return f'"{MASK}"'
        kept, at = list[bytes](), 0
        for span in sorted(self._spans):
            first, end = self._whole_characters(*span)
            if first > at or not kept:
                kept += [self._data[at:first], MASK.encode()]
            at = max(at, end)
        if not kept:
            return self._text
        return b"".join([*kept, self._data[at:]]).decode(self._encoding, "replace")

    def _whole_characters(self, first: int, end: int) -> tuple[int, int]:
        if self._encoding == "utf-8":
            while first > 0 and self._data[first] & 0xC0 == 0x80:
                first -= 1
            while end < len(self._data) and self._data[end] & 0xC0 == 0x80:
                end += 1
        return first, end


_Parts = list[str | _Part]
"""A text in order: parts to search, and the texts between them, which stay."""


def _parts_of(text: str, name: str = "", *, latin: bool = False) -> _Parts:
    """The parts of a server's text. With a name, the text is the value of that field."""
    text = text[:MAX_TEXT]
    if name == "" and _is_json(text):
        return _parts_of_json(text)
    return [_Part(text, _scope(text, name), latin=latin)]


def _parts_of_json(text: str) -> _Parts:
    parts, at, name = _Parts(), 0, ""
    for match in _JSON_TOKEN.finditer(text):
        first, end = match.span(0 if match[1] is None else 1)
        value = text[first:end]
        parts.append(text[at:first])
        at = end
        if match[1] is None:
            parts.append(_Part(value, "all", whole=True))
        elif match[2] is None:
            parts.append(_Part(value, _scope(value, name)))
        else:
            name = value
            parts.append(_Part(value, "credentials" if IDENTIFIER.fullmatch(value) else "pieces"))
    return [*parts, text[at:]]


def _scope(text: str, name: str) -> Scope:
    return "credentials" if _LABEL.search(name) and IDENTIFIER.fullmatch(text) else "all"


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[", '"')):
        return False
    try:
        json.loads(text, parse_int=len, parse_float=len)  # numbers of any length
    except (ValueError, RecursionError) as error:
        if is_interrupt(error):
            raise
        return False
    return True


# --- the search ----------------------------------------------------------------------------------


def _grams(data: bytes, size: int = GRAM) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(len(data) - size + 1))


def _grams_apart(data: bytes, step: int) -> Iterator[bytes]:
    """Every step-th gram, without a loop in Python: an image may have millions."""
    count = (len(data) - GRAM) // step + 1
    padded = (data + bytes(step))[: count * step]
    return chain.from_iterable(struct.iter_unpack(f"{GRAM}s{step - GRAM}x", padded))


def _shared_grams(known: KnownSecret, grams: set[bytes]) -> Iterator[bytes]:
    """The grams of a secret that are in a text too, where they make up a piece."""
    plain, step, last = known.plain, known.piece - GRAM + 1, len(known.plain) - GRAM
    if step > GRAM and grams.isdisjoint(_grams_apart(plain, step)):
        return
    at = 0
    while at <= last:  # a piece has so many grams in a row that no step misses it
        first = end = at
        while first >= 0 and plain[first : first + GRAM] in grams:
            first -= 1
        while end <= last and plain[end : end + GRAM] in grams:
            end += 1
        if end - first - 1 >= step:
            yield from _grams(plain[first + 1 : end - 1 + GRAM])
        at = end + step


def _runs(plain: bytes, grams: set[bytes], piece: int) -> Iterator[tuple[int, int]]:
    """The runs of these grams in a plain form that are long enough for a piece."""
    first: int | None = None
    for at in range(len(plain) - GRAM + 2):  # one further, where no gram fits: it ends the last run
        if plain[at : at + GRAM] in grams:
            first = at if first is None else first
        elif first is not None:
            if at - 1 + GRAM - first >= piece:
                yield first, at - 1 + GRAM
            first = None


class _Search:
    """Marks secrets in the parts of a server's text."""

    def __init__(self, parts: list[_Part]) -> None:
        self._parts = parts
        self._grams = {gram for part in parts for gram in _grams(part.plain.data)}
        self._shared: dict[tuple[int, bool], set[bytes]] = {}  # by length of piece, credential
        self._short: dict[tuple[int, bool], set[bytes]] = {}  # by length, credential

    def add(self, known: KnownSecret) -> None:
        """Search for this secret too."""
        size = len(known.plain)
        if size >= GRAM:
            shared = self._shared.setdefault((known.piece, known.credential), set())
            shared.update(_shared_grams(known, self._grams))
        elif size >= SHORTEST:
            self._short.setdefault((size, known.credential), set()).add(known.plain)

    def mark(self) -> None:
        """Mark each secret that was found."""
        for part in self._parts:
            self._mark_shared(part)
            self._mark_short(part)

    def _mark_shared(self, part: _Part) -> None:
        for (piece, credential), shared in self._shared.items():
            if shared and (credential or part.scope != "credentials"):
                for run in _runs(part.plain.data, shared, piece):
                    part.mark(*run)

    def _mark_short(self, part: _Part) -> None:
        for (size, credential), short in self._short.items():
            if not credential and part.scope != "all":
                continue
            for at, gram in enumerate(_grams(part.plain.data, size)):
                if gram in short and part.plain.stands_alone(at, at + size):
                    part.mark(at, at + size)


# --- the redactor --------------------------------------------------------------------------------


class Redactor:
    """Removes the keys and the secrets of one request from what its server sends back.

    Args:
        keys: The API keys of the call; a key that is added later counts too.
        go_on: Whether there is still time. When there is none, a text is replaced as a whole.
    """

    def __init__(
        self, keys: Sequence[Secret[str]], *, go_on: Callable[[], bool] = lambda: True
    ) -> None:
        self._keys = keys
        self._go_on = go_on
        self._sent = Secret(SentRequest())

    def watch(
        self,
        headers: Mapping[str, Any],
        body: bytes | None = None,
        *,
        query: str = "",
        path: str = "",
    ) -> None:
        """Note what is sent. It is read only when a server's text has to be shown.

        Args:
            headers: The request's headers.
            body: Its body, None for none.
            query: The query of its URL.
            path: The path of its URL.
        """
        self._sent = Secret(SentRequest(headers, body, query, path))

    def __call__(self, text: str, *, name: str = "") -> str:
        """A server's text without secrets.

        Args:
            text: The text. A body that is JSON stays JSON.
            name: The field whose value the text is, "" for none.
        """
        return self._redacted([_parts_of(text, name)])[0]

    def message(self, text: str) -> str:
        """An error's message without secrets, in which the server's part follows ", got "."""
        ours, got, shown = text.partition(", got ")
        if not got:
            return text
        return ours + got + self._redacted([[_Part(shown[:MAX_TEXT], "pieces")]])[0]

    def data_message(self, text: str) -> str:
        """The message of an error about an event's data, which follows ", got " as a whole.

        Secrets are removed before the message is truncated: a piece that is cut short in the
        middle of a secret would not be found.
        """
        ours, got, shown = text.partition(", got ")
        if got:
            text = ours + got + self._redacted([_parts_of(shown)])[0]
        return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + "…"

    def response(self, body: str, headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """The body and the headers of a response, without secrets and within the limits."""
        texts, room = [_parts_of(body)], MAX_TEXT
        for name, value in headers.items():
            value = value[: min(MAX_HEADER, room)]
            room -= len(value)
            texts += [_parts_of(name, "type"), _parts_of(value, name, latin=True)]
        body, *rest = self._redacted(texts)
        return body, dict(zip(rest[::2], rest[1::2], strict=True))

    def _redacted(self, texts: list[_Parts]) -> list[str]:
        found = [part for parts in texts for part in parts if isinstance(part, _Part)]
        search = _Search(found)
        prompts = any(part.scope != "credentials" for part in found)
        for known in known_secrets(self._keys, self._sent.value, prompts=prompts):
            if not self._go_on():
                return [MASK] * len(texts)
            search.add(known)
        search.mark()
        return [
            "".join(part if isinstance(part, str) else part.redacted() for part in parts)
            for parts in texts
        ]
