"""Parts of a turn: what image(), file() and text() read, refuse and hide."""

from __future__ import annotations

import base64
import errno
import logging
import os
import pickle
import random
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from discretion import PROMPT, assert_discreet
from tables import each

import websopy_sync
from websopy_sync import (
    ConfigError,
    FileError,
    FilePart,
    ImagePart,
    TextPart,
    WebsopyClient,
)
from websopy_sync.sandbox import Sandbox, status
from websopy_sync.status_errors import BadRequestError

PNG = b"\x89PNG\r\n\x1a\n" + b"picture"
IMAGES = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0picture",
    "image/gif": b"GIF89apicture",
    "image/webp": b"RIFF\x10\0\0\0WEBPVP8 picture",
}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_text() -> None:
    """It stands beside images, in its order."""
    part = websopy_sync.text("你好")
    assert part == TextPart("你好")
    assert part.to_dict() == {"type": "text", "text": "你好"}


@each(("media_type", "data"), [*IMAGES.items(), ("image/gif", b"GIF87a")])
def test_an_image_is_what_its_first_bytes_say(tmp_path: Path, media_type: str, data: bytes) -> None:
    """Whatever its name says."""
    path = tmp_path / "picture.bmp"
    path.write_bytes(data)
    expected = {"type": "image", "media_type": media_type, "data": encoded(data)}
    for source in (data, bytearray(data), memoryview(data), path, str(path)):
        part = websopy_sync.image(source)
        assert part.to_dict() == expected
        assert part == ImagePart(media_type, encoded(data))


@each("url", ["https://example.com/a.png?x=1", "http://example.com/a", "HTTPS://EXAMPLE.COM/a"])
def test_a_url_is_for_the_service_to_load(url: str) -> None:
    """Nothing is loaded here."""
    assert websopy_sync.image(url).to_dict() == {"type": "image", "url": url}


@each(
    "url",
    [
        "data:image/png;base64," + encoded(PNG),
        "DATA:;BASE64," + encoded(PNG),
        "data:text/html;base64," + encoded(PNG),
        "data:image/png;base64," + encoded(PNG).rstrip("="),
        "data:image/png;base64," + encoded(PNG)[:9] + "\n " + encoded(PNG)[9:],
        "data:image/png;base64," + encoded(PNG).replace("+", "%2B"),
        "data:image/png,%89PNG%0D%0A%1A%0Apicture",
    ],
)
def test_a_data_url_is_read_here(url: str) -> None:
    """As browsers read one; its type is again what the bytes say."""
    assert websopy_sync.image(url) == websopy_sync.image(PNG)


@each(
    "data",
    [
        b"",
        b"s3cret text",
        b"<svg>",
        b"BM0000",
        b"%PDF-1.7",
        PNG[:7],
        b"RIFF\0\0\0\0WAVEfmt ",
        "data:image/png;base64,s3cret!",
        "data:image/png;base64,A",
        "data:image/png",
        "data:,\udc80",
    ],
)
def test_other_images_are_refused(data: Any) -> None:
    """The error lists what is taken, and quotes nothing of the data."""
    with pytest.raises(ConfigError, match="PNG, JPEG, GIF or WebP") as caught:
        websopy_sync.image(data)
    assert "s3cret" not in str(caught.value)


@each(
    ("name", "data", "media_type"),
    [
        ("a.pdf", b"%PDF", "application/pdf"),
        ("a.PDF", b"", "application/pdf"),
        ("a.csv", b"a,b", "text/csv"),
        ("a.html", b"\xff", "text/html"),
        ("a.png", PNG, "image/png"),
        ("README", "文".encode(), "text/plain"),
        ("a.unknown", b"text", "text/plain"),
        ("a.unknown", b"\xff\xfe", "application/octet-stream"),
        ("a.unknown", b"a\0b", "application/octet-stream"),
        ("empty", b"", "text/plain"),
        ("a.ts", b"let x = 1", "text/plain"),
        ("a.csv.gz", b"\x1f\x8b", "application/gzip"),
        ("a.csv.xz", b"\xfd7zXZ", "application/octet-stream"),
        ("data:,x", b"x", "text/plain"),
    ],
)
def test_the_media_type_of_a_file(tmp_path: Path, name: str, data: bytes, media_type: str) -> None:
    """By the ending of its name, and text only if it is text. The same on every machine."""
    path = tmp_path / name
    path.write_bytes(data)
    expected = {"type": "file", "name": name, "media_type": media_type, "data": encoded(data)}
    assert websopy_sync.file(path).to_dict() == expected
    assert websopy_sync.file(str(path)) == FilePart(name, media_type, encoded(data))
    assert websopy_sync.file(data, name) == websopy_sync.file(path)


