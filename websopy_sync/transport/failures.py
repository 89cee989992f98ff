"""From a foreign exception to an error of ours.

Knows nothing of sending or receiving. Sockets, ssl, http.client, urllib3 and requests raise; the
functions here say what it means to the user, with no URL, header or foreign exception in it.
"""

from __future__ import annotations

import http.client
import re
import ssl
import sys

import requests
import urllib3.exceptions

from ..errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    ConfigError,
    StreamInterruptedError,
    StreamProtocolError,
    WebsopyError,
)
from .request_context import RequestContext

__all__ = ["TRANSLATED", "InterruptCarrier", "body_failure", "head_failure"]


class InterruptCarrier(Exception):  # no error: it carries one
    """Carries an interrupt past urllib3, as its argument."""


TRANSLATED = (
    InterruptCarrier,
    OSError,  # requests' errors are
    http.client.HTTPException,
    urllib3.exceptions.HTTPError,
    urllib3.exceptions.ProxySchemeUnsupported,  # TLS in TLS, and pyOpenSSL in the place of ssl
    UnicodeError,
    WebsopyError,
)
"""What becomes an error of ours, unless it is an interrupt. Anything else is not about the
connection, and comes out as it is."""


def head_failure(error: Exception, context: RequestContext) -> WebsopyError:
    """What to raise for a failure before the response's head was there.

    Call it after the `except` block: see `_chain`.
    """
    chain = _chain(error)
    ended = _ended_here(context, chain, sent=context.sent)
    if ended is not None:
        return ended
    what = "the connection to {} was lost" if context.sent else "no connection to {}"
    what = what.format(context.place)
    if isinstance(error, APIConnectionError):
        return APIConnectionError(f"{what}: {error.message}", retryable=error.retryable)
    if isinstance(error, WebsopyError):
        return type(error)(error.message)
    refusal = _config_error(chain)
    if refusal is not None:
        return refusal
    reason, may_pass = _reason(chain)
    return APIConnectionError(f"{what}: {reason}", sent=context.sent, retryable=may_pass)


def body_failure(error: Exception, context: RequestContext) -> APIError:
    """What to raise for a failure while the body was read.

    Call it after the `except` block: see `_chain`.
    """
    chain = _chain(error)
    ended = _ended_here(context, chain, sent=True)
    if ended is not None:
        return ended
    if isinstance(error, StreamProtocolError):
        return StreamProtocolError(error.message)
    if isinstance(error, urllib3.exceptions.DecodeError):
        return StreamProtocolError("the body's Content-Encoding is broken")
    return StreamInterruptedError(
        f"the connection to {context.place} was lost: {_reason(chain)[0]}"
    )


def _ended_here(
    context: RequestContext, chain: list[BaseException], *, sent: bool
) -> APIError | None:
    """The error when this side ended the exchange, whatever the symptom was; else None."""
    scope = context.scope
    if scope.aborted:
        return scope.abort_error()
    if _timed_out(chain):
        phase = scope.nearest
        what = {
            "connect": f"no connection to {context.place} within the connect limit",
            "first_chunk": f"no chunk from {context.place} within the first_chunk limit",
            "idle": f"no further chunk from {context.place} within the idle limit",
            "total": f"no whole answer from {context.place} within the total limit",
        }[phase]
        return APITimeoutError(what, phase=phase, sent=sent)
    return None


def _timed_out(chain: list[BaseException]) -> bool:
    """Whether a limit of ours passed. With an errno it is TCP that gave the connection up."""
    numbers = [link.errno for link in chain if isinstance(link, TimeoutError)]
    if numbers:
        return None in numbers
    foreign = (requests.Timeout, urllib3.exceptions.ReadTimeoutError)
    return any(isinstance(link, foreign) for link in chain)


def _config_error(chain: list[BaseException]) -> ConfigError | None:
    for link in chain:
        if isinstance(link, urllib3.exceptions.LocationValueError | requests.URLRequired):
            return ConfigError("base_url or proxy: expected a URL with a host")
        if isinstance(link, requests.exceptions.InvalidURL | requests.exceptions.InvalidProxyURL):
            return ConfigError("base_url or proxy: not a URL")
        if isinstance(link, urllib3.exceptions.ProxySchemeUnsupported):
            return ConfigError("proxy: no TLS inside https:// with pyOpenSSL in the place of ssl")
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """An error and all it was made from: urllib3 and requests pack them as arguments or causes.

    Call it when no `except` block is active any more: what the user's program is handling just
    then, perhaps a timeout, is the last context of every error and not part of this one.
    """
    outer, found = sys.exception(), [error]
    for link in found:
        inner = (*link.args, getattr(link, "reason", None), link.__cause__, link.__context__)
        for each in inner:
            known = each is outer or any(each is other for other in found)
            if isinstance(each, BaseException) and not known:
                found.append(each)
    return found


def _reason(chain: list[BaseException]) -> tuple[str, bool]:
    """Why it failed, and whether a retry may succeed.

    The words are the operating system's, OpenSSL's or our own: never a URL or a header.
    """
    for link in chain:
        if isinstance(link, ssl.SSLCertVerificationError):
            why = link.verify_message or "it cannot be verified"
            return f"TLS certificate refused: {why}", False
        tunnel = re.match(r"Tunnel connection failed: (\d{3})", str(link))
        if tunnel:
            status = tunnel[1]
            return f"the proxy refused the tunnel with status {status}", status >= "500"
    for link in chain:
        ended = isinstance(link, ssl.SSLEOFError | ssl.SSLZeroReturnError)
        if isinstance(link, ssl.SSLError) and not ended:
            return f"TLS: {link.reason or 'no agreement'}", False
    words = [link.strerror for link in chain if isinstance(link, OSError) and link.strerror]
    if words:
        return str(words[-1]).lower(), True
    early = http.client.RemoteDisconnected | http.client.IncompleteRead
    if any(isinstance(link, early) for link in chain):
        return "the server ended it early", True
    if any(isinstance(link, http.client.HTTPException) for link in chain):
        return "what came is not HTTP", True
    return type(chain[0]).__name__, True
