"""What is secret of one request: the credentials in its headers, and the prompts it sends.

Says which texts are secret, and how much of one counts as an echo. Knows nothing of what a server
sends back: `redaction` finds the secrets there.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote

import attrs

from .interrupts import is_interrupt
from .plain_form import plain_form
from .secret import Secret

__all__ = ["GRAM", "PIECE", "KnownSecret", "SentRequest", "known_secrets"]

GRAM = 8
"""Bytes of plain form that a piece of a secret has at least. A shorter secret only counts as a
whole, between other words."""

PIECE = 16
"""Bytes of plain form that a piece of a prompt has: shorter ones occur in unrelated texts. A prompt
below twice this length counts by halves."""

ONE_WORD = 64
"""Bytes up to which a secret without spaces counts as a password: each GRAM of it is an echo."""

SLICE = 1 << 18
"""Characters of a long prompt that are looked for at a time."""

_SECRET_HEADER = re.compile(
    r"auth|key|token|secret|cookie|password|credential|session|signature", re.IGNORECASE
)

IDENTIFIER = re.compile(r"[A-Za-z0-9_.:/@#-]{1,128}")
"""A word that programs compare, such as a model's name or an error code."""

_FREE_FIELDS = frozenset({"content", "text", "message", "prompt", "input", "query", "system"})
"""Fields of a request in which a single short word is a prompt too."""

_NAMED_FIELDS = frozenset({"role", "type", "model"})
"""Fields of a request whose identifiers are not secret: without them, an error says nothing."""


@attrs.frozen(repr=False)
class SentRequest:
    """The parts of a request that may hold secrets."""

    headers: Mapping[str, Any] = attrs.field(factory=dict)
    body: bytes | None = None
    query: str = ""
    path: str = ""


@attrs.frozen(repr=False)
class KnownSecret:
    """One secret, or a slice of a long prompt.

    Attributes:
        plain: Its plain form.
        piece: Bytes of plain form that count as an echo of it.
        credential: Whether it is a credential; otherwise it is a prompt.
    """

    plain: bytes
    piece: int
    credential: bool


def known_secrets(
    keys: Sequence[Secret[str]], sent: SentRequest, *, prompts: bool
) -> Iterator[KnownSecret]:
    """The secrets of a request: the keys, its credentials and its prompts.

    Args:
        keys: The API keys that were used.
        sent: The request.
        prompts: Whether prompts are included.
    """
    for text in (*(key.value for key in keys), *_credentials(sent.headers)):
        yield _known(text, credential=True)
    for text in _prompts(sent) if prompts else ():
        for at in range(0, max(len(text), 1), SLICE):
            yield _known(text[at : at + SLICE + 4 * PIECE], credential=False)


def _known(text: str, *, credential: bool) -> KnownSecret:
    data = text.encode("utf-8", "replace")
    plain = plain_form(data)
    one_word = data.isascii() and len(data) <= ONE_WORD and len(data.split()) == 1
    half = min(PIECE, max(GRAM, len(plain) // 2))
    return KnownSecret(plain, GRAM if credential or one_word else half, credential)


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


def _prompts(sent: SentRequest) -> Iterator[str]:
    """The texts of a request that may be a prompt."""
    fields = list[tuple[str, Any]](parse_qsl(sent.query))
    fields.append(("", _json(sent.body) if sent.body else None))
    while fields:  # no recursion: the body may be nested deeper than Python can recurse
        name, value = fields.pop()
        if isinstance(value, dict):
            fields += value.items()
        elif isinstance(value, list):
            fields += [(name, item) for item in value]
        elif isinstance(value, str) and _may_be_prompt(name, value):
            yield value
    yield from (text for text in map(unquote, sent.path.split("/")) if len(text) >= PIECE)


def _json(body: bytes) -> Any:
    """The body as JSON; as text when `json` could write it but cannot read it, as too deep."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        if is_interrupt(error):
            raise
    return body.decode("utf-8", "replace")


def _may_be_prompt(name: str, value: str) -> bool:
    if not IDENTIFIER.fullmatch(value) or name in _FREE_FIELDS:
        return True
    return name not in _NAMED_FIELDS and len(value) >= GRAM
