"""Search for objects in directories of one name, wherever they are, in few requests."""

from collections.abc import AsyncGenerator
from typing import Any, Final

from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.listing import list_page

_MARK: Final = "/_"
_BEHIND_MARK: Final = "/`"
"""Sorts after everything that begins with `/_`."""


async def entries_within(client: StoreClient, prefix: str, directory: str) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the entries of all objects in directories of this name, in key order.

    Uses one plain listing, in which each page begins where the next matching object can be. One page covers whole small
    repositories at once; in a large one it covers as many keys as fit, and the next page skips the rest. So the cost is
    never more than that of listing everything, and never more than one page for each directory and for each 1,000 of
    its keys.

    Args:
        client: the open store.
        prefix: a prefix in the bucket, with its slash.
        directory: the name of the directories, for example `_uploads`.
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
    # Web consoles create "folders": empty objects whose key ends in a slash.
    is_object = not key.endswith("/")
    return bool(mark) and not path.startswith("_") and is_object and f"_{rest}".startswith(f"{directory}/")


def _leap(key: str, directory: str) -> str:
    """Return the marker after which the next matching object can be, `key` being the last listed one."""
    if key.startswith("_"):
        return "`"
    path, mark, rest = key.partition(_MARK)
    if not mark:
        return key
    within = f"{path}/{directory}/"
    if key < within:
        return within
    return key if f"_{rest}".startswith(f"{directory}/") else path + _BEHIND_MARK
