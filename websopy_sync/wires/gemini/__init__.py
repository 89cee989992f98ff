"""The wire of Gemini's streamGenerateContent.

Does no I/O. The source is the reference of Google's Gemini API.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import ConfigError
from ..base import ChatRequest, Wire, check_one_answer
from .reader import GeminiReader
from .turns import contents_of, system_of, tools_of

__all__ = ["Gemini", "GeminiReader"]

_TOP_LEVEL = frozenset(
    {
        *("contents", "tools", "toolConfig", "safetySettings", "systemInstruction"),
        *("generationConfig", "cachedContent", "serviceTier", "store", "labels"),
        "audioTranscriptionConfig",
    }
)
"""Parameters of the request itself. The others belong into `generationConfig`."""

_NAMES = {"max_tokens": "maxOutputTokens", "n": "candidateCount", "stop": "stopSequences"}
"""Usual names of parameters that have another one here."""


class Gemini(Wire):
    """Google's Gemini API; see `Wire`."""

    name = "gemini"
    base_url = "https://generativelanguage.googleapis.com/v1beta"
    path = "/models/{model}:streamGenerateContent?alt=sse"
    models_path = "/models?pageSize=1000"
    error_field: str | None = "error"  # the service sends bare JSON
    key_header: tuple[str, str] = ("x-goog-api-key", "")
    key_variable = "GEMINI_API_KEY"

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """Build the request's JSON; see `Wire.body`.

        Args:
            request: What the user asks for. Parameters go into `generationConfig`, but for those of
                the request itself; names may be snake_case.

        Raises:
            ConfigError: Several answers are asked for, or `generationConfig` is no dict.
        """
        params = {_NAMES.get(name, _camel(name)): value for name, value in request.params.items()}
        body: dict[str, Any] = {"contents": contents_of(request.turns, model=request.model)}
        system = system_of(params.pop("systemInstruction", None), request.turns)
        if system is not None:
            body["systemInstruction"] = system
        if request.tools:
            body["tools"] = tools_of(request.tools)
        config = self._config(request.output_schema, params)
        body |= {name: value for name, value in params.items() if name in _TOP_LEVEL}
        return body | ({"generationConfig": config} if config else {})

    def _config(self, schema: Mapping[str, Any] | None, params: dict[str, Any]) -> dict[str, Any]:
        given = params.pop("generationConfig", None)
        if not isinstance(given, Mapping | None):
            raise ConfigError(f"generationConfig: expected a dict, got {type(given).__name__}")
        config: dict[str, Any] = {}
        if schema is not None:
            config = {"responseMimeType": "application/json", "responseJsonSchema": schema}
        config |= {name: value for name, value in params.items() if name not in _TOP_LEVEL}
        config |= given or {}
        check_one_answer(config.get("candidateCount"))
        if isinstance(config.get("stopSequences"), str):
            config["stopSequences"] = [config["stopSequences"]]
        return config

    def models_in(self, body: Any) -> Sequence[str]:
        """Read the names of the models that chat in a page of their list; see `Wire.models_in`.

        Args:
            body: The JSON of the response.
        """
        # Protobuf's JSON leaves out what is empty.
        models = [model for model in body.get("models", ()) if _chats(model)]
        return [model["name"].removeprefix("models/") for model in models]

    def models_after(self, body: Any) -> Mapping[str, str]:
        """Read what to ask for after a page of the list of models; see `Wire.models_after`.

        Args:
            body: The JSON of the response.
        """
        token = body.get("nextPageToken")
        return {"pageToken": token} if token else {}

    def reader(self) -> GeminiReader:
        """Make the reader of one response."""
        return GeminiReader()


def _chats(model: Mapping[str, Any]) -> bool:
    return "generateContent" in model.get("supportedGenerationMethods", ("generateContent",))


def _camel(name: str) -> str:
    return re.sub("_([a-z])", lambda match: match[1].upper(), name)
