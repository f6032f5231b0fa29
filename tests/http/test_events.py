"""Events of requests: distribution's events, published after the change and before the response."""

from base64 import b64encode

import pytest
from typing_extensions import override

from core.errors import StorageUnavailableError
from core.model.digest import Digest
from core.model.events import EventAction
from core.model.media_types import OCI_MANIFEST, OCTET_STREAM
from core.model.names import RepositoryName, Tag
from core.ports.event_sink import EventSink
from tests.http.conftest import error_codes
from tests.support.content import image_manifest
from tests.support.core_services import CoreServices

NAME = "a/b"
LAYER = b"layer"
IMAGE = image_manifest(b"{}", [LAYER])
DIGEST = Digest.of(IMAGE)


class CollectingSink(EventSink):
    """Keeps the events; calls `when_told` at each."""

    def __init__(self):
        self.told = []
        self.wanted = frozenset(EventAction)
        self.references = False
        self.error = None
        self.when_told = None

    @override
    def wants(self, action, media_type=""):
        return action in self.wanted

    @property
    @override
    def wants_references(self):
        return self.references

    @override
    async def emit(self, occurrences, origin):
        if self.when_told is not None:
            await self.when_told()
        if self.error is not None:
            raise self.error
        self.told += [(occurrence, origin) for occurrence in occurrences]

    def take(self):
        told, self.told = self.told, []
        return told

    def occurrences(self):
        return [occurrence for occurrence, _ in self.take()]


@pytest.fixture
def sink():
    return CollectingSink()


@pytest.fixture
def services(sink) -> CoreServices:
    return CoreServices(events=sink)


@pytest.fixture
async def image(api):
    """A pushed image: its manifest, its digest, and its layer's."""
    await api.push_blob(NAME, b"{}")
    layer = await api.push_blob(NAME, LAYER)
    await api.push_manifest(NAME, "v1", IMAGE, OCI_MANIFEST)
    return IMAGE, layer


async def answer(api, method, path, **options):
    async with api.request(method, path, **options) as response:
        await response.read()
        return response


async def test_pushed_blobs_and_manifest_have_an_event_each(api, sink, services, image):
    content, layer = image
    config, blob, manifest = sink.occurrences()
    assert (config.action, config.media_type, config.size, config.tag) == (EventAction.PUSH, OCTET_STREAM, 2, None)
    assert (blob.digest, blob.repository, blob.url) == (layer, NAME, f"{api.root}/v2/{NAME}/blobs/{layer}")
    assert (manifest.action, manifest.media_type, manifest.size) == (EventAction.PUSH, OCI_MANIFEST, len(content))
    assert (manifest.tag, manifest.references) == ("v1", ())
    assert manifest.url == f"{api.root}/v2/{NAME}/manifests/{manifest.digest}"


async def test_upload_in_pieces_has_an_event_when_it_is_complete(api, sink):
    async with api.request("POST", f"/v2/{NAME}/blobs/uploads/") as response:
        location = response.headers["Location"]
    async with api.request("PATCH", location, data=LAYER[:3]) as response:
        location = response.headers["Location"]
    assert (await answer(api, "PUT", f"{location}&digest={Digest.of(b'else')}", data=LAYER[3:])).status == 400
    assert sink.occurrences() == []
    async with api.request("GET", location) as response:
        location = response.headers["Location"]
    assert (await answer(api, "PUT", f"{location}&digest={Digest.of(LAYER)}")).status == 201
    [pushed] = sink.occurrences()
    assert (pushed.action, pushed.digest, pushed.size) == (EventAction.PUSH, Digest.of(LAYER), 5)


async def test_push_has_its_event_after_the_tag_is_written(api, sink, services, image):
    content, _ = image
    seen = []

    async def look():
        seen.append(await services.manifests.resolve(RepositoryName(NAME), Tag("v2")))

    sink.when_told = look
    await api.push_manifest(NAME, "v2", content, OCI_MANIFEST)
    assert len(seen) == 1


