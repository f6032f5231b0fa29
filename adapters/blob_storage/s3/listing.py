"""Listings, page by page: version 1, which every store speaks."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Any, Final

from adapters.blob_storage.s3.client import StoreClient

PAGE_ENTRIES_MAX: Final = 1_000
_MD5_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class ListedPage:
    """A run of a listing, in the store's order: by the bytes of whole keys."""

    objects: list[dict[str, Any]]
    prefixes: list[str]
    """What keys that go on behind the delimiter have in common, the delimiter included."""
    marker: str | None
    """Where the next page begins, None after the last one."""

    @property
    def last(self) -> str:
        """The greatest entry, empty on a page without any."""
        return max([*self.prefixes[-1:], *(entry["Key"] for entry in self.objects[-1:])], default="")

    def keys_below(self, store_prefix: str) -> set[str]:
        """Return the keys of the objects that begin so."""
        return {entry["Key"] for entry in self.objects if entry["Key"].startswith(store_prefix)}


async def list_page(
    client: StoreClient,
    prefix: str,
    *,
    delimiter: str = "",
    marker: str = "",
    entries_max: int = PAGE_ENTRIES_MAX,
    attempts: int | None = None,
) -> ListedPage:
    """Return the entries behind `marker`; prefix and marker are the bucket's own keys. One request."""
    answer = await client.call(
        "list_objects",
        attempts=attempts,
        Prefix=prefix,
        Delimiter=delimiter,
        Marker=marker,
        MaxKeys=entries_max,
    )
    objects = answer.get("Contents", [])
    prefixes = [entry["Prefix"] for entry in answer.get("CommonPrefixes", [])]
    page = ListedPage(objects, prefixes, None)
    if not answer.get("IsTruncated"):
        return page
    # Without a delimiter a store need not name the next marker: it is the last key.
    return replace(page, marker=answer.get("NextMarker") or page.last)


async def list_pages(
    client: StoreClient, prefix: str, *, delimiter: str = "", marker: str = ""
) -> AsyncGenerator[ListedPage, None]:
    """Yield page after page, each asked for when it is wanted."""
    following: str | None = marker
    while following is not None:
        page = await list_page(client, prefix, delimiter=delimiter, marker=following)
        yield page
        following = page.marker


def plain_md5(etag: str | None) -> str | None:
    """Return the MD5 that an ETag may be: not that of an object written in parts, which has a dash."""
    text = (etag or "").strip('"').lower()
    return text if len(text) == _MD5_DIGITS and "-" not in text else None
