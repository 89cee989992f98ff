"""The services that the sandbox can play, by the names of their wires.

Imports a service only when it is chosen.
"""

from __future__ import annotations

import importlib

from ...errors import ConfigError
from .base import Service

__all__ = ["SERVICES", "find_service"]

SERVICES = {
    "responses": ("responses", "ResponsesService"),
    "websopy": ("websopy", "WebsopyService"),
    "ollama": ("ollama", "OllamaService"),
    "openai": ("openai", "OpenAIService"),
    "anthropic": ("anthropic", "AnthropicService"),
    "gemini": ("gemini", "GeminiService"),
}
"""File and class of each service, by the name of its wire."""


def find_service(wire: str | Service) -> Service:
    """The service of a wire's name; a service itself is given back.

    Raises:
        ConfigError: The sandbox cannot play it.
    """
    if isinstance(wire, Service):
        return wire
    if wire not in SERVICES:
        names = ", ".join(sorted(SERVICES))
        raise ConfigError(f"wire: expected one of {names}, or a Service, got {wire!r:.200}")
    file, name = SERVICES[wire]
    service: Service = getattr(importlib.import_module(f".{file}", __package__), name)()
    return service