async def test_push_of_several_tags_has_an_event_for_each(api, sink, image):
    content, _ = image
    sink.take()
    await api.push_manifest(NAME, f"{DIGEST}?tag=x&tag=y", content, OCI_MANIFEST)
    assert [each.tag for each in sink.occurrences()] == ["x", "y"]
    await api.push_manifest(NAME, DIGEST, content, OCI_MANIFEST)
    assert [each.tag for each in sink.occurrences()] == [None]


async def test_events_contain_references_if_configured(api, sink, image):
    content, layer = image
    sink.take()
    sink.references = True
    await api.push_manifest(NAME, "v2", content, OCI_MANIFEST)
    await answer(api, "GET", f"/v2/{NAME}/manifests/v2")
    pushed, pulled = sink.occurrences()
    assert pushed.references == pulled.references
    assert [each["digest"] for each in pushed.references][1] == layer


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_pulled_manifest_has_an_event(api, sink, image, method):
    content, _ = image
    sink.take()
    await answer(api, method, f"/v2/{NAME}/manifests/v1")
    await answer(api, method, f"/v2/{NAME}/manifests/{DIGEST}")
    by_tag, by_digest = sink.occurrences()
    assert (by_tag.action, by_tag.tag, by_tag.size) == (EventAction.PULL, "v1", len(content))
    assert (by_digest.tag, by_digest.digest) == (None, DIGEST)


async def test_unchanged_manifest_has_no_event_and_unchanged_blob_has_one(api, sink, image):
    _, layer = image
    sink.take()
    headers = {"If-None-Match": f'"{DIGEST}"'}
    assert (await answer(api, "GET", f"/v2/{NAME}/manifests/v1", headers=headers)).status == 304
    assert sink.occurrences() == []
    for method in ("GET", "HEAD"):
        headers = {"If-None-Match": f'"{layer}"'}
        assert (await answer(api, method, f"/v2/{NAME}/blobs/{layer}", headers=headers)).status == 304
    assert [each.action for each in sink.occurrences()] == [EventAction.PULL] * 2


@pytest.mark.parametrize(("method", "headers"), [("GET", {}), ("HEAD", {}), ("GET", {"Range": "bytes=1-2"})])
async def test_pulled_blob_has_an_event(api, sink, image, method, headers):
    _, layer = image
    sink.take()
    await answer(api, method, f"/v2/{NAME}/blobs/{layer}", headers=headers)
    [pulled] = sink.occurrences()
    assert (pulled.action, pulled.digest, pulled.size) == (EventAction.PULL, layer, 5)


async def test_redirected_blob_has_a_pull_event_with_its_size(api, sink, services, image, monkeypatch):
    _, layer = image
    sink.take()

    async def redirect_url(_key, *, method):
        return f"https://store/{method}"

    monkeypatch.setattr(services.storage, "redirect_url", redirect_url)
    assert (await answer(api, "GET", f"/v2/{NAME}/blobs/{layer}")).status == 307
    [pulled] = sink.occurrences()
    assert (pulled.action, pulled.size) == (EventAction.PULL, 5)


async def test_mounted_blob_has_an_event_with_its_source(api, sink, image):
    _, layer = image
    sink.take()
    assert (await answer(api, "POST", f"/v2/c/blobs/uploads/?mount={layer}&from={NAME}")).status == 201
    [mounted] = sink.occurrences()
    assert (mounted.action, mounted.repository, mounted.from_repository) == (EventAction.MOUNT, "c", NAME)
    assert (mounted.digest, mounted.size) == (layer, 5)
    assert (await answer(api, "POST", f"/v2/d/blobs/uploads/?mount={layer}&from=nowhere")).status == 202
    assert sink.occurrences() == []


