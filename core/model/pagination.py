"""Pages of sorted lists: the `n` and `last` parameters of the tag list, the catalog and the referrers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from core.errors import PaginationInvalidError

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T_co]):
    """Consecutive items of a sorted list; `has_more` is true if more items follow."""

    items: Sequence[T_co]
    has_more: bool = False


def parse_page_size(text: str | None) -> int | None:
    """Parse the query parameter `n`: a whole number, 0 or greater. Return None if it is absent or empty.

    Raises:
        PaginationInvalidError: not a number, or negative (OCI distribution-spec 1.1, end-8b).
    """
    if text is None or text == "":
        return None
    # int() would accept "+5", " 5 ", "1_000" and digits of other scripts.
    if not (text.isascii() and text.isdigit()):
        raise PaginationInvalidError("n must be a whole number, 0 or greater", detail={"n": text[:32]})
    # 18 digits exceed the length of any list; int() of a huge text would be slow.
    return int(text[:18])
