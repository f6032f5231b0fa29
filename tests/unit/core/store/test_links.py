import logging

import pytest

from core.model.digest import Digest
from core.model.names import RepositoryName
from core.store import layout
from core.store.links import LinkState, read_link

NAME = RepositoryName("a/b")
DIGEST = Digest.of(b"x")
KEY = layout.layer_link(NAME, DIGEST)


async def test_link_is_the_digest_without_newline(services):
    await services.links.write(KEY, DIGEST)
    assert await services.storage.read(KEY) == DIGEST.encode()
    assert await services.links.read(KEY) == DIGEST
    await services.links.delete(KEY)
    assert await services.links.read(KEY) is None


async def test_intact_link_is_read(services):
    assert not await services.links.stands(KEY, DIGEST)
    for content, is_whole in [(b"", False), (DIGEST.encode()[:-1], False), (DIGEST.encode() + b"\n", True)]:
        await services.storage.write(KEY, content)
        assert await services.links.stands(KEY, DIGEST) is is_whole
    await services.links.write(KEY, DIGEST)
    assert await services.links.stands(KEY, DIGEST)


async def test_newline_of_a_repaired_link_is_ignored(services):
    await services.storage.write(KEY, DIGEST.encode() + b"\n")
    assert await services.links.read(KEY) == DIGEST


@pytest.mark.parametrize("content", [b"", b"sha256:", b"\xff", b"x" * 2000])
async def test_broken_link_counts_as_absent_and_is_logged(services, content, caplog):
    await services.storage.write(KEY, content)
    with caplog.at_level(logging.WARNING):
        assert await services.links.read(KEY) is None
    assert "link ignored" in caplog.text


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (None, LinkState(is_there=False)),
        (b"x" * 1025, LinkState(is_there=True)),
        (b"sha256:", LinkState(is_there=True, content=b"sha256:")),
        (DIGEST.encode() + b"\n", LinkState(is_there=True, content=DIGEST.encode() + b"\n", target=DIGEST)),
    ],
)
async def test_missing_invalid_and_valid_links_differ(services, content, state):
    if content is not None:
        await services.storage.write(KEY, content)
    assert await read_link(services.storage, KEY) == state
