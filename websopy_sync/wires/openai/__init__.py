"""The wire of OpenAI Chat Completions, and of the many servers compatible with it.

Does no I/O. The source is OpenAI's API reference.
"""

from __future__ import annotations

from typing import Any

from ..base import ChatRequest, Wire, check_one_answer
from ..openai_form import function_tool
from .reader import OpenAIReader
from .turns import turns_for

__all__ = ["OpenAI", "OpenAIReader"]


class OpenAI(Wire):
    """OpenAI Chat Completions, and servers compatible with it; see `Wire`.

    Args:
        usage: Whether to ask for the tokens. Some servers refuse a request that does.
        **differences: Attributes of `Wire` that are others at this server.
    """

    name = "openai"
    base_url = "https://api.openai.com/v1"
    path = "/chat/completions"
    error_field: str | None = "error"  # of llama.cpp until September 2025, and of GPUStack
    models_path = "/models"
    key_variable = "OPENAI_API_KEY"
    request_id_headers: tuple[str, ...] = ("x-request-id", "apim-request-id")

    def __init__(self, *, usage: bool = True, **differences: Any) -> None:
        super().__init__(**differences)
        self._usage = usage

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """Build the request's JSON; see `Wire.body`.

        Args:
            request: What the user asks for.

        Raises:
            ConfigError: Several answers are asked for.
        """
        check_one_answer(request.params.get("n"))
        body: dict[str, Any] = {"messages": turns_for(request.turns, self.name)}
        if request.model is not None:
            body["model"] = request.model
        body["stream"] = True
        if self._usage:
            body["stream_options"] = {"include_usage": True}
        if request.tools:
            body["tools"] = [function_tool(tool) for tool in request.tools]
        if request.output_schema is not None:
            schema = {"name": "answer", "schema": request.output_schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body | dict(request.params)

    def reader(self) -> OpenAIReader:
        """Make the reader of one response."""
        return OpenAIReader(self.name)
