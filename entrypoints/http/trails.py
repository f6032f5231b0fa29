"""The positions of the pages before a page, which its links carry, so that a client can go back.

A page of these lists ends where enough work was done, so nothing but the earlier requests shows where the pages before
it began. Following `prev` repeats the request of the page before.
"""

from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote_plus

TRAIL_MAX: Final = 20
"""Maximum number of positions in a link."""
_ENCODED_MAX: Final = 600
"""Maximum length of all positions in a link; proxies limit the size of headers."""
_PARAMETER_LENGTH: Final = len("&trail=")


def bounded(positions: Iterable[str]) -> Sequence[str]:
    """Return the last of these positions, as many as a link may carry."""
    kept: list[str] = []
    length = 0
    for position in reversed(list(positions)):
        length += _PARAMETER_LENGTH + len(quote_plus(position))
        if len(kept) == TRAIL_MAX or length > _ENCODED_MAX:
            break
        kept.append(position)
    return kept[::-1]
