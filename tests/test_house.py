"""The floors of docs/architecture.md, held against what each file imports and contains."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tables import each

import websopy_sync
from websopy_sync.wires.websopy import Websopy

PACKAGE = Path(websopy_sync.__file__).parent
NAME = "websopy_sync"

# From the ground up. A module imports from lower floors only; those of one floor do not know each
# other. A package's `__init__` has the package's name and stands above its files.
FLOORS = (
    {
        "_version",
        "collector",
        "docstrings",
        "errors",
        "interrupts",
        "plain_form",
        "secret",
        "signatures",
        "surrogates",
        "transport.idle_stack",
    },
    {
        "files",
        "headers",
        "json_shapes",
        "request_body",
        "request_secrets",
        "retry",
        "sockets",
        "sse",
        "status_errors",
        "threads",
        "timeouts",
        "transport.body_framing",
        "transport.certificates",
        "transport.content_coding",
        "transport.dependencies",
        "transport.proxies",
        "transport.request",
        "transport.response_head",
        "turns",
        "urls",
        "value_fields",
        "wires.lenient_json",
        "wires.turn_fields",
    },
    {"compound_shapes", "conversation_file", "model_shapes", "parts", "tool_call", "usage"},
    {"chunks", "json_types", "tool_errors", "tool_results"},
    {
        "cancel",
        "json_schema",
        "message",
        "ndjson",
        "redaction",
        "resume",
        "whole_body",
        "wires.anthropic.turns",
        "wires.base",
        "wires.gemini.turns",
        "wires.openai.state",
        "wires.tool_pieces",
        "wires.websopy.turns",
    },
    {"wires.pieces"},
    {"wires.openai.dialects", "wires.openai_form"},
    {"wires.openai.turns", "wires.responses.turns"},
    {
        "api_key",
        "transport.name_lookup",
        "transport.socket_reader",
        "transport.socket_writer",
        "transport.socks_handshake",
        "transport.tls_in_tls",
        "wires.anthropic.blocks",
        "wires.fast_path",
        "wires.gemini.reader",
        "wires.ollama",
        "wires.openai.reader",
        "wires.registry",
        "wires.responses.items",
        "wires.websopy.reader",
        "wires.websopy.writer",
    },
    {"wires.anthropic.reader", "wires.responses.reader"},
    {
        "transport.raw_response",
        "wires",
        "wires.anthropic",
        "wires.gemini",
        "wires.openai",
        "wires.responses",
        "wires.websopy",
    },
    {"structured_output", "tools", "transport.request_context"},
    {"transport.failures"},
    {"transport.connection", "transport.custom_adapter", "transport.response"},
    {"transport.pool"},
    {"transport.transport"},
    {"transport"},
    {"endpoint", "event_format", "response_check"},
    {"event_source"},
    {"hooks.request", "hooks.specs"},
    {"hooks.arguments", "hooks.discovery", "hooks.nesting", "hooks.results", "hooks.stream_local"},
    {"hooks.background"},
    {"hooks.loading"},
    {"hooks.manager"},
    {"hooks"},
    {"chat_call", "lifecycle", "options"},
    {"response_stream"},
    {"body_stream", "stream", "tool_calls"},
    {
        "calls",
        "conversation",
        "fan_out",
        "sandbox.channel",
        "sandbox.examples",
        "sandbox.recorded_request",
        "sandbox.wires.base",
        "sandbox.steps",
        "web.feed",
        "web.json_event",
        "web.page",
        "web.page_format",
        "web.page_json",
        "web.public_errors",
    },
    {"model_list", "run", "web.async_steps", "web.events"},
    {"web.ai_sdk", "web.body", "web.opening"},
    {"web.buffer"},
    {"web.answer_body"},
    {"web.django_view", "web.flask_view", "web.starlette_view"},
    {"web"},
    {
        "sandbox.http_writer",
        "sandbox.script",
        "sandbox.turn_check",
        "sandbox.wires.anthropic",
        "sandbox.wires.gemini",
        "sandbox.wires.ollama",
        "sandbox.wires.openai",
        "sandbox.wires.registry",
        "sandbox.wires.responses",
        "sandbox.wires.websopy",
    },
    {"sandbox.wires"},
    {"sandbox.compiled_script"},
    {"sandbox.service"},
    {"sandbox.default_answer"},
    {"sandbox.dispatcher"},
    {"sandbox.http_handler"},
    {"sandbox.server"},
    {"sandbox"},
    {"ai"},
    {"client"},
    {"cli.json_lines", "cli.markdown_blocks", "cli.usage", "cli.wrap"},
    {"cli.screen", "cli.table", "cli.terminal"},
    {"cli.markdown_lines", "cli.writers"},
    {"cli.markdown"},
    {
        "cli.clipboard",
        "cli.input",
        "cli.output",
        "cli.plugins",
        "cli.sandbox",
        "cli.wires",
    },
    {"cli.commands", "cli.message_history", "cli.prompt", "cli.request_flags", "cli.service_flags"},
    {"cli.models", "cli.session"},
    {"cli.chat"},
    {"cli.main"},
    {"__init__", "cli"},
    {"__main__"},
)
FLOOR_OF = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}

# Each of these comes into the package by one door: a file, or a package with all its files.
DOORS = {
    "requests": {"transport"},
    "urllib3": {"transport"},
    "pluggy": {"hooks"},
    "socks": {"transport.socks_handshake"},
    "socket": {"transport", "sockets", "sandbox"},
    "_socket": {"sockets"},
    "select": {"sockets", "cli.input"},  # the command line waits for the terminal
    "selectors": {"sandbox"},
    "ssl": {"transport", "sandbox"},
    "http": {"transport", "sandbox"},
    "zlib": {"transport.content_coding", "sandbox"},
    "rich": {"cli.markdown_lines"},
    "markdown_it": {"cli.markdown_blocks", "cli.markdown_lines"},
}

# Pure: bytes and values in, values out.
PURE = {
    "chunks",
    "cli.json_lines",
    "cli.markdown_blocks",
    "cli.screen",
    "cli.usage",
    "cli.wrap",
    "compound_shapes",
    "docstrings",
    "headers",
    "hooks.results",
    "json_schema",
    "json_shapes",
    "json_types",
    "message",
    "model_shapes",
    "ndjson",
    "plain_form",
    "redaction",
    "request_body",
    "request_secrets",
    "resume",
    "retry",
    "sandbox.default_answer",
    "sandbox.examples",
    "sandbox.recorded_request",
    "sandbox.script",
    "sandbox.service",
    "sandbox.steps",
    "sandbox.turn_check",
    "sandbox.wires.anthropic",
    "sandbox.wires.base",
    "sandbox.wires.gemini",
    "sandbox.wires.ollama",
    "sandbox.wires.openai",
    "sandbox.wires.responses",
    "sandbox.wires.websopy",
    "sse",
    "structured_output",
    "surrogates",
    "timeouts",
    "tool_results",
    "transport.body_framing",
    "transport.content_coding",
    "transport.request",
    "transport.response_head",
    "tool_call",
    "turns",
    "urls",
    "usage",
    "value_fields",
    "web.ai_sdk",
    "web.events",
    "web.feed",
    "web.json_event",
    "web.page",
    "web.page_format",
    "web.page_json",
    "web.public_errors",
    "whole_body",
    "wires.anthropic",
    "wires.anthropic.blocks",
    "wires.anthropic.reader",
    "wires.anthropic.turns",
    "wires.base",
    "wires.fast_path",
    "wires.gemini",
    "wires.gemini.turns",
    "wires.gemini.reader",
    "wires.lenient_json",
    "wires.ollama",
    "wires.openai",
    "wires.openai.dialects",
    "wires.openai.reader",
    "wires.openai.state",
    "wires.openai.turns",
    "wires.openai_form",
    "wires.pieces",
    "wires.tool_pieces",
    "wires.responses",
    "wires.responses.items",
    "wires.responses.reader",
    "wires.responses.turns",
    "wires.turn_fields",
    "wires.websopy",
    "wires.websopy.reader",
    "wires.websopy.turns",
    "wires.websopy.writer",
}
IO_MODULES = {"socket", "ssl", "select", "selectors", "requests", "urllib3", "os", "time"}

# What only a wire may say of its service: anywhere in a text, and as a whole text.
SERVICE_PARTS = (
    Websopy.base_url,
    Websopy.path,
    "promptTokens",
    "completionTokens",
    "totalTokens",
)
SERVICE_HEADERS = {
    text.strip().lower() for text in (*Websopy.request_id_headers, *Websopy.key_header)
}

NAMES_OF_OTHERS = {("web.ai_sdk", "totalTokens")}  # what the AI SDK calls it, too

LONGEST_FUNCTION = 30
LONGEST_FILE = 350
DEEPEST_NESTING = 3
DEEP = {"stream._items"}

FILES = sorted(PACKAGE.rglob("*.py"))
every_file = each("path", FILES)


def module_of(path: Path) -> str:
    """The name of a file within the package: `stream`, `hooks.manager`, `hooks` for its init."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


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