async def test_deletions_have_events(api, sink, image):
    content, layer = image
    for tag in ("v2", "v3"):
        await api.push_manifest(NAME, tag, content, OCI_MANIFEST)
    sink.take()
    assert (await answer(api, "DELETE", f"/v2/{NAME}/manifests/v1")).status == 202
    [untagged] = sink.occurrences()
    assert (untagged.action, untagged.tag, untagged.digest) == (EventAction.DELETE, "v1", None)
    assert (await answer(api, "DELETE", f"/v2/{NAME}/manifests/{DIGEST}")).status == 202
    manifest, *tags = sink.occurrences()
    assert (manifest.digest, manifest.tag, manifest.media_type, manifest.size) == (DIGEST, None, "", 0)
    assert sorted(each.tag for each in tags) == ["v2", "v3"]
    assert (await answer(api, "DELETE", f"/v2/{NAME}/blobs/{layer}")).status == 202
    [blob] = sink.occurrences()
    assert (blob.action, blob.digest, blob.url) == (EventAction.DELETE, layer, "")


async def test_deleted_repository_has_one_event(api, sink, image):
    sink.take()
    assert (await answer(api, "DELETE", f"/v2/{NAME}/_sohu/registry/repository")).status == 200
    [gone] = sink.occurrences()
    assert (gone.action, gone.repository, gone.digest, gone.tag) == (EventAction.DELETE, NAME, None, None)


async def test_failed_requests_have_no_events(api, sink, image):
    sink.take()
    for method, path in (
        ("GET", f"/v2/{NAME}/manifests/none"),
        ("DELETE", f"/v2/{NAME}/manifests/none"),
        ("GET", f"/v2/{NAME}/blobs/sha256:{'0' * 64}"),
        ("DELETE", f"/v2/{NAME}/blobs/sha256:{'0' * 64}"),
    ):
        assert (await answer(api, method, path)).status == 404
    assert (await answer(api, "PUT", f"/v2/{NAME}/manifests/v1", data=b"{}")).status == 400
    assert sink.occurrences() == []


async def test_event_names_the_origin_of_the_request(api, sink, image):
    sink.take()
    headers = {
        "User-Agent": "docker/1",
        "X-Request-Id": "rid",
        "Authorization": "Basic " + b64encode(b"bob:pw").decode(),
    }
    await answer(api, "GET", f"/v2/{NAME}/manifests/v1", headers=headers)
    [(_, origin)] = sink.take()
    assert (origin.request_id, origin.method, origin.user_agent, origin.actor) == ("rid", "GET", "docker/1", "bob")
    assert origin.host == api.root.removeprefix("http://")
    address, _, port = origin.address.rpartition(":")
    assert address == "127.0.0.1"
    assert port.isdigit()


@pytest.mark.parametrize("authorization", ["", "Basic !", "Bearer x", "Basic " + b64encode(b"nocolon").decode()])
async def test_only_verified_credentials_name_the_actor(api, sink, image, authorization):
    sink.take()
    headers = {"Authorization": authorization, "X-Forwarded-For": "9.9.9.9"}
    await answer(api, "GET", f"/v2/{NAME}/manifests/v1", headers=headers)
    [(_, origin)] = sink.take()
    assert origin.actor == ""
    assert origin.address.startswith("127.0.0.1:")


async def test_push_whose_event_fails_is_not_acknowledged(api, sink, image):
    content, _ = image
    sink.error = StorageUnavailableError("no space left on device")
    headers = {"Content-Type": OCI_MANIFEST}
    async with api.request("PUT", f"/v2/{NAME}/manifests/v9", data=content, headers=headers) as response:
        assert response.status == 503
        assert await error_codes(response) == ["UNAVAILABLE"]
    sink.error = None
    sink.take()
    await api.push_manifest(NAME, "v9", content, OCI_MANIFEST)
    assert [each.tag for each in sink.occurrences()] == ["v9"]


async def test_events_without_an_endpoint_are_not_published(api, sink, image):
    sink.take()
    sink.wanted = frozenset()
    content, layer = image
    await api.push_manifest(NAME, "v2", content, OCI_MANIFEST)
    await answer(api, "GET", f"/v2/{NAME}/blobs/{layer}")
    await answer(api, "DELETE", f"/v2/{NAME}/manifests/v2")
    assert sink.told == []
