"""The port's two listings of names, built on listed pages in string order."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.listing import list_page
from adapters.blob_storage.s3.ordering import NamesPage, in_string_order

_SLASH: Final = "/"
_MARK: Final = "/_"
_BEHIND_MARK: Final = "/`"
"""Sorts after everything that begins with `/_`."""


async def children(client: StoreClient, below: str, after: str) -> AsyncGenerator[str, None]:
    """Yield the names directly below a prefix (given with its slash), ascending, greater than `after`."""
    prefix = client.store_key(below)

    async def is_listed(name: str) -> bool:
        return bool((await list_page(client, f"{prefix}{name}/", entries_max=1)).objects)

    async with aclosing(
        in_string_order(_children_pages(client, prefix, after), tail=_SLASH, after=after, probe=is_listed)
    ) as names:
        async for name in names:
            yield name


async def marked(client: StoreClient, below: str, after: str) -> AsyncGenerator[str, None]:
    """Yield the paths below a prefix that have a child beginning with `_`, ascending, greater than `after`."""
    prefix = client.store_key(below)

    async def is_listed(path: str) -> bool:
        return bool((await list_page(client, f"{prefix}{path}/_", entries_max=1)).objects)

    async with aclosing(
        in_string_order(_marked_pages(client, prefix, after), tail=_MARK, after=after, probe=is_listed)
    ) as paths:
        async for path in paths:
            yield path


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


async def _marked_pages(client: StoreClient, prefix: str, after: str) -> AsyncGenerator[NamesPage, None]:
    marker: str | None = prefix + after if after else ""
    while marker is not None:
        page = await list_page(client, prefix, delimiter=_MARK, marker=marker)
        marker = page.marker
        # A store that supports only delimiters of one character lists the objects below the mark one by one.
        objects = [entry["Key"][len(prefix) :] for entry in page.objects]
        rolled = [name[len(prefix) :] for name in page.prefixes]
        rolled += [path + _MARK for path, mark, _ in (name.partition(_MARK) for name in objects) if mark]
        last = page.last[len(prefix) :]
        path, mark, rest = last.partition(_MARK)
        if mark and rest and marker is not None:
            last, marker = path + _MARK, prefix + path + _BEHIND_MARK
        paths = frozenset(path.removesuffix(_MARK) for path in rolled if not path.startswith("_"))
        yield NamesPage(paths, last, marker is None)
