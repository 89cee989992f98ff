"""The hooks that a plugin may implement, and the mark that says it does."""

from __future__ import annotations

from typing import Any

import pluggy

GROUP = "websopy_sync"
"""pluggy's project name, and the entry-point group of installed plugins."""

hookimpl: pluggy.HookimplMarker = pluggy.HookimplMarker(GROUP)
"""Marks a plugin's function or method as the implementation of the hook of its name."""

_hookspec = pluggy.HookspecMarker(GROUP)


class Specification:
    """The hooks. An implementation takes those of the arguments that it needs, by name."""

    @_hookspec
    def on_request(self, request: Any, stream: Any) -> None:
        """A question is about to be sent; `request.headers` and `request.body` may be edited.

        `stream` is the one that later hooks are given. It has not been sent, so it has no
        status, no headers and no chunks yet, and cannot be read; it can be cancelled.
        """

    @_hookspec
    def on_chunk(self, chunk: Any, stream: Any) -> None:
        """A chunk has come; the user gets it next. `stream.current_message` holds it already."""

    @_hookspec
    def on_retry(self, error: Any, delay: Any, stream: Any) -> None:
        """The question is asked again, or resumed, after `delay` seconds, because of `error`."""

    @_hookspec
    def on_done(self, message: Any, stream: Any) -> None:
        """The answer is complete."""

    @_hookspec
    def on_error(self, error: Any, stream: Any) -> None:
        """The answer ended in any other way; cancelled and closed streams come here too."""

    @_hookspec
    def register_commands(self, subparsers: Any) -> None:
        """The command line is being built: add commands to argparse's `subparsers`.

        A command's parser sets the default `run`, a function of the parsed arguments that
        returns the exit code.
        """


HOOKS = tuple(name for name in vars(Specification) if not name.startswith("_"))
