"""Repeated pulls of blobs follow every change, and redirects carry their own URLs."""

from dataclasses import replace
from itertools import product

import pytest
from typing_extensions import override

from config.settings import Settings
from core.model.digest import Digest
from core.model.events import Actor
from core.ports.redirection import Redirector
from core.registry.blobs import BlobService
from core.store import layout
from tests.http.conftest import open_app
from tests.http.test_changes_between_pulls import begin_to_stop, change_headers, forbid
from tests.support.core_services import CoreServices
from tests.support.repeated_pulls import BLOB, BLOB_PATH, HOST, NAME, access_lines, fill, head_of, serving


@pytest.fixture
async def services():
    return await fill(CoreServices())


@pytest.fixture
def lines():
    with access_lines() as take:
        yield take


async def delete_blob(_app, services):
    await services.blobs.unlink(NAME, Digest.of(BLOB))


async def lose_blob(_app, services):
    await services.storage.delete([layout.blob_data(Digest.of(BLOB))])


async def damage_blob(_app, services):
    await services.storage.write(layout.blob_data(Digest.of(BLOB)), BLOB + b" ")


async def begin_to_redirect(_app, services):
    async def redirect_url(_key, *, method):
        return f"https://store.example.com/{method}"

    services.storage.redirect_url = redirect_url


async def stop_to_redirect(_app, services):
    async def redirect_url(_key, *, method):
        return None

    services.storage.redirect_url = redirect_url


@pytest.mark.parametrize(
    ("method", "prepare", "change"),
    [
        *product(["GET", "HEAD"], [None], [forbid, delete_blob, lose_blob, damage_blob, change_headers, begin_to_stop]),
        ("GET", None, begin_to_redirect),
        ("GET", begin_to_redirect, stop_to_redirect),
        ("GET", begin_to_redirect, delete_blob),
        ("GET", begin_to_redirect, change_headers),
    ],
)
async def test_changes_of_blobs_count_at_once(method, prepare, change, lines):
    request = head_of(f"{method} {BLOB_PATH}", HOST)
    results = []
    for repeats in (False, True):
        services = await fill(CoreServices())
        app = open_app(services, Settings())
        async with serving(app, repeats=repeats) as (counting, connect):
            if prepare:
                await prepare(app, services)
            conversation = await connect()
            answers = [await conversation.ask(request) for _ in range(4)]
            await change(app, services)
            answers += [await conversation.ask(request) for _ in range(4)]
        results.append((answers, lines()))
        if repeats:
            assert counting.answered[:3] == [True, True, False]
    assert results[1] == results[0]
    assert results[0][0][3] != results[0][0][4]


async def test_urls_that_depend_on_the_client_are_not_repeated(services):
    parts = replace(services.blob_parts, redirector=ByClient())
    services.blobs = BlobService(parts)
    async with serving(open_app(services, Settings())) as (counting, connect):
        conversation = await connect()
        for _ in range(4):
            assert b"Location: https://cdn.example.com/" in await conversation.ask(head_of(f"GET {BLOB_PATH}", HOST))
    assert counting.answered == []


class ByClient(Redirector):
    """Returns URLs that contain the address of the client."""

    @override
    async def url(self, key: str, *, by: Actor) -> str | None:
        return f"https://cdn.example.com{key}?{by.origin().address}"