def modules_imported(path: Path, node: ast.AST) -> Iterator[str]:
    """The modules of this package that an import statement names."""
    for name in imports(path, node):
        package, _, module = name.partition(".")
        if package == NAME:
            while module and module not in FLOOR_OF:
                module = module.rpartition(".")[0]
            yield module or "__init__"  # `from . import __version__`


def test_every_module_has_its_floor() -> None:
    """A new module is put on the plan before it is used."""
    assert {module_of(path) for path in FILES} == set(FLOOR_OF)


@every_file
def test_imports_point_down(path: Path) -> None:
    """A module knows nothing of its own floor or of a higher one."""
    here = module_of(path)
    for node in ast.walk(tree_of(path)):
        for module in modules_imported(path, node):
            assert FLOOR_OF[module] < FLOOR_OF[here], (
                f"{here} (floor {FLOOR_OF[here]}) imports {module} (floor {FLOOR_OF[module]})"
            )


@every_file
def test_the_package_is_imported_at_the_top_of_a_file(path: Path) -> None:
    """No import inside a function or an `if` hides a way up."""
    tree = tree_of(path)
    for node in ast.walk(tree):
        if node not in tree.body:
            assert not list(modules_imported(path, node)), f"line {node.lineno}"  # type: ignore[attr-defined]  # only statements import


