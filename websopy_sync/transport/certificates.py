"""The CA bundle and the client certificate of a transport: found and checked.

Knows nothing of connections. An error names the argument or the variable that named the file.
"""

from __future__ import annotations

import functools
import os
import ssl
import stat
from collections.abc import Mapping
from typing import Any

import attrs
import requests.utils
import urllib3.util

from ..errors import ConfigError
from ..interrupts import is_interrupt

__all__ = ["Trust", "client_certificate", "context_that_trusts", "trust_of"]

_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


@attrs.frozen
class Trust:
    """Which authorities are trusted.

    Attributes:
        verify: As requests takes it: True, False, or the path of a bundle (file or directory).
        source: The argument or the variable that says so.
    """

    verify: bool | str
    source: str

    @property
    def _path(self) -> str | None:
        if self.verify is False:
            return None
        return requests.utils.DEFAULT_CA_BUNDLE_PATH if self.verify is True else self.verify

    @property
    def missing(self) -> str:
        """What is wrong when the bundle is not there, "" when it is."""
        path = self._path
        if path is None or _mode_of(path):
            return ""
        return f"{self.source}: expected the path of a CA bundle, got {path!r:.200}"

    @property
    def broken(self) -> str:
        """What is wrong when the bundle cannot be loaded, "" when it can."""
        path = self._path
        if path is None or stat.S_ISDIR(_mode_of(path)):
            return ""
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        except OSError as error:  # ssl's errors are
            if is_interrupt(error):
                raise
            return f"{self.source}: expected a file of CA certificates, got {path!r:.200}"
        return ""


def trust_of(
    verify: bool | str, *, session_verify: object, environment: Mapping[str, str]
) -> Trust:
    """The first that says something: the argument, the session, the environment, certifi.

    A session's own bundle counts. That it verifies nothing does not: only the argument turns
    verification off.
    """
    if verify is not True:
        return Trust(verify, "verify")
    if isinstance(session_verify, str | os.PathLike):
        return Trust(os.fspath(session_verify), "session.verify")
    for name in _VARIABLES:
        value = environment.get(name)
        if value:
            return Trust(_first_directory(value) if name == "SSL_CERT_DIR" else value, name)
    return Trust(True, "certifi")


def context_that_trusts(bundle: str) -> ssl.SSLContext:
    """A TLS context that trusts the authorities in a file, the same one for every connection.

    Loading certifi's takes 23 ms of CPU, and urllib3 does it for each connection. A file that has
    changed is loaded again.

    Raises:
        OSError: There is no such file, or no certificate in it.
    """
    found = os.stat(bundle)
    return _loaded_context(bundle, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=16)
def _loaded_context(bundle: str, modified_ns: int, size: int) -> ssl.SSLContext:
    context = urllib3.util.create_urllib3_context()
    context.load_verify_locations(bundle)
    return context


def _first_directory(value: str) -> str:
    """The first directory there is: OpenSSL takes a list of them, requests takes one."""
    paths = value.split(os.pathsep)
    return next((path for path in paths if stat.S_ISDIR(_mode_of(path))), value)


def _mode_of(path: str) -> int:
    """The mode of a file, 0 if there is none.

    os.path.exists() and its like would swallow an OSError that a signal handler raises.
    """
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError) as error:
        if is_interrupt(error):
            raise
        return 0


def client_certificate(cert: Any) -> str | tuple[str, str] | None:
    """A session's `cert`, as requests takes it.

    Args:
        cert: None, the path of a file with certificate and key, or a pair of their paths.

    Raises:
        ConfigError: The files are missing, are none, or need a password.
    """
    if cert is None:
        return None
    given = cert if isinstance(cert, tuple | list) else [cert]
    paths = [os.fspath(path) for path in given if isinstance(path, str | os.PathLike)]
    if not 1 <= len(paths) == len(given) <= 2:
        raise ConfigError("session.cert: expected a path, or a pair of paths")
    for path in paths:
        if not stat.S_ISREG(_mode_of(path)):
            raise ConfigError(f"session.cert: expected a file, got {path!r:.200}")
    try:
        # OpenSSL asks for a missing password on the terminal, unless it is given one.
        key = paths[-1]
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(paths[0], key, password="")
    except OSError as error:  # ssl's errors are
        if is_interrupt(error):
            raise
        expected = "a certificate and its key, without a password"
        raise ConfigError(f"session.cert: expected {expected}, got {paths!r:.200}") from None
    return (paths[0], paths[1]) if len(paths) == 2 else paths[0]
