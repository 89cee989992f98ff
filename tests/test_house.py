"""The plan of the house (docs/design.md), held against what each file imports and contains."""

from __future__ import annotations

import ast
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import websopy_sync

PACKAGE = Path(websopy_sync.__file__).parent
NAME = "websopy_sync"

# From the ground up. A module imports from lower floors only; those of one floor do not know each
# other. One that is not written yet may stand here already.
FLOORS = (
    {"errors", "_version", "interrupts", "plain_form"},
    {
        "chunks",
        "cancel",
        "timing",
        "redaction",
        "certificates",
        "dependencies",
        "sockets",
        "idle_stack",
    },
    {"http1", "lifeline", "proxies"},
    {"receiver", "socket_writer", "name_lookup", "sse", "message", "socks_handshake", "tls_in_tls"},
    {"transport", "resume"},
    {"source", "hooks", "wire"},
    {"stream"},
    {"conversation", "web", "sandbox"},
    {"client"},
    {"__init__", "cli"},
    {"__main__"},
)
FLOOR_OF = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}

# Each of these comes into the package by one door.
DOORS = {
    "requests": {"transport", "proxies", "certificates", "dependencies"},
    "urllib3": {"transport", "certificates", "tls_in_tls", "dependencies"},
    "pluggy": {"hooks"},
    "socks": {"socks_handshake"},
    "socket": {
        "transport",
        "receiver",
        "name_lookup",
        "proxies",
        "socks_handshake",
        "sockets",
        "sandbox",
    },
    "ssl": {"transport", "socket_writer", "certificates", "sandbox"},
    "http": {"transport", "dependencies", "http1", "sandbox"},
    "zlib": {"transport", "http1", "sandbox"},
}

WIRE_NAMES = ("promptTokens", "completionTokens", "totalTokens")

LONGEST_FUNCTION = 30

FILES = sorted(PACKAGE.rglob("*.py"))
every_file = pytest.mark.parametrize(
    "path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES]
)


def room_of(path: Path) -> str:
    """The module, or for a file of a subpackage the subpackage, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def tree_of(path: Path) -> ast.Module:
    """A file, parsed."""
    return ast.parse(path.read_bytes(), str(path))


def imports(path: Path, node: ast.AST) -> Iterator[str]:
    """The full names that an import statement brings in: `websopy_sync.sse.Decoder`, `json`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        # level 1 is the folder of the file, 2 the one above
        parents = [NAME, *path.relative_to(PACKAGE).parent.parts]
        base = parents[: len(parents) - node.level + 1] if node.level else []
        module = [*base, *([node.module] if node.module else [])]
        yield from (".".join([*module, alias.name]) for alias in node.names)


def rooms_imported(path: Path, node: ast.AST) -> Iterator[str]:
    """The modules of this package that an import statement names."""
    for name in imports(path, node):
        package, _, rest = name.partition(".")
        if package == NAME:
            room = rest.partition(".")[0]
            yield room if room in FLOOR_OF else "__init__"  # `from . import __version__`


def test_every_module_has_its_floor() -> None:
    """A new module is put on the plan before it is used."""
    assert {room_of(path) for path in FILES} <= set(FLOOR_OF)


@every_file
def test_imports_point_down(path: Path) -> None:
    """A module knows nothing of its own floor or of a higher one."""
    here = room_of(path)
    for node in ast.walk(tree_of(path)):
        for room in rooms_imported(path, node):
            inside = room == here and path.parent != PACKAGE
            assert inside or FLOOR_OF[room] < FLOOR_OF[here], (
                f"{here} (floor {FLOOR_OF[here]}) imports {room} (floor {FLOOR_OF[room]})"
            )


@every_file
def test_the_package_is_imported_at_the_top_of_a_file(path: Path) -> None:
    """No import inside a function or an `if` hides a way up."""
    tree = tree_of(path)
    for node in ast.walk(tree):
        if node not in tree.body:
            assert not list(rooms_imported(path, node)), f"line {node.lineno}"  # type: ignore[attr-defined]  # only statements import


@every_file
def test_foreign_libraries_come_in_by_their_door(path: Path) -> None:
    """What a library may do to us is dealt with in one place."""
    for node in ast.walk(tree_of(path)):
        for name in imports(path, node):
            door = DOORS.get(name.partition(".")[0])
            assert door is None or name in ("http.HTTPStatus",) or room_of(path) in door, name


@every_file
def test_only_wire_knows_the_names_on_the_wire(path: Path) -> None:
    """camelCase ends at wire."""
    if room_of(path) == "wire":
        return
    with tokenize.open(path) as file:
        text = file.read()
    assert not [name for name in WIRE_NAMES if name in text]


@every_file
def test_every_module_says_its_job(path: Path) -> None:
    """A first line of one sentence, as every file here has it."""
    docstring = ast.get_docstring(tree_of(path)) or ""
    assert docstring.partition("\n")[0].endswith("."), "module docstring: one sentence first"


@every_file
def test_functions_stay_short(path: Path) -> None:
    """Thirty lines of code, without docstring, blank lines and comments."""
    lines = path.read_text("utf-8").splitlines()
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node) else node.body
        if not body:
            continue
        code = [
            line
            for line in lines[body[0].lineno - 1 : node.end_lineno]
            if line.strip() and not line.strip().startswith("#")
        ]
        assert len(code) <= LONGEST_FUNCTION, f"{node.name}: {len(code)} lines"


def test_importing_the_package_is_cheap() -> None:
    """No entry point is looked up, and no room is loaded that a script does not need."""
    code = """
import importlib.metadata, sys
def refuse(*args, **kwargs):
    raise AssertionError("entry points were looked up")
importlib.metadata.entry_points = importlib.metadata.distributions = refuse
import websopy_sync
print(*sorted(name for name in sys.modules if name.startswith("websopy_sync.")))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30
    )
    assert answer.returncode == 0, answer.stderr
    loaded = {name.split(".")[1] for name in answer.stdout.split()}
    assert not loaded & {"cli", "sandbox", "web"}
