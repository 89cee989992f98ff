"""Who lives: processes of this machine, of its past, of containers and of other machines."""

from __future__ import annotations

import os
import subprocess
import sys

import attrs
import pytest
from websopy_persistence.identity import Identity

HERE = Identity.of_this_process()

needs_proc = pytest.mark.skipif(not HERE.started, reason="needs /proc")


def child() -> subprocess.Popen[bytes]:
    """A process that waits to be ended."""
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def identity_of(pid: int) -> Identity:
    """As the process itself would say it."""
    script = f"import os, websopy_persistence.identity as i; print(i._start_time({pid}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    return attrs.evolve(HERE, pid=pid, started=done.stdout.strip())


def test_as_text() -> None:
    """What a row holds is the identity again."""
    assert Identity.parse(str(HERE)) == HERE
    assert len(str(HERE)) <= 255
    assert HERE.pid == os.getpid()


@pytest.mark.parametrize("text", ["", "a/b/c", "host/x/1/2/3", "host/²/1/2/3", "a/1/2/3/4/5"])
def test_text_that_is_no_identity(text: str) -> None:
    """Somebody else's row says nothing."""
    assert Identity.parse(text) is None


@needs_proc
def test_this_process_lives() -> None:
    """Wherever the database is."""
    assert HERE.life_of(HERE, same_machine=True) == "alive"
    assert HERE.life_of(HERE, same_machine=False) == "alive"


@needs_proc
def test_a_process_and_its_end() -> None:
    """Alive while it runs, dead when it ended, even before its parent took note of that."""
    with child() as process:
        identity = identity_of(process.pid)
        assert HERE.life_of(identity, same_machine=False) == "alive"
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
        assert HERE.life_of(identity, same_machine=False) == "dead"
        process.wait()
        assert HERE.life_of(identity, same_machine=False) == "dead"


@pytest.mark.slow
@needs_proc
def test_a_process_of_another_user() -> None:
    """One that may not be signalled is there all the same: init, for somebody who is not root."""
    script = (
        "import os, attrs, websopy_persistence.identity as i\n"
        "here = i.Identity.of_this_process()\n"
        "there = attrs.evolve(here, pid=1, started=i._start_time(1))\n"
        "os.getuid() or os.setuid(65534)\n"
        "print(here.life_of(there, same_machine=False))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "alive\n"


@needs_proc
@pytest.mark.parametrize(
    ("changes", "of_file", "of_server"),
    [
        ({"started": "1"}, "dead", "dead"),  # its id was given to another process
        ({"pid": 2**22 + 1}, "dead", "dead"),
        ({"pid": 10**30}, "dead", "dead"),
        ({"host": "renamed"}, "alive", "alive"),
        ({"boot": "another"}, "dead", "unknown"),
        ({"boot": "another", "host": "another"}, "dead", "unknown"),
        ({"space": "another"}, "unknown", "unknown"),
        ({"boot": ""}, "unknown", "unknown"),
        ({"boot": "", "space": "", "host": "another"}, "unknown", "unknown"),
        ({"started": ""}, "unknown", "unknown"),
    ],
)
def test_the_table(changes, of_file: str, of_server: str) -> None:
    """A file is for one machine, a server for many."""
    other = attrs.evolve(HERE, **changes)
    assert HERE.life_of(other, same_machine=True) == of_file
    assert HERE.life_of(other, same_machine=False) == of_server


def test_without_proc() -> None:
    """Where the system says no more than process ids, only the absence of one says something."""
    here = Identity(HERE.host, HERE.pid)
    gone = Identity(HERE.host, 2**22 + 1)
    assert here.life_of(here, same_machine=True) == "unknown"
    assert here.life_of(gone, same_machine=True) == "dead"
    assert here.life_of(attrs.evolve(gone, host="another"), same_machine=True) == "unknown"
    assert here.life_of(gone, same_machine=False) == "unknown"
