"""Names in byte order from a key that sorts `_` behind the letters, as cheap in a large table as in a small.

The seed's table is in `utf8_general_ci`, which compares names as if in capitals: `-` `.` `/` digits,
letters, `_`. In bytes `_` comes before the letters. Both orders sort a name before what it is a prefix
of, and agree on every other pair of characters. So two names change places only if, at the first position
where they differ, one has `_` and the other a letter. To read "the first n names greater than x, by
bytes" through the key, this means:

* Below a prefix P, bounded by a text without `_` behind P, read n rows in the key's order; the last one is z.
* What is missing and comes before z by bytes begins, for some letter of z, with what is before that letter,
  then `_`: one small range of the key per letter, read in one statement. A range that is full is such a
  problem again.
* All names up to z are then known. If they are fewer than n, go on behind z.
* A bound with `_` is split at each one, from the right: first the names below that prefix, then those behind
  it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.catalog_index.bounds import ALPHABET

_MARK: Final = "_"
_LETTERS: Final = frozenset(ALPHABET[ALPHABET.index(_MARK) + 1 :])
_BELOW_LETTERS: Final = chr(ord("a") - 1)
"""Between `_` and the letters by bytes; the key would sort it elsewhere, so it never goes there."""
END: Final = "~"
"""Sorts behind every character of a name, in both orders."""


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The names between two texts, both excluded, in the key's order; `low` counts in if `has_low`."""

    low: str
    high: str
    has_low: bool = False


Fetch = Callable[[Sequence[KeyRange], int], Awaitable[list[list[str]]]]
"""Reads the first so many names of each range, in the key's order."""


async def first_names(fetch: Fetch, *, after: str, count: int) -> list[str]:
    """Return the first `count` names greater than `after` by code point, ascending.

    Args:
        fetch: reads ranges of a key that sorts `_` behind the letters; its names are of legal characters.
        after: a text of legal characters.
        count: at least 1.
    """
    found: list[str] = []
    bound, mark = after, _MARK
    while mark and len(found) < count:
        prefix, mark, _ = bound.rpartition(_MARK)
        found += await _first_below(fetch, prefix + mark, bound, count - len(found))
        # All names that begin with this prefix are dealt with; go on behind them.
        bound = prefix + _BELOW_LETTERS
    return found


async def _first_below(fetch: Fetch, prefix: str, bound: str | None, count: int) -> list[str]:
    """Return the first names below `prefix` that are greater than `bound`, which has no `_` behind it."""
    found: set[str] = set()
    unread = _start(prefix, bound)
    while True:
        [names] = await fetch([unread], count)
        found.update(name for name in names if bound is None or name > bound)
        if len(names) < count:
            return sorted(found)[:count]
        last = names[-1]
        if bound is not None and last <= bound:
            # Among names that the key sorts behind the bound and bytes before it: leave them all behind.
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
    """Return the first names that bytes sort before `last`, and the key behind it."""
    ends = [end for end in range(len(prefix), len(last)) if last[end] in _LETTERS]
    heads = [head for head in (last[:end] + _MARK for end in ends) if bound is None or head > bound]
    if not heads:
        return []
    found: list[str] = []
    ranges = [_start(head, None) for head in heads]
    for head, names in zip(heads, await fetch(ranges, count), strict=True):
        found += names if len(names) < count else await _first_below(fetch, head, None, count)
    return found
