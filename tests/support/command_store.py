"""Access to a registry on a folder without a server, for tests of the command line."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from config.container import build_registry
from config.loader import load
from core.model import media_types
from core.model.digest import Digest
from core.model.events import UNNAMED, Actor
from core.model.names import RepositoryName, Tag
from core.registry.facade import Registry
from entrypoints.opening import opened
from tests.support.content import image_manifest
from tests.support.core_services import chunks

NAME = RepositoryName("team/app")
IMAGE = image_manifest(b"{}", [b"layer"])
DIGEST = Digest.of(IMAGE)
OTHER = image_manifest(b"{}", [])
V1 = Tag("v1")


def on_store(config_file: str, work: Callable[[Registry], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        application = build_registry(load(config_file).settings, makes_store=True)
        async with opened(application):
            return await work(application.registry)

    return asyncio.run(run())


def push(config_file: str, *tags: str, manifest: bytes = IMAGE) -> None:
    async def work(registry: Registry) -> None:
        for content in (b"{}", b"layer"):
            await registry.uploads.put(NAME, Digest.of(content), chunks(content))
        names = [Tag(tag) for tag in tags]
        await registry.push_manifest(NAME, manifest, media_types.OCI_MANIFEST, by=UNNAMED, tags=names)

    on_store(config_file, work)


def delete(config_file: str, reference: Tag | Digest) -> None:
    on_store(config_file, lambda registry: registry.delete_manifest(NAME, reference, by=Actor("alice")))


def target(config_file: str, tag: Tag = V1) -> Any:
    return on_store(config_file, lambda registry: registry.manifests.resolve(NAME, tag))


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()
