"""The handshake with a SOCKS proxy: PySocks' own, under the limits of the call.

Knows nothing of HTTP, and looks up no name.
"""

from __future__ import annotations

import math
import socket
import time
from typing import Any

from .errors import APIConnectionError
from .lifeline import Lifeline
from .proxies import Proxy

try:
    import socks
except ImportError:  # the extra "socks" is not installed
    socks = None

__all__ = ["AVAILABLE", "connect"]

AVAILABLE = socks is not None
"""Whether PySocks is installed."""

_SocksSocket: Any = socks.socksocket if AVAILABLE else object

# What a proxy says about this request, not about the moment: RFC 1928 section 6, SOCKS4.
_FINAL_CODES = ("0x02", "0x07", "0x08", "0x5c", "0x5d")


class _Handshake(_SocksSocket):  # type: ignore[misc]  # PySocks has no types
    """PySocks' socket. It receives a handshake piece by piece, and one limit holds for all."""

    lifeline: Lifeline
    until = math.inf

    def recv_into(self, *args: Any) -> Any:
        """Receive, waiting no longer than the handshake may still take."""
        share = self.until - time.monotonic()
        if share <= 0:
            raise TimeoutError("the handshake's share of the limit passed")
        seconds = min(self.lifeline.remaining(), share)
        self.settimeout(None if seconds == math.inf else seconds)
        return super().recv_into(*args)


def connect(
    sock: socket.socket,
    address: Any,
    proxy: Proxy,
    *,
    target: tuple[str, int],
    lifeline: Lifeline,
    seconds: float,
) -> socket.socket:
    """Connect to a proxy, and have it connect to the target.

    Args:
        sock: a socket that is not connected. It is used up, also by a failure.
        address: the proxy's address.
        proxy: what to speak with the proxy, and as whom.
        target: host and port; a name only where the proxy looks names up.
        lifeline: whose limits hold.
        seconds: what all of it may take at most, infinity for no limit of its own.

    Returns:
        A plain socket whose next byte is the target's.

    Raises:
        OSError: the connection to the proxy failed or was lost, or a limit passed.
        APIConnectionError: the proxy refused.
    """
    family, kind, protocol = sock.family, sock.type, sock.proto
    handshake = _Handshake(family, kind, protocol, sock.detach())
    handshake.lifeline = lifeline
    handshake.until = time.monotonic() + seconds
    handshake.settimeout(None if seconds == math.inf else seconds)
    version = socks.SOCKS5 if proxy.scheme.startswith("socks5") else socks.SOCKS4
    who = proxy.username or None, proxy.password or None
    handshake.set_proxy(version, *address[:2], proxy.looks_names_up, *who)
    try:
        lifeline.check()  # an abort so far found a socket that is not connecting yet
        handshake.connect(target)
    except socks.ProxyError as error:
        failure = _failure(error)
    except BaseException:
        handshake.close()
        raise
    else:
        return socket.socket(family, kind, protocol, handshake.detach())
    handshake.close()
    raise failure


def _failure(error: Any) -> Exception:
    """What PySocks' error stands for."""
    while isinstance(error.socket_err, socks.ProxyError):  # it wraps its own errors too
        error = error.socket_err
    if isinstance(error.socket_err, OSError):
        return error.socket_err.with_traceback(None)
    if isinstance(error, socks.SOCKS4Error | socks.SOCKS5Error):  # "0x05: Connection refused"
        code, _, why = error.msg.partition(": ")
        return APIConnectionError(
            f"the SOCKS proxy answered: {why.lower()}", retryable=code not in _FINAL_CODES
        )
    if isinstance(error, socks.SOCKS5AuthError):
        return APIConnectionError("the SOCKS proxy refused user and password", retryable=False)
    if "closed" in error.msg:
        return APIConnectionError("the SOCKS proxy ended the connection")
    return APIConnectionError("the proxy does not speak SOCKS as expected", retryable=False)
