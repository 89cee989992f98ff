"""Checks that no error shows the key or the prompt, nor any local variable of our frames."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

KEY = "sk-s3cret-0123456789"
PROMPT = "pr1vate question of nobody else"
GUIDE_QUESTION = "写一篇关于 AI 的文章"


def safe_repr(value: object) -> str:
    """As reporters do it: a value that cannot be shown is not shown."""
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  # of whatever kind
        return ""


def frames(trace: TracebackType | None) -> Iterator[str]:
    """What an error reporter would show of each frame of ours."""
    while trace is not None:
        if "websopy_sync" in trace.tb_frame.f_code.co_filename:
            yield from map(safe_repr, trace.tb_frame.f_locals.values())
        trace = trace.tb_next


def assert_discreet(error: BaseException | None) -> None:
    """Neither key nor prompt stands in an error, what it came from, or a local of our frames."""
    while error is not None:
        shown = [repr(error), str(error), repr(vars(error)), *frames(error.__traceback__)]
        assert not [text for text in shown if KEY in text or PROMPT in text]
        error = error.__cause__ or error.__context__
