"""Plain HTTP client of the distribution API, for requests that the command-line clients cannot send.

The client checks every digest that it reads and raises `UnexpectedAnswerError` with the exact exchange, so that a
failing test shows the request that went wrong.
"""

import http.client
import json
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.support.oci import MANIFEST_TYPES, Content, Image, Index, contents_of, digest_of

Body = bytes | Iterable[bytes] | None


class UnexpectedAnswerError(AssertionError):
    """The registry's answer differs from the one that the test expects."""


@dataclass(frozen=True)
class Answer:
    """Response: status, headers (with case-insensitive names) and complete body."""

    request: str
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def expect(self, *statuses: int) -> "Answer":
        """Return this answer if its status is one of `statuses`; raise `UnexpectedAnswerError` otherwise."""
        if self.status not in statuses:
            raise UnexpectedAnswerError(
                f"{self.request}: {self.status} instead of {statuses}\n{self.headers}{self.body[:2000]!r}"
            )
        return self

    def header(self, name: str) -> str:
        """Return the value of a required header."""
        value: str | None = self.headers.get(name)
        if value is None:
            raise UnexpectedAnswerError(f"{self.request}: {self.status} has no {name}\n{self.headers}")
        return value


class RegistryClient:
    """Client of one registry; each request uses its own connection."""

    def __init__(self, host: str, *, timeout: float = 30, context: ssl.SSLContext | None = None) -> None:
        self._host = host
        self._timeout = timeout
        self._context = context

    def request(
        self, method: str, target: str, *, body: Body = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request; `target` is a path, or a URL whose host is ignored; iterables are sent chunked."""
        parts = urlsplit(target)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection = self._connection()
        try:
            chunked = body is not None and not isinstance(body, bytes)
            all_headers = dict(headers or {})
            if body is None and method in {"POST", "PUT", "PATCH"}:
                all_headers.setdefault("Content-Length", "0")
            connection.request(method, path, body, all_headers, encode_chunked=chunked)
            response = connection.getresponse()
            return Answer(f"{method} {path}", response.status, response.headers, response.read())
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, timeout=self._timeout)
        return http.client.HTTPSConnection(self._host, timeout=self._timeout, context=self._context)

    def start_upload(self, repository: str) -> Answer:
        """Begin an upload session."""
        return self.request("POST", f"/v2/{repository}/blobs/uploads/").expect(202)

    def push_blob(self, repository: str, data: bytes, *, digest: str | None = None) -> str:
        """Push a blob with POST and PUT unless the repository has it, and return its digest."""
        digest = digest or digest_of(data)
        if self.request("HEAD", f"/v2/{repository}/blobs/{digest}").expect(200, 404).status == 404:
            location = self.start_upload(repository).header("Location")
            self.finish_upload(location, digest, data).expect(201)
        return digest

    def finish_upload(self, location: str, digest: str, data: Body = None) -> Answer:
        """Send the last bytes of an upload session and its digest."""
        separator = "&" if urlsplit(location).query else "?"
        headers = {"Content-Type": "application/octet-stream"}
        return self.request("PUT", f"{location}{separator}digest={digest}", body=data, headers=headers)

    def append(self, location: str, data: Body, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Send bytes to an upload session."""
        all_headers = {"Content-Type": "application/octet-stream", **(headers or {})}
        return self.request("PATCH", location, body=data, headers=all_headers)

    def push_manifest(self, repository: str, reference: str, manifest: Content) -> Answer:
        """Push a manifest whose referenced content exists."""
        headers = {"Content-Type": manifest.media_type}
        target = f"/v2/{repository}/manifests/{reference}"
        return self.request("PUT", target, body=manifest.data, headers=headers).expect(201)

    def push(self, repository: str, tag: str, root: Image | Index) -> None:
        """Push an image or index with all its content; only its own manifest gets the tag."""
        for content in contents_of(root):
            if content == root.manifest:
                self.push_manifest(repository, tag, content)
            elif content.media_type in MANIFEST_TYPES:
                self.push_manifest(repository, content.digest, content)
            else:
                self.push_blob(repository, content.data)

    def get_blob(self, repository: str, digest: str) -> bytes:
        """Read a blob and check its digest."""
        answer = self.request("GET", f"/v2/{repository}/blobs/{digest}").expect(200, 307)
        if answer.status == 307:
            # The store serves the content; send none of our headers there.
            store = urlsplit(answer.header("Location"))
            connection = http.client.HTTPConnection(store.netloc, timeout=30)
            connection.request("GET", f"{store.path}?{store.query}")
            stored = connection.getresponse().read()
            connection.close()
            return _checked(stored, digest)
        return _checked(answer.body, digest)

    def get_manifest(self, repository: str, reference: str) -> Content:
        """Read a manifest and check its digest."""
        headers = {"Accept": ", ".join(MANIFEST_TYPES)}
        answer = self.request("GET", f"/v2/{repository}/manifests/{reference}", headers=headers).expect(200)
        _checked(answer.body, answer.header("Docker-Content-Digest"))
        return Content(answer.header("Content-Type"), answer.body)

    def pull(self, repository: str, reference: str) -> dict[str, bytes]:
        """Read a manifest and everything below it; the result maps digests to bytes."""
        manifest = self.get_manifest(repository, reference)
        document = json.loads(manifest.data)
        found = {manifest.digest: manifest.data}
        for child in document.get("manifests", []):
            found |= self.pull(repository, child["digest"])
        blobs = [document["config"]] if "config" in document else []
        for descriptor in blobs + document.get("layers", []):
            found[descriptor["digest"]] = self.get_blob(repository, descriptor["digest"])
        return found

    def tags(self, repository: str) -> list[str]:
        """Return the tags of a repository, in the order of the answer; none for an unknown repository."""
        answer = self.request("GET", f"/v2/{repository}/tags/list").expect(200, 404)
        return [] if answer.status == 404 else json.loads(answer.body)["tags"] or []

    def catalog(self) -> list[str]:
        """Return the first page of the catalog."""
        names: list[str] = json.loads(self.request("GET", "/v2/_catalog?n=1000").expect(200).body)["repositories"]
        return names

    def referrers(self, repository: str, digest: str) -> list[dict[str, Any]]:
        """Return the descriptors of the manifests whose subject is `digest`."""
        answer = self.request("GET", f"/v2/{repository}/referrers/{digest}").expect(200)
        descriptors: list[dict[str, Any]] = json.loads(answer.body)["manifests"]
        return descriptors

    def delete_manifest(self, repository: str, reference: str) -> None:
        """Delete a tag, or a manifest by digest."""
        self.request("DELETE", f"/v2/{repository}/manifests/{reference}").expect(202)


def _checked(body: bytes, digest: str) -> bytes:
    if digest_of(body, digest.partition(":")[0]) != digest:
        raise UnexpectedAnswerError(f"{len(body)} bytes served as {digest} have another digest")
    return body
