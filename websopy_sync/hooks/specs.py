"""The hooks that a plugin may implement, with their arguments, and the marker `hookimpl`."""

from __future__ import annotations

from typing import Any

import pluggy

GROUP = "websopy_sync"
"""pluggy's project name, and the entry-point group of installed plugins."""

hookimpl: pluggy.HookimplMarker = pluggy.HookimplMarker(GROUP)
"""Marks a function or method of a plugin as the implementation of the hook of its name."""

_hookspec = pluggy.HookspecMarker(GROUP)


class Specification:
    """The hooks. An implementation names only the arguments that it needs."""

    @_hookspec
    def on_request(self, request: Any, stream: Any) -> None:
        """A request is about to be sent.

        Args:
            request: Its `headers` and `body` may be edited.
            stream: The stream that later hooks get too. It has no status, no headers and no chunks
                yet, and cannot be read; it can be cancelled.
        """

    @_hookspec
    def on_chunk(self, chunk: Any, stream: Any) -> None:
        """A chunk has come; the user gets it next.

        Args:
            chunk: The chunk.
            stream: Its stream; `stream.current_message` has the chunk already.
        """

    @_hookspec
    def on_retry(self, error: Any, delay: Any, stream: Any) -> None:
        """The request is about to be sent again, or the stream resumed.

        Args:
            error: Why.
            delay: Seconds until then.
            stream: The stream.
        """

    @_hookspec
    def on_done(self, message: Any, stream: Any) -> None:
        """The answer is complete.

        Args:
            message: The whole answer.
            stream: The stream.
        """

    @_hookspec
    def on_error(self, error: Any, stream: Any) -> None:
        """The stream ended in any other way; cancelled and closed streams come here too.

        Args:
            error: What it ended with; `error.partial` has the answer so far.
            stream: The stream.
        """

    @_hookspec(firstresult=True)
    def load_conversation(self, conversation_id: Any) -> Any:
        """A program wants to continue a stored conversation: return it, if you have it.

        The plugins are called in turn, the last loaded first, until one returns a result; its
        mark `hookimpl(tryfirst=True)` or `hookimpl(trylast=True)` changes the order.

        Args:
            conversation_id: What the calls passed as `metadata={"conversation": …}`; None for the
                latest conversation.

        Returns:
            A dict with its `"id"` and its `"messages"`, turns as `chat_stream` takes them. None
            when you do not have it.
        """

    @_hookspec
    def register_commands(self, subparsers: Any) -> None:
        """The command line is being built: add your commands.

        Args:
            subparsers: argparse's. A command's parser sets the default `run`, a function that
                takes the parsed arguments and returns the exit code.
        """


HOOKS = tuple(name for name in vars(Specification) if not name.startswith("_"))
