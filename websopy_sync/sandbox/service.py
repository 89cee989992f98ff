"""Which requests the sandbox refuses, as the service does, and what models it lists.

Requests in, scripts out. Knows nothing of sockets or of queued scripts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .recorded_request import RecordedRequest
from .script import problem, status
from .steps import ExpectToolResult, Step, Steps
from .turn_check import Turn, turns_problem, unmet
from .wires import Service

__all__ = ["MODELS", "PREFIX", "body_of", "model_list", "refusal", "turns_of", "unexpected"]

MODELS = ("sandbox",)
"""The models that the sandbox lists. Each request is answered, whatever model it names."""

PREFIX = "/v1"
"""What the sandbox's URL ends with, and each path begins with."""


def body_of(request: RecordedRequest) -> dict[str, Any]:
    """The JSON object of a request; the native form's question as one."""
    if request.method == "GET":
        return {"messages": [{"role": "user", "content": request.query.get("message", "")}]}
    body = request.json
    return body if isinstance(body, dict) else {}


def turns_of(request: RecordedRequest, service: Service) -> Sequence[Turn]:
    """The turns of a request that was accepted."""
    turns = service.turns_in(body_of(request))
    return turns if isinstance(turns, list) else ()


def refusal(request: RecordedRequest, service: Service, *, api_key: str | None) -> Steps | None:
    """The script that refuses a request; None when it is accepted.

    Args:
        request: The request.
        service: The service that is played.
        api_key: The only valid key; None accepts any key, but not a request without one.
    """
    path = PREFIX + service.wire.path.partition("?")[0]
    if not re.fullmatch(re.escape(path).replace(r"\{model\}", "[^/]+"), request.path):
        return _refuse(404, "not_found", f"there is nothing here; a chat goes to {path}")
    refused = _turned_away(request, service, service.methods, api_key)
    if refused:
        return refused
    trouble = _trouble(request, service)
    return _refuse(400, "bad_request", trouble) if trouble else None


def model_list(request: RecordedRequest, service: Service, *, api_key: str | None) -> Steps | None:
    """The script for a request of the list of models; None when it is another request.

    Args:
        request: The request.
        service: The service that is played.
        api_key: As for `refusal`.
    """
    path = service.wire.models_path.partition("?")[0]
    if not path or request.path != PREFIX + path:
        return None
    refused = _turned_away(request, service, ("GET",), api_key)
    return refused or status(200, service.models_as_json(MODELS))


def _turned_away(
    request: RecordedRequest, service: Service, methods: Sequence[str], api_key: str | None
) -> Steps | None:
    """The script that refuses a request for its method or its key; None when both are good."""
    if request.method not in methods:
        use, allow = " or ".join(methods), {"Allow": ", ".join(methods)}
        return _refuse(405, "method_not_allowed", f"use {use}", allow)
    key = _key_of(request, service)
    if api_key not in (None, key) or (service.wire.needs_key and not key):
        return _refuse(401, "invalid_api_key", "the API key is missing or wrong")
    return None


def _trouble(request: RecordedRequest, service: Service) -> str:
    """Why what a request says cannot be answered; "" when it can."""
    if request.method == "GET":
        asked = request.query.get("message")
        return "" if asked else "message: expected ?message= with the question"
    try:
        body = body_of(request)
    except (ValueError, RecursionError):
        return "the body is not JSON"
    if not service.asks_for_a_stream(body):
        return "stream: expected true; the sandbox plays responses that are streamed"
    return turns_problem(service.turns_in(body)) or _options_problem(body, service)


def _options_problem(body: Mapping[str, Any], service: Service) -> str:
    model, tools, limit = body.get("model"), body.get("tools"), service.max_tokens_in(body)
    if model is not None and not (isinstance(model, str) and model):
        return f"model: expected a name, got {_shown(model)}"
    if tools is not None and not _are_objects(tools):
        return f"tools: expected a list of objects, got {_shown(tools)}"
    if limit is not None and not (type(limit) is int and limit > 0):
        return f"max_tokens: expected a whole number above 0, got {_shown(limit)}"
    return ""


def _are_objects(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, dict) for value in values)


def _shown(value: object) -> str:
    """A number as it is; of anything else, its type, as it may be large."""
    return f"{value!r:.50}" if isinstance(value, int | float) else f"a {type(value).__name__}"


def unexpected(
    expected: Sequence[ExpectToolResult], request: RecordedRequest, service: Service
) -> Steps | None:
    """The script that refuses a request which is not what a script expects; None when it is."""
    missing = unmet(expected, turns_of(request, service)) if expected else ""
    return _refuse(400, "unexpected_request", missing) if missing else None


def _key_of(request: RecordedRequest, service: Service) -> str:
    """The API key of a request, "" when it has none."""
    name, scheme = service.wire.key_header
    sent = request.headers.get(name.lower(), "")
    return sent[len(scheme) :].strip() if sent.lower().startswith(scheme.lower()) else ""


def _refuse(
    code: int, name: str, message: str, headers: Mapping[str, str] | None = None
) -> tuple[Step, ...]:
    return status(code, problem(message, name), headers=headers)
