"""What the flags of `chat` add to a request: parameters, files, a stored conversation.

Knows nothing of how the flags are read or of how an answer is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn

from ..client import WebsopyClient
from ..errors import ConfigError
from ..files import read_file
from ..hooks import StoredConversation
from ..parts import MAX_SIZE, FilePart, ImagePart, TextPart, file, image, text
from .input import text_of

Part = TextPart | ImagePart | FilePart


def parameters_of(pairs: Iterable[str]) -> dict[str, Any]:
    """The fields of the request's body that `-o NAME=VALUE` gives; the last of a name counts.

    Args:
        pairs: Each is NAME=VALUE. The value is read as JSON; what is no JSON is a text.

    Raises:
        ConfigError: One has no name or no `=`, or would replace the messages.
    """
    fields = {}
    for pair in pairs:
        name, equals, value = text_of(pair, "-o").partition("=")
        name = name.strip()
        if not (equals and name):
            raise ConfigError(f"-o: expected NAME=VALUE, got {pair!a:.200}")
        if name == "messages":
            raise ConfigError("-o: expected the name of a parameter, got 'messages'")
        fields[name] = _value_of(value, name)
    return fields


def _value_of(value: str, name: str) -> Any:
    try:
        return json.loads(value, parse_constant=_refuse)
    except ValueError:  # JSONDecodeError too, and a number of more than 4300 digits
        return value
    except RecursionError:
        pass  # raised below: its context would be a foreign exception
    raise ConfigError(f"-o {name!a:.100}: expected a value, got JSON nested too deeply")


def _refuse(constant: str) -> NoReturn:
    """NaN and Infinity are no JSON, so they are texts."""
    raise ValueError(constant)


def parts_of(paths: Iterable[str], *, name: str = "-f") -> list[Part]:
    """The parts of a turn that `-f FILE` gives: images, the content of text files, other files.

    Args:
        paths: The files.
        name: What an error calls the flag.

    Raises:
        FileError: A file cannot be read.
        ConfigError: A file is too large, empty, or none.
    """
    return [_part_of(path, name) for path in paths]


def _part_of(path: str, name: str) -> Part:
    if path == "-":
        raise ConfigError(f"{name}: expected a file, got '-'; standard input needs no flag")
    data = read_file(path, what=name, max_size=MAX_SIZE)
    if not data:
        raise ConfigError(f"{name}: expected a file with content, got an empty one: {path!a:.200}")
    try:
        return image(data)
    except ConfigError:  # no image: it is small enough already
        pass
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        content = "\0"
    # A file whose bytes are no text goes as it is, with its name: a PDF, for example.
    return file(path) if "\0" in content else text(content)


def stored_conversation(client: WebsopyClient, conversation_id: str | None) -> StoredConversation:
    """A conversation from the history.

    Args:
        client: Its plugins are asked.
        conversation_id: Its id, or None for the latest one.

    Raises:
        ConfigError: No plugin keeps a history, or it has no such conversation.
    """
    flag = "--continue" if conversation_id is None else "--conversation"
    if conversation_id == "":
        raise ConfigError("--conversation: expected an id, got an empty text")
    if not keeps_history(client):
        raise ConfigError(
            f"{flag}: expected a plugin that keeps a history, got none; install "
            "websopy-persistence, or have WEBSOPY_PLUGINS name it"
        )
    found = client.load_conversation(conversation_id)
    if found is not None:
        return found
    if conversation_id is None:
        raise ConfigError("--continue: there is no conversation in the history yet")
    raise ConfigError(
        "--conversation: expected the id of a conversation in the history, "
        f"got {conversation_id!a:.200}"
    )


def keeps_history(client: WebsopyClient) -> bool:
    """Whether a plugin stores conversations, so that they can be continued."""
    plugins = client.plugins
    return any(each.state == "loaded" and "load_conversation" in each.hooks for each in plugins)
