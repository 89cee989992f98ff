"""Writes Markdown to a terminal while it comes: `--markdown`.

Finished blocks are written once; the growing one is redrawn. Only this file of its parts has a
thread, and only with it comes rich, which is an extra.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque

from ..threads import start_thread
from .markdown_blocks import Block, Blocks
from .markdown_lines import Renderer
from .screen import Region

FASTEST = 1 / 30
"""Seconds between two drawings, at least."""

SHARE = 3
"""A pause is so many times as long as the drawing before it: drawing takes a quarter of a core."""


class MarkdownWriter:
    """Writes the pieces of a text to stdout, laid out.

    A thread draws, so the reader of the stream never waits for it, and Ctrl-C never interrupts a
    drawing half way.
    """

    def __init__(self) -> None:
        self._renderer = Renderer()
        self._pieces: deque[str] = deque()
        self._arrived = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def write(self, text: str) -> None:
        """Add the next piece of the text."""
        self._raise_failure()
        self._pieces.append(text)
        self._arrived.set()
        if self._thread is None:
            self._ended.clear()
            self._thread = threading.Thread(target=self._run, name="websopy-sync", daemon=True)
            start_thread(self._thread)  # without one, finish() draws

    def finish(self) -> None:
        """Draw what came, and end the line."""
        if self._thread is None:
            return
        self._ended.set()
        self._arrived.set()
        if self._thread.is_alive() or self._thread.ident is not None:
            self._thread.join()
        else:  # it could not start, or Ctrl-C came before that
            self._run()
        self._thread = None
        self._raise_failure()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _run(self) -> None:
        try:
            self._draw_until_ended()
        except BaseException as error:  # noqa: BLE001  raised again in the thread that writes
            self._failure = error

    def _draw_until_ended(self) -> None:
        drawing = Drawing(self._renderer)
        ended = False
        while not ended:
            self._arrived.wait()
            self._arrived.clear()
            ended = self._ended.is_set()  # before the pieces are taken, so that none is left
            begun = time.monotonic()
            text = "".join(self._pieces.popleft() for _ in range(len(self._pieces)))
            drawing.add(text, ended=ended)
            self._ended.wait(max(FASTEST, SHARE * (time.monotonic() - begun)))


class Drawing:
    """One text on the screen.

    Args:
        renderer: Lays its blocks out.
    """

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._blocks = Blocks()
        self._region = Region()
        self._begun = False

    def add(self, text: str, *, ended: bool) -> None:
        """Draw the text so far.

        Args:
            text: The next piece of it.
            ended: Whether it is the last one.
        """
        columns, rows = shutil.get_terminal_size()
        final = self._lines(self._blocks.add(text), columns)
        growing = self._lines(self._blocks.growing(ended=ended), columns, growing=not ended)
        while not ended and len(growing) >= rows and (parts := self._blocks.split()):
            final += self._lines(parts, columns)
            growing = self._lines(self._blocks.growing(), columns, growing=True)
        if ended:
            final, growing = final + growing, []
        print(self._region.update(final, growing, columns=columns, rows=rows), end="", flush=True)
        if ended and self._begun:
            print(flush=True)

    def _lines(self, blocks: list[Block], columns: int, *, growing: bool = False) -> list[str]:
        """The lines of blocks, with a blank one between two."""
        lines: list[str] = []
        begun = self._begun
        for block in blocks:
            if begun and not block.continues:
                lines.append("")
            lines += self._renderer.lines(block, columns=columns, growing=growing)
            begun = True
        self._begun = self._begun if growing else begun
        return lines
