"""The adapter that sends by our connections, and the pools that keep them between requests.

Knows nothing of how a connection is made or of what it carries. requests and urllib3 do the work:
an HTTPAdapter whose pools have our connection classes. The stack of idle connections itself is in
`idle_stack`.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
from collections.abc import Iterator
from typing import Any

import requests.adapters
import urllib3
import urllib3.connectionpool

from ..errors import ConfigError
from . import socks_handshake
from .connection import (
    MAX_IDLE,
    Connection,
    SOCKSConnection,
    SOCKSTLSConnection,
    TLSConnection,
)
from .idle_stack import IdleStack, awake_or_asleep
from .proxies import parse_proxy

__all__ = ["Adapter"]

IDLE_CONNECTIONS = 256
"""Connections a pool keeps for the next request; more may be open at a time."""


class _IdleConnections:
    """A pool that closes stale connections and those it has no room for, without a warning."""

    QueueCls: Any = IdleStack
    pool: Any  # an IdleStack, None when closed
    _swept = -math.inf

    def _put_conn(self, conn: Any) -> None:
        now = awake_or_asleep()
        if now - self._swept > MAX_IDLE:
            self._swept = now
            self._sweep()
        if conn:
            conn.idle_since = now
        self._keep(conn)

    def _keep(self, conn: Any) -> None:
        pool, unwanted = self.pool, [conn]
        if pool is not None:
            with contextlib.suppress(queue.Full):
                pool.put(conn, block=False)
                # Another thread may have emptied and closed the pool meanwhile.
                unwanted = [] if self.pool is not None else list(_all_of(pool))
        for each in unwanted:
            if each:
                each.close()

    def _sweep(self) -> None:
        """Close the stale ones, which lie at the bottom of the stack."""
        for conn in reversed(list(_all_of(self.pool))):
            if conn and conn.is_stale:
                conn.close()
            self._keep(conn)


def _all_of(pool: IdleStack | None) -> Iterator[Any]:
    """Take every connection out of a pool."""
    with contextlib.suppress(queue.Empty):
        while pool is not None:
            yield pool.get(block=False)


class Pool(_IdleConnections, urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls: type[Connection] = Connection


class TLSPool(_IdleConnections, urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls: type[TLSConnection] = TLSConnection

    def _validate_conn(self, conn: Any) -> None:
        """Connect, without urllib3's warning at each request: Transport has warned once."""
        if conn.is_closed:
            conn.connect()


class SOCKSPool(Pool):
    ConnectionCls: type[SOCKSConnection] = SOCKSConnection


class SOCKSTLSPool(TLSPool):
    ConnectionCls: type[SOCKSTLSConnection] = SOCKSTLSConnection


_POOLS = {"http": Pool, "https": TLSPool}
_SOCKS_POOLS = {"http": SOCKSPool, "https": SOCKSTLSPool}


class Adapter(requests.adapters.HTTPAdapter):
    """requests' adapter over our pools. It never retries."""

    def __init__(self) -> None:
        super().__init__(pool_maxsize=IDLE_CONNECTIONS, max_retries=0)

    def close_idle(self) -> None:
        """Close the idle connections of all pools."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            # PoolManager.clear() leaves the connections to whoever still refers to their pool.
            for key in manager.pools.keys():  # noqa: SIM118  # it is no mapping to iterate
                pool = manager.pools.get(key)
                if pool is not None:
                    pool.close()

    def renew_locks(self) -> None:
        """In a forked child: replace the locks, which the parent's other threads may have held."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            manager.pools.lock = threading.RLock()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools for connections without a proxy."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Tell a pool whom to trust and which certificate to show."""
        # Not the service's URL, by which requests decides: it would not verify the https proxy of
        # an http service.
        super().cert_verify(conn, f"{conn.scheme}://", verify, cert)  # type: ignore[no-untyped-call]  # has no types

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """The pools for a proxy; they are kept."""
        parsed = parse_proxy(proxy)
        if not parsed.is_socks:
            # urllib3 leaves TCP_NODELAY off for proxies. A request is sent in two pieces, and the
            # second would wait 40 ms for the acknowledgement of the first.
            options = Connection.default_socket_options
            manager = super().proxy_manager_for(proxy, socket_options=options, **kwargs)
            manager.pool_classes_by_scheme = _POOLS
        elif proxy in self.proxy_manager:
            manager = self.proxy_manager[proxy]
        else:
            if not socks_handshake.AVAILABLE:
                raise ConfigError("proxy: SOCKS needs a package: pip install PySocks")
            # urllib3's SOCKSProxyManager would do, but leaves an IPv6 address in its brackets.
            options = {"proxy": parsed}
            manager = urllib3.PoolManager(maxsize=IDLE_CONNECTIONS, _socks_options=options)
            manager.pool_classes_by_scheme = _SOCKS_POOLS
            self.proxy_manager[proxy] = manager
        return manager
