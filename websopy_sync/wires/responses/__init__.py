"""The wire of OpenAI Responses, and of the servers compatible with it.

Does no I/O. The source is OpenAI's API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base import ChatRequest, Wire, check_one_answer
from .reader import ResponsesReader
from .turns import items_of, tool_of

__all__ = ["Responses", "ResponsesReader"]

_PARAMETER_NAMES = {"max_tokens": "max_output_tokens"}
"""Usual names of parameters that have another one here."""


class Responses(Wire):
    """OpenAI Responses; see `Wire`."""

    name = "responses"
    base_url = "https://api.openai.com/v1"
    path = "/responses"
    models_path = "/models"
    key_variable = "OPENAI_API_KEY"
    request_id_headers: tuple[str, ...] = ("x-request-id", "apim-request-id")

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """Build the request's JSON; see `Wire.body`.

        Args:
            request: What the user asks for.

        Raises:
            ConfigError: Several answers are asked for.
        """
        params = dict(request.params)
        check_one_answer(params.pop("n", None))  # the service has no such parameter
        body: dict[str, Any] = {"input": items_of(request.turns)}
        if request.model is not None:
            body["model"] = request.model
        body["stream"] = True
        if request.tools:
            body["tools"] = [tool_of(tool) for tool in request.tools]
        if request.output_schema is not None:
            form = {"type": "json_schema", "name": "answer", "schema": request.output_schema}
            given = params.pop("text", None)
            body["text"] = {"format": form, **(given if isinstance(given, Mapping) else {})}
        names = _PARAMETER_NAMES
        return body | {names.get(name, name): value for name, value in params.items()}

    def reader(self) -> ResponsesReader:
        """Make the reader of one response."""
        return ResponsesReader()
