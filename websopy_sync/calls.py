"""Calls: options, wire and hooks put together, and sent as one stream.

Knows nothing of the client and the verbs above it, nor of how a stream is read. A call holds the
prompt; its repr shows none of it. Tracebacks are cleared above, by `@discreet` on each verb.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from .api_key import KeyRing
from .body_stream import BodyStream
from .cancel import CancelScope
from .chat_call import ChatCall, as_edited, body_of, chat_request_of, path_of, reader_of
from .endpoint import Endpoint
from .errors import ConfigError
from .event_format import EventFormat
from .event_source import EventSource
from .headers import is_token, merged, standard_headers
from .hooks import Hooks, Request
from .interrupts import run_all
from .message import Message
from .options import CallOptions, ClientOptions, body_fields
from .redaction import Redactor
from .request_body import encode_body
from .resume import event_as_text
from .retry import RetryBudget, RetryPolicy
from .secret import Secret
from .stream import ChatStream, EventStream
from .transport import HTTPRequest, Transport
from .turns import Messages, turns_of
from .urls import path_and_query
from .wires import FastReader, Wire

__all__ = ["Calls"]

OnEnd = Callable[[Message, bool], None]
"""Called at the end of a stream, with the message so far and whether it is complete."""

Native = TypeVar("Native", EventStream, BodyStream)

_SAFE_METHODS = ("GET", "HEAD")
"""Methods of requests that change nothing, so that a retry needs no key (RFC 9110 9.2.1)."""


class _Closable(Protocol):
    def close(self) -> None: ...


class Calls:
    """Sends the calls of one client, and closes their streams with it."""

    def __init__(
        self, options: ClientOptions, endpoint: Endpoint, transport: Transport, hooks: Hooks
    ) -> None:
        self.wire: Wire = endpoint.wire
        """The service's format."""
        self.max_event_size: int = options.max_event_size
        """Bytes that one event may have, or a body that is read as a whole."""
        self._options = options
        self._base_url = endpoint.base_url
        self._api_key = endpoint.api_key
        self._model = endpoint.model
        self._transport = transport
        self._hooks = hooks
        self._budget = RetryBudget()
        # No WeakSet: that one cannot be iterated while another thread adds to it.
        self._streams: set[weakref.ref[_Closable]] = set()
        self._closed = False

    def check(self, given: Mapping[str, Any]) -> None:
        """Check options and fields of the body before there is a call.

        Args:
            given: As for `chat`.

        Raises:
            ConfigError: As `chat` would, whatever its messages.
        """
        options = CallOptions.of(self._options, given)
        self._chat_call("any text", body_fields(given), options)
        if self._closed:
            raise ConfigError("the client is closed")

    def chat(
        self,
        messages: Messages,
        given: Mapping[str, Any],
        on_end: OnEnd | None = None,
        scope: CancelScope | None = None,
        output_schema: Mapping[str, Any] | None = None,
    ) -> ChatStream:
        """Send messages to the model, and return the stream once its headers are here.

        Args:
            messages: What the user passed.
            given: Options and fields of the body, as the user passed them.
            on_end: Called at the stream's end.
            scope: What `scope` made, for one of several calls that end together.
            output_schema: The JSON Schema that the answer must match; None for free text.
        """
        options = CallOptions.of(self._options, given)
        call = self._chat_call(messages, body_fields(given), options, output_schema)
        scope = scope or _scope(options)
        keys = KeyRing(self._api_key)
        redact = _redactor(keys, scope)
        reader = reader_of(self.wire)
        stream = ChatStream(
            scope,
            options.cancel_token,
            reader=reader,
            hooks=self._hooks.listeners(),
            redact=redact,
            keep_message=options.keep_message,
            max_answer_size=options.max_answer_size,
            idempotency_key=options.idempotency_key,
            metadata=options.metadata,
            on_end=on_end,
        )
        format = self._chat_format(reader)

        def source(request: Request) -> EventSource:
            http_request = as_edited(request, call)
            redact.watch(http_request.headers, http_request.body)
            return self._source(options, http_request, scope, keys, redact, format)

        self.track(stream)
        stream._send(call.request, source)  # private so that users do not see it
        return stream

    def scope(self, given: Mapping[str, Any]) -> CancelScope:
        """The scope of several calls with these options: their total limit begins now."""
        return _scope(CallOptions.of(self._options, given))

    def events(
        self, method: str, path: str, params: object, json: object, given: Mapping[str, Any]
    ) -> EventStream:
        """Send any request, and return the stream of its events once its headers are here.

        Args:
            method: An HTTP method.
            path: What follows the base URL; it may have a query.
            params: More of the query, or None.
            json: The body, or None.
            given: Options, as the user passed them.
        """
        options = CallOptions.of(self._options, given)
        http_request = self._native_request(method, path, params, json, options)
        return self._native(EventStream, http_request, options, _scope(options))

    def body(
        self,
        path: str,
        params: object,
        given: Mapping[str, Any],
        scope: CancelScope,
        read: Callable[[str], Any],
    ) -> BodyStream:
        """Ask for JSON, and return its stream once its headers are here.

        Args:
            path: What follows the base URL; it may have a query.
            params: More of the query, or None.
            given: Options, as the user passed them.
            scope: What `scope` made, for one of several requests that end together.
            read: Makes the stream's one item of the body's text.
        """
        options = CallOptions.of(self._options, given)
        accept = {"Accept": "application/json"}
        http_request = self._native_request("GET", path, params, None, options, accept)
        make = partial(BodyStream, read=read)
        return self._native(make, http_request, options, scope, framing="json")

    def _native(
        self,
        make: Callable[..., Native],
        http_request: HTTPRequest,
        options: CallOptions,
        scope: CancelScope,
        **fields: Any,
    ) -> Native:
        """Send a request, and return the stream of its response. fields: of its `EventFormat`."""
        keys = KeyRing(self._api_key)
        redact = _redactor(keys, scope)
        path = http_request.url.removeprefix(self._base_url)
        redact.watch(http_request.headers, http_request.body, query=http_request.query, path=path)
        stream = make(scope, options.cancel_token, redact=redact)
        # Native events have no end mark.
        format = self._format(may_end=lambda whole: whole, **fields)
        self.track(stream)
        # private so that users do not see it
        stream._open(lambda: self._source(options, http_request, scope, keys, redact, format))
        return stream

    def close(self) -> None:
        """Close the streams that are open, and the idle connections."""
        self._closed = True
        streams = [stream for reference in self._streams.copy() if (stream := reference())]
        run_all(*[stream.close for stream in streams], self._transport.close)

    def _chat_call(
        self,
        messages: Messages,
        fields: Mapping[str, Any],
        options: CallOptions,
        output_schema: Mapping[str, Any] | None = None,
    ) -> ChatCall:
        turns = turns_of(messages)
        if isinstance(turns, ConfigError):
            raise turns
        chat_request = chat_request_of(turns, fields, output_schema, model=self._model)
        body = body_of(self.wire, chat_request) | dict(options.extra_body or {})
        encoded = encode_body(body)
        if isinstance(encoded, ConfigError):
            raise encoded
        key = options.idempotency_key
        headers = self._headers(options, self._key_headers(key), has_body=True)
        model = chat_request.model
        path, query = path_and_query(path_of(self.wire, model), None)
        url, in_path = self._base_url + path, model if "{model}" in self.wire.path else None
        request = Request("POST", url, headers, body, key, options.metadata, path_model=in_path)
        return ChatCall(request, body, encoded, query, self._key_headers(key))

    def _key_headers(self, key: str) -> dict[str, str]:
        return {"Idempotency-Key": key} if self.wire.idempotent else {}

    def _native_request(
        self,
        method: object,
        path: str,
        params: object,
        json: object,
        options: CallOptions,
        accept: Mapping[str, str] = MappingProxyType({}),
    ) -> HTTPRequest:
        if not isinstance(method, str) or not is_token(method):
            raise ConfigError("method: expected an HTTP method")
        path, query = path_and_query(path, params)
        json = dict(json) if isinstance(json, Mapping) else json
        body = None if json is None else encode_body(json)
        if isinstance(body, ConfigError):
            raise body
        method = method.upper()
        key = {} if method in _SAFE_METHODS else self._key_headers(options.idempotency_key)
        headers = self._headers(options, {**accept, **key}, has_body=body is not None)
        return HTTPRequest(method, self._base_url + path, headers, body, query)

    def _headers(
        self, options: CallOptions, key: Mapping[str, str], *, has_body: bool
    ) -> dict[str, str]:
        standard = standard_headers(has_body=has_body)
        return merged(
            standard, self.wire.headers, key, self._options.default_headers, options.extra_headers
        )

    def _chat_format(self, reader: FastReader) -> EventFormat:
        return self._format(
            framing=self.wire.framing,
            text_of=self.wire.text_of if self.wire.resumable else event_as_text,
            may_end=reader.may_end,
            ignore="ping",
            error_field=self.wire.error_field,
        )

    def _format(self, **fields: Any) -> EventFormat:
        return EventFormat(
            max_event_size=self.max_event_size,
            request_id_headers=self.wire.request_id_headers,
            **fields,
        )

    def _source(
        self,
        options: CallOptions,
        http_request: HTTPRequest,
        scope: CancelScope,
        keys: KeyRing,
        redact: Redactor,
        format: EventFormat,
    ) -> EventSource:
        key_header = self.wire.key_header[0].lower()
        if key_header in map(str.lower, http_request.headers):  # it is sent, and no key is needed
            keys = KeyRing(Secret(""))
        return EventSource(
            self._transport,
            http_request,
            scope,
            timeouts=options.timeout,
            retry=RetryPolicy(
                options.max_retries,
                self._budget,
                resume=options.resume and self.wire.resumable,
                idempotent=self.wire.idempotent or http_request.method in _SAFE_METHODS,
            ),
            format=format,
            keys=keys,
            redact=redact,
        )

    def track(self, stream: _Closable) -> None:
        """Have close() close this stream or run, which is about to be opened."""
        self._streams.add(weakref.ref(stream, self._streams.discard))
        if self._closed:  # looked at last: close() may have taken its list of streams already
            stream.close()
            raise ConfigError("the client is closed")


def _redactor(keys: KeyRing, scope: CancelScope) -> Redactor:
    """Takes the keys and the prompt out of what a server sent, while there is time for it."""
    return Redactor(keys.keys, go_on=lambda: not scope.aborted and scope.allows(0.0))


def _scope(options: CallOptions) -> CancelScope:
    return CancelScope(options.timeout.total, idle=options.timeout.idle)
