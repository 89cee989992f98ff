"""The front door: the key, the address, the pool, the plugins; `client.ai`.

Checks everything the user passes, before anything is sent, and puts the floors below together.
Knows nothing of how they do their work.

A rule that shapes the code here: neither the key nor a prompt may stand in a local variable of a
frame that an exception can pass through, because error reporters show those. So problems are
found by functions that return them, and raised when the secret's name is gone; what must be
passed on travels in objects whose repr shows nothing.
"""

from __future__ import annotations

import logging
import os
import re
import uuid
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import attrs

from ._version import __version__
from .cancel import CancelScope, CancelToken
from .chunks import Message
from .conversation import Conversation
from .errors import ConfigError
from .event_source import EventSource, RetryPolicy
from .hooks import Hooks, PluginInfo
from .interrupts import discreet, find_interrupt, is_interrupt, run_all
from .message import MAX_ANSWER_SIZE
from .redaction import Redactor, Secret
from .resume import event_alone
from .sse import MAX_EVENT_SIZE
from .stream import ChatStream, EventStream
from .timing import RetryBudget, Timeouts
from .transport import HTTPRequest, Session, Transport
from .wires.websopy import (
    Messages,
    Request,
    answer_in,
    chat_body,
    encode_body,
    misspelt_option,
    same_json,
)

__all__ = ["AI", "WebsopyClient"]

DEFAULT_BASE_URL = "https://api.websopy.com/v1"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MANAGED_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "idempotency-key",  # an option of each question
        "last-event-id",
        "transfer-encoding",
    }
)


@attrs.frozen(repr=False)
class _Question:
    """A checked call of chat_stream; its repr shows nothing, as it holds the prompt."""

    request: Request
    body: dict[str, Any]
    """The request's body before any plugin has edited it."""
    encoded: bytes
    """The same as it is sent."""
    timeouts: Timeouts
    max_retries: int
    resume: bool
    keep_message: bool
    max_answer_size: int
    token: CancelToken | None
    on_end: Callable[[Message | None], None] | None


