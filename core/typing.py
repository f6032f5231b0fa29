"""Typing markers that Python 3.11 lacks; the core imports the standard library only.

`override` marks a method that replaces a method of a base class (PEP 698). Type checkers use the marker of
typing_extensions; at run time the marker has no effect.
"""

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from typing_extensions import override as override  # noqa: PLC0414 - the redundant name re-exports
else:
    _Method = TypeVar("_Method")

    def override(method: _Method) -> _Method:
        """Return `method`."""
        return method
