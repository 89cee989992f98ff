"""Which proxy leads to a URL, checked before anything is sent.

Knows nothing of connections. It never quotes a proxy's URL, which may hold a password.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import attrs
import requests.utils

from ..errors import ConfigError
from ..interrupts import is_interrupt

__all__ = [
    "Proxy",
    "add_own_service",
    "host_and_port",
    "parse_proxy",
    "proxy_for",
    "remove_own_service",
]

_DEFAULT_PORTS = {
    "http": 80,
    "https": 443,
    **dict.fromkeys(("socks4", "socks4a", "socks5", "socks5h"), 1080),
}

# Module state, as any client of this process must know of any sandbox in it. Only changed by
# append() and remove(), which no other thread can interrupt.
_own_services: list[tuple[str, int]] = []

# RFC 1929 allows 255 bytes, but PySocks writes a length above 127 as two bytes.
_LONGEST_SOCKS_FIELD = 127


@attrs.frozen
class Proxy:
    """A proxy and how to speak to it."""

    scheme: str
    host: str
    port: int
    username: str = attrs.field(default="", repr=False)
    password: str = attrs.field(default="", repr=False)
    url: str = attrs.field(default="", repr=False)

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS."""
        return self.scheme.startswith("socks")

    @property
    def looks_names_up(self) -> bool:
        """Whether the proxy, and not this machine, looks up the name of the service."""
        return self.scheme not in ("socks4", "socks5")


def proxy_for(url: str, *, session_proxies: Any, trust_env: bool) -> Proxy | None:
    """The proxy for a URL, None for a direct connection.

    Args:
        url: The service's URL.
        session_proxies: A session's `proxies`. What they say about the URL counts before the
            environment; None and "" say that there is no proxy.
        trust_env: Whether the environment's proxies count. They never do for a sandbox in this
            process: the prompt and the key of a test must not leave the machine.

    Raises:
        ConfigError: The proxy cannot be used.
    """
    given = session_proxies or {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"session.proxies: expected a dict, got {type(given).__name__}")
    parts = urlsplit(url)
    host = parts.hostname or ""
    keys = (f"{parts.scheme}://{host}", parts.scheme, f"all://{host}", "all")
    if any(key in given for key in keys):
        return _first(keys, given, "session.proxies")
    if not trust_env or _is_own_service(host.lower(), parts.port):
        return None
    # Not requests' trust_env, which would also bring netrc, and with it another Authorization.
    found = requests.utils.get_environ_proxies(url, given.get("no_proxy"))
    return _first(keys, found, "the environment")


def _first(keys: Iterable[str], proxies: Mapping[str, Any], source: str) -> Proxy | None:
    """The proxy under the first of the keys that is there."""
    key = next((key for key in keys if key in proxies), "")
    if not proxies.get(key):
        return None
    try:
        return parse_proxy(proxies[key])
    except ConfigError as error:
        problem = f"{error.message} ({key!r} of {source})"
    raise ConfigError(problem)


def add_own_service(host: str, port: int) -> None:
    """Connect to a service of this process directly, whatever proxy the environment names.

    Args:
        host: Where it listens. On that port, every name of this machine means it too.
        port: The same.
    """
    _own_services.append((host.lower(), port))


def remove_own_service(host: str, port: int) -> None:
    """Forget a service that was added."""
    _own_services.remove((host.lower(), port))


def _is_own_service(host: str, port: int | None) -> bool:
    return any(
        port == own_port and (host == own_host or _is_this_machine(host))
        for own_host, own_port in tuple(_own_services)
    )


def _is_this_machine(host: str) -> bool:
    """Whether a host is a loopback one, or the unspecified address, which leads there too."""
    host = host.rstrip(".").partition("%")[0]
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(socket.inet_aton(host) if ":" not in host else host)
    except (OSError, ValueError) as error:
        if is_interrupt(error):
            raise
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def parse_proxy(url: object) -> Proxy:
    """The proxy that a URL names. Raises ConfigError for one that cannot be used."""
    if not isinstance(url, str):
        raise ConfigError(f"proxy: expected a URL, got {type(url).__name__}")
    # requests takes a proxy without a scheme for an HTTP proxy.
    parts = _split(url if "://" in url else f"http://{url.lstrip('/')}")
    if parts is None or not url.isprintable():
        raise ConfigError("proxy: expected a URL with a host and a port")
    if parts.scheme not in _DEFAULT_PORTS:
        expected = ", ".join(_DEFAULT_PORTS)
        raise ConfigError(f"proxy: expected one of {expected}, got {parts.scheme:.20}")
    if "@" in parts.path + parts.query + parts.fragment:
        raise ConfigError("proxy: expected '/', '?' and '#' in a password written as %2F, %3F, %23")
    proxy = Proxy(
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=parts.port or _DEFAULT_PORTS[parts.scheme],
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        url=parts.geturl(),
    )
    _check_credentials(proxy)
    return proxy


def _split(url: str) -> SplitResult | None:
    """The parts of a URL that has a host and no impossible port, else None."""
    try:
        parts = urlsplit(url)
        return parts if parts.hostname and parts.port != 0 else None
    except ValueError as error:
        if is_interrupt(error):
            raise
        return None


def _check_credentials(proxy: Proxy) -> None:
    """Refuse user names and passwords that the proxy's protocol cannot carry."""
    both = proxy.username + proxy.password
    if not proxy.is_socks:
        try:
            both.encode("latin-1")  # as requests writes Basic authentication
        except UnicodeEncodeError:
            problem = "expected a user and a password of Latin-1 characters"
            raise ConfigError(f"proxy: {problem}") from None
        return
    if not both.isprintable():
        raise ConfigError("proxy: expected a user and a password without control characters")
    if max(len(proxy.username.encode()), len(proxy.password.encode())) > _LONGEST_SOCKS_FIELD:
        limit = _LONGEST_SOCKS_FIELD
        raise ConfigError(f"proxy: expected a user and a password of at most {limit} bytes")


def host_and_port(url: str) -> str:
    """What an error may show of a URL, user and password left out: `chat.example:443`."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{parts.port or _DEFAULT_PORTS[parts.scheme]}"
