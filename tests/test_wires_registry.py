"""Wires by name: those of the package, presets, and installed ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tables import each

from websopy_sync.errors import ConfigError
from websopy_sync.wires import Wire, find_wire, wire_names
from websopy_sync.wires.anthropic import Anthropic
from websopy_sync.wires.gemini import Gemini
from websopy_sync.wires.openai import OpenAI
from websopy_sync.wires.websopy import Websopy


@each(
    ("name", "kind", "base_url", "key_variable"),
    [
        ("websopy", Websopy, "https://api.websopy.com/v1", ""),
        ("openai", OpenAI, "https://api.openai.com/v1", "OPENAI_API_KEY"),
        ("anthropic", Anthropic, "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"),
        ("deepseek", OpenAI, "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
        ("mistral", OpenAI, "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
        ("openrouter", OpenAI, "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        ("llamacpp", OpenAI, "http://127.0.0.1:8080/v1", ""),
        ("vllm", OpenAI, "http://127.0.0.1:8000/v1", ""),
        ("azure", OpenAI, "", ""),
        (
            "gemini",
            Gemini,
            "https://generativelanguage.googleapis.com/v1beta",
            "GEMINI_API_KEY",
        ),
    ],
)
def test_names(name: str, kind: type[Wire], base_url: str, key_variable: str) -> None:
    """A preset is a wire with another address and key; it has its own name."""
    wire = find_wire(name)
    assert type(wire) is kind and name in wire_names()
    assert (wire.name, wire.base_url, wire.key_variable) == (name, base_url, key_variable)


def test_presets_differ_where_the_services_do() -> None:
    """Azure has the deployment in its path, and its own key header."""
    azure = find_wire("azure")
    assert azure.key_header == ("api-key", "") and "{model}" in azure.path
    assert find_wire("openai").key_header == ("Authorization", "Bearer ")


def test_a_wire_is_taken_as_it_is() -> None:
    """One with arguments is made by its class."""
    wire = OpenAI(base_url="http://127.0.0.1:9/v1", usage=False)
    assert find_wire(wire) is wire and wire.base_url == "http://127.0.0.1:9/v1"
    with pytest.raises(TypeError, match="'base_ur'"):
        OpenAI(base_ur="x")


@each(
    ("wire", "says"),
    [
        ("opnai", "'opnai'; did you mean 'openai'"),
        ("nothing like it", "expected one of anthropic, azure, .*, got 'nothing like it'$"),
        (7, "got int"),
        (OpenAI, "got type"),
    ],
)
def test_no_such_wire(wire: object, says: str) -> None:
    """The error lists what there is."""
    with pytest.raises(ConfigError, match=says):
        find_wire(wire)  # type: ignore[arg-type]


class _Nameless(Wire):
    path = "/chat"


class _HeaderAlone(OpenAI):
    key_header = "X-Api-Key"  # type: ignore[assignment]  # an author's mistake


@each(
    ("wire", "says"),
    [
        (_Nameless(), "wire _Nameless: expected a str as its name"),
        (OpenAI(path=None), "wire OpenAI: expected a str as its path"),
        (OpenAI(framing="lines"), "OpenAI: expected sse or ndjson as its framing, got 'lines'"),
        (_HeaderAlone(), r"wire _HeaderAlone: .* key_header .*\('X-Api-Key', ''\)"),
    ],
)
def test_a_wire_that_lacks_an_attribute(wire: Wire, says: str) -> None:
    """A ConfigError at the client, and not an AttributeError or a ValueError in a call."""
    with pytest.raises(ConfigError, match=says):
        find_wire(wire)


FILES = {
    "good": "from websopy_sync.wires.openai import OpenAI as Wire",
    "bad": "raise ImportError('no engine')",
    "odd": "Wire = dict",
}


def test_installed_wires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group `websopy_sync.wires`; one that cannot be loaded is a ConfigError with its name."""
    info = tmp_path / "other_wires-1.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: other-wires\nVersion: 1\n")
    entries = [f"{name} = other_{name}:Wire" for name in FILES]
    info.joinpath("entry_points.txt").write_text("\n".join(["[websopy_sync.wires]", *entries]))
    for name, code in FILES.items():
        tmp_path.joinpath(f"other_{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    assert {"good", "bad", "odd", "openai"} <= set(wire_names())
    assert isinstance(find_wire("good"), OpenAI)
    with pytest.raises(ConfigError, match=r"wire 'bad' .*ImportError: no engine") as caught:
        find_wire("bad")
    assert caught.value.__context__ is None
    with pytest.raises(ConfigError, match=r"wire 'odd' .*expected a Wire, got dict"):
        find_wire("odd")


def test_a_wire_is_imported_when_it_is_chosen() -> None:
    """Whoever speaks to one service pays for one."""
    code = (
        "import sys, websopy_sync\n"
        "client = websopy_sync.WebsopyClient('k', plugins=[])\n"
        "print([name for name in sys.modules if name.startswith('websopy_sync.wires.')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "wires.websopy'" in shown.stdout and "wires.openai" not in shown.stdout
