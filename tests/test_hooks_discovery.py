"""What is installed is looked up once a process, and only when somebody wants to know."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from websopy_sync import WebsopyClient, hookimpl
from websopy_sync.hooks import list_plugins

COUNTED = """
    import importlib.metadata, os, sys, threading
    os.environ.pop("WEBSOPY_PLUGINS", None)
    import websopy_sync
    from websopy_sync import WebsopyClient, hookimpl
    from websopy_sync.hooks import list_plugins

    looked = []
    entry_points = importlib.metadata.entry_points
    def counted(**selection):
        looked.append(selection)
        return entry_points(**selection)
    importlib.metadata.entry_points = counted

    class Plugin:
        @hookimpl
        def on_done(self): pass

    def client(plugins=None, chosen=None):
        if chosen is not None:
            os.environ["WEBSOPY_PLUGINS"] = chosen
        return WebsopyClient("k", plugins=plugins)
"""


def looked(script: str) -> int:
    """How often a program looks up what is installed."""
    program = textwrap.dedent(COUNTED) + textwrap.dedent(script) + "\nprint(len(looked))\n"
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=50
    )
    assert finished.returncode == 0, finished.stderr
    return int(finished.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "script",
    [
        "client(plugins=[])",
        "client(plugins=[Plugin(), Plugin])",
        "client(chosen='')",
        "client(chosen=' , ')",
    ],
)
def test_nobody_looks_when_no_installed_plugin_is_wanted(script: str) -> None:
    """Objects, classes and no plugin at all need no look at what is installed."""
    assert looked(script) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "script",
    [
        "for _ in range(3): client()",
        "for _ in range(3): client(chosen='nobody')",
        "client(plugins=[]).plugins; client().plugins",
        """
        try: client(plugins=['nobody'])
        except websopy_sync.ConfigError: client()
        """,
    ],
    ids=["all", "chosen", "listed", "by name"],
)
def test_a_process_looks_once(script: str) -> None:
    """However many clients it makes."""
    assert looked(script) == 1


@pytest.mark.slow
def test_many_threads_look_once() -> None:
    """Also when all of them make their first client at once."""
    script = """
        barrier = threading.Barrier(20)
        def make():
            barrier.wait()
            WebsopyClient("k")
        threads = [threading.Thread(target=make) for _ in range(20)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """
    assert looked(script) == 1


@pytest.mark.slow
def test_a_forked_child_looks_for_itself() -> None:
    """A child forked while its parent looks does not wait for the parent's thread."""
    script = """
        begun, over = threading.Event(), threading.Event()
        def slow(**selection):
            begun.set()
            over.wait(20)
            return entry_points(**selection)
        importlib.metadata.entry_points = slow
        thread = threading.Thread(target=client)
        thread.start()
        begun.wait(20)
        child = os.fork()
        if child == 0:
            importlib.metadata.entry_points = counted
            client()
            os._exit(7 if len(looked) == 1 else 1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        over.set()
        thread.join()
        looked += [None] * status
    """
    assert looked(script) == 7


def install(site: Path, name: str) -> None:
    """A distribution with one module and one entry point, all of one name."""
    (site / f"{name}.py").write_text(
        "from websopy_sync import hookimpl\n@hookimpl\ndef on_done(): pass\n", "utf-8"
    )
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(f"[websopy_sync]\n{name} = {name}\n", "utf-8")


def test_list_plugins_looks_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was installed since is seen by it, and by the clients that are made after it."""
    monkeypatch.delenv("WEBSOPY_PLUGINS")
    monkeypatch.syspath_prepend(str(tmp_path))

    def names(client: WebsopyClient) -> set[str]:
        return {info.name for info in client.plugins if info.name.startswith("installed_")}

    install(tmp_path, "installed_before")
    assert names(WebsopyClient("k")) == {"installed_before"}
    install(tmp_path, "installed_since")
    assert names(WebsopyClient("k")) == {"installed_before"}
    assert "installed_since" in {info.name for info in list_plugins()}
    assert names(WebsopyClient("k")) == {"installed_before", "installed_since"}


def test_another_sys_path_is_another_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that adds a folder of packages to sys.path finds the plugins in it."""
    monkeypatch.delenv("WEBSOPY_PLUGINS")
    WebsopyClient("k")
    install(tmp_path, "installed_elsewhere")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "installed_elsewhere" in {info.name for info in WebsopyClient("k").plugins}


def test_a_client_without_plugins_opens_no_file() -> None:
    """Making one costs no look at the disk, whatever is installed: no file, no folder is opened."""
    script = """
        client(plugins=[])
        opened = []
        sys.addaudithook(lambda event, arguments: opened.append(event))
        for _ in range(3):
            client(plugins=[])
            client(plugins=[Plugin()])
        events = {event for event in opened if event.startswith(("open", "os.", "import"))}
        assert events <= {"os.putenv", "os.unsetenv"}, events
    """
    assert looked(script) == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("entry_points.txt", b"[console_scripts]\nno equals sign\n"),
        ("entry_points.txt", b"[websopy_sync]\nno equals sign\n"),
        ("entry_points.txt", b"[websopy_sync]\nb\xe4d = x\n"),
        ("METADATA", b"Metadata-Version: 2.1\nName: \xff\n"),
    ],
    ids=["another group", "our group", "no UTF-8", "metadata"],
)
@pytest.mark.parametrize("broken", ["a_broken", "z_broken"])
def test_a_broken_distribution_hides_no_other(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    broken: str,
    name: str,
    content: bytes,
) -> None:
    """Whatever files of whatever package are damaged, clients are made, with the plugins left."""
    monkeypatch.delenv("WEBSOPY_PLUGINS")
    install(tmp_path, "installed_well")
    install(tmp_path, broken)
    (tmp_path / f"{broken}-1.0.dist-info" / name).write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    states = {info.name: info.state for info in WebsopyClient("k").plugins}
    assert states["installed_well"] == "loaded"
    if name == "METADATA":
        assert states[broken] == "loaded"
    else:
        assert broken not in states
        assert f"{broken}-1.0.dist-info cannot be read" in caplog.text


def test_plugins_of_a_distribution_without_metadata_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has neither name nor version."""
    install(tmp_path, "installed_bare")
    (tmp_path / "installed_bare-1.0.dist-info" / "METADATA").unlink()
    monkeypatch.syspath_prepend(str(tmp_path))
    (info,) = [info for info in list_plugins() if info.name == "installed_bare"]
    assert (info.distribution, info.version) == ("", "")


@hookimpl
def on_done() -> None:
    """This module is a plugin too."""


def test_plugins_are_listed_in_the_order_of_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installed ones first, whether they were wanted or not."""
    install(tmp_path, "installed_one")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = sys.modules[__name__]
    for plugins in ([module], ["installed_one", module]):
        infos = WebsopyClient("k", plugins=plugins).plugins
        mine = [info for info in infos if info.name in ("installed_one", __name__)]
        state = "loaded" if len(plugins) == 2 else "off"
        assert [(info.name, info.state) for info in mine] == [
            ("installed_one", state),
            (__name__, "loaded"),
        ]
