"""URLs of requests: the base URL that a client is given, and the paths and queries under it.

Knows nothing of headers, bodies and of any service's own paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode, urlsplit

from .errors import ConfigError

__all__ = ["base_url_problem", "path_and_query"]


def base_url_problem(url: object) -> str:
    """Why this cannot be a base URL; "" if it can. It is not quoted: it may hold a password."""
    if not isinstance(url, str):
        return f"base_url: expected str, got {type(url).__name__}"
    if not url.isascii() or not url.isprintable() or " " in url:
        return "base_url: expected printable ASCII without spaces"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "base_url: expected a URL, got one that cannot be read"
    if parts.scheme not in ("http", "https") or not host:
        return "base_url: expected http:// or https:// and a host"
    if "@" in parts.netloc:
        return "base_url: expected no user or password in it; the key goes into api_key"
    if parts.query or parts.fragment or "?" in url or "#" in url:
        return "base_url: expected neither query nor fragment"
    return ""


def path_and_query(path: object, params: object) -> tuple[str, str]:
    """A path and its query, percent-encoded.

    Args:
        path: What follows the base URL, with "/" first; it may have a query already.
        params: Names and values to add to the query; None for none.

    Raises:
        ConfigError: The path or a parameter cannot stand in a URL. Neither is quoted.
    """
    if not isinstance(path, str) or not path.startswith("/") or not path.isprintable():
        raise ConfigError("path: expected a printable str that begins with '/'")
    if params is not None and not isinstance(params, Mapping):
        raise ConfigError(f"params: expected a dict, got {type(params).__name__}")
    path, _, query = path.partition("?")
    queries = [quote(query, safe="%=&+/?:@!$'()*,;~")] if query else []
    if params:
        queries.append(_encoded(params))
    return quote(path, safe="%/:@!$&'()*+,;=~"), "&".join(queries)


def _encoded(params: Mapping[str, object]) -> str:
    try:
        return urlencode(params)
    except (TypeError, ValueError):
        pass
    # Raised out here: the context of an exception would hold the parameters.
    raise ConfigError("params: expected names and values that a query can hold")
