"""A plugin's values for each stream.

Knows nothing of a stream but that it has attributes.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, MutableMapping
from typing import Any, TypeVar

Value = TypeVar("Value")

_VALUES = "_plugin_values"


class StreamLocal(MutableMapping[Any, Value]):
    """A dict from streams to a plugin's values that keeps no stream alive.

        self.started: StreamLocal[float] = StreamLocal()  # in __init__
        self.started[stream] = time.monotonic()           # in on_request
        began = self.started.pop(stream)                  # in on_done and in on_error

    The stream is the key, so two streams with one idempotency key have a value each. A value is
    stored on its stream, as `threading.local` stores one on each thread, and is freed with it.
    Any thread may use it. A value must not refer to its stream.
    """

    # Not a WeakKeyDictionary: for a stream in a reference cycle the garbage collector clears weak
    # references before the stream's destructor calls on_error, which would find no value.

    def __init__(self) -> None:
        self._key = object()
        self._streams: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

    def __setitem__(self, stream: Any, value: Value) -> None:
        stream.__dict__.setdefault(_VALUES, {})[self._key] = value
        self._streams[id(stream)] = stream

    def __getitem__(self, stream: Any) -> Value:
        value: Value = stream.__dict__[_VALUES][self._key]  # KeyError from either
        return value

    def __delitem__(self, stream: Any) -> None:
        del stream.__dict__[_VALUES][self._key]
        self._streams.pop(id(stream), None)

    def __iter__(self) -> Iterator[Any]:
        # valuerefs() copies the dict in one list(): other threads may add streams meanwhile.
        references = self._streams.valuerefs()
        return iter([stream for one in references if (stream := one()) is not None])

    def __len__(self) -> int:
        return len(self._streams)