def test_the_name_of_a_file(tmp_path: Path) -> None:
    """The path's last part, "file" for bytes, or the one that is given; all can be sent."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"text")
    assert websopy_sync.file(path).name == "a.txt"
    assert websopy_sync.file(path, "b.csv").name == "b.csv"
    assert websopy_sync.file(path, "b.csv").media_type == "text/csv"
    assert websopy_sync.file(b"text").name == "file"
    odd = tmp_path / os.fsdecode(b"a\xff.txt")
    odd.write_bytes(b"text")
    assert websopy_sync.file(odd).name == "a\ufffd.txt"


@each(
    ("call", "says"),
    [
        (lambda: websopy_sync.text(b"x"), "text: expected str, got bytes"),
        (lambda: websopy_sync.image(None), "image: expected a str or a path, got NoneType"),
        (lambda: websopy_sync.image(3), "image: expected a str or a path, got int"),
        (lambda: websopy_sync.file(["a"]), "file: expected a str or a path, got list"),
        (lambda: websopy_sync.file(b"x", 3), "name: expected str, got int"),
        (lambda: websopy_sync.file(b"x", ""), "name: expected a name, got an empty one"),
        (lambda: websopy_sync.file("https://h/a"), "file: expected a path or bytes, got a URL"),
        (lambda: websopy_sync.image(PNG, max_size=0), "max_size: .* got 0"),
        (lambda: websopy_sync.file(b"x", max_size="1"), "max_size: .* got '1'"),
        (lambda: websopy_sync.file(b"x", max_size=True), "max_size: .* got True"),
    ],
)
def test_what_is_no_part(call: Callable[[], object], says: str) -> None:
    """Said at once, by its type."""
    with pytest.raises(ConfigError, match=says):
        call()


# --- files that cannot be read -------------------------------------------------------------------


@each("make", [websopy_sync.image, websopy_sync.file])
def test_a_file_that_is_not_there(make: Callable[..., Any], tmp_path: Path) -> None:
    """A ConfigError that is an OSError too, with its number, and with nothing of Python's own."""
    with pytest.raises(FileError, match=r"cannot read '.*none\.png': No such file") as caught:
        make(tmp_path / "none.png")
    assert isinstance(caught.value, ConfigError) and isinstance(caught.value, OSError)
    assert caught.value.errno == errno.ENOENT
    assert caught.value.__cause__ is caught.value.__context__ is None


@each("make", [websopy_sync.image, websopy_sync.file])
@each("text", [f"{PROMPT}\0", PROMPT * 20, PROMPT * 1000, "\ud800" + PROMPT])
def test_a_text_in_place_of_a_path(make: Callable[..., Any], text: str) -> None:
    """It may be a prompt, or a file's text: the error does not show it."""
    with pytest.raises(FileError, match="expected a path, got a text that is none") as caught:
        make(text)
    assert_discreet(caught.value)


@each("make", [websopy_sync.image, websopy_sync.file])
def test_only_regular_files_are_read(make: Callable[..., Any], tmp_path: Path) -> None:
    """A pipe would be waited for, a device never ends."""
    pipe = tmp_path / make.__name__
    os.mkfifo(pipe)
    for path in (pipe, "/dev/zero", "/dev/null"):
        with pytest.raises(ConfigError, match="expected a regular file, got a pipe or a device"):
            make(path)
    with pytest.raises(FileError, match="Is a directory") as caught:
        make(tmp_path)
    assert caught.value.errno == errno.EISDIR


@each("make", [websopy_sync.image, websopy_sync.file])
def test_too_large(make: Callable[..., Any], tmp_path: Path) -> None:
    """The limit holds for files, bytes and URLs; a file of that size is not read."""
    path = tmp_path / make.__name__
    path.write_bytes(PNG)
    assert make(path, max_size=len(PNG))
    for source in (path, PNG):
        with pytest.raises(ConfigError, match=f"at most {len(PNG) - 1} bytes, got {len(PNG)}"):
            make(source, max_size=len(PNG) - 1)
    os.truncate(path, 1 << 40)  # holes: no disk is used
    with pytest.raises(ConfigError, match=f"at most {20 * 1024 * 1024} bytes, got {1 << 40}"):
        make(path)


def test_too_large_a_data_url() -> None:
    """The limit is for what it holds."""
    url = "data:image/png;base64," + encoded(PNG)
    assert websopy_sync.image(url, max_size=len(PNG))
    with pytest.raises(ConfigError, match=f"at most {len(PNG) - 1} bytes, got {len(PNG)}"):
        websopy_sync.image(url, max_size=len(PNG) - 1)


def test_a_file_larger_than_it_says() -> None:
    """Those of /proc say 0; a log may grow."""
    assert base64.b64decode(websopy_sync.file("/proc/self/status").data).startswith(b"Name:")
    with pytest.raises(ConfigError, match="at most 9 bytes, got 10 or more"):
        websopy_sync.file("/proc/self/status", max_size=9)


