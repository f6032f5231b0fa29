"""Methods of data classes, compiled with their first call.

`dataclasses` writes and compiles six methods for each frozen class: a fifth of the processor time of a start, which
calls one of twenty. Here each method begins as a short function that compiles the real one and puts it in its place.

Python 3.11 and 3.12 compile the methods in `dataclasses._create_fn`, which is private. A Python without this function
compiles them at once, and so does `python -X dev`.
"""

import dataclasses
import sys
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final

_PARAMETERS: Final = ("name", "args", "body", "globals", "locals", "return_type")


@cache
def compile_methods_late() -> bool:
    """Postpone the compilation of methods of all classes that follow; return whether this Python permits that."""
    create = getattr(dataclasses, "_create_fn", None)
    if sys.flags.dev_mode or create is None or _parameters(create) != _PARAMETERS:
        return False

    def create_late(name: str, *text: Any, **options: Any) -> Callable[..., Any]:
        return _late(name, partial(create, name, *text, **options))

    dataclasses._create_fn = create_late  # type: ignore[attr-defined]  # noqa: SLF001 - see above
    return True


def _parameters(function: Any) -> tuple[str, ...]:
    code = function.__code__
    parameters: tuple[str, ...] = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return parameters


def _late(name: str, make: Callable[[], Any]) -> Callable[..., Any]:
    """Return a method that compiles the real one with its first call, and gives it its own place in the class."""
    compiled = None

    def method(self: object, /, *values: object, **named: object) -> Any:
        nonlocal compiled
        if compiled is None:
            compiled = make()
            compiled.__qualname__ = method.__qualname__
            for owner in type(self).__mro__:
                if owner.__dict__.get(name) is method:
                    setattr(owner, name, compiled)
        return compiled(self, *values, **named)

    method.__name__ = name
    return method
