"""The commands in README.md, docs/ and the other READMEs, typed in a new virtual environment.

A block marked `bash` holds commands; one marked `console` holds them after `$ `, and what they
print. A Python block after "this as `name.py`:" is saved there. All this is done in its order, in
one shell for each document, at the root of a copy of the sources. (Python examples also run by
themselves where conftest.py has them collected.)
"""

from __future__ import annotations

import ast
import builtins
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from documents import DOCUMENTS, ROOT, blocks, saved_files
from environments import Environment

from websopy_sync.sandbox import Sandbox

BUILT_PAGE = ROOT / "examples" / "chat" / "dist"
NOT_SOURCE = shutil.ignore_patterns(
    ".*", "build", "dist", "*.egg-info", "__pycache__", "_build", "node_modules"
)

NOT_TYPED_HERE = {
    "pip install -r requirements-test.txt && pytest -n 2 --dist loadfile": ".ci/run types it",
    "pip install -r requirements-test.txt": ".ci/run types it",
    "pip install -r requirements-dev.txt": ".ci/run types it",
    "pip install nox": ".ci/run types it",
    "pip install nox && nox -s lint types tests": ".ci/run types it",
    "npm --prefix examples/chat ci && npm --prefix examples/chat run build": ".ci/run types it",
    "pip install -e . -r benchmarks/requirements.txt": ".ci/run types it",
    "python -m benchmarks": "takes half an hour; test_benchmarks.py runs a short one",
    "python -m benchmarks --cases at-once-1,paced-chunked --clients read1,ours --rounds 3": (
        "takes minutes; test_benchmarks.py runs a short one"
    ),
    "celery -A chat_tasks worker --pool threads --concurrency 64": (
        "test_document_celery.py runs it"
    ),
    "flask --app flask_celery run": "test_document_celery.py runs it",
    "pip install . './plugins/websopy-relay[redis]' celery flask": ".ci/run installs all of it",
    "python -m benchmarks --quick": "test_benchmarks.py runs it",
    "python -m benchmarks.relay": "takes two minutes; test_benchmarks.py runs a short one",
    "WEBSOPY_API_KEY=… pytest --websopy-record -k greeting": "test_websopy_readme.py types it",
}

SERVERS = {
    "websopy-sync sandbox --port 8899": 8899,
    "python examples/chat/flask_app.py --sandbox": 8000,
    "flask --app flask_chat run": 5000,
    "flask --app ai_chat run": 5000,
    "flask --app flask_resume run": 5000,
    "flask --app ai_resume run": 5000,
    "python mysite/manage.py runserver": 8000,
    "uvicorn fastapi_chat:api": 8000,
    "uvicorn fastapi_resume:api": 8000,
}
"""Commands that run until Ctrl-C, and the port at which they serve."""

PLACEHOLDERS = {
    "3f9a": '$(python -c "import websopy_persistence as p; print(p.History().list()[0].id[:8])")',
}
"""What each reader has of their own, and where the test gets it."""

FILES = {
    "report.txt": "Sales went up.\n",
    "notes.txt": "A cat on a wall.\n",
    "photo.gif": "GIF89a",
    "my_script.py": """
from websopy_sync import WebsopyClient
WebsopyClient().ai.chat("Hello", model="websopy-1")
""",
}
"""What a document takes for granted that its reader has."""


@attrs.frozen
class Command:
    """One command of a document, and the lines that it is said to print."""

    text: str
    line: int
    output: tuple[str, ...] = ()

    @property
    def bare(self) -> str:
        """Without the comment at its end."""
        return re.sub(r"\s+# .*", "", self.text)

    @property
    def filled(self) -> str:
        """With the reader's own in place of what stands for it."""
        text = self.text
        for name, value in PLACEHOLDERS.items():
            text = text.replace(name, value)
        return text

    def is_shown(self, printed: str) -> bool:
        """Whether it printed what the document shows: other digits, and anything for `…`."""
        lines = iter(printed.splitlines())
        return all(any(_alike(shown, line) for line in lines) for shown in self.output)


