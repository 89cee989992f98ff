"""Goes through a table of cases in one test, where no case needs a report of its own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any


def each(names: str | tuple[str, ...], cases: Iterable[Any]) -> Callable[..., Any]:
    """Like pytest's `parametrize`, but all cases are one test. A failure names its case.

    The cases share the test's fixtures. Stacked, the tables are multiplied.

    Args:
        names: The name of the argument that takes a case, or a tuple of names.
        cases: The values, or tuples of them for a tuple of names.
    """
    keys = (names,) if isinstance(names, str) else names
    table = list(cases)
    assert table, "an empty table tests nothing"

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def through_the_table(**fixtures: Any) -> None:
            for case in table:
                values = (case,) if isinstance(names, str) else case
                arguments = dict(zip(keys, values, strict=True))
                try:
                    test(**fixtures, **arguments)
                except BaseException as error:
                    error.add_note(f"in the case {arguments!r:.500}")
                    raise

        signature = inspect.signature(test)
        rest = [value for name, value in signature.parameters.items() if name not in keys]
        through_the_table.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]  # pytest reads it
        return through_the_table

    return decorate