@every_file
def test_foreign_libraries_come_in_by_their_door(path: Path) -> None:
    """What a library may do to us is dealt with in one place."""
    here = module_of(path)
    for node in ast.walk(tree_of(path)):
        for name in imports(path, node):
            doors = DOORS.get(name.partition(".")[0])
            allowed = doors is None or {here, here.partition(".")[0]} & doors
            assert allowed or name == "http.HTTPStatus", name


@every_file
def test_pure_files_do_no_io(path: Path) -> None:
    """Parsers and arithmetic are given their bytes, their clock and their random numbers."""
    if module_of(path) not in PURE:
        return
    for node in ast.walk(tree_of(path)):
        for name in imports(path, node):
            assert name.partition(".")[0] not in IO_MODULES, name


def texts_in(tree: ast.Module) -> Iterator[str]:
    """The strings in a file's code, without its docstrings."""
    docstrings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node not in docstrings:
            yield str(node.value)


@every_file
def test_only_a_wire_knows_its_service(path: Path) -> None:
    """Its address, paths, header names and fields stand in its file, and nowhere else."""
    if module_of(path).startswith("wires."):
        return
    for text in texts_in(tree_of(path)):
        if (module_of(path), text) in NAMES_OF_OTHERS:
            continue
        assert not [part for part in SERVICE_PARTS if part in text], text
        assert text.strip().lower() not in SERVICE_HEADERS


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


@every_file
def test_files_stay_short(path: Path) -> None:
    """A file of more than 350 lines has more than one job."""
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST_FILE


@every_file
def test_code_stays_flat(path: Path) -> None:
    """Blocks stand in three others at most; the loop over chunks says why it is deeper."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef) and f"{module_of(path)}.{node.name}" not in DEEP:
            assert nesting(node) <= DEEPEST_NESTING, node.name


def nesting(node: ast.AST) -> int:
    """How many blocks stand in each other below this node."""
    deepest = 0
    for field in ("body", "orelse", "finalbody", "handlers"):
        for inner in getattr(node, field, []):
            block = isinstance(inner, ast.If | ast.For | ast.While | ast.With | ast.Try)
            follows = field == "orelse" and isinstance(node, ast.If)  # elif, else
            if not isinstance(inner, ast.FunctionDef | ast.ClassDef):
                deepest = max(deepest, nesting(inner) + (block and not follows))
    return deepest


RELAY = PACKAGE.parent / "plugins/websopy-relay/src/websopy_relay"


def test_the_floors_of_the_relay() -> None:
    """Its first docstring lists them from the ground up, every file once."""
    docstring = ast.get_docstring(tree_of(RELAY / "__init__.py")) or ""
    listed = docstring.partition("From the ground up:")[2].partition(".")[0]
    floors = [[name.strip() for name in floor.split(",")] for floor in listed.split("|")]
    floor_of = {name: number for number, names in enumerate(floors) for name in names}
    files = {path.stem: path for path in RELAY.glob("*.py")}
    assert files.keys() - {"__init__"} == floor_of.keys()
    for name in floor_of:
        for node in ast.walk(tree_of(files[name])):
            if isinstance(node, ast.ImportFrom) and node.level:
                below = [node.module] if node.module else [alias.name for alias in node.names]
                for other in below:
                    assert floor_of[other] < floor_of[name], f"{name} imports {other}"


def test_a_system_without_forks_and_terminals() -> None:
    """The package is imported and streams without the modules that only Unix has."""
    code = """
import os, sys
del os.fork, os.register_at_fork
for name in ("fcntl", "readline", "resource", "termios"):
    sys.modules[name] = None
import websopy_sync, websopy_sync.cli.main, websopy_sync.web
from websopy_sync.sandbox import Sandbox
with Sandbox() as sandbox:
    with websopy_sync.WebsopyClient("key", base_url=sandbox.url, plugins=[]) as client:
        print(client.ai.chat("hello").finish_reason)
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30
    )
    assert (answer.returncode, answer.stdout.split()) == (0, ["stop"]), answer.stderr


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
