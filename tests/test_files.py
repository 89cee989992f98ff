"""Files that are read within a limit, and replaced whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tables import each

from websopy_sync import ConfigError, FileError
from websopy_sync.files import PIECE, read_file, write_file


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def open_mask() -> Iterator[None]:
    """A program whose files anyone may read and write."""
    mask = os.umask(0)
    yield
    os.umask(mask)


@each("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 7])
def test_all_of_a_file_is_read(tmp_path: Path, size: int) -> None:
    """Up to the limit, over all its pieces."""
    path, data = tmp_path / "a", os.urandom(size)
    path.write_bytes(data)
    assert read_file(path, what="r", max_size=size) == data
    if size:
        limit = f"^r: expected at most {size - 1} bytes, got {size} or more$"
        with pytest.raises(ConfigError, match=limit):
            read_file(path, what="r", max_size=size - 1)


def test_a_file_larger_than_it_says() -> None:
    """Those of /proc say 0; a log may grow while it is read."""
    size = len(read_file("/proc/self/limits", what="r", max_size=PIECE))
    assert len(read_file("/proc/self/limits", what="r", max_size=size)) == size
    with pytest.raises(ConfigError, match=r"^r: expected at most 99 bytes, got 100 or more$"):
        read_file("/proc/self/limits", what="r", max_size=99)


@each("path", ["/dev/zero", "/dev/null", "pipe"])
def test_only_a_regular_file_is_read(tmp_path: Path, path: str) -> None:
    """A device may never end, and a pipe would be waited for."""
    if path == "pipe":
        os.mkfifo(tmp_path / path)
    with pytest.raises(ConfigError, match=r"^r: expected a regular file, got a pipe or a device$"):
        read_file(tmp_path / path, what="r", max_size=9)


@each(
    ("path", "number", "says"),
    [
        ("none", errno.ENOENT, "^r: cannot read '.*/none': No such file or directory$"),
        (".", errno.EISDIR, "Is a directory$"),
        ("x" * 300, errno.ENAMETOOLONG, "^r: cannot read: expected a path, got a text that is"),
        ("a\0b", None, "^r: cannot read: expected a path, got a text that is none$"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, path: str, number: int | None, says: str) -> None:
    """A FileError with the system's number, and nothing of Python's own behind it."""
    with pytest.raises(FileError, match=says) as caught:
        read_file(f"{tmp_path}/{path}", what="r", max_size=9)
    assert caught.value.errno == number
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_a_file_is_replaced(tmp_path: Path, open_mask: None) -> None:
    """Only its owner may read it, also if anyone could read the one before."""
    path = tmp_path / "a"
    write_file(path, b"one", what="w")
    assert (path.read_bytes(), mode_of(path)) == (b"one", 0o600)
    path.chmod(0o644)
    write_file(str(path), b"two", what="w")
    assert (read_file(path, what="w", max_size=3), mode_of(path)) == (b"two", 0o600)
    assert os.listdir(tmp_path) == ["a"]


def test_a_reader_keeps_the_file_it_has_opened(tmp_path: Path) -> None:
    """A reader sees the old file or the new one, and never half of one."""
    path = tmp_path / "a"
    write_file(path, b"one", what="w")
    with path.open("rb") as opened:
        write_file(path, b"two", what="w")
        assert opened.read() == b"one"


def test_a_link_stays(tmp_path: Path) -> None:
    """The file that it leads to is replaced, or made."""
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    for data in (b"one", b"two"):
        write_file(link, data, what="w")
        assert link.is_symlink() and target.read_bytes() == data


def test_a_name_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the path but the name is needed; any name does."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", os.fsdecode(b"\xff"), "文"):
        write_file(name, b"x", what="w")
        assert read_file(name, what="w", max_size=1) == b"x"


@each("name", ["folder", "pipe", "/dev/null", "/dev/full"])
def test_only_a_regular_file_is_replaced(tmp_path: Path, name: str) -> None:
    """A device would be gone afterwards; as root, /dev/null of all programs."""
    (tmp_path / "folder").mkdir(exist_ok=True)
    if not (tmp_path / "pipe").exists():
        os.mkfifo(tmp_path / "pipe")
    kind = (tmp_path / name).stat().st_mode
    with pytest.raises(ConfigError, match="w: expected a regular file, got a folder, a pipe or a"):
        write_file(tmp_path / name, b"x", what="w")
    assert (tmp_path / name).stat().st_mode == kind
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]


@each(
    ("path", "number", "says"),
    [
        ("none/a", errno.ENOENT, "w: cannot write '.*none/a': No such file or directory"),
        ("file/a", errno.ENOTDIR, "Not a directory"),
        ("loop/a", errno.ELOOP, "Too many levels of symbolic links"),
        ("x" * 300, errno.ENAMETOOLONG, "expected a path, got a text that is none"),
        ("a\0b", None, "expected a path, got a text that is none"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, path: str, number: int | None, says: str) -> None:
    """A FileError with the system's number, and nothing of Python's own behind it."""
    (tmp_path / "file").touch()
    if not (tmp_path / "loop").is_symlink():
        (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FileError, match=says) as caught:
        write_file(f"{tmp_path}/{path}", b"x", what="w")
    assert caught.value.errno == number
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert sorted(os.listdir(tmp_path)) == ["file", "loop"]


@each("path", [None, 3, b"a", ["a"], True])
def test_what_is_no_path(path: Any) -> None:
    """A number would be an open file of the program's."""
    for call in (
        lambda: read_file(path, what="w", max_size=1),
        lambda: write_file(path, b"", what="w"),
    ):
        with pytest.raises(
            ConfigError, match=f"w: expected a str or a path, got {type(path).__name__}"
        ):
            call()


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process may grow above 1,000 bytes.

    No fixture: pytest writes its report, which may be a file, before a fixture ends.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """And no other beside it."""
    path = tmp_path / "a"
    write_file(path, b"old", what="w")
    with full_disk(), pytest.raises(FileError, match="File too large") as caught:
        write_file(path, bytes(2000), what="w")
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


class TimeLimit(TimeoutError):
    """What a program's signal handler raises: an OSError like any other."""


def test_an_interrupt_comes_out_as_it_is(tmp_path: Path) -> None:
    """PROMISE 43: it is not taken for a failure of the file, and the old file stays."""

    class Path_(os.PathLike[str]):  # noqa: N801
        def __fspath__(self) -> str:
            signal.raise_signal(signal.SIGALRM)
            return str(tmp_path / "a")

    def handler(number: int, frame: object) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, handler)
    try:
        (tmp_path / "a").write_bytes(b"old")
        for call in (
            lambda: read_file(Path_(), what="w", max_size=9),
            lambda: write_file(Path_(), b"new", what="w"),
        ):
            with pytest.raises(TimeLimit):
                call()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert (tmp_path / "a").read_bytes() == b"old"
