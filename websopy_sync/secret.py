"""A value that no repr and no pickle shows.

Error reporters show the local variables of each frame that an exception passes through. So the key
and the prompt travel in a `Secret`. Knows nothing of what the value is.
"""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Secret"]

Value = TypeVar("Value")


class Secret(Generic[Value]):
    """Holds a secret; its repr shows none of it, and it does not pickle."""

    __slots__ = ("value",)

    def __init__(self, value: Value) -> None:
        self.value: Value = value

    def __reduce__(self) -> str:
        raise TypeError("a secret does not pickle")
