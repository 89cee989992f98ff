"""The stack of idle connections."""

from __future__ import annotations

import queue
import threading

import pytest

from websopy_sync.transport.idle_stack import IdleStack


def test_last_in_first_out() -> None:
    """The connection that was used last is the one most likely to be alive."""
    stack = IdleStack(3)
    for item in ("old", None, "new"):
        stack.put(item, block=False)
    assert stack.qsize() == 3
    assert [stack.get(block=False) for _ in range(3)] == ["new", None, "old"]


def test_bounds() -> None:
    """It raises what queue.LifoQueue raises, as urllib3's pools expect."""
    stack = IdleStack(1)
    with pytest.raises(queue.Empty):
        stack.get()
    stack.put("one")
    with pytest.raises(queue.Full):
        stack.put("two")
    assert stack.qsize() == 1


def test_each_item_goes_to_one_thread() -> None:
    """A connection never serves two answers at a time."""
    stack, taken = IdleStack(10_000), []
    for number in range(10_000):
        stack.put(number)

    def take() -> None:
        while True:
            try:
                taken.append(stack.get())
            except queue.Empty:
                return

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(10_000))
