"""The plugin template, as its page says: installed in a new virtual environment, and used there.

Nothing is downloaded; websopy-sync itself is built from the sources and installed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from environments import Environment

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "examples" / "plugin-template"
PAGE = ROOT / "docs" / "how-to" / "write-a-plugin.md"
QUESTION, ANSWER = "写一篇关于 AI 的文章", "AI 正在改变世界..."  # the sandbox's shortest
GENERATED = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", ".*")
BROKEN = "raise RuntimeError('this plugin is broken')\n"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not TEMPLATE.is_dir(), reason="needs the repository's examples/"),
]


@pytest.fixture(scope="module")
def new_environment(tmp_path_factory: pytest.TempPathFactory, wheel_index: Path) -> Environment:
    """A new virtual environment with websopy-sync, and nothing else of ours."""
    return Environment.with_package(tmp_path_factory.mktemp("environment"), wheel_index)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template in a folder of its own."""
    copy = tmp_path_factory.mktemp("template") / "websopy-stopwatch"
    shutil.copytree(TEMPLATE, copy, ignore=GENERATED)
    return copy


@pytest.fixture(scope="module")
def environment(new_environment: Environment, template: Path) -> Environment:
    """The same with the template installed."""
    new_environment.install(template)
    return new_environment


@pytest.fixture
def module(environment: Environment) -> Iterator[Path]:
    """The installed plugin's file, put back when the test is over."""
    path = environment.site_packages / "websopy_stopwatch.py"
    text = path.read_text("utf-8")
    yield path
    path.write_text(text, "utf-8")


def test_page_shows_the_template(template: Path) -> None:
    """Every file of the template stands in the page as it is."""
    page = PAGE.read_text("utf-8")
    files = [path for path in template.rglob("*") if path.is_file()]
    assert len(files) == 4
    for path in files:
        name = path.relative_to(template).as_posix()
        shown = re.search(rf"^`{re.escape(name)}`[^`]*```\w*\n(.*?)^```$", page, re.M | re.S)
        assert shown, f"the page does not show {name}"
        assert shown[1] == path.read_text("utf-8"), f"the page shows another {name}"


def test_installed_it_is_listed(environment: Environment) -> None:
    """`websopy-sync plugins` shows it, with its hooks."""
    listed, _ = environment.run("websopy-sync", "plugins")
    (row,) = [line for line in listed.splitlines() if line.startswith("stopwatch ")]
    assert row.split() == [
        "stopwatch", "websopy-stopwatch", "0.1.0", "on_done", "on_error", "on_request", "loaded",
    ]  # fmt: skip


def test_it_is_called(environment: Environment) -> None:
    """A program that knows nothing of it tells it everything."""
    out, err = environment.run("websopy-sync", "chat", "--sandbox", "Hello")
    assert "Hello" in out
    assert re.search(r"^stopwatch: done after \d+\.\d\d s$", err, re.M)


def test_its_own_tests_pass(environment: Environment, template: Path) -> None:
    """The test file of the template runs there."""
    environment.run("python", "-m", "pip", "install", "--quiet", "pytest")
    out, _ = environment.run("python", "-m", "pytest", "-q", "tests", cwd=template)
    assert "1 passed" in out


@pytest.mark.parametrize("chosen", ["", "another"])
def test_switched_off(environment: Environment, chosen: str) -> None:
    """WEBSOPY_PLUGINS names those that are wanted; this one is not among them."""
    out, err = environment.run(
        "websopy-sync", "chat", "--sandbox", QUESTION, WEBSOPY_PLUGINS=chosen
    )
    assert ANSWER in out and "stopwatch: " not in err
    listed, _ = environment.run("websopy-sync", "plugins", WEBSOPY_PLUGINS=chosen)
    assert re.search(r"^stopwatch .* off$", listed, re.M)


Spoil = Callable[[str], str]
SPOILT: dict[str, tuple[Spoil, str]] = {
    "on import": (lambda text: BROKEN, "RuntimeError: this plugin is broken"),
    "when made": (
        lambda text: text.replace("        self.started: ", "        " + BROKEN + "        x: "),
        "RuntimeError: this plugin is broken",
    ),
    "misspelt hook": (lambda text: text.replace("def on_done", "def on_finish"), "on_finish"),
    "misspelt argument": (
        lambda text: text.replace("on_request(self, request", "on_request(self, question"),
        "question",
    ),
}


@pytest.mark.parametrize("how", SPOILT)
def test_broken(environment: Environment, module: Path, how: str) -> None:
    """A plugin that cannot be loaded is named in a warning and left out; the answer comes."""
    spoil, problem = SPOILT[how]
    text = module.read_text("utf-8")
    module.write_text(spoil(text), "utf-8")
    assert module.read_text("utf-8") != text
    out, err = environment.run("websopy-sync", "chat", "--sandbox", QUESTION)
    assert ANSWER in out and "stopwatch: " not in err.replace("plugin stopwatch: ", "")
    (line,) = [line for line in err.splitlines() if "stopwatch" in line]
    assert "left out" in line and problem in line
    listed, _ = environment.run("websopy-sync", "plugins")
    assert re.search(rf"^stopwatch .* failed: .*{re.escape(problem)}", listed, re.M)


def test_raising_in_a_hook(environment: Environment, module: Path) -> None:
    """A plugin that fails at work is told of once, and the answer comes whole."""
    text = module.read_text("utf-8")
    module.write_text(text.replace("        self.stop(stream)\n", "        " + BROKEN), "utf-8")
    out, err = environment.run("websopy-sync", "chat", "--sandbox", QUESTION)
    assert ANSWER in out
    assert err.count("this plugin is broken") == 1 and "on_done" in err
