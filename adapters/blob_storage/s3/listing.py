"""Listings in pages, with version 1 of the API, which every store supports."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Any, Final

from adapters.blob_storage.s3.client import StoreClient
from core.errors import StorageUnavailableError
from core.ports.blob_storage import KEYS_PER_REQUEST

_MD5_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class ListedPage:
    """One page of a listing, in the store's order: by the bytes of whole keys."""

    objects: list[dict[str, Any]]
    prefixes: list[str]
    """The common prefixes of keys that contain the delimiter, each including the delimiter."""
    marker: str | None
    """The marker of the next page, None on the last page."""

    @property
    def last(self) -> str:
        """The greatest entry, or an empty text if the page has none."""
        return max([*self.prefixes[-1:], *(entry["Key"] for entry in self.objects[-1:])], default="")

    def keys_below(self, store_prefix: str) -> set[str]:
        """Return the keys of the objects that begin with `store_prefix`."""
        return {entry["Key"] for entry in self.objects if entry["Key"].startswith(store_prefix)}


async def list_page(
    client: StoreClient,
    prefix: str,
    *,
    delimiter: str = "",
    marker: str = "",
    entries_max: int = KEYS_PER_REQUEST,
    attempts: int | None = None,
) -> ListedPage:
    """Return the entries after `marker`; prefix and marker are keys in the bucket. One request.

    Raises:
        StorageUnavailableError: the store failed, or its next page would be this one again.
    """
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
    # Without a delimiter a store may omit the next marker: the next marker is the last key.
    following = answer.get("NextMarker") or page.last
    if following in {"", marker}:
        raise StorageUnavailableError(f"{client.dialect.name}: list_objects: the listing does not go on")
    return replace(page, marker=following)


async def list_pages(
    client: StoreClient, prefix: str, *, delimiter: str = "", marker: str = ""
) -> AsyncGenerator[ListedPage, None]:
    """Yield page after page, each requested on demand."""
    following: str | None = marker
    while following is not None:
        page = await list_page(client, prefix, delimiter=delimiter, marker=following)
        yield page
        following = page.marker


def plain_md5(etag: str | None) -> str | None:
    """Return an ETag that may be an MD5, else None: the ETag of an object written in parts contains a dash."""
    text = (etag or "").strip('"').lower()
    return text if len(text) == _MD5_DIGITS and "-" not in text else None
