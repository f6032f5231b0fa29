"""A remote registry as a target: its errors, remembered uploads, sign-in, and unusual answers."""

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from adapters.registry_target.errors import Answer, UploadLostError, raise_unexpected
from adapters.registry_target.http import HttpRegistryTarget
from adapters.registry_target.sending import Sender
from adapters.registry_target.uploads import UnfinishedUploads
from adapters.upstream.options import UpstreamOptions
from core.errors import (
    DeniedError,
    DigestMismatchError,
    ManifestBlobUnknownError,
    ManifestInvalidError,
    ManifestTooLargeError,
    RegistryError,
    StorageError,
    UnsupportedError,
    UpstreamBusyError,
    UpstreamUnavailableError,
)
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.model.secret import Secret
from tests.contracts.registry_target_contract import described, manifest, reading

NAME = RepositoryName("team/app")
BLOB = described(b"content")


def answer(status: int, *codes: str, body: bytes | None = None, **headers: str) -> Answer:
    document = json.dumps({"errors": [{"code": code, "message": "no", "detail": "sha256:1"} for code in codes]})
    return Answer(status, headers, document.encode() if body is None else body)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (answer(404, "MANIFEST_BLOB_UNKNOWN"), ManifestBlobUnknownError),
        (answer(400, "DIGEST_INVALID"), DigestMismatchError),
        (answer(400, "MANIFEST_INVALID"), ManifestInvalidError),
        (answer(413), ManifestTooLargeError),
        (answer(405), UnsupportedError),
        (answer(400, "UNSUPPORTED"), UnsupportedError),
        (answer(404, "BLOB_UPLOAD_UNKNOWN"), UploadLostError),
        (answer(404, "BLOB_UPLOAD_INVALID"), UploadLostError),
        (answer(416), UploadLostError),
        (answer(403, "DENIED"), DeniedError),
        (answer(401, body=b"<html>"), DeniedError),
        (answer(400, body=b'{"errors": [1]}'), DeniedError),
        (answer(400, body=b"[]"), DeniedError),
        (answer(429), UpstreamBusyError),
        (answer(503, "UNAVAILABLE"), UpstreamUnavailableError),
    ],
)
def test_an_answer_has_a_meaning(given: Answer, expected: type[Exception]) -> None:
    with pytest.raises(expected) as raised:
        raise_unexpected("registry.example", "storing", given)
    assert raised.type is expected


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("soon", 60), ("9999999", 60)])
def test_a_busy_registry_says_when_to_return(header: str, seconds: int) -> None:
    with pytest.raises(UpstreamBusyError) as raised:
        raise_unexpected("registry.example", "storing", Answer(429, {"Retry-After": header}))
    assert raised.value.retry_after == seconds


def test_uploads_are_remembered_in_a_private_file(tmp_path: Path) -> None:
    # Arrange
    path = tmp_path / "state" / "uploads.json"
    uploads = UnfinishedUploads(path)

    # Act
    uploads.put(NAME, BLOB.digest, "https://host/upload")

    # Assert
    assert UnfinishedUploads(path).get(NAME, BLOB.digest) == "https://host/upload"
    assert path.stat().st_mode & 0o777 == 0o600
    uploads.pop(NAME, BLOB.digest)
    assert UnfinishedUploads(path).get(NAME, BLOB.digest) is None


