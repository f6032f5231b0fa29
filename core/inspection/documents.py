"""Bounded reading of JSON documents that any client may have pushed: a wrong type becomes an empty value."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

from core.json_text import load_json
from core.model.manifest import has_too_many_parts, sendable

TEXT_LENGTH_MAX: Final = 2_000
"""Maximum length of one text; a longer one is cut."""
ITEMS_MAX: Final = 200
"""Maximum number of items of one list."""
LIST_LENGTH_MAX: Final = 24_000
"""Maximum length of all texts of one list."""
DOCUMENT_LENGTH_MAX: Final = 25_000
"""Maximum length of a document that is shown as text."""
_FORMATTED_BYTES_MAX: Final = 1024 * 1024
"""A larger document is shown as it was pushed."""

_YEARS: Final = (1970, 9000)
"""A build tool that sets no time writes a year outside."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Some(Generic[T]):
    """The first items of a list, as many as a page shows."""

    items: Sequence[T] = ()
    left_out: int = 0
    """Number of further items."""

    def __iter__(self) -> Iterator[T]:
        """Iterate over the items that are shown."""
        return iter(self.items)

    def __bool__(self) -> bool:
        """Whether the list has any items."""
        return bool(self.items)


def take(items: Sequence[T], length: Callable[[T], int]) -> Some[T]:
    """Return the first items that fit into the limits of a list; the first one always fits."""
    left = LIST_LENGTH_MAX
    for count, item in enumerate(items):
        left -= length(item)
        if count == ITEMS_MAX or (count and left < 0):
            return Some(items[:count], len(items) - count)
    return Some(items)


def read_object(content: bytes) -> Mapping[str, Any]:
    """Return a JSON object; an empty one for anything else, and for a document that would need much memory."""
    if has_too_many_parts(content):
        return {}
    try:
        return as_object(load_json(content))
    except ValueError:
        return {}


def as_object(value: object) -> Mapping[str, Any]:
    """Return an object of a document; an empty one for any other value."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> Sequence[Any]:
    """Return a list of a document; an empty one for any other value."""
    return value if isinstance(value, list) else []


def as_text(value: object, length_max: int = TEXT_LENGTH_MAX) -> str:
    """Return a text or number of a document as text, cut to a length; the empty text for any other value."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = value if isinstance(value, str) else str(value)
    return sendable(text if len(text) <= length_max else f"{text[:length_max]}…")


def as_texts(value: object) -> Some[str]:
    """Return the texts of a list; a single text is a list of one."""
    values = [value] if isinstance(value, str) else as_list(value)
    return take([as_text(each) for each in values if isinstance(each, str)], len)


def as_pairs(value: object) -> Some[tuple[str, str]]:
    """Return the members of an object whose values are texts or numbers, in ascending order of the keys."""
    members = as_object(value)
    pairs = [(as_text(key), as_text(members[key])) for key in sorted(members) if _is_plain(members[key])]
    return take(pairs, lambda pair: len(pair[0]) + len(pair[1]))


def as_size(value: object) -> int:
    """Return a size of a document; 0 for any other value."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63 else 0


def as_time(value: object) -> datetime | None:
    """Return a time of a document (RFC 3339), UTC-aware; None for any other value, and for extreme years."""
    try:
        time = datetime.fromisoformat(value if isinstance(value, str) else "")
        return time.astimezone(UTC) if time.tzinfo and _YEARS[0] < time.year < _YEARS[1] else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Document:
    """A document as readable text."""

    text: str
    is_cut: bool


def formatted(content: bytes) -> Document:
    """Return a JSON document with one member per line; any other content as it is."""
    text = content[: 4 * (DOCUMENT_LENGTH_MAX + 1)].decode(errors="replace")
    if len(content) <= _FORMATTED_BYTES_MAX and not has_too_many_parts(content):
        with contextlib.suppress(ValueError):
            text = sendable(json.dumps(load_json(content), indent=2, ensure_ascii=False))
    # Four bytes are at least one character, so a text that fits is whole.
    return Document(text[:DOCUMENT_LENGTH_MAX], len(text) > DOCUMENT_LENGTH_MAX)


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)
