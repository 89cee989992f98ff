"""The transport: sends one HTTP request and returns its response.

Knows nothing of SSE, of chunks or of retries. Decides what a request needs before it is sent: the
key, the proxy, the certificates and the adapter. How its bytes travel is in `connection`.
"""

from __future__ import annotations

import functools
import os
import warnings
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.adapters

from ..cancel import CancelScope
from ..errors import APIConnectionError, ConfigError
from ..interrupts import find_interrupt
from ..secret import Secret
from .certificates import client_certificate, trust_of
from .custom_adapter import AdapterResponse, send_within_limits
from .dependencies import dependency_problem
from .failures import TRANSLATED, head_failure
from .pool import Adapter
from .proxies import Proxy, proxy_for
from .request import HTTPRequest, Limit
from .request_context import RequestContext, current_request
from .response import HTTPResponse

__all__ = ["Session", "Transport"]

Session = requests.Session
"""The session a user may bring; named here for those who may not import requests."""


class _Headers(dict[str, Any]):
    """Headers with the key among them, so their repr shows nothing."""

    def __repr__(self) -> str:
        return "<headers>"


class Transport:
    """Sends requests, over connections that it keeps for the next one.

    Args:
        key_header: The name of the header for the key, and the text before the key in it.
        verify: True, False, or the path of a CA bundle (file or directory).
        session: Its proxies, certificates and mounted adapters are used; it stays the caller's.

    Raises:
        ConfigError: What is installed cannot be used, or a CA bundle is missing.
    """

    def __init__(
        self,
        *,
        key_header: tuple[str, str],
        verify: bool | str = True,
        session: requests.Session | None = None,
    ) -> None:
        problem = dependency_problem()
        if problem:
            raise ConfigError(problem)
        self._key_header = key_header
        self._session = session
        self._trust_env = session is None or session.trust_env
        self._trust = trust_of(
            verify,
            session_verify=session.verify if session else True,
            environment=os.environ if self._trust_env else {},
        )
        if self._trust.source in ("verify", "session.verify") and self._trust.missing:
            raise ConfigError(self._trust.missing)
        self._certificate: tuple[Any, Any] = None, None  # the session's; the same, checked
        if verify is False:
            warnings.warn(
                "verify=False: the server's certificate is not checked, and anyone on the way "
                "can read the key",
                UserWarning,
                stacklevel=4,  # the line that makes the client, above `discreet`
            )
        self._adapter = Adapter()
        self._pid = os.getpid()

    def close(self) -> None:
        """Close the idle connections. The session that was passed in stays open."""
        if self._pid != os.getpid():
            self._adapter.renew_locks()
        self._adapter.close_idle()
        self._adapter.close()

    def send(
        self,
        http_request: HTTPRequest,
        scope: CancelScope,
        *,
        key: Secret[str],
        connect: float | None,
        limit: Limit,
    ) -> HTTPResponse:
        """Send one request and wait for the head of its response.

        The errors carry no cause and no traceback of the libraries below.

        Args:
            http_request: The request.
            scope: The limits and the off-switch.
            key: The API key, added to a request that has no `key_header` yet.
            connect: Seconds until the connection must stand, None for no limit.
            limit: The phase that begins when the request is sent, and its seconds.

        Raises:
            APIConnectionError: No connection, or it was lost before the head.
            APITimeoutError: A limit passed.
            StreamCancelledError: The scope was aborted.
            StreamProtocolError: What came is no HTTP, or not what was asked for.
            ConfigError: The URL, a proxy or a certificate cannot be used.
        """
        url, query = http_request.url, http_request.query
        context = RequestContext(scope, limit, url, query, http_request.is_repeatable)
        scope.limit("connect", connect)
        token = current_request.set(context)
        try:
            if scope.aborted:  # an abort before this line had no socket to shut down
                raise ConnectionAbortedError
            return self._exchange(http_request, context, key)
        except TRANSLATED as error:
            lost = error
        except BaseException:  # an interrupt
            scope.cut()
            raise
        finally:
            current_request.reset(token)
        scope.cut()
        failure = find_interrupt(lost) or head_failure(lost, context)
        del lost  # it holds the request
        if context.uses_tls and not context.sent and type(failure) is APIConnectionError:
            problem = self._file_problem()
            failure = ConfigError(problem) if problem else failure
        raise failure

    def _exchange(
        self, http_request: HTTPRequest, context: RequestContext, key: Secret[str]
    ) -> HTTPResponse:
        context.proxy = self._proxy_for(http_request.url)
        if context.uses_tls and self._trust.missing:
            raise ConfigError(self._trust.missing)
        adapter = self._adapter_for(http_request.url)
        ours = isinstance(adapter, Adapter)
        query = f"?{http_request.query}" if http_request.query and not ours else ""
        prepared = requests.PreparedRequest()
        prepared.prepare_method(http_request.method)
        prepared.prepare_url(http_request.url + query, None)
        prepared.headers = self._headers(http_request, key)  # type: ignore[assignment]  # its repr shows none
        prepared.body = http_request.body
        send = functools.partial(
            adapter.send,
            prepared,
            stream=True,
            verify=self._trust.verify,
            cert=self._client_certificate() if context.uses_tls else None,
            proxies={urlsplit(context.url).scheme: context.proxy.url} if context.proxy else {},
        )
        response = send(timeout=None) if ours else send_within_limits(context, send)
        body = context.response or AdapterResponse(response.raw, context.scope)
        return HTTPResponse(response, body, context)

    def _adapter_for(self, url: str) -> Any:
        """The user's adapter if one is mounted for this URL, else ours.

        A forked child must not share a connection with its parent, so it gets new pools. Its copy
        of the old ones stays untouched: their locks may have been held at the fork.
        """
        if self._session is not None:
            mounted = self._session.get_adapter(url)
            if type(mounted) is not requests.adapters.HTTPAdapter:
                return mounted
        if self._pid != os.getpid():
            self._adapter, self._pid = Adapter(), os.getpid()
        return self._adapter

    def _headers(self, http_request: HTTPRequest, key: Secret[str]) -> _Headers:
        headers = _Headers(http_request.headers)
        if http_request.body is not None:
            headers["Content-Length"] = str(len(http_request.body))
        key_name, scheme = self._key_header
        given = any(name.lower() == key_name.lower() for name in headers)
        if key.value and not given:  # a server may need no key
            headers[key_name] = scheme + key.value
        return headers

    def _proxy_for(self, url: str) -> Proxy | None:
        session_proxies = self._session.proxies if self._session else None
        return proxy_for(url, session_proxies=session_proxies, trust_env=self._trust_env)

    def _client_certificate(self) -> Any:
        """The session's certificate, as requests takes it. It is checked once."""
        cert = self._session.cert if self._session else None
        if cert != self._certificate[0]:
            self._certificate = cert, client_certificate(cert)
        return self._certificate[1]

    def _file_problem(self) -> str:
        """What is wrong with the files that TLS needs, after a connection has failed."""
        self._certificate = None, None
        try:
            self._client_certificate()
        except ConfigError as error:
            return error.message
        return self._trust.missing or self._trust.broken
