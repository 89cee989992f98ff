"""Tells objects when this process forks.

A fork copies locks that other threads hold, and connections that two processes would then share.
Knows neither: each object says what it does before and after.
"""

from __future__ import annotations

import functools
import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """An object that has to know of forks."""

    def before_fork(self) -> None:
        """Take every lock, and close what a child must not have."""

    def after_fork(self, *, in_child: bool) -> None:
        """Release the locks. In the child no other thread exists any more.

        Args:
            in_child: Whether this process is the new one.
        """


_forked: list[weakref.ref[Forked]] = []


def register(item: Forked) -> None:
    """Tell this object of forks, for as long as it lives.

    One that was registered later is told before the fork first, and after it last: it may hold its
    locks while it uses the earlier ones.
    """
    _listen()
    _forked.append(weakref.ref(item, _forked.remove))


@functools.cache
def _listen() -> None:
    # Once: it cannot be undone, and would keep each object for ever.
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_before,
            after_in_parent=functools.partial(_after, in_child=False),
            after_in_child=functools.partial(_after, in_child=True),
        )


def _alive() -> list[Forked]:
    return [item for reference in list(_forked) if (item := reference()) is not None]


# Between the two, the objects must neither come nor go: what `before` locked, `after` releases.
_locked: list[Forked] = []


def _before() -> None:
    for item in reversed(_alive()):
        item.before_fork()
        _locked.insert(0, item)


def _after(*, in_child: bool) -> None:
    items, _locked[:] = list(_locked), []
    for item in items:
        item.after_fork(in_child=in_child)
