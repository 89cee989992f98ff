"""The handshake with a SOCKS proxy: PySocks' own, under the limits of the call.

Knows nothing of HTTP, looks up no name and connects nothing.
"""

from __future__ import annotations

import math
import socket
import time
from typing import Any

from ..cancel import CancelScope
from ..errors import APIConnectionError
from ..interrupts import find_interrupt, is_interrupt
from .proxies import Proxy

try:
    import socks
except ImportError:  # the extra "socks" is not installed
    socks = None

__all__ = ["AVAILABLE", "shake_hands"]

AVAILABLE = socks is not None
"""Whether PySocks is installed."""

_SocksSocket: Any = socks.socksocket if AVAILABLE else object

# What a proxy says about this request, not about the moment: RFC 1928 section 6, SOCKS4.
_FINAL_CODES = ("0x02", "0x07", "0x08", "0x5c", "0x5d")


class _Handshake(_SocksSocket):  # type: ignore[misc]  # PySocks has no types
    """PySocks' socket, which receives a handshake in pieces. One limit holds for all of them."""

    scope: CancelScope
    until = math.inf
    interrupt: OSError | None = None
    """What a signal handler raised in a receive: socket's file object may swallow it (EAGAIN)."""

    def recv_into(self, *args: Any) -> Any:
        """Receive, waiting no longer than the handshake may still take."""
        share = self.until - time.monotonic()
        if share <= 0:
            raise TimeoutError("the handshake's share of the limit passed")
        seconds = min(self.scope.remaining(), share)
        self.settimeout(None if seconds == math.inf else seconds)
        try:
            return super().recv_into(*args)
        except OSError as error:
            if is_interrupt(error):
                self.interrupt = error
            raise


def shake_hands(
    sock: socket.socket,
    proxy: Proxy,
    *,
    target: tuple[str, int],
    scope: CancelScope,
    until: float,
) -> socket.socket:
    """Ask a SOCKS proxy to connect to the target.

    Args:
        sock: A socket that is connected to the proxy. It is detached, also by a failure.
        proxy: What to speak with the proxy, and as whom.
        target: Host and port; a name only where the proxy looks names up.
        scope: Whose limits hold.
        until: When it must be done at the latest, on the monotonic clock; infinity for no such
            limit.

    Returns:
        A plain socket whose next byte is the target's.

    Raises:
        OSError: The connection was lost, or a limit passed.
        APIConnectionError: The proxy refused.
    """
    family, kind, protocol = sock.family, sock.type, sock.proto
    handshake = _Handshake(family, kind, protocol, sock.detach())
    handshake.scope, handshake.until = scope, until
    handshake.settimeout(scope.timeout())
    version = socks.SOCKS5 if proxy.scheme.startswith("socks5") else socks.SOCKS4
    who = proxy.username or None, proxy.password or None
    handshake.set_proxy(version, proxy.host, proxy.port, proxy.looks_names_up, *who)
    try:
        # A private method of PySocks, as connect() would also connect to the proxy: cancel() could
        # not reach it at first, and its failures could not be told apart.
        handshake._proxy_negotiators[version](handshake, *target)
        return socket.socket(family, kind, protocol, handshake.detach())
    except socks.ProxyError as error:
        failure = handshake.interrupt or find_interrupt(error) or _failure(error)
    finally:
        handshake.close()
    raise failure


def _failure(error: Any) -> APIConnectionError:
    """What PySocks' error means."""
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
