"""The plugin template, as its page says: installed in a new virtual environment, and used there.

Nothing is downloaded: pip, setuptools and what websopy-sync needs are lent to the environment from
the one that runs the tests; websopy-sync itself is built from the sources and installed.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from packaging.version import Version

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "examples" / "plugin-template"
PAGE = ROOT / "docs" / "how-to" / "write-a-plugin.md"
LENT = (
    *("requests", "urllib3", "certifi", "idna", "charset-normalizer", "pluggy", "attrs"),
    *("pip", "setuptools", "pytest", "iniconfig", "packaging", "pygments"),
)
QUESTION, ANSWER = "写一篇关于 AI 的文章", "AI 正在改变世界..."  # the sandbox's shortest
GENERATED = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", ".*")
BROKEN = "raise RuntimeError('this plugin is broken')\n"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not TEMPLATE.is_dir(), reason="needs the repository's examples/"),
    pytest.mark.skipif(
        Version(importlib.metadata.version("setuptools")) < Version("77"),
        reason="needs setuptools 77, which is what the template asks for",
    ),
]


@attrs.frozen
class Environment:
    """A virtual environment with websopy-sync in it."""

    folder: Path

    @property
    def site_packages(self) -> Path:
        """Where its packages are."""
        (found,) = self.folder.glob("lib/python*/site-packages")
        return found

    def run(self, *command: str, cwd: Path | None = None, **settings: str) -> tuple[str, str]:
        """What a command of it writes to stdout and stderr. It must succeed."""
        clean = {n: v for n, v in os.environ.items() if not n.startswith(("WEBSOPY", "PYTEST"))}
        finished = subprocess.run(
            [self.folder / "bin" / command[0], *command[1:]],
            cwd=cwd or self.folder,
            env={**clean, "PYTHONIOENCODING": "utf-8", **settings},
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout, finished.stderr

    def install(self, source: Path) -> None:
        """`pip install`, offline; that everything it needs is here is checked all the same."""
        options = ("--no-index", "--no-build-isolation", "--disable-pip-version-check", "--quiet")
        self.run("python", "-m", "pip", "install", *options, str(source))


@pytest.fixture(scope="module")
def new_environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A new virtual environment with websopy-sync, and nothing else of ours."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "venv")  # pip of Python 3.11 would bring a setuptools that is too old
    environment = Environment(folder / "venv")
    lend(environment, folder / "lent")
    source = folder / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "websopy_sync", source / "websopy_sync")
    environment.install(source)
    return environment


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


def lend(environment: Environment, folder: Path) -> None:
    """Make the packages in LENT importable there, and visible to pip; no other."""
    folder.mkdir()
    for name in LENT:
        distribution = importlib.metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
        for top in tops:
            link = folder / top
            if not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))))
    (environment.site_packages / "lent.pth").write_text(f"{folder}\n", "utf-8")


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
