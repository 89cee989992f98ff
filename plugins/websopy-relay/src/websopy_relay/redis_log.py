"""The log in Redis or Valkey, for the processes of several machines.

Knows how the verbs become commands. `redis` is imported when a log is made: it is an extra.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from websopy_sync import ConfigError
from websopy_sync.interrupts import find_interrupt

from . import redis_scripts
from .log import Beat, LogError, News, Record, Refusal, Terms, Write

if TYPE_CHECKING:
    import redis

PATIENCE = 1.0
"""Seconds that a command may take."""

PROTOCOL = {"protocol": 2, "decode_responses": False}
"""How answers are read here, whatever the URL says or a later client does by default."""

MANY = 1000
"""Events of one answer that one look returns."""

STOPS_KEPT_MS = 600_000
DELETED_KEPT_MS = 86_400_000
"""A producer that has not heard of the delete within a day has ended its answer long ago."""


class RedisLog:
    """A log in Redis from 6.2 or Valkey, one server or one behind a sentinel; no cluster.

    What the server loses when it restarts, the producers write anew. If a producer dies as well,
    only the server's own file (`appendonly yes`) has the answer.

    Args:
        url: As `redis.Redis.from_url` takes it: `redis://user:password@host:port/0`.
        prefix: What the names of all keys begin with; one for each site.

    Raises:
        ConfigError: The URL cannot be used, or `redis` is not installed.
    """

    def __init__(self, url: str, *, prefix: str = "websopy") -> None:
        self._redis = _connect(url)
        self._prefix = prefix
        self._stops_seen: dict[str, bytes] = {}
        script = self._redis.register_script
        self._append, self._read = script(redis_scripts.APPEND), script(redis_scripts.READ)
        self._beat, self._follow = script(redis_scripts.BEAT), script(redis_scripts.FOLLOW)
        self._stop, self._delete = script(redis_scripts.STOP), script(redis_scripts.DELETE)

    def __repr__(self) -> str:
        return f"RedisLog(prefix={self._prefix!r})"  # the URL may have a password

    def _key(self, kind: str, name: str) -> str:
        return f"{self._prefix}:{kind}:{name}"

    def _keys(self, name: str, *kinds: str) -> list[str]:
        return [self._key(kind, name) for kind in kinds]

    def append(self, writes: Sequence[Write], terms: Terms) -> Mapping[str, Refusal]:
        """See `Log.append`."""
        with _typed(), self._redis.pipeline(transaction=False) as pipe:
            for write in writes:
                arguments = (write.seq, write.owner, terms.worker, write.end, *_ms(terms))
                keys = self._keys(write.key, "answer", "events", "lease")
                self._append(keys, [*arguments, *write.events], client=pipe)
            said = pipe.execute()
        answers = zip(writes, said, strict=True)
        return {
            write.key: "ended" if text == b"ended" else "gone" for write, text in answers if text
        }

    def read(self, key: str, after: int) -> Record | None:
        """See `Log.read`."""
        with _typed():
            found = self._read(self._keys(key, "answer", "events"), [after])
        if found is None:
            return None
        owner, worker, end, entries = found
        events = tuple(fields[1] for _, fields in entries)
        return Record(owner.decode(), events, end.decode(), worker.decode())

    def watch(self, cursors: Mapping[str, int], worker: str, seconds: float) -> News:
        """See `Log.watch`."""
        keys = {self._key("events", key).encode(): key for key in cursors}
        after: dict[Any, Any] = {self._key("events", key): f"0-{n}" for key, n in cursors.items()}
        stops = self._key("stops", worker)
        after[stops] = self._stops_seen.get(worker, b"0-0")
        with _typed():
            found: Any = self._redis.xread(after, count=MANY, block=max(1, round(seconds * 1000)))
        streams: dict[bytes, list[tuple[bytes, dict[bytes, bytes]]]] = dict(found)
        stopped = streams.pop(stops.encode(), [])
        if stopped:
            self._stops_seen = {worker: stopped[-1][0]}
        answers = {keys[stream]: _record(entries) for stream, entries in streams.items()}
        return News(answers, frozenset(fields[b"key"].decode() for _, fields in stopped))

    def beat(self, produced: Mapping[str, int], followed: Collection[str], terms: Terms) -> Beat:
        """See `Log.beat`."""
        lease, keep = _ms(terms)
        with _typed(), self._redis.pipeline(transaction=False) as pipe:
            for key, last in produced.items():
                keys = self._keys(key, "answer", "events", "lease", "followed")
                self._beat(keys, [terms.worker, lease, keep, last], client=pipe)
            for key in followed:
                self._follow(self._keys(key, "answer", "lease", "followed"), [lease], client=pipe)
            said = pipe.execute()
        mine = dict(zip(produced, said, strict=False))
        theirs = dict(zip(followed, said[len(produced) :], strict=True))
        return Beat(
            followed=frozenset(key for key, number in mine.items() if number == 1),
            refused=frozenset(key for key, number in mine.items() if number == -1),
            orphans=frozenset(key for key, number in theirs.items() if number),
        )

    def request_stop(self, key: str) -> None:
        """See `Log.request_stop`."""
        with _typed():
            stops = self._key("stops", "")
            self._stop(self._keys(key, "answer"), [key, stops, STOPS_KEPT_MS])

    def delete(self, key: str) -> None:
        """See `Log.delete`."""
        with _typed():
            keys = self._keys(key, "answer", "events", "lease", "followed")
            self._delete(keys, [DELETED_KEPT_MS])

    def close(self) -> None:
        """See `Log.close`."""
        self._redis.close()


def _connect(url: str) -> redis.Redis:
    try:
        import redis.connection  # noqa: PLC0415  an extra
    except ImportError:
        raise ConfigError("RedisLog: pip install 'websopy-relay[redis]'") from None
    options: dict[str, Any] = {
        "socket_timeout": PATIENCE,
        "socket_connect_timeout": PATIENCE,
        "retry": None,  # the relay tries again by itself
    }
    try:
        # A pool derives more options from the protocol, so that has to be known when it is made.
        options |= redis.connection.parse_url(url)  # type: ignore[no-untyped-call]  # it has none
        options |= PROTOCOL
        pool = redis.ConnectionPool(**options)
    except (ValueError, TypeError, AttributeError):  # their text may have the password
        raise ConfigError("url: expected redis://user:password@host:port/0") from None
    return redis.Redis.from_pool(pool)


@contextlib.contextmanager
def _typed() -> Iterator[None]:
    """The client's errors as `LogError`."""
    import redis  # noqa: PLC0415  an extra, which is here when a log is

    try:
        yield
    except (redis.RedisError, OSError) as error:
        if interrupt := find_interrupt(error):
            raise interrupt from None
        raise LogError(f"Redis: {type(error).__name__}: {error!s:.200}") from None


def _ms(terms: Terms) -> tuple[int, int]:
    return round(terms.lease * 1000), round(terms.keep * 1000)


def _record(entries: list[tuple[bytes, dict[bytes, bytes]]]) -> Record:
    events = tuple(fields[b"e"] for _, fields in entries if b"e" in fields)
    end = next((fields[b"end"].decode() for _, fields in entries if b"end" in fields), "")
    return Record("", events, end)
