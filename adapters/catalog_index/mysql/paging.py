"""Names in byte order from a key that sorts `_` after the letters, at a cost independent of the table's size.

The old registry's table has the collation `utf8_general_ci`, which compares names as if in capitals: `-` `.` `/`
digits, letters, `_`. In bytes, `_` comes before the letters. Both orders sort a prefix before the longer name, and
agree on every other pair of characters. So the orders of two names differ only if, at the first different position, one
has `_` and the other a letter. The first n names greater than x, by bytes, are read through the key as follows:

* Given a prefix P and a bound without `_` after P, read n rows below P in the key's order; z is the last one.
* The missing names that sort before z by bytes begin, for some letter of z, with the part of z before that letter,
  followed by `_`. This is one small range of the key per letter; all are read in one statement. A range with n or more
  names is the same problem again.
* All names up to z are then known. If they are fewer than n, continue after z.
* A bound with `_` is split at each `_`, from the right: first the names below that prefix, then those after it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.catalog_index.bounds import ALPHABET

_MARK: Final = "_"
_LETTERS: Final = frozenset(ALPHABET[ALPHABET.index(_MARK) + 1 :])
_BELOW_LETTERS: Final = chr(ord("a") - 1)
"""Between `_` and the letters by bytes; it never becomes a value in SQL, as the key would sort it elsewhere."""
END: Final = "~"
"""Sorts after every character of a name, in both orders."""


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The names between two texts in the key's order; `high` is excluded, `low` is included if `has_low`."""

    low: str
    high: str
    has_low: bool = False


Fetch = Callable[[Sequence[KeyRange], int], Awaitable[list[list[str]]]]
"""Returns the first names of each range, at most the given number per range, in the key's order."""


async def first_names(fetch: Fetch, *, after: str, count: int) -> list[str]:
    """Return the first `count` names greater than `after` by code point, ascending.

    Args:
        fetch: reads ranges of a key that sorts `_` after the letters; it returns only names of valid characters.
        after: a text of valid characters.
        count: at least 1.
    """
    found: list[str] = []
    bound, mark = after, _MARK
    while mark and len(found) < count:
        prefix, mark, _ = bound.rpartition(_MARK)
        found += await _first_below(fetch, prefix + mark, bound, count - len(found))
        # All names that begin with this prefix are done; continue after them.
        bound = prefix + _BELOW_LETTERS
    return found


async def _first_below(fetch: Fetch, prefix: str, bound: str | None, count: int) -> list[str]:
    """Return the first names below `prefix` that are greater than `bound`, which has no `_` after the prefix."""
    found: set[str] = set()
    unread = _start(prefix, bound)
    while True:
        [names] = await fetch([unread], count)
        found.update(name for name in names if bound is None or name > bound)
        if len(names) < count:
            return sorted(found)[:count]
        last = names[-1]
        if bound is not None and last <= bound:
            # These names are after the bound by the key and before it by bytes: skip all of them.
            same = next(end for end, pair in enumerate(zip(last, bound, strict=False)) if len(set(pair)) > 1)
            unread = KeyRange(last[:same] + _MARK + END, unread.high)
            continue
        found.update(await _displaced(fetch, prefix, bound, last, count))
        certain = sorted(name for name in found if name <= last)
        if len(certain) >= count:
            return certain[:count]
        unread = KeyRange(last, unread.high)


def _start(prefix: str, bound: str | None) -> KeyRange:
    """Return the range of the key that holds all names below `prefix` and greater than `bound`."""
    if bound is None:
        return KeyRange(prefix, prefix + END, has_low=True)
    if bound.endswith(_BELOW_LETTERS):
        return KeyRange(bound[:-1] + "a", prefix + END, has_low=True)
    return KeyRange(bound, prefix + END)


async def _displaced(fetch: Fetch, prefix: str, bound: str | None, last: str, count: int) -> list[str]:
    """Return the first names that sort before `last` by bytes but after it by the key."""
    ends = [end for end in range(len(prefix), len(last)) if last[end] in _LETTERS]
    heads = [head for head in (last[:end] + _MARK for end in ends) if bound is None or head > bound]
    if not heads:
        return []
    found: list[str] = []
    ranges = [_start(head, None) for head in heads]
    for head, names in zip(heads, await fetch(ranges, count), strict=True):
        found += names if len(names) < count else await _first_below(fetch, head, None, count)
    return found