class WebsopyClient:
    """A client of the service: one key, one address, a pool of connections, its plugins.

    It may be used from many threads, and by forked children. As a context manager, or by
    close(), it closes its connections, streams that are still open included.

    Args:
        api_key: `WEBSOPY_API_KEY` when None.
        base_url: `WEBSOPY_BASE_URL` when None, else the service's.
        timeout: `Timeouts`, or seconds for the whole call; None for the defaults.
        max_retries: How often a question is repeated that may have failed in passing.
        session: A requests.Session whose proxies, certificates and own adapters are used; it stays
            yours. Over an own adapter the limits hold for each receive, not for what trickles.
        plugins: None for the installed ones that `WEBSOPY_PLUGINS` names (all when unset), or the
            ones to use, as objects, classes or names.
        default_headers: Sent with every request.
        verify: True, False, or the path of a CA bundle, which beats the environment's.
        max_event_size: Bytes that one event may have.
        max_answer_size: Characters that one answer of a chat may have, its text and its tool calls
            together.
        strict_plugins: Let a plugin's failure raise PluginError.

    Raises:
        ConfigError: A value cannot work.
        PluginError: A plugin failed, and strict_plugins was asked for.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        timeout: Timeouts | float | None = None,
        max_retries: int = 3,
        session: Session | None = None,
        plugins: Iterable[object] | None = None,
        default_headers: Mapping[str, str] | None = None,
        verify: bool | str | os.PathLike[str] = True,
        max_event_size: int = MAX_EVENT_SIZE,
        max_answer_size: int = MAX_ANSWER_SIZE,
        strict_plugins: bool = False,
    ) -> None:
        self._base_url = ""  # until it is known: a repr may be taken at any time
        from_environment = os.environ.get("WEBSOPY_API_KEY")
        secret: Secret[Any] = Secret(from_environment if api_key is None else api_key)
        del api_key, from_environment
        _raise_for(_key_problem(secret))
        headers, problem = _checked_headers(default_headers)
        del default_headers
        _raise_for(problem)
        from_environment = os.environ.get("WEBSOPY_BASE_URL") or DEFAULT_BASE_URL
        secret_url = Secret(from_environment if base_url is None else base_url)
        del base_url, from_environment
        _raise_for(_url_problem(secret_url))
        self._base_url = secret_url.value.rstrip("/")
        _raise_for(_extras_problem(session, plugins, strict_plugins))
        self._timeouts = Timeouts.of(timeout)
        self._max_retries = _count("max_retries", max_retries, at_least=0)
        self._max_event_size = _count("max_event_size", max_event_size, at_least=1)
        self._max_answer_size = _count("max_answer_size", max_answer_size, at_least=1)
        self._headers = headers
        self._key: Secret[str] = secret
        self._transport = Transport(secret, verify=_checked_verify(verify), session=session)
        self._budget = RetryBudget()
        # No WeakSet: that one cannot be iterated while another thread adds to it.
        self._streams: set[weakref.ref[ChatStream | EventStream]] = set()
        self._closed = False
        _set_up_logging(os.environ.get("WEBSOPY_LOG", ""))
        self._hooks = Hooks(plugins, strict=strict_plugins)

    def __repr__(self) -> str:
        return f"<WebsopyClient {self._base_url}>"

    @property
    def ai(self) -> AI:
        """Chats with the model."""
        # Made anew: held here, it would make a reference cycle, and a client that nobody holds
        # would keep its connections and its plugins' threads until the garbage collector runs.
        return AI(self)

    @property
    def plugins(self) -> list[PluginInfo]:
        """The plugins that were installed or passed, and what became of them."""
        return list(self._hooks.plugins)

    @discreet
    def events(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Mapping[str, Any] | None = None,
        timeout: Timeouts | float | None = None,
        cancel_token: CancelToken | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> EventStream:
        """The server's own events: any request of the service, read as Server-Sent Events.

        path: behind base_url, with "/" first; it may have a query. params: more of the query.
        json: a body. The stream ends where the bytes end; a cut one raises. Plugins are not told.

        Raises ConfigError, and what chat_stream raises.
        """
        asked = Secret((path, params, json))
        del path, params, json
        headers, problem = _checked_headers(extra_headers)
        del extra_headers
        _raise_for(problem)
        target = _target(method, asked)
        del asked
        if isinstance(target, ConfigError):
            raise target
        timeouts = self._timeouts_of(timeout)
        path = target.url
        http_request = attrs.evolve(
            target,
            url=self._base_url + target.url,
            headers=_merged(self._native_headers(target), self._headers, headers),
        )
        del target
        self._check_open()
        scope = CancelScope(timeouts.total, idle=timeouts.idle)
        redact = self._redactor(scope)
        redact.watch(http_request.headers, http_request.body, query=http_request.query, path=path)
        stream = EventStream(scope, _checked_token(cancel_token), redact=redact)
        policy = self._policy(timeouts, self._max_retries, resume=True, native=True)
        self._track(stream)
        stream._open(
            lambda: EventSource(self._transport, http_request, policy, scope, redact=redact)
        )
        return stream

    def close(self) -> None:
        """Close open streams and idle connections, and let background plugins finish."""
        self._closed = True
        streams = [stream for reference in self._streams.copy() if (stream := reference())]
        closers = [stream.close for stream in streams]
        run_all(*closers, self._transport.close, self._hooks.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        run_all(self.close, error=error if is_interrupt(error) else None)

    def _start(self, question: _Question) -> ChatStream:
        self._check_open()
        scope = CancelScope(question.timeouts.total, idle=question.timeouts.idle)
        redact = self._redactor(scope)
        stream = ChatStream(
            scope,
            question.token,
            hooks=self._hooks.listeners(),
            redact=redact,
            keep_message=question.keep_message,
            max_answer_size=question.max_answer_size,
            idempotency_key=question.request.idempotency_key,
            on_end=question.on_end,
        )
        policy = self._policy(question.timeouts, question.max_retries, resume=question.resume)

        def source(request: Request) -> EventSource:
            http_request = _as_edited(request, question)
            if isinstance(http_request, ConfigError):
                raise http_request
            redact.watch(http_request.headers, http_request.body)
            return EventSource(self._transport, http_request, policy, scope, redact=redact)

        self._track(stream)
        stream._ask(question.request, source)
        return stream

    def _policy(
        self, timeouts: Timeouts, max_retries: int, *, resume: bool, native: bool = False
    ) -> RetryPolicy:
        return RetryPolicy(
            timeouts,
            self._budget,
            max_retries,
            self._max_event_size,
            resume=resume,
            ends_at_eof=native,
            ignore=None if native else "ping",
            answer_in=event_alone if native else answer_in,
        )

    def _track(self, stream: ChatStream | EventStream) -> None:
        """Have close() close this stream, which is about to be opened."""
        self._streams.add(weakref.ref(stream, self._streams.discard))
        if self._closed:  # by now: the list of streams may have been taken before
            stream.close()
            self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigError("the client is closed")

    def _timeouts_of(self, timeout: Timeouts | float | None) -> Timeouts:
        return self._timeouts if timeout is None else Timeouts.of(timeout)

    def _standard_headers(self, has_body: bool) -> dict[str, str]:
        headers = {
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",  # nothing then can hold events back, or explode
            "Cache-Control": "no-cache",
            "User-Agent": f"websopy-sync/{__version__}",
        }
        return headers | ({"Content-Type": "application/json"} if has_body else {})

    def _native_headers(self, target: HTTPRequest) -> dict[str, str]:
        headers = self._standard_headers(target.body is not None)
        safe = target.method in ("GET", "HEAD")  # asking these twice changes nothing
        return headers if safe else headers | {"Idempotency-Key": str(uuid.uuid4())}

    def _redactor(self, scope: CancelScope) -> Redactor:
        """What takes the key and the question out of what a server sent, while there is time."""
        return Redactor(self._key, go_on=lambda: not scope.aborted and scope.allows(0.0))


class AI:
    """Chats: `client.ai`."""

    def __init__(self, client: WebsopyClient) -> None:
        self._client = client

    @discreet
    def chat_stream(
        self,
        messages: Messages,
        *,
        timeout: Timeouts | float | None = None,
        max_retries: int | None = None,
        resume: bool = True,
        cancel_token: CancelToken | None = None,
        idempotency_key: str | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        keep_message: bool = True,
        max_answer_size: int | None = None,
        **params: Any,
    ) -> ChatStream:
        """The answer to some messages, chunk by chunk as it is written.

        Returns once the answer's headers are here, so a refused key raises at the call.

        Args:
            messages: A list of `{"role": …, "content": …}`, or a str for one user message.
            timeout: The client's when None.
            max_retries: The client's when None.
            resume: Go on after the last event ID when the connection is lost, if the server gave
                ids.
            cancel_token: Ends the answer when it is cancelled.
            idempotency_key: A new one when None.
            extra_headers: Sent along.
            extra_body: More fields of the body.
            keep_message: False keeps no text, so that memory stays flat; `current_message` then
                has only the usage.
            max_answer_size: Characters that text and tool calls may have together; the client's
                when None.
            **params: Go into the body.

        Raises:
            ConfigError: It cannot be sent.
            APIStatusError: The service refused it.
            APIConnectionError: Nothing usable came back, or a limit passed (APITimeoutError).
            StreamProtocolError: What came is no answer, or a larger one than allowed.
            StreamCancelledError: It was cancelled.
        """
        question = self._question(
            messages,
            params,
            timeout=timeout,
            max_retries=max_retries,
            resume=resume,
            cancel_token=cancel_token,
            idempotency_key=idempotency_key,
            extra_headers=extra_headers,
            extra_body=extra_body,
            keep_message=keep_message,
            max_answer_size=max_answer_size,
        )
        del messages, params, extra_body, extra_headers
        return self._asked(question)

    @discreet
    def chat(self, messages: Messages, **options: Any) -> Message:
        """The whole answer to some messages. Takes and raises what chat_stream does."""
        question = self._question(messages, options)
        del messages, options
        with self._asked(question) as stream:
            return stream.get_final_message()

    def conversation(self, system: str | None = None) -> Conversation:
        """A chat whose turns are kept. system: what the model is told before it begins."""
        if system is not None and not isinstance(system, str):
            raise ConfigError(f"system: expected str, got {type(system).__name__}")

        def ask(
            messages: Messages, on_end: Callable[[Message | None], None], options: dict[str, Any]
        ) -> ChatStream:
            question = self._question(messages, options, on_end=on_end)
            del messages, options
            return self._asked(question)

        return Conversation(ask, system=system)

    def _asked(self, question: _Question | Exception) -> ChatStream:
        if isinstance(question, Exception):
            raise question
        return self._client._start(question)

    def _question(
        self,
        messages: Messages,
        params: Mapping[str, Any],
        on_end: Callable[[Message | None], None] | None = None,
        **options: Any,
    ) -> _Question | Exception:
        """The checked question. A problem is returned: a frame of here shows the prompt."""
        options = {**_DEFAULTS, **options}
        options.update({name: params[name] for name in params if name in _DEFAULTS})
        params = {name: value for name, value in params.items() if name not in _DEFAULTS}
        try:
            return self._checked(messages, params, on_end, **options)
        except (ConfigError, TypeError) as error:
            return error.with_traceback(None)

    def _checked(
        self,
        messages: Messages,
        params: Mapping[str, Any],
        on_end: Callable[[Message | None], None] | None,
        *,
        timeout: Timeouts | float | None,
        max_retries: int | None,
        resume: bool,
        cancel_token: CancelToken | None,
        idempotency_key: str | None,
        extra_headers: Mapping[str, str] | None,
        extra_body: Mapping[str, Any] | None,
        keep_message: bool,
        max_answer_size: int | None,
    ) -> _Question:
        client = self._client
        _raise_for(misspelt_option(params, tuple(_DEFAULTS)))
        headers, problem = _checked_headers(extra_headers)
        _raise_for(problem)
        key = str(uuid.uuid4()) if idempotency_key is None else idempotency_key
        _raise_for(_header_problem("idempotency_key", key))
        _raise_for(_flag_problem("resume", resume) or _flag_problem("keep_message", keep_message))
        body = chat_body(messages, params, extra_body)
        if isinstance(body, ConfigError):
            raise body
        encoded = encode_body(body)
        if isinstance(encoded, ConfigError):
            raise encoded
        standard = client._standard_headers(True) | {"Idempotency-Key": key}
        merged = _merged(standard, client._headers, headers)
        request = Request("POST", f"{client._base_url}/ai/chat", merged, body, key)
        retries = client._max_retries if max_retries is None else max_retries
        size = client._max_answer_size if max_answer_size is None else max_answer_size
        return _Question(
            request,
            body,
            encoded,
            client._timeouts_of(timeout),
            _count("max_retries", retries, at_least=0),
            resume,
            keep_message,
            _count("max_answer_size", size, at_least=1),
            _checked_token(cancel_token),
            on_end,
        )


_DEFAULTS: Mapping[str, Any] = {
    "timeout": None,
    "max_retries": None,
    "resume": True,
    "cancel_token": None,
    "idempotency_key": None,
    "extra_headers": None,
    "extra_body": None,
    "keep_message": True,
    "max_answer_size": None,
}


def _raise_for(problem: str) -> None:
    if problem:
        raise ConfigError(problem)


def _key_problem(secret: Secret[Any]) -> str:
    if secret.value is None or secret.value == "":
        return "api_key: expected a key, got none; pass api_key= or set WEBSOPY_API_KEY"
    return _header_problem("api_key", secret.value)


def _header_problem(name: str, value: object) -> str:
    """What keeps a value from being sent in a header; "" if nothing. It is never quoted."""
    if not isinstance(value, str):
        return f"{name}: expected str, got {type(value).__name__}"
    if not value.isascii() or not value.isprintable() or value != value.strip():
        return f"{name}: expected printable ASCII without line ends or spaces around it"
    if not value:
        return f"{name}: expected a value, got an empty one"
    return ""


def _checked_headers(headers: object) -> tuple[dict[str, str], str]:
    """The headers as a dict, and what is wrong with them."""
    if headers is None:
        return {}, ""
    if not isinstance(headers, Mapping):
        return {}, f"headers: expected a dict, got {type(headers).__name__}"
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            return {}, f"headers: expected a header name, got {name!a:.200}"
        if name.lower() in _MANAGED_HEADERS:
            return {}, f"header {name}: it is set by the client alone"
        problem = _header_problem(f"header {name}", value)
        if problem:
            return {}, problem
    return dict(headers), ""


def _merged(*layers: Mapping[str, str]) -> dict[str, str]:
    """Headers of which a later layer replaces an earlier one's, whatever the case of names."""
    merged: dict[str, tuple[str, str]] = {}
    for layer in layers:
        merged.update({name.lower(): (name, value) for name, value in layer.items()})
    return dict(merged.values())


