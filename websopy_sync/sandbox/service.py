"""Which requests the sandbox refuses, as the service does.

Requests in, scripts out. Knows nothing of sockets or of queued scripts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..wires.websopy import Websopy
from ..wires.websopy_requests import max_tokens_in, turns_in
from .recorded_request import RecordedRequest
from .script import problem, status
from .steps import ExpectToolResult, Step, Steps
from .turn_check import Turn, turns_problem, unmet

__all__ = ["PREFIX", "body_of", "refusal", "turns_of", "unexpected"]

PREFIX = "/v1"
"""What the sandbox's URL ends with, and each path begins with."""

PATH = PREFIX + Websopy.path


def body_of(request: RecordedRequest) -> dict[str, Any]:
    """The JSON object of a request; the native form's question as one."""
    if request.method == "GET":
        return {"messages": [{"role": "user", "content": request.query.get("message", "")}]}
    body = request.json
    return body if isinstance(body, dict) else {}


def turns_of(request: RecordedRequest) -> Sequence[Turn]:
    """The turns of a request that was accepted."""
    turns = turns_in(body_of(request))
    return turns if isinstance(turns, list) else ()


def refusal(request: RecordedRequest, *, api_key: str | None) -> Steps | None:
    """The script that refuses a request; None when it is accepted.

    Args:
        request: The request.
        api_key: The only valid key; None accepts any key, but not a request without one.
    """
    if request.path != PATH:
        return _refuse(404, "not_found", f"the sandbox answers at {PATH} only")
    if request.method not in ("GET", "POST"):
        return _refuse(405, "method_not_allowed", "use GET or POST", {"Allow": "GET, POST"})
    key = _key_of(request)
    if not key or api_key not in (None, key):
        return _refuse(401, "invalid_api_key", "the API key is missing or wrong")
    trouble = _trouble(request)
    return _refuse(400, "bad_request", trouble) if trouble else None


def _trouble(request: RecordedRequest) -> str:
    """Why what a request says cannot be answered; "" when it can."""
    if request.method == "GET":
        asked = request.query.get("message")
        return "" if asked else "message: expected ?message= with the question"
    try:
        body = body_of(request)
    except (ValueError, RecursionError):
        return "the body is not JSON"
    return turns_problem(turns_in(body)) or _options_problem(body)


def _options_problem(body: Mapping[str, Any]) -> str:
    model, tools, limit = body.get("model"), body.get("tools"), max_tokens_in(body)
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


def unexpected(expected: Sequence[ExpectToolResult], request: RecordedRequest) -> Steps | None:
    """The script that refuses a request which is not what a script expects; None when it is."""
    missing = unmet(expected, turns_of(request)) if expected else ""
    return _refuse(400, "unexpected_request", missing) if missing else None


def _key_of(request: RecordedRequest) -> str:
    """The API key of a request, "" when it has none."""
    name, scheme = Websopy.key_header
    sent = request.headers.get(name.lower(), "")
    return sent[len(scheme) :].strip() if sent.lower().startswith(scheme.lower()) else ""


def _refuse(
    code: int, name: str, message: str, headers: Mapping[str, str] | None = None
) -> tuple[Step, ...]:
    return status(code, problem(message, name), headers=headers)
