"""ChatCall: the request of a chat, as a wire builds it and as plugins edit it.

Knows nothing of how it is sent. Where a problem is returned instead of raised, a traceback would
hold the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import attrs

from .errors import ConfigError
from .headers import headers_problem
from .hooks import Request
from .interrupts import find_interrupt
from .request_body import encode_body, same_json
from .tools import tool_dicts
from .transport import HTTPRequest
from .wires import ChatRequest, FastReader, Wire

__all__ = ["ChatCall", "as_edited", "body_of", "chat_request_of", "path_of", "reader_of"]


@attrs.frozen(repr=False, eq=False)
class ChatCall:
    """The request of a chat, before and after encoding."""

    request: Request
    body: dict[str, Any]
    """The request's body before any plugin has edited it."""
    encoded: bytes
    """The same as it is sent."""
    query: str
    key_headers: Mapping[str, str]
    """The header with the idempotency key, if the service knows it."""


def chat_request_of(
    turns: list[dict[str, Any]],
    fields: Mapping[str, Any],
    output_schema: Mapping[str, Any] | None,
    *,
    model: str | None,
) -> ChatRequest:
    """What the user asks for. model: the one to ask when the fields name none."""
    params = dict(fields)
    named = params.pop("model", None)
    tools = tool_dicts(params.pop("tools", None))
    model = model if named is None else named
    return ChatRequest(turns, model=model, tools=tools, params=params, output_schema=output_schema)


def path_of(wire: Wire, model: object) -> str:
    """The path of a chat with a model.

    Raises:
        ConfigError: The path has the model's name in it, and this one cannot stand there.
    """
    if "{model}" not in wire.path:
        return wire.path
    if not isinstance(model, str) or not model:
        how = "pass model= or set WEBSOPY_MODEL"
        raise ConfigError(f"model: the wire {wire.name!r} needs one; {how}")
    # Servers take the dots for steps up the path; `quote` fails at half a surrogate pair.
    if not model.isprintable() or model in (".", ".."):
        raise ConfigError("model: expected a printable name that is neither '.' nor '..'")
    return wire.path.replace("{model}", quote(model, safe=""))


def body_of(wire: Wire, chat_request: ChatRequest) -> dict[str, Any]:
    """The body that a wire builds. What a foreign one raises may hold the prompt."""
    interrupt = None
    try:
        body: object = wire.body(chat_request)
        problem = f"expected a dict, got {type(body).__name__}"
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001  # another package's own
        interrupt = find_interrupt(error)
        body, problem = None, f"raised {type(error).__name__}"
    if interrupt is not None:
        raise interrupt
    if isinstance(body, dict):
        return body
    raise ConfigError(f"wire {wire.name!r}: body() {problem:.200}")


def reader_of(wire: Wire) -> FastReader:
    """The reader of one response. What a foreign wire raises may hold the prompt.

    Raises:
        ConfigError: The wire makes none.
    """
    interrupt = None
    try:
        return FastReader(wire.reader, name=wire.name)
    except Exception as error:  # noqa: BLE001  # another package's own
        interrupt = find_interrupt(error)
        what = type(error).__name__
    if interrupt is not None:
        raise interrupt
    raise ConfigError(f"wire {wire.name!r}: reader() raised {what:.200}")


def as_edited(request: Request, call: ChatCall) -> HTTPRequest:
    """The request as the plugins have left it. What they put there may raise when it is read."""
    interrupt = None
    try:
        # Encoding 20 MB takes longer than all else here, and plugins seldom edit.
        unchanged = same_json(request.body, call.body)
        edited = _http_request(request, call, call.encoded if unchanged else None)
    except Exception as error:  # noqa: BLE001  # a plugin's own
        interrupt = find_interrupt(error)
        edited = f"headers and body cannot be read ({type(error).__name__})"
    if interrupt is not None:
        raise interrupt
    if isinstance(edited, str):  # raised out here: the context of an exception may hold the prompt
        raise ConfigError(f"after on_request: {edited}")
    return edited


def _http_request(request: Request, call: ChatCall, encoded: bytes | None) -> HTTPRequest | str:
    """The request to send, or what is wrong with it. encoded: its body, if no plugin edited it."""
    headers: object = request.headers
    if isinstance(headers, Mapping):  # our key is in there for all to see, and stays as it was
        headers = {
            name: headers[name] for name in headers if str(name).lower() != "idempotency-key"
        }
    problem = headers_problem(headers)
    if problem or not isinstance(headers, dict):
        return problem
    body = encode_body(request.body) if encoded is None else encoded
    if isinstance(body, ConfigError):
        return str(body)
    headers = headers | dict(call.key_headers)
    return HTTPRequest(request.method, request.url, headers, body, call.query)