def _extras_problem(session: object, plugins: object, strict_plugins: object) -> str:
    if session is not None and not isinstance(session, Session):
        return f"session: expected a requests.Session, got {type(session).__name__}"
    if plugins is not None and (isinstance(plugins, str) or not isinstance(plugins, Iterable)):
        return f"plugins: expected a list of plugins or names, got {type(plugins).__name__}"
    return _flag_problem("strict_plugins", strict_plugins)


def _flag_problem(name: str, value: object) -> str:
    return "" if isinstance(value, bool) else f"{name}: expected a bool, got {type(value).__name__}"


def _url_problem(secret: Secret[Any]) -> str:
    """What is wrong with a base URL. It is not quoted: it may hold a password."""
    url = secret.value
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


def _target(method: object, asked: Secret[Any]) -> HTTPRequest | ConfigError:
    """The request line and body of a native request; problems are returned, see `_question`."""
    path, params, json = asked.value
    if not isinstance(method, str) or not _TOKEN.fullmatch(method):
        return ConfigError("method: expected an HTTP method")
    if not isinstance(path, str) or not path.startswith("/") or not path.isprintable():
        return ConfigError("path: expected a printable str that begins with '/'")
    if params is not None and not isinstance(params, Mapping):
        return ConfigError(f"params: expected a dict, got {type(params).__name__}")
    path, _, query = path.partition("?")
    parts = [quote(query, safe="%=&+/?:@!$'()*,;~")] if query else []
    try:
        parts += [HTTPRequest.query_of(params)] if params else []
    except (TypeError, ValueError):
        return ConfigError("params: expected names and values that a query can hold")
    body = None if json is None else encode_body(dict(json) if isinstance(json, Mapping) else json)
    if isinstance(body, ConfigError):
        return body
    path = quote(path, safe="%/:@!$&'()*+,;=~")
    return HTTPRequest(method.upper(), path, {}, body, "&".join(parts))


