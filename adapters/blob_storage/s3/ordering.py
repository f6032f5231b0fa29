"""Names in the order of whole strings, from a store that lists them by the bytes of what stands behind them.

A store lists the name `a` that other keys go on behind as `a/` (or `a/_`), so `a-b/` and `a.b/` come before it, and
perhaps 100,000 more. As whole strings `a` is the first. Two names can only change places so when one of them is the
beginning of the other: everything else is in order already. So before names are yielded, it must be known of each of
their beginnings whether it will be listed later. For a page of the listing these can only be beginnings of its last
entry, so they are few. They are found on the page that follows, or by one direct question each, asked once.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from core.concurrency import map_bounded

Probe = Callable[[str], Coroutine[Any, Any, bool]]
"""Tells whether a name will be listed."""


@dataclass(frozen=True, slots=True)
class NamesPage:
    """A run of a listing as names."""

    names: frozenset[str]
    last: str
    """The last entry as the store compares it, without the listing's prefix."""
    is_final: bool

    def joined(self, following: "NamesPage | None") -> "NamesPage":
        """Return both as one page."""
        if following is None:
            return self
        return NamesPage(self.names | following.names, following.last, following.is_final)

    def beginnings(self, tail: str) -> frozenset[str]:
        """Return the names that may be listed on a later page though they are less than names on this one.

        With them comes the last name itself if it is an object: it is listed again if other keys go on behind it.
        """
        if self.is_final:
            return frozenset()
        last = self.last
        ahead = {last[:end] for end in range(1, len(last)) if last[end:] < tail}
        return frozenset(ahead | ({last} & self.names))


async def in_string_order(
    pages: AsyncGenerator[NamesPage, None], *, tail: str, after: str, probe: Probe
) -> AsyncGenerator[str, None]:
    """Yield all names greater than `after`, ascending by code point, each once.

    Holds two pages at most. Asks `probe` only where a page and its successor leave a question open.

    Args:
        pages: the listing, from `after` or before it on.
        tail: what the store sees behind a name that goes on: `/`, or `/_`.
        after: where to begin.
        probe: answers for one name.
    """
    # Of the current page's beginnings: whether they are there; those that are were yielded already.
    known: dict[str, bool] = {}

    def unknown(page: NamesPage) -> list[str]:
        return [name for name in page.beginnings(tail) - page.names - known.keys() if name > after]

    async with aclosing(pages):
        async for first in pages:
            page = first.joined(await anext(pages, None)) if unknown(first) else first
            questions = unknown(page)
            answers = dict(zip(questions, await map_bounded(probe, questions), strict=True))
            yielded = {name for name, is_there in known.items() if is_there}
            ahead = {
                name for name in page.beginnings(tail) if name in page.names or known.get(name) or answers.get(name)
            }
            for name in sorted((page.names | ahead) - yielded):
                if name > after:
                    yield name
            known = {name: name in ahead for name in page.beginnings(tail)}
