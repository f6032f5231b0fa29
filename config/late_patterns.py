"""Regular expressions of another package, compiled with their first use.

marshmallow compiles the patterns of its validator of mail addresses at its import: a fifteenth of the processor time of
a start. No setting is a mail address.
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, Final

_MODULE: Final = "marshmallow.validate"


@contextmanager
def patterns_compiled_late() -> Iterator[None]:
    """Postpone the compilation of the patterns in the module named above, if it is imported within this block."""
    at_once = re.compile

    def late(*definition: Any, **options: Any) -> Any:
        compile_ = partial(at_once, *definition, **options)
        caller = sys._getframe(1).f_globals["__name__"]  # noqa: SLF001 - documented, and in CPython
        return _LatePattern(compile_) if caller == _MODULE else compile_()

    postponed: Any = late
    re.compile = postponed
    try:
        yield
    finally:
        re.compile = at_once


class _LatePattern:
    """A pattern that is compiled when one of its methods is first asked for."""

    def __init__(self, compile_: Callable[[], re.Pattern[str]]) -> None:
        self._compiled = cache(compile_)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # Python asks each attribute of an abstract class whether it is abstract.
            raise AttributeError(name)
        return getattr(self._compiled(), name)
