"""The line about an answer's tokens and time that `--usage` writes.

Pure. What the service did not say is left out.
"""

from __future__ import annotations

from ..message import Message


def usage_line(message: Message, *, seconds: float) -> str:
    """The line, such as `usage: gpt-x, 20 prompt tokens, 150 completion tokens, 2.1 s, …`.

    Args:
        message: The complete answer.
        seconds: From the request to the end of the answer.
    """
    parts = [f"model {message.model}"] if message.model else []
    usage = message.usage
    if usage is not None:
        parts += [
            _tokens(usage.prompt_tokens, "prompt", usage.cached_tokens, "cached"),
            _tokens(usage.completion_tokens, "completion", usage.reasoning_tokens, "reasoning"),
        ]
    parts.append(f"{seconds:.1f} s")
    if usage is not None and usage.completion_tokens and seconds > 0:
        parts.append(f"{usage.completion_tokens / seconds:.1f} tokens/s")
    if message.finish_reason:
        parts.append(f"finish reason {message.finish_reason}")
    return "usage: " + ", ".join(parts)


def _tokens(count: int, kind: str, of_them: int, other: str) -> str:
    some = f" ({of_them} {other})" if of_them else ""
    return f"{count} {kind} tokens{some}"
