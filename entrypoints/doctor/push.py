"""Checks of a push through the public address: each step, each header, and changes made by proxies."""

import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from core.diagnosis import Diagnosis
from core.errors import CatalogLostError, StorageError
from core.model.digest import Digest
from core.model.media_types import OCI_MANIFEST
from core.model.names import RepositoryName
from core.store import layout, summary_keys
from core.summaries.changes import ChangeLog
from core.trash.entry import TrashKind
from entrypoints.doctor.client import Answer, PublicRegistry, UnreachableError
from entrypoints.doctor.context import DoctorContext
from entrypoints.doctor.findings import failure, ok, skipped, warning

_OCTETS: Final = {"Content-Type": "application/octet-stream"}
_BLOB_BYTES: Final = 96 * 1024
_SIGNATURE_REFUSED: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_PROXY_SETTINGS: Final = "see docs/proxies.md for tested settings"
_CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"


class StepFailedError(Exception):
    """A step failed, and the following steps cannot be tried."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis.detail)
        self.diagnosis = diagnosis


async def check_push(doctor: DoctorContext) -> AsyncIterator[Diagnosis]:
    """Push, read and delete a small image in a scratch repository, as a client does."""
    if doctor.public is None:
        yield skipped("push", "no --url was given: proxies, links and limits were not checked")
        return
    push = ScratchPush(doctor.public, RepositoryName(f"registry-doctor/{doctor.scratch_id}"))
    try:
        async for diagnosis in push.run():
            yield diagnosis
    except StepFailedError as error:
        yield error.diagnosis
    except UnreachableError as error:
        yield failure("push: connection", str(error), "check name, port, firewall, and the proxy with its timeouts")
    yield await clean_scratch(doctor, push, "push: cleanup")


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
        post = await self._ask("POST", f"v2/{self.name}/blobs/uploads/", 202, "push: start an upload (POST)")
        yield self._check_location(post, "push: Location of POST")
        half = len(blob) // 2
        target = self._registry.here(post.location)
        patch = await self._ask("PATCH", target, 202, "push: send a chunk (PATCH)", body=blob[:half])
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
        check = "push: API root"
        answer = await self._registry.request("GET", "v2/", scope=self._scope)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            challenge = answer.headers.get("WWW-Authenticate", "")
            if not challenge:
                raise StepFailedError(
                    failure(
                        check, "401 without WWW-Authenticate", "make the proxy forward this header: docker needs it"
                    )
                )
            raise StepFailedError(
                failure(
                    check, f"401 {challenge}", "give --user and --password-file of a user with push and delete rights"
                )
            )
        if answer.status != HTTPStatus.OK:
            remedy = "make the proxy send /v2/ to the registry, and only there; --url is the root, without /v2/"
            raise StepFailedError(failure(check, answer.describe(), remedy))
        if "Docker-Distribution-Api-Version" not in answer.headers:
            return warning(
                check,
                "no Docker-Distribution-Api-Version: docker before 1.10 uses version 1 of the API",
                "make the proxy forward this header",
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
            raise StepFailedError(failure(check, "no Location header", "make the proxy forward Location"))
        found, used = urlsplit(answer.location), urlsplit(self._registry.url)
        if not found.netloc:
            return ok(check, "relative")
        if (found.scheme, found.netloc) == (used.scheme, used.netloc):
            path = used.path.rstrip("/") + "/v2/"
            if found.path.startswith(path):
                return ok(check)
            return failure(
                check, f"points to {found.path}, outside {path}", "set http.prefix to the path that the proxy adds"
            )
        return failure(check, f"points to {found.scheme}://{found.netloc}", _location_remedy(self._registry.url, found))

    def _check_header(self, answer: Answer, name: str, expected: str) -> Diagnosis:
        value = answer.headers.get(name)
        if value == expected:
            return ok(f"push: {name}")
        return failure(
            f"push: {name}", f"{value!r} instead of {expected!r}", f"make the proxy forward {name} unchanged"
        )

    async def _read_back(self, blob: bytes, digest: Digest) -> AsyncIterator[Diagnosis]:
        target = f"v2/{self.name}/blobs/{digest}"
        head = await self._ask("HEAD", target, 200, "push: HEAD of a blob")
        yield self._check_header(head, "Content-Length", str(len(blob)))
        escaped = await self._registry.request("HEAD", target.replace(":", "%3A"), scope=self._scope)
        if escaped.status != HTTPStatus.OK:
            yield warning(
                "push: escaped digest", escaped.describe(), "make the proxy forward paths unchanged, %3A included"
            )
        answer = await self._registry.request("GET", target, scope=self._scope)
        if answer.status == HTTPStatus.TEMPORARY_REDIRECT:
            yield await self._follow(answer, blob)
        else:
            yield _compare(answer, blob, "push: GET of a blob")

    async def _follow(self, answer: Answer, blob: bytes) -> Diagnosis:
        check = "push: redirect to the store"
        place = f"{urlsplit(answer.location).scheme}://{urlsplit(answer.location).netloc}"
        remedy = "make the store reachable for clients, or set storage.s3.redirectendpoint or storage.redirect.disable"
        try:
            # A scope without a token, so that no credentials are sent: the URL is signed.
            followed = await self._registry.request("GET", answer.location, scope="the store")
        except UnreachableError:
            return failure(check, f"{place} cannot be reached from here", remedy)
        if followed.status != HTTPStatus.OK:
            if followed.status in _SIGNATURE_REFUSED:
                remedy = "check the region and keys of the store, and the clock: it refuses the signature of the URL"
            return failure(check, f"{place} returned {followed.status}", remedy)
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
                yield failure(check, answer.describe(), "set storage.delete.enabled, and permit the user to delete")
            else:
                yield failure(check, answer.describe(), "make the proxy forward DELETE requests")


def _with_digest(location: str, digest: Digest) -> str:
    return f"{location}{'&' if urlsplit(location).query else '?'}digest={digest}"


def _compare(answer: Answer, content: bytes, check: str) -> Diagnosis:
    if answer.status != HTTPStatus.OK:
        return failure(check, answer.describe(), _remedy(answer))
    if answer.headers.get("Content-Encoding"):
        return failure(
            check,
            f"Content-Encoding: {answer.headers['Content-Encoding']}",
            "turn off compression in the proxy: digests cover the exact bytes",
        )
    if hashlib.sha256(answer.body).digest() != hashlib.sha256(content).digest():
        return failure(
            check,
            f"sent {len(content)} bytes, received {len(answer.body)} different bytes",
            "turn the proxy's cache off",
        )
    return ok(check)


def _remedy(answer: Answer) -> str:
    if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return f"raise the proxy's body size limit (nginx: client_max_body_size 0); {_PROXY_SETTINGS}"
    if "UNAUTHORIZED" in answer.codes or "DENIED" in answer.codes:
        return "give --user and --password-file of a user who may push and delete in registry-doctor/*"
    if answer.codes:
        return "the registry returned this error: its log has the reason under the request id"
    if answer.status in {502, 503, 504}:
        return f"the proxy cannot reach the registry, or times out too early; {_PROXY_SETTINGS}"
    return f"something in front of the registry returned this response; {_PROXY_SETTINGS}"


def _location_remedy(url: str, found: object) -> str:
    used = urlsplit(url)
    scheme, host, port = getattr(found, "scheme", ""), getattr(found, "hostname", ""), getattr(found, "port", None)
    if host == used.hostname and scheme != used.scheme:
        return (
            f"make the proxy set X-Forwarded-Proto to {used.scheme} (nginx: proxy_set_header X-Forwarded-Proto "
            "$scheme), and add the proxy to http.trustedproxies if that is set"
        )
    if host == used.hostname and port != used.port:
        return "make the proxy forward Host with its port (nginx: proxy_set_header Host $http_host)"
    return "make the proxy forward Host unchanged (nginx: proxy_set_header Host $http_host), or set http.host"


async def clean_scratch(doctor: DoctorContext, push: ScratchPush, check: str) -> Diagnosis:
    """Remove from storage the remains of a repository that was deleted through the API: data, links, trash, records."""
    storage, trash = doctor.application.storage, doctor.application.trash
    try:
        await storage.delete_tree(layout.repository(push.name), *(layout.blob_directory(each) for each in push.digests))
        async for entry in trash.entries([TrashKind.TAG, TrashKind.MANIFEST, TrashKind.BLOB_LINK]):
            if entry.repository == push.name:
                await trash.discard(entry.id)
        records = (await ChangeLog(storage).listing()).records
        await storage.delete([summary_keys.change(each.name) for each in records if each.repository == push.name])
        # A lost index contains no names.
        with suppress(CatalogLostError):
            await doctor.application.catalog_index.remove(push.name)
    except StorageError as error:
        return failure(check, f"cannot remove {push.name}: {error}", "remove this repository by hand")
    return ok(check, f"{push.name} is removed")
