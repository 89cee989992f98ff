"""Secrets: kept out of what our frames show, and taken out of what a server sent back.

Error reporters show the local variables of every frame that an exception passed through. So the
key and the prompts travel in objects whose repr shows nothing.

How an echo of a secret is found in a server's text:

- Both are brought to a plain form first, so it does not matter how a server writes what it echoes.
- Servers cut what they echo, so every piece of a secret counts that has a certain length.
- In a body that is JSON each string is searched on its own, so that structure stays. Names of
  fields, and identifiers in fields such as `code` and `type`, are only searched for credentials.

The work is linear in what a server sent, which is bounded, and in what was sent to it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

import attrs

from .interrupts import is_interrupt
from .plain_form import PlainText, plain_form
from .secret import Secret

__all__ = ["Redactor"]

MASK = "***"
"""What stands for a secret, or a piece of one."""

MAX_TEXT = 65536
"""Characters of a server's text that are kept and searched."""

MAX_HEADER = 4096
"""Characters that are kept of one header's value; of all together as many as of a text."""

MAX_MESSAGE = 300
"""Characters of an error's message that quotes an event's data."""

SHORTEST = 4
"""Bytes of plain form that a secret must have to be looked for: less are in any text."""

GRAM = 8
"""Bytes of plain form, at least, of a piece of a secret. A shorter secret is looked for as a whole,
where it stands by itself."""

PIECE = 16
"""Bytes of plain form of a piece of a prompt: less are common to texts that have nothing to do
with each other. A prompt of less than twice as many counts by halves."""

ONE_WORD = 64
"""Bytes up to which a secret without spaces is taken for a password, whose every GRAM counts."""

SLICE = 1 << 18
"""Characters of a long prompt that are looked for at a time."""


# ---------------------------------------------------------------------- what is secret of a request

_SECRET_HEADER = re.compile(
    r"auth|key|token|secret|cookie|password|credential|session|signature", re.IGNORECASE
)
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.:/@#-]{1,128}")
_FREE_FIELDS = frozenset({"content", "text", "message", "prompt", "input", "query", "system"})
"""Fields of a request in which a single short word is a prompt, too."""
_NAMED_FIELDS = frozenset({"role", "type", "model"})
"""Fields of a request whose identifiers are no secret: an error is of no use without them."""


@attrs.frozen(repr=False)
class _Known:
    """One secret in its plain form. piece: bytes of a piece that is taken out."""

    plain: bytes
    piece: int
    credential: bool


def _known(text: str, *, credential: bool) -> _Known:
    data = text.encode("utf-8", "replace")
    plain = plain_form(data)
    one_word = data.isascii() and len(data) <= ONE_WORD and len(data.split()) == 1
    half = min(PIECE, max(GRAM, len(plain) // 2))
    return _Known(plain, GRAM if credential or one_word else half, credential)


def _credentials(headers: Mapping[str, Any]) -> Iterator[str]:
    """The secret parts of a request's headers."""
    for name, value in headers.items():
        lower = name.lower()
        if not isinstance(value, str) or lower == "idempotency-key":
            continue
        if lower == "cookie":
            yield from (pair.partition("=")[2] for pair in value.split(";"))
        elif _SECRET_HEADER.search(lower):
            scheme, _, rest = value.partition(" ")
            yield rest if rest.strip() else value
            if scheme.lower() == "basic":
                yield from _user_and_password(rest)


def _user_and_password(encoded: str) -> Iterator[str]:
    try:
        text = base64.b64decode(encoded, validate=True).decode("utf-8", "replace")
    except ValueError:
        return
    yield text
    yield text.partition(":")[2]


def _prompts(body: bytes | None, query: str, path: str) -> Iterator[str]:
    """The texts of a request that may be a prompt."""
    fields = list[tuple[str, Any]](parse_qsl(query))
    fields.append(("", _json(body) if body else None))
    while fields:  # no recursion: a body may be nested as deep as json goes
        name, value = fields.pop()
        if isinstance(value, dict):
            fields += value.items()
        elif isinstance(value, list):
            fields += [(name, item) for item in value]
        elif isinstance(value, str) and _may_be_prompt(name, value):
            yield value
    yield from (text for text in map(unquote, path.split("/")) if len(text) >= PIECE)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        if is_interrupt(error):
            raise
    return body.decode("utf-8", "replace")  # nested as deep as json can write, and too deep to read


def _may_be_prompt(name: str, value: str) -> bool:
    if not _IDENTIFIER.fullmatch(value) or name in _FREE_FIELDS:
        return True
    return name not in _NAMED_FIELDS and len(value) >= GRAM


# ------------------------------------------------------------------- the parts of a server's text

_LABEL = re.compile(r"(?:code|type|id|status|param|model|object|role)$", re.IGNORECASE)
"""Names of fields whose identifiers programs compare."""

_JSON_TOKEN = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"(?=(\s*:)?)|[^\s\[\]{},:"]{8,}', re.DOTALL)

Scope = Literal["all", "pieces", "credentials"]
"""What is looked for: everything, no short secrets, or credentials alone."""


class _Part:
    """A stretch of a server's text that is searched on its own.

    whole: replaced as a whole, in quotes, as a number in JSON has to be.
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
        """A secret, or a piece of one, has these bytes of the plain form."""
        self._spans.append((self.plain.starts[first], self.plain.ends[end - 1]))

    def redacted(self) -> str:
        """The text without what was marked."""
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
"""A text: stretches to search, and what stands between them and stays."""


def _parts_of(text: str, name: str = "", *, latin: bool = False) -> _Parts:
    """A server's text, or the value of a field of that name."""
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
            parts.append(_Part(value, "credentials" if _IDENTIFIER.fullmatch(value) else "pieces"))
    return [*parts, text[at:]]


def _scope(text: str, name: str) -> Scope:
    return "credentials" if _LABEL.search(name) and _IDENTIFIER.fullmatch(text) else "all"


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


# ------------------------------------------------------------------- finding the one in the other


def _grams(data: bytes, size: int = GRAM) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(len(data) - size + 1))


