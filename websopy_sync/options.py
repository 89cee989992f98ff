"""Options: each one once, with its type, its default and its check.

Knows nothing of what they are for. The variable WEBSOPY_LOG is read here, those of the service in
`endpoint`, and WEBSOPY_PLUGINS in `hooks.discovery`, where plugins are listed without a client too.

How the options get their types, for mypy, pyright and editors:

- `WebsopyClient.__init__` has the parameters of `ClientOptions` (`signatures`).
- `chat`, `chat_stream` and `send` take `**options: Unpack[ChatOptions]`. Every other name is a
  field of the request's body. PEP 728 (`extra_items`) says so in a TypedDict: pyright reads it,
  mypy 2.4 does not, so the usual fields have their names there. For a field that is not there,
  mypy wants `extra_body={...}`.

Rejected: a signature for each verb (the list would be there four times), and a ParamSpec that
copies one (it makes `messages` positional-only, and leaves no room for an option of one verb).
"""

from __future__ import annotations

import difflib
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import iscoroutinefunction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypedDict

import attrs

from .api_key import KeySource
from .cancel import CancelToken
from .errors import ConfigError
from .headers import header_problem, headers_problem
from .message import MAX_ANSWER_SIZE
from .secret import Secret
from .sse import MAX_EVENT_SIZE
from .timeouts import Timeouts
from .tool_call import ToolCall
from .tools import ToolLike
from .transport import Session
from .wires import Wire

__all__ = [
    "CallOptions",
    "ChatOptions",
    "ClientOptions",
    "RunOptions",
    "ToolOptions",
    "body_fields",
]

# --- checks: a validator names its option, and quotes no value that may be secret ----------------


def _raise_for(problem: str) -> None:
    if problem:
        raise ConfigError(problem)


def _boolean(instance: object, option: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"{option.name}: expected a bool, got {type(value).__name__}")


def _count(at_least: int) -> Callable[[object, attrs.Attribute[Any], object], None]:
    def check(instance: object, option: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, int) and not isinstance(value, bool) and value >= at_least:
            return
        shown = repr(value) if isinstance(value, int | float) else type(value).__name__
        raise ConfigError(f"{option.name}: expected an int of {at_least} or more, got {shown:.200}")

    return check


def _session(instance: object, option: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, Session):
        raise ConfigError(f"session: expected a requests.Session, got {type(value).__name__}")


def _plugins(instance: object, option: attrs.Attribute[Any], value: object) -> None:
    if value is not None and (isinstance(value, str) or not isinstance(value, Iterable)):
        got = type(value).__name__
        raise ConfigError(f"plugins: expected a list of plugins or names, got {got}")


def _token(instance: object, option: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, CancelToken):
        raise ConfigError(f"cancel_token: expected a CancelToken, got {type(value).__name__}")