def _as_edited(request: Request, question: _Question) -> HTTPRequest | ConfigError:
    """A request as the plugins have left it. What they put there may raise when it is read."""
    try:
        # Encoding 20 MB takes longer than all else here, and plugins seldom edit.
        unchanged = same_json(request.body, question.body)
        return _http_request(request, question.encoded if unchanged else None)
    except Exception as error:  # noqa: BLE001  # a plugin's own
        interrupt = find_interrupt(error)
        problem = type(error).__name__
    if interrupt is not None:
        raise interrupt
    return ConfigError(f"after on_request: headers and body cannot be read ({problem})")


def _http_request(request: Request, encoded: bytes | None) -> HTTPRequest | ConfigError:
    """A request as the plugins have left it. encoded: its body, if they have not changed that."""
    edited: object = request.headers
    key = {"Idempotency-Key": request.idempotency_key}
    if isinstance(edited, Mapping):  # our own is in there for all to see, and stays as it was
        edited = {name: edited[name] for name in edited if str(name).lower() != "idempotency-key"}
    headers, problem = _checked_headers([] if edited is None else edited)
    if problem:
        return ConfigError(f"after on_request: {problem}")
    body = encode_body(request.body) if encoded is None else encoded
    if isinstance(body, ConfigError):
        return ConfigError(f"after on_request: {body}")
    return HTTPRequest(request.method, request.url, headers | key, body)


def _count(name: str, value: object, *, at_least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        shown = repr(value) if isinstance(value, int | float) else type(value).__name__
        raise ConfigError(f"{name}: expected an int of {at_least} or more, got {shown:.200}")
    return value


def _checked_token(token: object) -> CancelToken | None:
    if token is None or isinstance(token, CancelToken):
        return token
    raise ConfigError(f"cancel_token: expected a CancelToken, got {type(token).__name__}")


def _checked_verify(verify: object) -> bool | str:
    if isinstance(verify, bool):
        return verify
    if isinstance(verify, str | os.PathLike):
        return os.fspath(verify)
    raise ConfigError(f"verify: expected a bool or a path, got {type(verify).__name__}")


def _set_up_logging(level: str) -> None:
    """WEBSOPY_LOG=debug|info: write this package's log to stderr, unless that is set up already."""
    if level.lower() not in ("debug", "info"):
        return
    logger = logging.getLogger("websopy_sync")
    logger.setLevel(level.upper())
    if all(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
