"""Pages of sorted lists: the `n` and `last` of the tag list, the catalog and the referrers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from core.errors import PaginationInvalidError

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T_co]):
    """A run of sorted items, and whether more follow the last of them."""

    items: Sequence[T_co]
    has_more: bool = False


def parse_page_size(text: str | None) -> int | None:
    """Read the `n` of a query: a whole number from 0 on, or None where there is none.

    Raises:
        PaginationInvalidError: not a number, or negative (OCI distribution-spec 1.1, end-8b).
    """
    if text is None or text == "":
        return None
    # int() would take "+5", " 5 ", "1_000" and other scripts' digits.
    if not (text.isascii() and text.isdigit()):
        raise PaginationInvalidError("n must be a whole number, 0 or greater", detail={"n": text[:32]})
    # More digits than any list has items; int() of a huge text would be slow.
    return int(text[:18])
