"""Endpoint: the service that a client talks to, as options, environment and wire say together.

Reads WEBSOPY_API_KEY, WEBSOPY_BASE_URL, WEBSOPY_MODEL, WEBSOPY_WIRE and the key variable of a
provider. Knows nothing of requests.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import attrs

from .api_key import KeySource
from .errors import ConfigError
from .headers import header_problem
from .secret import Secret
from .urls import base_url_problem
from .wires import Wire, find_wire

__all__ = ["Endpoint"]


@attrs.frozen(repr=False, eq=False)
class Endpoint:
    """Where requests go, in which format, and with which key.

    Attributes:
        wire: The service's format.
        base_url: Its address, without a slash at the end.
        api_key: The key, or the function that gives it; an empty key is not sent.
        model: The model of each request that names none; None for no model.
    """

    wire: Wire
    base_url: str
    api_key: Secret[KeySource]
    model: str | None

    @classmethod
    def of(
        cls,
        wire: str | Wire | None,
        base_url: str | None,
        api_key: Secret[KeySource] | None,
        *,
        model: str | None = None,
    ) -> Endpoint:
        """The endpoint of a client's options.

        Args:
            wire: A name, a wire, or None for WEBSOPY_WIRE, else the Websopy service's.
            base_url: The address; None for WEBSOPY_BASE_URL, else the wire's own.
            api_key: The key; None for one of the environment.
            model: The model; None for WEBSOPY_MODEL.

        Raises:
            ConfigError: There is no such wire, no address, or no key where one is needed.
        """
        found = find_wire(wire or os.environ.get("WEBSOPY_WIRE") or "websopy")
        url = base_url
        if url is None:
            url = os.environ.get("WEBSOPY_BASE_URL") or found.base_url
        if not url:
            raise ConfigError(f"base_url: the wire {found.name!r} has none of its own; pass one")
        problem = base_url_problem(url)
        if problem:
            raise ConfigError(problem)
        url = url.rstrip("/")
        if model is None:
            model = os.environ.get("WEBSOPY_MODEL") or None
        return cls(found, url, api_key or _key_of_environment(found, url), model)


def _key_of_environment(wire: Wire, url: str) -> Secret[KeySource]:
    # A provider's own key goes to that provider alone: a mistyped address must not get it.
    at_home = wire.key_variable != "" and _origin(url) == _origin(wire.base_url)
    variables = [wire.key_variable] if at_home else []
    variables.append("WEBSOPY_API_KEY")
    for variable in variables:
        key = os.environ.get(variable)
        if key:
            problem = header_problem(f"api_key ({variable})", key)
            if problem:
                raise ConfigError(problem)
            return Secret(key)
    if wire.needs_key or at_home:
        names = " or ".join(variables)
        raise ConfigError(f"api_key: expected a key, got none; set {names}, or pass api_key=")
    return Secret("")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port of a URL, as RFC 6454 compares them."""
    parts = urlsplit(url)
    port = {"http": 80, "https": 443}.get(parts.scheme) if parts.port is None else parts.port
    return parts.scheme, parts.hostname, port
