"""Checks of a push through the public address: each step, each header, and changes made by proxies."""

import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from core.diagnosis import Diagnosis
from core.errors import StorageError
from core.model.digest import Digest
from core.model.media_types import OCI_MANIFEST
from core.model.names import RepositoryName
from core.store import layout
from core.trash.entry import TrashKind
from entrypoints.doctor.client import Answer, PublicRegistry, UnreachableError
from entrypoints.doctor.findings import failure, ok, skipped, warning
from entrypoints.doctor.patient import Patient

_OCTETS: Final = {"Content-Type": "application/octet-stream"}
_BLOB_BYTES: Final = 96 * 1024
_PROXY_SETTINGS: Final = "docs/proxies.md has tested settings"
_CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"


class StepFailedError(Exception):
    """A step failed, and the following steps cannot be tried."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis.detail)
        self.diagnosis = diagnosis


async def examine_push(patient: Patient) -> AsyncIterator[Diagnosis]:
    """Push, read and delete a small image in a scratch repository, as a client does."""
    if patient.public is None:
        yield skipped("push", "no --url was given: proxies, links and limits were not looked at")
        return
    push = ScratchPush(patient.public, RepositoryName(f"registry-doctor/{patient.scratch_id}"))
    try:
        async for diagnosis in push.run():
            yield diagnosis
    except StepFailedError as error:
        yield error.diagnosis
    except UnreachableError as error:
        yield failure("push: connection", str(error), "look at name, port, firewall, proxy and its timeouts")
    yield await clean_scratch(patient, push, "push: nothing is left")


class ScratchPush:
    """Push of one image with random content."""

    def __init__(self, registry: PublicRegistry, name: RepositoryName) -> None:
        self.name = name
        self.digests: list[Digest] = []
        """Digests of the stored content, for the cleanup."""
        self._registry = registry
        self._scope = f"repository:{name}:pull,push,delete"

    async def run(self) -> AsyncIterator[Diagnosis]:
        """Yield a diagnosis for each step; raise on the first failure that makes the following steps impossible."""
        yield await self._base()
        blob = secrets.token_bytes(_BLOB_BYTES)
        digest = Digest.of(blob)
        post = await self._ask("POST", f"v2/{self.name}/blobs/uploads/", 202, "push: begin an upload")
        yield self._check_location(post, "push: Location of POST")
        half = len(blob) // 2
        target = self._registry.here(post.location)
        patch = await self._ask("PATCH", target, 202, "push: send a piece (PATCH)", body=blob[:half])
        yield self._check_location(patch, "push: Location of PATCH")
        target = _with_digest(self._registry.here(patch.location), digest)
        put = await self._ask("PUT", target, 201, "push: finish an upload (PUT)", body=blob[half:])
        self.digests.append(digest)
        yield self._check_location(put, "push: Location of PUT")
        yield self._check_header(put, "Docker-Content-Digest", digest)
        async for diagnosis in self._read_back(blob, digest):
            yield diagnosis
        async for diagnosis in self._manifest(blob, digest):
            yield diagnosis
        async for diagnosis in self._delete(digest):
            yield diagnosis

    async def _base(self) -> Diagnosis:
        check = "push: the API's root"
        answer = await self._registry.request("GET", "v2/", scope=self._scope)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            challenge = answer.headers.get("WWW-Authenticate", "")
            if not challenge:
                raise StepFailedError(
                    failure(check, "401 without WWW-Authenticate", "let the proxy pass this header on: docker needs it")
                )
            raise StepFailedError(
                failure(check, f"401 {challenge}", "give --user and --password-file of one who may push and delete")
            )
        if answer.status != HTTPStatus.OK:
            remedy = "let the proxy send /v2/ to the registry, and only there; --url is the root, without /v2/"
            raise StepFailedError(failure(check, answer.describe(), remedy))
        if "Docker-Distribution-Api-Version" not in answer.headers:
            return warning(
                check,
                "no Docker-Distribution-Api-Version: docker versions before 1.10 take it for a registry of version 1",
                "let the proxy pass this header on",
            )
        return ok(check)

    async def _ask(self, method: str, target: str, expected: int, check: str, *, body: bytes | None = None) -> Answer:
        headers = _OCTETS if body is not None else None
        answer = await self._registry.request(method, target, body=body, headers=headers, scope=self._scope)
        if answer.status != expected:
            raise StepFailedError(failure(check, answer.describe(), _remedy(answer)))
        return answer

    def _check_location(self, answer: Answer, check: str) -> Diagnosis:
        if not answer.location:
            raise StepFailedError(failure(check, "there is none", "let the proxy pass Location on"))
        found, used = urlsplit(answer.location), urlsplit(self._registry.url)
        if not found.netloc:
            return ok(check, "relative")
        if (found.scheme, found.netloc) == (used.scheme, used.netloc):
            path = used.path.rstrip("/") + "/v2/"
            if found.path.startswith(path):
                return ok(check)
            return failure(
                check, f"leads to {found.path}, outside {path}", "set http.prefix to the path that the proxy adds"
            )
        return failure(check, f"leads to {found.scheme}://{found.netloc}", _location_remedy(self._registry.url, found))

    def _check_header(self, answer: Answer, name: str, expected: str) -> Diagnosis:
        value = answer.headers.get(name)
        if value == expected:
            return ok(f"push: {name}")
        return failure(f"push: {name}", f"{value!r} instead of {expected!r}", f"let the proxy pass {name} on unchanged")

    async def _read_back(self, blob: bytes, digest: Digest) -> AsyncIterator[Diagnosis]:
        target = f"v2/{self.name}/blobs/{digest}"
        head = await self._ask("HEAD", target, 200, "push: HEAD of a blob")
        yield self._check_header(head, "Content-Length", str(len(blob)))
        escaped = await self._registry.request("HEAD", target.replace(":", "%3A"), scope=self._scope)
        if escaped.status != HTTPStatus.OK:
            yield warning(
                "push: escaped digest", escaped.describe(), "let the proxy pass paths on as they are, %3A included"
            )
        answer = await self._registry.request("GET", target, scope=self._scope)
        if answer.status == HTTPStatus.TEMPORARY_REDIRECT:
            yield await self._follow(answer, blob)
        else:
            yield _compare(answer, blob, "push: GET of a blob")

    async def _follow(self, answer: Answer, blob: bytes) -> Diagnosis:
        check = "push: redirect to the store"
        place = f"{urlsplit(answer.location).scheme}://{urlsplit(answer.location).netloc}"
        remedy = "let clients reach the store, set storage.s3.redirectendpoint, or storage.redirect.disable"
        try:
            # A scope without a token, so that no credentials are sent: the URL is signed.
            followed = await self._registry.request("GET", answer.location, scope="the store")
        except UnreachableError:
            return failure(check, f"{place} cannot be reached from here", remedy)
        if followed.status != HTTPStatus.OK:
            return failure(check, f"{place} answers {followed.status}", remedy)
        return _compare(followed, blob, check)

    async def _manifest(self, blob: bytes, digest: Digest) -> AsyncIterator[Diagnosis]:
        descriptor = {"digest": digest, "size": len(blob)}
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": _CONFIG_TYPE, **descriptor},
            "layers": [{"mediaType": "application/octet-stream", **descriptor}],
        }
        content = json.dumps(document).encode()
        target = f"v2/{self.name}/manifests/examined"
        put = await self._registry.request(
            "PUT", target, body=content, headers={"Content-Type": OCI_MANIFEST}, scope=self._scope
        )
        if put.status != HTTPStatus.CREATED:
            raise StepFailedError(failure("push: PUT of a manifest", put.describe(), _remedy(put)))
        manifest = Digest.of(content)
        self.digests.append(manifest)
        answer = await self._registry.request("GET", target, headers={"Accept": OCI_MANIFEST}, scope=self._scope)
        yield _compare(answer, content, "push: GET of a manifest")
        yield self._check_header(answer, "Docker-Content-Digest", manifest)
        yield self._check_header(answer, "Content-Type", OCI_MANIFEST)

    async def _delete(self, digest: Digest) -> AsyncIterator[Diagnosis]:
        manifest = self.digests[-1]
        for what, target in (("manifest", f"manifests/{manifest}"), ("blob", f"blobs/{digest}")):
            check = f"push: DELETE of a {what}"
            answer = await self._registry.request("DELETE", f"v2/{self.name}/{target}", scope=self._scope)
            if answer.status == HTTPStatus.ACCEPTED:
                yield ok(check)
            elif answer.codes:
                yield failure(check, answer.describe(), "set storage.delete.enabled, and give the user this right")
            else:
                yield failure(check, answer.describe(), "let the proxy pass DELETE on")


def _with_digest(location: str, digest: Digest) -> str:
    return f"{location}{'&' if urlsplit(location).query else '?'}digest={digest}"


def _compare(answer: Answer, content: bytes, check: str) -> Diagnosis:
    if answer.status != HTTPStatus.OK:
        return failure(check, answer.describe(), _remedy(answer))
    if answer.headers.get("Content-Encoding"):
        return failure(
            check,
            f"Content-Encoding: {answer.headers['Content-Encoding']}",
            "do not let the proxy compress what the registry sends: digests are of the bytes as they are",
        )
    if hashlib.sha256(answer.body).digest() != hashlib.sha256(content).digest():
        return failure(
            check,
            f"{len(answer.body)} other bytes than the {len(content)} sent come back",
            "turn the proxy's cache off",
        )
    return ok(check)


def _remedy(answer: Answer) -> str:
    if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return f"raise the proxy's limit of bodies (nginx: client_max_body_size 0); {_PROXY_SETTINGS}"
    if "UNAUTHORIZED" in answer.codes or "DENIED" in answer.codes:
        return "give --user and --password-file of somebody who may push and delete in registry-doctor/*"
    if answer.codes:
        return "the registry itself says so: its log has the reason under the request's id"
    if answer.status in {502, 503, 504}:
        return f"the proxy does not reach the registry, or does not wait for it; {_PROXY_SETTINGS}"
    return f"not the registry answered this, but something in front of it; {_PROXY_SETTINGS}"


def _location_remedy(url: str, found: object) -> str:
    used = urlsplit(url)
    scheme, host, port = getattr(found, "scheme", ""), getattr(found, "hostname", ""), getattr(found, "port", None)
    if host == used.hostname and scheme != used.scheme:
        return (
            f"let the proxy say that clients come by {used.scheme}: X-Forwarded-Proto (nginx: proxy_set_header "
            "X-Forwarded-Proto $scheme), and name it in http.trustedproxies if that is set"
        )
    if host == used.hostname and port != used.port:
        return "let the proxy pass Host on with its port (nginx: proxy_set_header Host $http_host)"
    return "let the proxy pass Host on as clients wrote it (nginx: proxy_set_header Host $http_host), or set http.host"


async def clean_scratch(patient: Patient, push: ScratchPush, check: str) -> Diagnosis:
    """Remove from storage the remains of a repository that was deleted through the API: data, links and trash."""
    storage, trash = patient.container.blob_storage(), patient.container.trash()
    try:
        await storage.delete_tree(layout.repository(push.name), *(layout.blob_directory(each) for each in push.digests))
        async for entry in trash.entries([TrashKind.TAG, TrashKind.MANIFEST, TrashKind.BLOB_LINK]):
            if entry.repository == push.name:
                await trash.discard(entry.id)
        await patient.container.catalog_index().remove(push.name)
    except StorageError as error:
        return failure(check, f"{push.name} could not be removed: {error}", "remove this repository by hand")
    return ok(check, f"{push.name} is gone")
