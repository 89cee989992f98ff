"""What `on_request` is given: a request that plugins may look at and edit before it is sent.

Knows nothing of how it is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["Request"]


@attrs.define(repr=False, eq=False)
class Request:
    """A request before it is sent, for `on_request` to look at and edit.

    Its repr shows neither headers nor body nor metadata.

    Attributes:
        method: The HTTP method; read-only.
        url: Where it goes; read-only.
        headers: Name → value, without the key, which is added later.
        body: The JSON object to be sent; None for a request without a body.
        idempotency_key: The same for every retry of this request; read-only.
        metadata: What the caller passed as `metadata=`, `{}` if nothing. Never sent; a read-only
            copy, whose values are the caller's own objects.
    """

    method: str = attrs.field(on_setattr=attrs.setters.frozen)
    url: str = attrs.field(on_setattr=attrs.setters.frozen)
    headers: dict[str, str]
    body: dict[str, Any] | None = None
    idempotency_key: str = attrs.field(default="", on_setattr=attrs.setters.frozen)
    metadata: Mapping[str, Any] = attrs.field(factory=dict, on_setattr=attrs.setters.frozen)
    _path_model: str | None = attrs.field(default=None, alias="path_model", kw_only=True)

    @property
    def model(self) -> str | None:
        """The model that is asked, None if the request names none.

        Most services have it in the body, where it may be edited; Gemini has it in the path.
        """
        named = self.body.get("model") if isinstance(self.body, dict) else None
        return named if isinstance(named, str) else self._path_model

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.url}>"