def _alike(shown: str, printed: str) -> bool:
    pattern = re.sub(r"\\?\d+", r"\\d+", re.escape(shown.strip())).replace("…", ".*")
    return re.fullmatch(pattern, printed.strip()) is not None


def commands(document: str) -> list[Command]:
    """What a document says to type, in its order."""
    text = (ROOT / document).read_text("utf-8")
    found = [
        Command(match[1], text.count("\n", 0, match.start()) + 1)
        for match in re.finditer(r"`(pip install [^`\n]+)`", text)
    ]
    for language, first, lines in blocks(document):
        for number, line in enumerate(lines, first):
            if language == "bash" and line.strip():
                found.append(Command(line.strip(), number))
            elif language == "console" and line.startswith("$ "):
                found.append(Command(line.removeprefix("$ "), number))
            elif language == "console":
                found[-1] = attrs.evolve(found[-1], output=(*found[-1].output, line))
    for line, (name, code) in saved_files(document).items():
        found.append(Command(f"cat >{name} <<'END OF FILE'\n{code}END OF FILE", line))
    return sorted(found, key=lambda command: command.line)


def typed_here(document: str) -> list[Command]:
    if document == "README.zh-CN.md":
        return []  # the same as README.md's
    return [command for command in commands(document) if command.bare not in NOT_TYPED_HERE]


def test_every_block_has_a_language() -> None:
    """A block of commands that is not marked would never be typed."""
    known = {"bash", "console", "python", "text", "ini", "toml", "html", "js", "jsx", "vue"}
    for document in DOCUMENTS:
        for language, line, _ in blocks(document):
            assert language in known or language.startswith("{"), f"{document}:{line}"


ELSEWHERE = {
    "docs/why.md": {"requests", "json", "url", "headers"},  # what nobody should paste
    "docs/how-to/resume-in-the-browser.md": {"application"},  # Django's asgi.py has it
}
"""Names that a document's Python leaves to its reader."""


def test_what_is_pasted_has_its_names() -> None:
    """No name comes from a block that readers do not see."""
    for document in DOCUMENTS:
        shown = [lines for language, _, lines in blocks(document) if language == "python"]
        used, made = names_in("\n".join(line for lines in shown for line in lines))
        assert used - made <= ELSEWHERE.get(document, set()), document


def names_in(code: str) -> tuple[set[str], set[str]]:
    """The names that code reads, and those that it makes or that Python has."""
    used, made = set(), set(dir(builtins))
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Name(id, ast.Load()):
                used.add(id)
            case ast.Name(id) | ast.arg(id):
                made.add(id)
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
                made.add(name)
            case ast.ExceptHandler(_, str(name)):
                made.add(name)
            case ast.alias(name, other):
                made.add(other or name.partition(".")[0])
    return used, made


def test_every_exception_is_there() -> None:
    """What is not typed here, and what serves, stands in some document."""
    typed = {command.bare for document in DOCUMENTS for command in commands(document)}
    exceptions = {*NOT_TYPED_HERE, *SERVERS}
    assert exceptions <= typed


def test_chinese_readme_has_the_same_code() -> None:
    """Block for block. Each README links to the other at its top, and both to the same pages."""
    english, chinese = "README.md", "README.zh-CN.md"
    shown = [
        [(language, lines) for language, _, lines in blocks(name)] for name in (english, chinese)
    ]
    assert shown[0] == shown[1]
    texts = [(ROOT / name).read_text("utf-8") for name in (english, chinese)]
    assert f"]({chinese})" in texts[0].partition("\n## ")[0]
    assert f"]({english})" in texts[1].partition("\n## ")[0]
    links = [re.findall(r"\]\(([^)]+)\)", text) for text in texts]
    assert set(links[0]) - {chinese} == set(links[1]) - {english}
    sections = [len(re.findall(r"^## ", text, re.M)) for text in texts]
    assert sections[0] == sections[1]


