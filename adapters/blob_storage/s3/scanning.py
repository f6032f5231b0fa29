"""Finding what lies in directories of one name, wherever they are, in few requests."""

from collections.abc import AsyncGenerator
from typing import Any, Final

from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.listing import list_page

_MARK: Final = "/_"
_BEHIND_MARK: Final = "/`"
"""Sorts behind everything that begins with `/_`."""


async def entries_within(client: StoreClient, prefix: str, directory: str) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the entries of all objects in directories of this name, in the order of their keys.

    One plain listing, in which each page begins where the next object can be: a page shows whole small repositories at
    once, and of large ones as many keys as it happens to hold before the next page leaps over the rest. So it never
    costs more than listing everything, and never more than one page for each directory and for each 1,000 of its keys.

    Args:
        client: the open store.
        prefix: the bucket's own, with its slash.
        directory: `_uploads`.
    """
    marker: str | None = ""
    while marker is not None:
        page = await list_page(client, prefix, marker=marker)
        for entry in page.objects:
            if _is_within(entry["Key"][len(prefix) :], directory):
                yield entry
        marker = page.marker
        if marker is not None:
            marker = max(marker, prefix + _leap(page.last[len(prefix) :], directory))


def _is_within(key: str, directory: str) -> bool:
    path, mark, rest = key.partition(_MARK)
    # A console makes "folders": empty objects whose key ends in a slash.
    is_object = not key.endswith("/")
    return bool(mark) and not path.startswith("_") and is_object and f"_{rest}".startswith(f"{directory}/")


def _leap(key: str, directory: str) -> str:
    """Return behind which key the next object can be, `key` being the last that was listed."""
    if key.startswith("_"):
        return "`"
    path, mark, rest = key.partition(_MARK)
    if not mark:
        return key
    within = f"{path}/{directory}/"
    if key < within:
        return within
    return key if f"_{rest}".startswith(f"{directory}/") else path + _BEHIND_MARK
