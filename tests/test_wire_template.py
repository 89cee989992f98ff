"""The wire template, as its page says: installed in a new virtual environment, and used there.

Nothing is downloaded; websopy-sync itself is built from the sources and installed.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from environments import ROOT, Environment
from tables import each

TEMPLATE = ROOT / "examples" / "wire-template"
PAGE = ROOT / "docs" / "how-to" / "write-a-wire.md"
GENERATED = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", ".*")
SHOWN = ("setup.cfg", "src/websopy_parrot.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not TEMPLATE.is_dir(), reason="needs the repository's examples/"),
]

ASK = """
from websopy_parrot_service import ParrotService
from websopy_sync import WebsopyClient, WebsopyError
from websopy_sync.sandbox import Sandbox, done, say
from websopy_sync.wires import wire_names

print("parrot" in wire_names())
try:
    with Sandbox([say("Hello"), done(finish_reason="stop")], wire=ParrotService()) as parrot:
        with WebsopyClient(wire="parrot", base_url=parrot.url, model="grey") as client:
            answer = client.ai.chat("secret question")
            print(answer.content, answer.finish_reason)
except WebsopyError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template in a folder of its own."""
    copy = tmp_path_factory.mktemp("template") / "websopy-parrot"
    shutil.copytree(TEMPLATE, copy, ignore=GENERATED)
    return copy


@pytest.fixture(scope="module")
def environment(
    tmp_path_factory: pytest.TempPathFactory, wheel_index: Path, template: Path
) -> Environment:
    """A new virtual environment with websopy-sync and the template."""
    made = Environment.with_package(tmp_path_factory.mktemp("environment"), wheel_index)
    made.install(template)
    return made


@each("name", SHOWN)
def test_page_shows_the_template(name: str) -> None:
    """Letter for letter."""
    shown = re.search(
        rf"^`{re.escape(name)}`[^`]*```\w*\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S
    )
    assert shown and shown[1] == (TEMPLATE / name).read_text("utf-8")


def test_used_by_its_name(environment: Environment) -> None:
    """It is listed, and a client speaks it."""
    out, _ = environment.run("python", "-c", ASK)
    assert out.splitlines() == ["True", "Hello stop"]


def test_on_the_command_line(environment: Environment) -> None:
    """`--wire` knows it; without a server the error is one line."""
    with pytest.raises(AssertionError) as failed:
        environment.run(
            *("websopy-sync", "chat", "--wire", "parrot", "--base-url", "http://127.0.0.1:1"),
            *("--model", "grey", "Hello"),
        )
    assert "127.0.0.1:1" in str(failed.value) and "Traceback" not in str(failed.value)


def test_its_own_tests_pass(environment: Environment, template: Path) -> None:
    """The test file of the template runs there."""
    environment.run("python", "-m", "pip", "install", "--quiet", "pytest")
    out, _ = environment.run("python", "-m", "pytest", "-q", "tests", cwd=template)
    assert "8 passed" in out


@each(
    ("right", "wrong", "printed"),
    [
        ('line["kind"]', 'line["sort"]', "StreamProtocolError wire 'parrot': its reader raised"),
        ("return ParrotReader()", "return None", "StreamProtocolError wire 'parrot': its reader"),
        ("class Parrot(Wire)", "class Parrot", "ConfigError wire 'parrot' (websopy_parrot:Parrot"),
        ("import json\n", "import jsonn\n", "ConfigError wire 'parrot' (websopy_parrot:Parrot"),
    ],
)
def test_its_faults_are_typed(
    environment: Environment, right: str, wrong: str, printed: str
) -> None:
    """What another package's wire raises comes out as an error of this package, without texts."""
    path = environment.site_packages / "websopy_parrot.py"
    text = path.read_text("utf-8")
    ask = ASK.replace(
        "from websopy_parrot_service import ParrotService\n", SERVICE_THAT_SENDS_TEXT
    ).replace("ParrotService()", "OneLine()")
    path.write_text(text.replace(right, wrong), "utf-8")
    try:
        out, err = environment.run("python", "-c", ask)
    finally:
        path.write_text(text, "utf-8")
    assert out.splitlines()[1].startswith(printed), out + err
    assert "secret question" not in out + err


SERVICE_THAT_SENDS_TEXT = """
from websopy_sync.sandbox.wires import Service, Writer, WrittenEvent
from websopy_sync.wires import Wire

class Lines(Writer):
    def write(self, chunk):
        return [WrittenEvent('{"kind": "text", "text": "Hello"}')]

class OneLine(Service):
    wire = Wire(name="one-line", path="/talk/{model}", framing="ndjson", base_url="http://x")
    def writer(self): return Lines()
    def turns_in(self, body): return [{"role": "user", "content": "x"}]
"""
"""A server that does not need the template: a spoilt one cannot be imported."""