def test_links_lead_somewhere() -> None:
    """Every relative link of every document is to a file that is there."""
    for document in DOCUMENTS:
        for link in re.findall(r"\]\(([^)\s]+)\)", (ROOT / document).read_text("utf-8")):
            if not link.startswith(("http:", "https:", "#")):
                assert (ROOT / document).parent.joinpath(link.partition("#")[0]).exists(), (
                    f"{document}: {link}"
                )


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_files_that_contributors_are_sent_to_are_there(document: str) -> None:
    """Each path in backticks is one of the project, of a package in it, or of the chat example."""
    folders = [ROOT, ROOT / "websopy_sync", *ROOT.glob("plugins/*/src/*"), ROOT / "examples/chat"]
    text = (ROOT / document).read_text("utf-8")
    named = re.findall(r"`([\w./*-]+(?:\.(?:py|md|txt|toml|cfg)|/))`", text)
    assert named
    for path in named:
        if "NAME" not in path:
            assert any(found for folder in folders for found in folder.glob(path)), path


SHELL = """
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# end PID: it and its children.
end() {
    local child
    for child in $(cat "/proc/$1/task/$1/children"); do end "$child"; done
    kill "$1"
}

# serve PORT COMMAND: succeeds once it answers there, in place of the server before it.
serve() {
    [[ -z ${server-} ]] || end "$server"
    while answers "$1"; do sleep 0.1; done
    eval "{ $2; } </dev/null &"
    server=$!
    until answers "$1"; do sleep 0.1 && kill -0 "$server" || return; done
}
"""


def script(typed: list[Command]) -> str:
    """For bash: each command between two marks, the second with its exit status."""
    lines = [SHELL]
    for number, command in enumerate(typed):
        lines.append(f"echo; echo '@@ {number}'")
        if port := SERVERS.get(command.bare):
            lines.append(f"serve {port} {shlex.quote(command.bare)}")
        else:
            lines.append(f"{{ {command.filled}\n}} </dev/null")
        lines.append('status=$?; echo; echo "@= $status"')
    return "\n".join([*lines, "kill 0"])  # all of its process group


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("document", list(filter(typed_here, DOCUMENTS)))
def test_commands_work_as_typed(
    document: str, tmp_path: Path, wheel_index: Path, needs: Callable[[object, str], None]
) -> None:
    """Each succeeds, prints what the document shows, and a server comes up."""
    typed = typed_here(document)
    for port in {SERVERS[command.bare] for command in typed if command.bare in SERVERS}:
        needs(is_free(port), f"port {port} to be free")
    if document == "examples/chat/README.md":
        needs(BUILT_PAGE.is_dir(), "the page: npm --prefix examples/chat ci && … run build")
    environment = Environment.make(tmp_path / "venv", wheel_index)
    home = copy_of_the_sources(tmp_path / "websopy-sync")
    with Sandbox(pause=0.001) as service:
        variables = environment.variables(
            HOME=str(tmp_path), WEBSOPY_API_KEY="key", WEBSOPY_BASE_URL=service.url
        )
        printed = type_in_bash(script(typed), home, variables)
    for number, command in enumerate(typed):
        place = f"{document}:{command.line}: {command.bare}"
        answer = re.search(rf"^@@ {number}$(.*?)^@= (\d+)$", printed, re.M | re.S)
        assert answer, f"{place}\nnever ended:\n{printed}"
        assert answer[2] == "0", f"{place}\nfailed:{answer[1]}"
        assert command.is_shown(answer[1]), f"{place}\nprinted:{answer[1]}"


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def copy_of_the_sources(folder: Path) -> Path:
    shutil.copytree(ROOT, folder, ignore=NOT_SOURCE)
    if BUILT_PAGE.is_dir():
        shutil.copytree(BUILT_PAGE, folder / BUILT_PAGE.relative_to(ROOT))
    for name, text in FILES.items():
        (folder / name).write_text(text, "utf-8")
    return folder


def type_in_bash(script: str, folder: Path, variables: dict[str, str]) -> str:
    """What it prints."""
    with subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        start_new_session=True,
    ) as bash:
        try:
            return bash.communicate(timeout=200)[0]
        except BaseException:
            os.killpg(bash.pid, signal.SIGKILL)
            raise