def _optional_text(instance: object, option: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{option.name}: expected str, got {type(value).__name__}")


def _mapping(instance: object, option: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(f"{option.name}: expected a dict, got {type(value).__name__}")


def _seconds(instance: object, option: attrs.Attribute[Any], value: Any) -> None:
    """Seconds as a limit of `Timeouts` has them."""
    if value is not None:
        try:
            Timeouts(total=value)
        except ConfigError as error:
            problem = error.message.removeprefix("timeout total")
            raise ConfigError(f"{option.name}{problem}") from None


def _approve(instance: object, option: attrs.Attribute[Any], value: object) -> None:
    if value is None or (callable(value) and not iscoroutinefunction(value)):
        return
    got = "an async one" if callable(value) else type(value).__name__
    raise ConfigError(f"approve: expected a function, got {got}")


# --- converters: from what the user passes to what is used ---------------------------------------


def _key(api_key: str | Callable[[], str] | None) -> Secret[KeySource] | None:
    if api_key is None:
        return None
    if api_key == "":
        raise ConfigError("api_key: expected a key, got an empty one")
    if not callable(api_key):  # what a function returns is checked when it is asked
        _raise_for(header_problem("api_key", api_key))
    return Secret(api_key)


def _timeouts(timeout: Timeouts | float | None) -> Timeouts:
    return Timeouts.of(timeout)


def _headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    headers = {} if headers is None else headers
    _raise_for(headers_problem(headers))
    return dict(headers)


def _verify(verify: bool | str | os.PathLike[str]) -> bool | str:
    if isinstance(verify, bool):
        return verify
    if isinstance(verify, str | os.PathLike):
        return os.fspath(verify)
    raise ConfigError(f"verify: expected a bool or a path, got {type(verify).__name__}")


def _idempotency_key(key: str | None) -> str:
    key = str(uuid.uuid4()) if key is None else key
    _raise_for(header_problem("idempotency_key", key))
    return key


def _metadata(metadata: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """A copy that plugins cannot change. Its values are the caller's own objects."""
    if metadata is not None and not isinstance(metadata, Mapping):
        raise ConfigError(f"metadata: expected a dict, got {type(metadata).__name__}")
    copied = dict(metadata or {})
    for name in copied:
        if not isinstance(name, str):
            raise ConfigError(f"metadata: expected names of type str, got {type(name).__name__}")
    return MappingProxyType(copied)


def _log_level() -> str:
    return os.environ.get("WEBSOPY_LOG", "")


# --- the options ---------------------------------------------------------------------------------


@attrs.frozen(repr=False, eq=False)
class ClientOptions:
    """The options of a client, checked. `WebsopyClient` says what each is for."""

    api_key: Secret[KeySource] | None = attrs.field(default=None, converter=_key)
    base_url: str | None = attrs.field(default=None, kw_only=True)
    wire: str | Wire | None = attrs.field(default=None, kw_only=True)
    model: str | None = attrs.field(default=None, validator=_optional_text, kw_only=True)
    timeout: Timeouts = attrs.field(default=None, converter=_timeouts, kw_only=True)
    max_retries: int = attrs.field(default=3, validator=_count(0), kw_only=True)
    session: Session | None = attrs.field(default=None, validator=_session, kw_only=True)
    plugins: Iterable[object] | None = attrs.field(default=None, validator=_plugins, kw_only=True)
    default_headers: dict[str, str] = attrs.field(default=None, converter=_headers, kw_only=True)
    verify: bool | str = attrs.field(default=True, converter=_verify, kw_only=True)
    max_event_size: int = attrs.field(default=MAX_EVENT_SIZE, validator=_count(1), kw_only=True)
    max_answer_size: int = attrs.field(default=MAX_ANSWER_SIZE, validator=_count(1), kw_only=True)
    strict_plugins: bool = attrs.field(default=False, validator=_boolean, kw_only=True)
    log_level: str = attrs.field(init=False, factory=_log_level)


# The TypeError about an unknown argument then names the class that the user has called.
ClientOptions.__init__.__qualname__ = "WebsopyClient.__init__"


@attrs.frozen(repr=False, eq=False, kw_only=True)
class CallOptions:
    """The options of one call, checked. `ChatOptions` says what each is for."""

    timeout: Timeouts = attrs.field(converter=_timeouts)
    max_retries: int = attrs.field(validator=_count(0))
    resume: bool = attrs.field(default=True, validator=_boolean)
    cancel_token: CancelToken | None = attrs.field(default=None, validator=_token)
    idempotency_key: str = attrs.field(default=None, converter=_idempotency_key)
    extra_headers: dict[str, str] = attrs.field(default=None, converter=_headers)
    extra_body: Mapping[str, Any] | None = attrs.field(default=None, validator=_mapping)
    keep_message: bool = attrs.field(default=True, validator=_boolean)
    max_answer_size: int = attrs.field(validator=_count(1))
    metadata: Mapping[str, Any] = attrs.field(default=None, converter=_metadata)

    @classmethod
    def of(cls, client: ClientOptions, given: Mapping[str, Any]) -> CallOptions:
        """The options among what a call was given; None or none is the client's, if it has it."""
        chosen = {name: given[name] for name in _NAMES if name in given}
        for name in _INHERITED:
            if chosen.get(name) is None:
                chosen[name] = getattr(client, name)
        return cls(**chosen)


@attrs.frozen(repr=False, eq=False, kw_only=True)
class ToolOptions:
    """How a run calls its tools, checked. `client.ai.run` says what each is for."""

    max_turns: int = attrs.field(default=10, validator=_count(1))
    parallel: int = attrs.field(default=4, validator=_count(1))
    tool_timeout: float | None = attrs.field(default=None, validator=_seconds)
    strict_tools: bool = attrs.field(default=False, validator=_boolean)
    approve: Callable[[ToolCall], bool | str] | None = attrs.field(default=None, validator=_approve)


_NAMES = tuple(option.name for option in attrs.fields(CallOptions))
_INHERITED = {option.name for option in attrs.fields(ClientOptions)} & set(_NAMES)


def body_fields(given: Mapping[str, Any], names: Iterable[str] = ()) -> dict[str, Any]:
    """What a call was given that is no option of ours: fields of the body.

    names: more options that this call has.

    Raises:
        ConfigError: A name is close to an option's. The service judges all others.
    """
    fields = {name: value for name, value in given.items() if name not in _NAMES}
    if "response_type" in fields:
        raise ConfigError("response_type: only chat and map take it")
    for name in fields:
        close = difflib.get_close_matches(name, (*_NAMES, *names), n=1, cutoff=0.8)
        if close:
            raise ConfigError(
                f"unknown option {name!r}: did you mean {close[0]!r}? extra_body sends any name"
            )
    return fields


# --- the options as type checkers read them ------------------------------------------------------

if TYPE_CHECKING:
    from typing_extensions import TypedDict as OpenTypedDict  # checkers know it without installing

    class _AnyField(OpenTypedDict, total=False, extra_items=Any):  # type: ignore[call-arg]  # PEP 728
        """Any other name is a field of the body."""
else:

    class _AnyField(TypedDict, total=False):
        """Any other name is a field of the body."""


class BodyFields(_AnyField, total=False):
    """Fields of a body that many services know. Which of them it takes, a service says itself."""

    model: Any
    temperature: Any
    top_p: Any
    top_k: Any
    max_tokens: Any
    stop: Any
    seed: Any
    tool_choice: Any
    response_format: Any
    reasoning_effort: Any


class RunOptions(BodyFields, total=False):
    """What `run` takes by keyword besides its own: `ChatOptions` says what each is for."""

    timeout: Timeouts | float | None
    max_retries: int | None
    resume: bool
    cancel_token: CancelToken | None
    idempotency_key: str | None
    extra_headers: Mapping[str, str] | None
    extra_body: Mapping[str, Any] | None
    max_answer_size: int | None
    metadata: Mapping[str, Any] | None


class ChatOptions(RunOptions, total=False):
    """What `chat`, `chat_stream` and `Conversation.send` take by keyword.

    Every other keyword, such as `model=` or `temperature=`, is a field of the request's body. mypy
    knows only the usual ones; `extra_body` takes any.

    Attributes:
        timeout: `Timeouts`, or seconds for the whole call; the client's when None.
        max_retries: How often a call that failed may be sent again; the client's when None.
        resume: After a lost connection, go on after the last event id, if the server sends ids.
            True when not given.
        cancel_token: Cancels the stream.
        idempotency_key: The `Idempotency-Key` of the request and of its retries; a new one when
            None.
        extra_headers: Headers of this request; they replace the client's.
        extra_body: Fields of the body, whatever their names; they replace all others.
        keep_message: False keeps no text, so that memory stays flat; `current_message` then has
            only what the done chunk says. True when not given.
        max_answer_size: Characters that text, reasoning and tool calls may have together; the
            client's when None.
        metadata: For plugins, as `request.metadata` and `stream.metadata`; never sent. A service
            whose body has a field of this name gets it by `extra_body={"metadata": …}`.
        tools: Functions, Tool objects and dicts that the model may ask for. A dict is sent as it
            is.
    """

    tools: Sequence[ToolLike] | None
    keep_message: bool
