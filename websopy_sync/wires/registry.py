"""The wires by name: those of this package, presets of them, and installed ones.

Imports a wire only when it is chosen. Knows nothing of what a wire says.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ..errors import ConfigError, described
from ..interrupts import find_interrupt
from .base import Wire

__all__ = ["GROUP", "find_wire", "wire_names"]

GROUP = "websopy_sync.wires"
"""Entry-point group of installed wires: each name stands for a `Wire` class or a function."""

_OWN = {
    "responses": ("responses", "Responses"),
    "websopy": ("websopy", "Websopy"),
    "ollama": ("ollama", "Ollama"),
    "openai": ("openai", "OpenAI"),
    "anthropic": ("anthropic", "Anthropic"),
    "gemini": ("gemini", "Gemini"),
}
"""File and class of each wire of this package."""

_PRESETS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "azure": (
        "openai",
        {
            "base_url": "",
            "path": "/openai/deployments/{model}/chat/completions?api-version=2024-10-21",
            "models_path": "",  # it would list models, but a request names a deployment
            "key_header": ("api-key", ""),
            "key_variable": "",  # no address is known to be Azure's
        },
    ),
    "deepseek": (
        "openai",
        {"base_url": "https://api.deepseek.com/v1", "key_variable": "DEEPSEEK_API_KEY"},
    ),
    "llamacpp": ("openai", {"base_url": "http://127.0.0.1:8080/v1", "key_variable": ""}),
    # Mistral refuses stream_options, and sends the usage all the same.
    "mistral": (
        "openai",
        {
            "base_url": "https://api.mistral.ai/v1",
            "key_variable": "MISTRAL_API_KEY",
            "usage": False,
        },
    ),
    "openrouter": (
        "openai",
        {"base_url": "https://openrouter.ai/api/v1", "key_variable": "OPENROUTER_API_KEY"},
    ),
    "vllm": ("openai", {"base_url": "http://127.0.0.1:8000/v1", "key_variable": ""}),
}
"""The wire of each further service, and what differs."""


def wire_names() -> list[str]:
    """The names that `find_wire` knows, in alphabetical order."""
    return sorted({*_OWN, *_PRESETS, *(entry.name for entry in entry_points(group=GROUP))})


def find_wire(wire: str | Wire) -> Wire:
    """The wire of a name.

    Args:
        wire: The name; a wire itself is given back.

    Raises:
        ConfigError: There is none of this name, an installed one cannot be loaded, or one lacks an
            attribute.
    """
    if isinstance(wire, Wire):
        _check(wire)
        return wire
    if not isinstance(wire, str):
        raise ConfigError(f"wire: expected a name or a Wire object, got {type(wire).__name__}")
    base, differences = _PRESETS.get(wire, (wire, {}))
    if base in _OWN:
        file, name = _OWN[base]
        made: Wire = getattr(importlib.import_module(f".{file}", __package__), name)(**differences)
        made.name = wire
        return made
    for entry in entry_points(group=GROUP, name=wire):
        return _installed(entry)
    raise ConfigError(_unknown(wire))


def _check(wire: Wire) -> None:
    """Name the attribute that an author forgot, or made a str of where a pair is expected."""
    for name in ("name", "path"):
        if not isinstance(getattr(wire, name, None), str):
            raise ConfigError(f"wire {type(wire).__name__}: expected a str as its {name}")
    framing: object = wire.framing
    if framing not in ("sse", "ndjson"):
        expected = f"expected sse or ndjson as its framing, got {framing!r:.200}"
        raise ConfigError(f"wire {type(wire).__name__}: {expected}")
    header: object = wire.key_header
    if not (isinstance(header, tuple) and [type(part) for part in header] == [str, str]):
        expected = "a header and the text before the key in it, such as ('X-Api-Key', '')"
        raise ConfigError(f"wire {type(wire).__name__}: expected as its key_header {expected}")


def _unknown(wire: str) -> str:
    names = wire_names()
    close = difflib.get_close_matches(wire, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"wire: expected one of {', '.join(names)}, got {wire!r:.200}{hint}"


def _installed(entry: EntryPoint) -> Wire:
    interrupt = None
    try:
        make: Callable[[], object] = entry.load()
        wire = make()
        problem = f"expected a Wire, got {type(wire).__name__}"
    except Exception as error:  # noqa: BLE001  # the other package's own
        interrupt = find_interrupt(error)
        wire, problem = None, described(error)
    if interrupt is not None:
        raise interrupt
    if isinstance(wire, Wire):
        _check(wire)
        return wire
    raise ConfigError(f"wire {entry.name!r} ({entry.value:.200}): {problem:.200}")
