"""Conversion of a store's listing order to string order.

A store compares a name including the text that follows it in the keys. If other keys continue the name `a`, the store
lists it as `a/` (or `a/_`), after `a-b/` and `a.b/` and perhaps 100,000 more. As whole strings, `a` comes first. Two
names can only be out of order like this if one is a prefix of the other. So before names are yielded, it must be known
for each of their prefixes whether it will be listed later. For a page of the listing these can only be prefixes of its
last entry, so they are few. They are found on the following page, or by one direct probe each, made once.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from core.concurrency import map_bounded

Probe = Callable[[str], Coroutine[Any, Any, bool]]
"""Returns whether a name will be listed."""


@dataclass(frozen=True, slots=True)
class NamesPage:
    """One page of a listing as names."""

    names: frozenset[str]
    last: str
    """The last entry in the form that the store compares, without the listing's prefix."""
    is_final: bool

    def joined(self, following: "NamesPage | None") -> "NamesPage":
        """Return this page and the following one as one page."""
        if following is None:
            return self
        return NamesPage(self.names | following.names, following.last, following.is_final)

    def beginnings(self, tail: str) -> frozenset[str]:
        """Return the names that may be listed on a later page although they sort before names on this one.

        The last name itself is included if it is an object: it is listed again if other keys continue it.
        """
        if self.is_final:
            return frozenset()
        last = self.last
        ahead = {last[:end] for end in range(1, len(last)) if last[end:] < tail}
        return frozenset(ahead | ({last} & self.names))


async def in_string_order(
    pages: AsyncGenerator[NamesPage, None], *, tail: str, after: str, probe: Probe
) -> AsyncGenerator[list[str], None]:
    """Yield all names greater than `after` in pages, ascending by code point, each name once.

    Holds at most two pages. Calls `probe` only for names that two consecutive pages leave undecided.

    Args:
        pages: the listing, starting at `after` or before.
        tail: the text that follows a continued name in the store's order: `/`, or `/_`.
        after: names up to this one are skipped.
        probe: decides for one name.
    """
    # Prefixes of the current page's last entry, with whether they are listed; the listed ones were yielded already.
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
            yield sorted(name for name in (page.names | ahead) - yielded if name > after)
            known = {name: name in ahead for name in page.beginnings(tail)}
