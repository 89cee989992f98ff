"""The parts of a user's turn: text, images and files.

Frozen values, whose data is in no repr. Knows nothing of how a service writes them.
"""

from __future__ import annotations

import base64
import mimetypes
import os
from typing import Any
from urllib.parse import unquote_to_bytes

import attrs

from .errors import ConfigError
from .files import FilePath, read_file
from .interrupts import discreet, is_interrupt

__all__ = ["MAX_SIZE", "FilePart", "ImagePart", "TextPart", "file", "image", "text"]

MAX_SIZE = 20 * 1024 * 1024
"""Default limit for the bytes of an image or a file."""

_WEB = ("http://", "https://")


@attrs.frozen(repr=False)
class TextPart:
    """A text within a turn; `text()` makes it.

    Attributes:
        text: The text.
    """

    text: str

    def __repr__(self) -> str:
        return f"<TextPart {len(self.text)} characters>"

    def to_dict(self) -> dict[str, Any]:
        """`{"type": "text", "text": …}`."""
        return {"type": "text", "text": self.text}


@attrs.frozen(repr=False)
class ImagePart:
    """An image within a turn; `image()` makes it. It has data, or else a URL.

    Attributes:
        media_type: What the data is, such as "image/png"; "" for a URL.
        data: The image as base64; "" for a URL.
        url: Where the service finds the image; None for data.
    """

    media_type: str = ""
    data: str = ""
    url: str | None = None

    def __repr__(self) -> str:
        what = "by URL" if self.url is not None else _described(self.media_type, self.data)
        return f"<ImagePart {what}>"

    def to_dict(self) -> dict[str, Any]:
        """`{"type": "image", "media_type": …, "data": …}`, or `{"type": "image", "url": …}`."""
        if self.url is not None:
            return {"type": "image", "url": self.url}
        return {"type": "image", "media_type": self.media_type, "data": self.data}


@attrs.frozen(repr=False)
class FilePart:
    """A file within a turn; `file()` makes it.

    Attributes:
        name: Its name, without a folder.
        media_type: What it is, such as "application/pdf".
        data: What it holds, as base64.
    """

    name: str
    media_type: str
    data: str

    def __repr__(self) -> str:
        return f"<FilePart {_described(self.media_type, self.data)}>"

    def to_dict(self) -> dict[str, Any]:
        """`{"type": "file", "name": …, "media_type": …, "data": …}`."""
        return {"type": "file", **attrs.asdict(self)}


def _described(media_type: str, data: str) -> str:
    return f"{media_type}, {len(data) * 3 // 4 - data[-2:].count('=')} bytes"


@discreet
def text(content: str) -> TextPart:
    """A text, to stand beside images and files in one turn.

    Args:
        content: The text.

    Raises:
        ConfigError: It is no str.
    """
    if not isinstance(content, str):
        raise ConfigError(f"text: expected str, got {type(content).__name__}")
    return TextPart(content)


@discreet
def image(source: FilePath | bytes, *, max_size: int = MAX_SIZE) -> ImagePart:
    """An image: PNG, JPEG, GIF or WebP, which is seen by its first bytes.

    Args:
        source: A path, the image's bytes, or a URL: one with http: or https: is passed on for the
            service to load, one with data: is read here.
        max_size: Most bytes that the image may have.

    Raises:
        FileError: The file cannot be read.
        ConfigError: It is another kind of image, or too large.
    """
    _check_max_size(max_size)
    start = _start(source)
    if isinstance(source, str) and start.startswith(_WEB):
        return ImagePart(url=source)
    if isinstance(source, str) and start.startswith("data:"):
        data = _data_in_url(source, max_size)
    else:
        data = _bytes_of(source, "image", max_size)
    media_type = _image_type(data)
    if not media_type:
        raise ConfigError("image: expected a PNG, JPEG, GIF or WebP image, got something else")
    return ImagePart(media_type, _base64(data))


@discreet
def file(
    source: FilePath | bytes, name: str | None = None, *, max_size: int = MAX_SIZE
) -> FilePart:
    """A file of any kind, such as a PDF or a text.

    Its media type comes from the ending of its name. Without a known ending it is "text/plain" if
    it holds UTF-8 text, and else "application/octet-stream".

    Args:
        source: A path, or what the file holds as bytes.
        name: Its name, which the model may see; the path's last part when None, "file" for bytes.
        max_size: Most bytes that the file may have.

    Raises:
        FileError: The file cannot be read.
        ConfigError: It is too large, or the name is no name.
    """
    _check_max_size(max_size)
    if _start(source).startswith(_WEB):
        raise ConfigError("file: expected a path or bytes, got a URL, which only an image may have")
    if name is not None:
        _check_name(name)
    data = _bytes_of(source, "file", max_size)  # first: a path that was read has a name
    name = _name_of(source) if name is None else name
    return FilePart(name, _media_type(name, data), _base64(data))


def _check_max_size(max_size: object) -> None:
    if not isinstance(max_size, int) or isinstance(max_size, bool) or max_size < 1:
        raise ConfigError(f"max_size: expected an int of 1 or more, got {max_size!a:.200}")


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise ConfigError(f"name: expected str, got {type(name).__name__}")
    if not name:
        raise ConfigError("name: expected a name, got an empty one")


def _start(source: object) -> str:
    """The start of a URL in lower case, with its scheme; "" for what is no text."""
    return source[:8].lower() if isinstance(source, str) else ""


def _bytes_of(source: FilePath | bytes, what: str, max_size: int) -> bytes:
    if not isinstance(source, bytes | bytearray | memoryview):
        return read_file(source, what=what, max_size=max_size)
    data = bytes(source)
    _check_size(len(data), what, max_size)
    return data


def _check_size(size: int, what: str, max_size: int) -> None:
    if size > max_size:
        raise ConfigError(f"{what}: expected at most {max_size} bytes, got {size}")


def _data_in_url(url: str, max_size: int) -> bytes:
    head, _, encoded = url.partition(",")
    is_base64 = head[-7:].lower() == ";base64"
    try:
        data = unquote_to_bytes(encoded)
        if is_base64:
            data = b"".join(data.split())
            data = base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except ValueError as error:
        if is_interrupt(error):
            raise
        data = b""  # which is no image
    _check_size(len(data), "image", max_size)
    return data


def _image_type(data: bytes) -> str:
    """The media type of an image; "" for what is none that services take."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else ""


def _name_of(source: FilePath | bytes) -> str:
    """The last part of a path. A byte that is no UTF-8 becomes U+FFFD, which can be sent."""
    if isinstance(source, str | os.PathLike):
        return os.fsencode(os.path.basename(source)).decode("utf-8", "replace")
    return "file"


def _media_type(name: str, data: bytes) -> str:
    # MimeTypes() has Python's own table. What a machine adds differs: ".ts" is a video there.
    suffix = os.path.splitext(name)[1]
    known, compressed = mimetypes.MimeTypes().guess_type(f"x{suffix}")
    if compressed:
        return "application/gzip" if compressed == "gzip" else "application/octet-stream"
    return known or ("text/plain" if _is_text(data) else "application/octet-stream")


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def _base64(data: bytes) -> str:
    # Encoded once: each send shares this text, and the bytes are not kept.
    return base64.b64encode(data).decode("ascii")
