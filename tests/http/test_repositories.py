"""`DELETE /v2/<name>/_sohu/registry/repository`."""

import pytest

from config.settings import Settings, StorageSettings
from core.errors import NameInvalidError
from core.model import media_types
from core.model.access import AccessPolicy, Action, Rule, RuleAction
from core.model.digest import Digest
from core.model.events import EventAction, Occurrence
from core.model.names import RepositoryName
from core.registry.manifest_references import ManifestPolicy
from core.store import layout
from entrypoints.http.authentication import accesses_of
from entrypoints.http.routes import Resource, match
from tests.http.conftest import error_codes
from tests.http.test_events import CollectingSink
from tests.support.content import image_manifest
from tests.support.core_services import CoreServices

NAME = RepositoryName("team/app")
URL = f"/v2/{NAME}/_sohu/registry/repository"
IMAGE = image_manifest(b"{}", [b"layer"])


async def push(api, name=NAME):
    for content in (b"{}", b"layer"):
        await api.push_blob(name, content)
    for tag in ("v1", "v2"):
        await api.push_manifest(name, tag, IMAGE, media_types.OCI_MANIFEST)


async def test_repository_is_deleted_and_its_content_counted(api):
    await push(api)
    async with api.request("DELETE", URL) as response:
        assert response.status == 200
        told = await response.json()
    assert (told["name"], told["tags"], told["manifests"]) == (NAME, 2, 1)
    async with api.request("GET", "/v2/_catalog") as response:
        assert await response.json() == {"repositories": []}
    for reference in ("v1", Digest.of(IMAGE)):
        async with api.request("GET", f"/v2/{NAME}/manifests/{reference}") as response:
            assert response.status == 404
    await api.services.trash_service.restore(told["trash"])
    async with api.request("GET", f"/v2/{NAME}/manifests/v1") as response:
        assert await response.read() == IMAGE


async def test_unknown_repository_is_404(api):
    async with api.request("DELETE", URL) as response:
        assert (response.status, await error_codes(response)) == (404, ["NAME_UNKNOWN"])


async def test_deletion_without_trash_returns_no_entry(start, services):
    services.trash.keep -= services.trash.keep
    api = await start()
    await push(api)
    async with api.request("DELETE", URL) as response:
        assert await response.json() == {"name": NAME, "tags": 2, "manifests": 1}


async def test_illegal_name_is_refused(api):
    async with api.request("DELETE", "/v2/Team/_sohu/registry/repository") as response:
        assert (response.status, await error_codes(response)) == (400, ["NAME_INVALID"])


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "HEAD"])
async def test_path_supports_delete_only(api, method):
    async with api.request(method, URL) as response:
        assert (response.status, response.headers["Allow"]) == (405, "DELETE")


async def test_disabled_deletion_is_refused(start):
    api = await start(Settings(storage=StorageSettings(delete_enabled=False)))
    await push(api)
    async with api.request("DELETE", URL) as response:
        assert (response.status, await error_codes(response)) == (405, ["UNSUPPORTED"])


async def test_immutable_tags_are_refused(start, services):
    kept = CoreServices(storage=services.storage, policy=ManifestPolicy(is_immutable=lambda _name, tag: tag == "v1"))
    services.repositories = kept.repositories
    api = await start()
    await push(api)
    before = await services.keys(layout.REPOSITORIES)
    async with api.request("DELETE", URL) as response:
        assert (response.status, await error_codes(response)) == (403, ["DENIED"])
    assert await services.keys(layout.REPOSITORIES) == before


async def test_right_to_delete_is_required(start):
    pushes = Rule(who=("anonymous",), actions=(RuleAction.PULL, RuleAction.PUSH))
    elsewhere = Rule(who=("anonymous",), repositories=("other/**",), actions=(RuleAction.DELETE,))
    api = await start(policy=AccessPolicy(rules=(pushes, elsewhere)))
    await push(api)
    async with api.request("DELETE", URL) as response:
        assert (response.status, await error_codes(response)) == (403, ["DENIED"])
    [access] = accesses_of(match(URL), "DELETE", None)
    assert (access.kind, access.name, access.action) == ("repository", NAME, Action.DELETE)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v2/a/_sohu/registry/repository", "a"),
        ("/v2/a/manifests/_sohu/registry/repository", "a/manifests"),
        ("/v2/_sohu/registry/repository", None),
        ("/v2/a/_sohu/registry", None),
        ("/v2/a/b/registry/repository", None),
    ],
)
def test_path_is_not_taken_for_another_endpoint(path, name):
    target = match(path)
    assert (target.name if target and target.resource is Resource.REPOSITORY else None) == name
    with pytest.raises(NameInvalidError):
        RepositoryName("a/_sohu")


async def test_deletion_of_a_repository_has_one_event(start, services):
    sink = CollectingSink()
    services.publisher = CoreServices(events=sink).publisher
    api = await start()
    await push(api)
    sink.take()
    async with api.request("DELETE", URL) as response:
        assert response.status == 200
    [(gone, origin)] = sink.take()
    assert gone == Occurrence(action=EventAction.DELETE, repository=NAME)
    assert origin.method == "DELETE"
