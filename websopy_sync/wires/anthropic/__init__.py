"""The wire of Anthropic Messages.

Does no I/O. The source is Anthropic's API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base import ChatRequest, Wire, check_one_answer
from .reader import AnthropicReader
from .turns import messages_of, output_config, system_of, tool_of

__all__ = ["Anthropic", "AnthropicReader"]


class Anthropic(Wire):
    """Anthropic Messages; see `Wire`.

    Args:
        max_tokens: The limit for the length of an answer, which the service asks for, of a request
            that names none.
        **differences: Attributes of `Wire` that are others at this server.
    """

    name = "anthropic"
    base_url = "https://api.anthropic.com/v1"
    path = "/messages"
    models_path = "/models?limit=1000"
    key_header: tuple[str, str] = ("x-api-key", "")
    key_variable = "ANTHROPIC_API_KEY"
    headers: Mapping[str, str] = {"anthropic-version": "2023-06-01"}
    request_id_headers: tuple[str, ...] = ("request-id", "x-request-id")

    def __init__(self, *, max_tokens: int = 4096, **differences: Any) -> None:
        super().__init__(**differences)
        self._max_tokens = max_tokens

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """Build the request's JSON; see `Wire.body`.

        Args:
            request: What the user asks for. System turns, wherever they stand, become `system`.

        Raises:
            ConfigError: Several answers are asked for, or a file is neither PDF, text nor image.
        """
        params = dict(request.params)
        check_one_answer(params.pop("n", None))  # the service has no such parameter
        body: dict[str, Any] = {} if request.model is None else {"model": request.model}
        body |= {"max_tokens": self._max_tokens, "stream": True}
        system = system_of(params.pop("system", None), request.turns)
        if system:
            body["system"] = system
        body["messages"] = messages_of(request.turns)
        if request.tools:
            body["tools"] = [tool_of(tool) for tool in request.tools]
        if request.output_schema is not None:
            config = output_config(params.pop("output_config", None), request.output_schema)
            body["output_config"] = config
        stop = params.pop("stop", None)  # the usual name of what has another one here
        if stop is not None:
            body["stop_sequences"] = [stop] if isinstance(stop, str) else stop
        return body | params

    def models_after(self, body: Any) -> Mapping[str, str]:
        """Read what to ask for after a page of the list of models; see `Wire.models_after`.

        Args:
            body: The JSON of the response.
        """
        return {"after_id": body["last_id"]} if body.get("has_more") is True else {}

    def reader(self) -> AnthropicReader:
        """Make the reader of one response."""
        return AnthropicReader()