# --- what is kept from view ----------------------------------------------------------------------

PARTS = [
    websopy_sync.text(PROMPT),
    websopy_sync.image(PNG + PROMPT.encode()),
    websopy_sync.image(f"https://example.com/{PROMPT}"),
    websopy_sync.file(PROMPT.encode(), f"{PROMPT}.txt"),
]


def test_no_repr_shows_the_data() -> None:
    """PROMISE 21: what is sent is in no log and no crash report."""
    described = [
        f"<TextPart {len(PROMPT)} characters>",
        f"<ImagePart image/png, {len(PNG + PROMPT.encode())} bytes>",
        "<ImagePart by URL>",
        f"<FilePart text/plain, {len(PROMPT)} bytes>",
    ]
    assert [repr(part) for part in PARTS] == [str(part) for part in PARTS] == described


@each("part", PARTS)
def test_parts_are_values(part: Any) -> None:
    """They compare, pickle, and stay as they are."""
    again = pickle.loads(pickle.dumps(part))
    assert again == part and hash(again) == hash(part)
    with pytest.raises(AttributeError):
        part.data = ""


def test_the_service_gets_each_part(client: WebsopyClient, sandbox: Sandbox) -> None:
    """In the service's names, as docs/wire.md has them; a dict beside them as it is."""
    content = [
        websopy_sync.text("What is it?"),
        websopy_sync.image(PNG),
        websopy_sync.image("https://example.com/a.png"),
        websopy_sync.file(b"a,b", "a.csv"),
        {"type": "later", "x": 1},
    ]
    client.ai.chat([{"role": "user", "content": content}])
    client.ai.conversation().send(content).until_done()
    expected = [
        {"type": "text", "text": "What is it?"},
        {"type": "image", "mediaType": "image/png", "data": encoded(PNG)},
        {"type": "image", "url": "https://example.com/a.png"},
        {"type": "file", "name": "a.csv", "mediaType": "text/csv", "data": encoded(b"a,b")},
        {"type": "later", "x": 1},
    ]
    for request in sandbox.requests:
        assert request.json["messages"] == [{"role": "user", "content": expected}]


def test_no_error_shows_an_image(client: WebsopyClient, sandbox: Sandbox) -> None:
    """A service that echoes the request, whole or cut anywhere, is redacted."""
    data = PNG + os.urandom(3000)
    shown = encoded(data)
    for echo in (shown, shown[1000:], shown[:1000], shown[777:1777], f"bad image {shown[5:99]}…"):
        sandbox.play(status(400, echo))
        with pytest.raises(BadRequestError) as caught:
            client.ai.chat([{"role": "user", "content": [websopy_sync.image(data)]}])
        kept = caught.value.body
        pieces = {shown[at : at + 16] for at in range(len(shown) - 16)}
        assert not [piece for piece in pieces if piece in kept]
        assert_discreet(caught.value)


def test_no_log_shows_an_image(client: WebsopyClient, caplog: pytest.LogCaptureFixture) -> None:
    """At no level, of no library."""
    caplog.set_level(logging.DEBUG)
    data = PNG + os.urandom(3000)
    part = websopy_sync.file(data, "s3cret.bin")
    client.ai.chat([{"role": "user", "content": [websopy_sync.image(data), part]}])
    assert caplog.records
    assert encoded(data)[:16] not in caplog.text
    assert "s3cret" not in caplog.text


# --- the largest image ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def largest() -> ImagePart:
    """An image of 20 MiB that no compression makes smaller, the same in each run."""
    noise = random.Random(1).randbytes(websopy_sync.parts.MAX_SIZE - len(PNG))
    return websopy_sync.image(PNG + noise)


def test_memory_of_the_largest_image(tmp_path: Path) -> None:
    """The file is read once and encoded once; afterwards only its base64 is there."""
    size = 4 << 20
    path = tmp_path / "a.png"
    path.write_bytes(PNG + bytes(size - len(PNG)))
    tracemalloc.start()
    try:
        part = websopy_sync.image(path)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1.5 * size
    assert peak < 4 * size
    assert part.to_dict()["data"] is part.data  # each send shares it


@pytest.mark.timing
def test_the_largest_image_is_sent_at_once(
    client: WebsopyClient, sandbox: Sandbox, largest: ImagePart
) -> None:
    """Also when the service refuses it, and the error is searched for its data."""
    messages = [{"role": "user", "content": [largest]}]
    begun = time.monotonic()
    next(client.ai.chat_stream(messages))
    answered = time.monotonic()
    sandbox.play(status(400, f"bad image {largest.data[1000:1100]}"))
    with pytest.raises(BadRequestError) as caught:
        client.ai.chat(messages)
    assert answered - begun < 10
    assert time.monotonic() - answered < 20
    assert caught.value.body == "bad image ***"
