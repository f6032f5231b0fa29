"""JSON from outside: of clients, of other servers, of files that another program may have written."""

import gc
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

LEVELS_MAX: Final = 500
"""Maximum nesting: half of what Python can follow, so a document that was accepted can be read from a deeper stack."""


def load_json(content: bytes | str, *, parse_constant: Callable[[str], object] | None = None) -> Any:
    """Parse a JSON document.

    Args:
        content: the document; bytes are UTF-8, UTF-16 or UTF-32.
        parse_constant: called with `NaN`, `Infinity` and `-Infinity`, which are no JSON; by default they are numbers.

    Raises:
        ValueError: the content is not JSON, or nests more than `LEVELS_MAX` levels deep.
    """
    # `no_garbage_search` would take as long as the parsing of a short document.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        document = json.loads(content, parse_constant=parse_constant)
    except RecursionError:
        raise ValueError(f"JSON nests deeper than {LEVELS_MAX} levels") from None
    finally:
        if was_enabled:
            gc.enable()
    if _may_be_deep(content) and _is_deep(document):
        raise ValueError(f"JSON nests deeper than {LEVELS_MAX} levels")
    return document


@contextmanager
def no_garbage_search() -> Iterator[None]:
    """Let Python not search for garbage in the block, which parses JSON.

    A deeply nested document would start a search near the limit of recursion. Finalizers of the garbage then fail, and
    files and connections that they close stay open.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _may_be_deep(content: bytes | str) -> bool:
    if isinstance(content, str):
        return content.count("[") + content.count("{") > LEVELS_MAX
    return content.count(b"[") + content.count(b"{") > LEVELS_MAX


def _is_deep(document: object) -> bool:
    level: list[Any] = [[document]]
    for _ in range(LEVELS_MAX + 1):
        level = [
            child
            for node in level
            for child in (node.values() if node.__class__ is dict else node)
            if child.__class__ is dict or child.__class__ is list
        ]
    return bool(level)
