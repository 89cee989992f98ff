"""Secrets in what a server sends back."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from websopy_sync.redaction import Secret, redact

SECRETS = [
    "plain secret",
    "two\nlines",
    'a "quoted" word',
    "it's mine",
    "both ' and \"",
    "back\\slash",
    "秘密的问题",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_however_it_is_written(secret: str) -> None:
    """Plain, in JSON, in a URL, and in the repr of a text that holds one of these."""
    for form in (secret, json.dumps(secret), json.dumps(secret, ensure_ascii=False), quote(secret)):
        for around in ("{}", "{{'a': \"b\", {}}}", "'{}", '"{}'):
            echo = around.format(form)
            for text in (echo, repr(echo), repr({"got": echo}), repr([echo])):
                left = redact(Secret([secret]), text)
                assert "***" in left, text
                assert form.strip('"') not in left
                assert repr(form)[1:-1] not in left


def test_a_beginning_at_the_end_of_a_text() -> None:
    """What was cut off may have been the rest of it."""
    assert redact(Secret(["a long secret of ours"]), "got a long sec") == "got ***"


def test_what_is_too_short_stays() -> None:
    """Three characters would be found in any text."""
    assert redact(Secret(["the"]), "the other") == "the other"
