"""Who asks, and whether the site's own page does: for frameworks that have sessions and no more.

Django checks the token by itself.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import MutableMapping
from typing import Any

Session = MutableMapping[str, Any]

SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing, so that a link of another site may use them."""

COOKIE, HEADER = "csrftoken", "X-CSRFToken"
"""Where the page finds the token, and where it sends it; the names are Django's."""


def visitor_of(session: Session) -> str:
    """Names the visitor; `str(user.id)`, if yours log in."""
    return str(session.setdefault("visitor", secrets.token_hex(16)))


def token_of(session: Session) -> str:
    """What requests of the page have in a header. Another site cannot read it from the cookie."""
    return str(session.setdefault("token", secrets.token_urlsafe(32)))


def is_forged(session: Session, sent: str | None) -> bool:
    """Whether a request comes from another page than the one that this session was given."""
    return not hmac.compare_digest(token_of(session).encode(), (sent or "").encode())
