"""The services behind lists are built with their first use, and learn of every change after that."""

from dataclasses import replace

from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.model.events import Actor
from core.model.media_types import OCI_MANIFEST
from core.model.names import RepositoryName
from core.summaries.lists import Lists
from core.summaries.repository_list import RepositoryQuery
from tests.support.content import image_manifest
from tests.support.core_services import CoreServices

NAMES = [RepositoryName("a"), RepositoryName("b")]
BY = Actor("tester")


async def push(services, registry, name):
    await services.push_blob(name, b"{}")
    await registry.push_manifest(name, image_manifest(), OCI_MANIFEST, by=BY)


async def listed(registry):
    page = await registry.repository_lists.page(RepositoryQuery.parse(), sees=lambda _name: True)
    return [each.name for each in page.items]


async def test_lists_are_built_once_and_see_pushes_by_digest():
    services = CoreServices()
    whole = services.registry(InMemoryCatalogIndex())
    built = []

    def build():
        built.append(whole.lists.services)
        return built[-1]

    registry = replace(whole, lists=Lists(build))
    await push(services, registry, NAMES[0])
    assert built == []
    assert await listed(registry) == NAMES[:1]
    # Nothing is recorded for a push without a tag: the lists hear of it from this process alone.
    await push(services, registry, NAMES[1])
    assert await listed(registry) == NAMES
    assert registry.summaries is registry.lists.services.summaries
    assert len(built) == 1
