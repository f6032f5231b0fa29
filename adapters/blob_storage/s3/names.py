"""The port's listings by names, built on listed pages: children, marked paths, and the objects below them."""

from collections.abc import AsyncGenerator
from typing import Any, Final

from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.listing import list_page
from adapters.blob_storage.s3.ordering import NamesPage, in_string_order

_SLASH: Final = "/"


def children(client: StoreClient, below: str, after: str) -> AsyncGenerator[list[str], None]:
    """Yield the names directly below a prefix (given with its slash) in pages, ascending, greater than `after`."""
    prefix = client.store_key(below)

    async def is_listed(name: str) -> bool:
        return bool((await list_page(client, f"{prefix}{name}/", entries_max=1)).objects)

    return in_string_order(_children_pages(client, prefix, after), tail=_SLASH, after=after, probe=is_listed)


def marked(client: StoreClient, below: str, mark: str, after: str) -> AsyncGenerator[list[str], None]:
    """Yield the paths below a prefix that have a child beginning with `mark`, in pages, as `children` does."""
    prefix = client.store_key(below)

    async def is_listed(path: str) -> bool:
        return bool((await list_page(client, f"{prefix}{path}/{mark}", entries_max=1)).objects)

    return in_string_order(_marked_pages(client, prefix, mark, after), tail=f"/{mark}", after=after, probe=is_listed)


async def entries_within(client: StoreClient, prefix: str, directory: str) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the entries of all objects in directories of this name below marked paths, in key order.

    Uses one plain listing, in which each page begins where the next matching object can be. One page covers whole small
    repositories at once; in a large one it covers as many keys as fit, and the next page skips the rest. So the cost is
    never more than that of listing everything, and never more than one page for each directory and for each 1,000 of
    its keys.

    Args:
        client: the open store.
        prefix: a prefix in the bucket, with its slash.
        directory: the name of the directories, for example `_uploads`; its first character is the mark.
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


async def _children_pages(client: StoreClient, prefix: str, after: str) -> AsyncGenerator[NamesPage, None]:
    # `after` sorts before the listed form of every greater name; `in_string_order` drops the others.
    marker: str | None = prefix + after if after else ""
    while marker is not None:
        page = await list_page(client, prefix, delimiter=_SLASH, marker=marker)
        marker = page.marker
        names = {entry["Key"][len(prefix) :] for entry in page.objects}
        names |= {name[len(prefix) : -len(_SLASH)] for name in page.prefixes}
        # Web consoles create "folders": objects whose key is the prefix itself.
        yield NamesPage(frozenset(names - {""}), page.last[len(prefix) :], marker is None)


async def _marked_pages(client: StoreClient, prefix: str, mark: str, after: str) -> AsyncGenerator[NamesPage, None]:
    tail = f"/{mark}"
    marker: str | None = prefix + after if after else ""
    while marker is not None:
        page = await list_page(client, prefix, delimiter=tail, marker=marker)
        marker = page.marker
        # A store that supports only delimiters of one character lists the objects below the mark one by one.
        objects = [entry["Key"][len(prefix) :] for entry in page.objects]
        rolled = [name[len(prefix) :] for name in page.prefixes]
        rolled += [path + tail for path, found, _ in (name.partition(tail) for name in objects) if found]
        last = page.last[len(prefix) :]
        path, found, rest = last.partition(tail)
        if found and rest and marker is not None:
            last, marker = path + tail, f"{prefix}{path}/{_after(mark)}"
        paths = frozenset(path.removesuffix(tail) for path in rolled if not path.startswith(mark))
        yield NamesPage(paths, last, marker is None)


def _is_within(key: str, directory: str) -> bool:
    mark = directory[0]
    path, found, rest = key.partition(f"/{mark}")
    # Web consoles create "folders": empty objects whose key ends in a slash.
    is_object = not key.endswith("/")
    return bool(found) and not path.startswith(mark) and is_object and f"{mark}{rest}".startswith(f"{directory}/")


def _leap(key: str, directory: str) -> str:
    """Return the marker after which the next matching object can be, `key` being the last listed one."""
    mark = directory[0]
    if key.startswith(mark):
        return _after(mark)
    path, found, rest = key.partition(f"/{mark}")
    if not found:
        return key
    within = f"{path}/{directory}/"
    if key < within:
        return within
    return key if f"{mark}{rest}".startswith(f"{directory}/") else f"{path}/{_after(mark)}"


def _after(mark: str) -> str:
    """Return a text that sorts after everything that begins with `mark`."""
    return chr(ord(mark) + 1)