def test_few_uploads_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.registry_target.uploads._UPLOADS_MAX", 1)
    uploads = UnfinishedUploads()
    uploads.put(NAME, Digest.of(b"1"), "https://host/1")
    uploads.put(NAME, Digest.of(b"2"), "https://host/2")
    assert uploads.get(NAME, Digest.of(b"1")) is None
    assert uploads.get(NAME, Digest.of(b"2")) == "https://host/2"


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"a": 1}', b"x" * 2000])
def test_an_unusable_file_is_reported_and_not_used(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Arrange
    monkeypatch.setattr("adapters.registry_target.uploads._FILE_BYTES_MAX", 1000)
    path = tmp_path / "uploads.json"
    path.write_bytes(content)

    # Act
    with caplog.at_level(logging.WARNING):
        UnfinishedUploads(path).put(NAME, BLOB.digest, "https://host/upload")

    # Assert
    assert path.read_bytes() == content
    assert "unfinished uploads are not remembered" in caplog.text


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        UnfinishedUploads(tmp_path / "file" / "uploads.json").put(NAME, BLOB.digest, "https://host/upload")
    assert "unfinished uploads are not remembered" in caplog.text


Answers = dict[str, list[web.Response]]


class Scripted:
    """A registry that gives prepared answers, by method, and then 404."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.seen: list[str] = []
        self.scopes: list[str] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        await request.read()
        if request.path == "/token":
            self.scopes += request.query.getall("scope", [])
            return web.json_response({"token": "good"})
        self.seen.append(f"{request.method} {request.path_qs}")
        waiting = self.answers.get(request.method, [])
        return waiting.pop(0) if waiting else web.Response(status=404)


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    registry = Scripted({})
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", registry.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    registry.url = f"http://{host}:{port}"
    yield registry
    await runner.cleanup()


@pytest.fixture
async def target(scripted: Scripted) -> AsyncIterator[HttpRegistryTarget]:
    options = UpstreamOptions(urls=(scripted.url,), username="ci", password=Secret("secret"))
    async with HttpRegistryTarget("registry.example", Sender("registry.example", options), sleep=no_sleep) as opened:
        yield opened


async def no_sleep(_seconds: float) -> None:
    """Wait for nothing."""


async def test_a_token_is_asked_for_all_rights_once(scripted: Scripted, target: HttpRegistryTarget) -> None:
    # Arrange
    challenge = {"WWW-Authenticate": f'Bearer realm="{scripted.url}/token",service="x"'}
    found = {"Docker-Content-Digest": str(BLOB.digest)}
    scripted.answers["HEAD"] = [
        web.Response(status=401, headers=challenge),
        web.Response(headers=found),
        web.Response(headers=found),
    ]

    # Act
    for tag in ("v1", "v2"):
        assert await target.resolve(NAME, Tag(tag)) == BLOB.digest

    # Assert
    assert scripted.scopes == ["repository:team/app:pull,push,delete"]
    assert len(scripted.seen) == 3


async def test_a_registry_without_digests_is_read(scripted: Scripted, target: HttpRegistryTarget) -> None:
    image = manifest(b"layer")
    scripted.answers["HEAD"] = [web.Response()]
    scripted.answers["GET"] = [web.Response(body=image.content, content_type=image.media_type)]
    assert await target.resolve(NAME, Tag("v1")) == image.digest


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"tags": 1}'])
async def test_a_malformed_list_of_tags_is_unusable(
    scripted: Scripted, target: HttpRegistryTarget, body: bytes
) -> None:
    scripted.answers["GET"] = [web.Response(body=body)]
    with pytest.raises(UpstreamUnavailableError):
        assert [tag async for tag in target.tags(NAME)]


async def test_tags_come_in_pages_of_this_host_only(scripted: Scripted, target: HttpRegistryTarget) -> None:
    # Arrange
    pages = [(["a", "not a tag"], "/v2/team/app/tags/list?last=a"), (["b"], "http://elsewhere.example/v2/")]
    scripted.answers["GET"] = [
        web.json_response({"tags": tags}, headers={"Link": f'<{following}>; rel="next"'}) for tags, following in pages
    ]

    # Act and assert
    assert [tag async for tag in target.tags(NAME)] == ["a", "b"]
    assert scripted.seen[1] == "GET /v2/team/app/tags/list?last=a"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"POST": [web.Response(status=202)]}, UpstreamUnavailableError),
        ({"POST": [web.Response(status=403)]}, DeniedError),
        ({"POST": [web.Response(status=202, headers={"Location": "/u"})], "PATCH": [web.Response(status=413)]}, None),
        ({"POST": [web.Response(status=202, headers={"Location": "/u"})], "PATCH": [web.Response(status=500)]}, None),
    ],
)
async def test_a_refused_upload_is_an_error(
    scripted: Scripted, target: HttpRegistryTarget, answers: Answers, expected: type[Exception] | None
) -> None:
    scripted.answers = {method: list(waiting) for method, waiting in answers.items()}
    with pytest.raises(expected or (RegistryError, StorageError)):
        await target.put_blob(NAME, BLOB, reading(b"content"))


async def test_an_upload_without_progress_ends(scripted: Scripted, target: HttpRegistryTarget) -> None:
    # Arrange
    location = {"Location": "/u", "Range": "0-0"}
    scripted.answers = {
        "POST": [web.Response(status=202, headers=location)],
        "PATCH": [web.Response(status=416)],
        "GET": [web.Response(status=204, headers=location) for _ in range(4)],
    }

    # Act and assert
    with pytest.raises(DeniedError):
        await target.put_blob(NAME, BLOB, reading(b"content"))
    assert [seen.partition(" ")[0] for seen in scripted.seen] == ["POST", "PATCH", *["GET"] * 4]


async def test_a_mount_that_begins_an_upload_is_continued(scripted: Scripted, target: HttpRegistryTarget) -> None:
    # Arrange
    other = RepositoryName("team/other")
    location = {"Location": f"{scripted.url}/u", "Range": "0-0"}
    scripted.answers = {
        "POST": [web.Response(status=202, headers=location)],
        "GET": [web.Response(status=204, headers=location)],
        "PATCH": [web.Response(status=202, headers=location)],
        "PUT": [web.Response(status=201)],
    }

    # Act
    is_mounted = await target.mount(NAME, BLOB.digest, source=other)
    await target.put_blob(NAME, BLOB, reading(b"content"))

    # Assert
    assert not is_mounted
    assert [seen.partition(" ")[0] for seen in scripted.seen] == ["POST", "GET", "PATCH", "PUT"]


def refusing_to_continue(scripted: Scripted, *patches: int) -> Answers:
    """Return answers about an upload that has 3 bytes and whose next requests end as given."""
    location = {"Location": f"{scripted.url}/u", "Range": "0-2"}
    errors = json.dumps({"errors": [{"code": "BLOB_UPLOAD_INVALID", "message": "blob upload invalid"}]}).encode()
    return {
        "POST": [web.Response(status=202, headers=location) for _ in range(2)],
        "GET": [web.Response(status=204, headers=location), web.Response(status=404)],
        "PATCH": [
            web.Response(status=status, headers=location, body=b"" if status == 202 else errors) for status in patches
        ],
        "PUT": [web.Response(status=201)],
    }


async def test_an_upload_that_is_not_continued_begins_again(scripted: Scripted, target: HttpRegistryTarget) -> None:
    # Arrange
    offsets: list[int] = []
    scripted.answers = refusing_to_continue(scripted, 404, 202)
    await target.mount(NAME, BLOB.digest, source=RepositoryName("team/other"))

    # Act
    await target.put_blob(NAME, BLOB, reading(b"content", offsets=offsets))

    # Assert
    assert offsets == [3, 0]
    methods = [seen.partition(" ")[0] for seen in scripted.seen]
    assert methods == ["POST", "GET", "PATCH", "GET", "POST", "PATCH", "PUT"]


async def test_an_upload_begins_again_once(scripted: Scripted, target: HttpRegistryTarget) -> None:
    scripted.answers = refusing_to_continue(scripted, 404, 404, 202)
    await target.mount(NAME, BLOB.digest, source=RepositoryName("team/other"))
    with pytest.raises(UploadLostError):
        await target.put_blob(NAME, BLOB, reading(b"content"))
