"""What is secret of a request, and how much of it counts as an echo."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import pytest

from websopy_sync.request_secrets import GRAM, PIECE, SLICE, SentRequest, known_secrets
from websopy_sync.secret import Secret

BASIC = base64.b64encode(b"user:p4ss").decode()


def found(sent: SentRequest, *, prompts: bool = True) -> set[str]:
    """The plain forms of the secrets, without the key."""
    secrets = list(known_secrets([Secret("the-key")], sent, prompts=prompts))
    assert secrets[0].plain == b"the-key" and secrets[0].credential
    return {secret.plain.decode() for secret in secrets[1:]}


@pytest.mark.parametrize(
    ("name", "value", "secrets"),
    [
        ("Authorization", "Bearer abc", {"abc"}),
        ("authorization", "abc", {"abc"}),
        ("Authorization", f"Basic {BASIC}", {BASIC, "user:p4ss", "p4ss"}),
        ("Authorization", "Basic no-base64", {"no-base64"}),
        ("X-Api-Key", "abc", {"abc"}),
        ("Cookie", "a=1x; session=2y", {"1x", "2y"}),
        ("Idempotency-Key", "abc", set()),
        ("Accept", "text/html", set()),
        ("X-Token", 7, set()),
    ],
    ids=range(9),
)
def test_credentials(name: str, value: Any, secrets: set[str]) -> None:
    """The secret part of each header that may carry one, whatever a plugin put there."""
    assert found(SentRequest({name: value})) == secrets


@pytest.mark.parametrize(
    ("body", "secrets"),
    [
        ({"messages": [{"role": "user", "content": "hi"}]}, {"hi"}),
        ({"model": "gpt-4o-mini", "seed": 7}, set()),
        ({"note": "word"}, set()),
        ({"note": "two words"}, {"twowords"}),
        ({"note": "a-long-word"}, {"a-long-word"}),
        ({"a": [["deep text"]]}, {"deeptext"}),
    ],
    ids=range(6),
)
def test_prompts(body: object, secrets: set[str]) -> None:
    """Texts are prompts; a short identifier is one only where texts are expected."""
    sent = SentRequest(body=json.dumps(body).encode())
    assert found(sent) == secrets
    assert found(sent, prompts=False) == set()


def test_prompts_in_a_url() -> None:
    """A native request may ask in its query, and in its path."""
    sent = SentRequest(query="message=hi%20there&page=2", path="/ask/what%20is%20the%20weather/x")
    assert found(sent) == {"hithere", "whatistheweather"}


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("short one", GRAM),
        ("twenty characters no", 9),
        ("a prompt " * 9, PIECE),
        ("one-word-" * 4, GRAM),
    ],
    ids=range(4),
)
def test_pieces(text: str, piece: int) -> None:
    """A piece of a prompt is longer than one of a password, as words occur everywhere."""
    sent = SentRequest(body=json.dumps({"content": text}).encode())
    *_, known = known_secrets([Secret("")], sent, prompts=True)
    assert known.piece == piece and not known.credential


def test_a_long_prompt_comes_in_slices() -> None:
    """They overlap, so that a piece at a border is in one of them."""
    text = "0123456789 " * (SLICE // 5)
    sent = SentRequest(body=json.dumps({"content": text}).encode())
    slices = [known.plain for known in known_secrets([Secret("")], sent, prompts=True)][1:]
    assert len(slices) == -(-len(text) // SLICE)
    for one, other in itertools.pairwise(slices):
        assert one[-PIECE:] in other[: 4 * PIECE]


def test_what_was_sent_is_not_shown() -> None:
    """Error reporters show local variables."""
    sent = SentRequest({"a": "s3cret"}, b"s3cret", "s3cret", "s3cret")
    secrets = list(known_secrets([Secret("s3cret")], sent, prompts=True))
    assert "s3cret" not in repr(sent) + repr(secrets)
