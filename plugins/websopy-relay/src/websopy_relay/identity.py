"""Ids of answers and digests of owners: what is guessed, what is compared, what is stored.

The log gets digests only. It finds an answer by the digest of its id, so the time that a look-up
takes says nothing about ids that exist, and neither file nor server has the names of visitors.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from websopy_sync import ConfigError

_CURSOR = re.compile(r"[0-9]{1,15}")
_ID = re.compile(r"[0-9A-Za-z_-]{32,128}")


def new_id() -> str:
    """The id of a new answer: 128 random bits, in hexadecimal."""
    return secrets.token_hex(16)


def checked_id(answer_id: object) -> str:
    """An id that the program made.

    Raises:
        ConfigError: It is none, or so short that it could be guessed.
    """
    if not isinstance(answer_id, str) or not _ID.fullmatch(answer_id):
        got = f"{len(answer_id)} others" if isinstance(answer_id, str) else type(answer_id).__name__
        raise ConfigError(f"id: expected 32 to 128 of the characters 0-9 A-Z a-z _ -, got {got}")
    return answer_id


def key_of(answer_id: object) -> str:
    """The key of an answer in the log, from what a request says its id is."""
    return _digest("id", answer_id) if isinstance(answer_id, str) else ""


def owner_digest(owner: object) -> str:
    """The digest of an owner.

    Raises:
        ConfigError: The owner is no str, or empty: every visitor without a session would share
            that owner's answers.
    """
    if not isinstance(owner, str) or not owner:
        got = "an empty one" if owner == "" else type(owner).__name__
        raise ConfigError(f"owner: expected a str that names one visitor, got {got}")
    return _digest("owner", owner)


def same_owner(first: str, second: str) -> bool:
    """Whether two digests are the same, compared in constant time."""
    return hmac.compare_digest(first.encode(), second.encode())


def cursor_of(last_event_id: object) -> int | None:
    """The number of the last event that a browser has: 0 for none, None for what is no number."""
    if last_event_id in (None, ""):
        return 0
    text = str(last_event_id) if type(last_event_id) in (int, str) else ""
    return int(text) if _CURSOR.fullmatch(text) else None


def _digest(kind: str, text: str) -> str:
    return hashlib.sha256(f"{kind}:{text}".encode("utf-8", "surrogatepass")).hexdigest()