def _shared_grams(known: _Known, grams: set[bytes]) -> Iterator[bytes]:
    """The grams of a secret that are in a text too, in stretches that make a piece."""
    plain, step, last = known.plain, known.piece - GRAM + 1, len(known.plain) - GRAM
    at = 0
    while at <= last:  # a piece has so many grams in a row that each step meets one
        first = end = at
        while first >= 0 and plain[first : first + GRAM] in grams:
            first -= 1
        while end <= last and plain[end : end + GRAM] in grams:
            end += 1
        if end - first - 1 >= step:
            yield from _grams(plain[first + 1 : end - 1 + GRAM])
        at = end + step


def _runs(plain: bytes, grams: set[bytes], piece: int) -> Iterator[tuple[int, int]]:
    """The stretches of a plain form that are made of these grams and are long enough."""
    first: int | None = None
    for at in range(len(plain) - GRAM + 2):  # the last gram is too short to be one
        if plain[at : at + GRAM] in grams:
            first = at if first is None else first
        elif first is not None:
            if at - 1 + GRAM - first >= piece:
                yield first, at - 1 + GRAM
            first = None


class _Search:
    """Finds secrets in the parts of a server's text."""

    def __init__(self, parts: list[_Part]) -> None:
        self._parts = parts
        self._grams = {gram for part in parts for gram in _grams(part.plain.data)}
        self._shared: dict[tuple[int, bool], set[bytes]] = {}  # by length of piece, credential
        self._short: dict[tuple[int, bool], set[bytes]] = {}  # by length, credential

    def add(self, known: _Known) -> None:
        """Look for this secret as well."""
        size = len(known.plain)
        if size >= GRAM:
            shared = self._shared.setdefault((known.piece, known.credential), set())
            shared.update(_shared_grams(known, self._grams))
        elif size >= SHORTEST:
            self._short.setdefault((size, known.credential), set()).add(known.plain)

    def mark(self) -> None:
        """Mark what was found."""
        for part in self._parts:
            for (piece, credential), shared in self._shared.items():
                if shared and (credential or part.scope != "credentials"):
                    for run in _runs(part.plain.data, shared, piece):
                        part.mark(*run)
            for (size, credential), short in self._short.items():
                if credential or part.scope == "all":
                    for at, gram in enumerate(_grams(part.plain.data, size)):
                        if gram in short and part.plain.stands_alone(at, at + size):
                            part.mark(at, at + size)


# ------------------------------------------------------------------------------------ the redactor


class Redactor:
    """Takes the key and what was sent with one request out of what its server sends back.

    Args:
        key: The API key.
        go_on: Whether there is still time; when there is none, a text is withheld as a whole.
    """

    def __init__(self, key: Secret[str], *, go_on: Callable[[], bool] = lambda: True) -> None:
        self._key = key
        self._go_on = go_on
        self._sent = Secret[tuple[Mapping[str, Any], bytes | None, str, str]](({}, None, "", ""))

    def watch(
        self,
        headers: Mapping[str, Any],
        body: bytes | None = None,
        *,
        query: str = "",
        path: str = "",
    ) -> None:
        """This is what is sent; it is looked through only when a server's text has to be shown."""
        self._sent = Secret((headers, body, query, path))

    def __call__(self, text: str, *, name: str = "") -> str:
        """A server's text without secrets.

        A body that is JSON stays JSON. With a name the text is the value of a field of that name.
        """
        return self._redacted([_parts_of(text, name)])[0]

    def message(self, text: str) -> str:
        """An error's message, in which what a server sent stands after ", got "."""
        ours, got, shown = text.partition(", got ")
        if not got:
            return text
        return ours + got + self._redacted([[_Part(shown[:MAX_TEXT], "pieces")]])[0]

    def data_message(self, text: str) -> str:
        """The message of an error about an event's data, which stands whole after ", got ".

        The secrets go first and the text is cut afterwards: a small piece of one is not found.
        """
        ours, got, shown = text.partition(", got ")
        if got:
            text = ours + got + self._redacted([_parts_of(shown)])[0]
        return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + "…"

    def response(self, body: str, headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """The body and the headers of a response, without secrets and in bounds."""
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
        for known in self._secrets(prompts=prompts):
            if not self._go_on():
                return [MASK] * len(texts)
            search.add(known)
        search.mark()
        return [
            "".join(part if isinstance(part, str) else part.redacted() for part in parts)
            for parts in texts
        ]

    def _secrets(self, *, prompts: bool) -> Iterator[_Known]:
        headers, body, query, path = self._sent.value
        for text in (self._key.value, *_credentials(headers)):
            yield _known(text, credential=True)
        for text in _prompts(body, query, path) if prompts else ():
            for at in range(0, max(len(text), 1), SLICE):
                yield _known(text[at : at + SLICE + 4 * PIECE], credential=False)
