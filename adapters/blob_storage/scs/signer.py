"""SCS's request signature, as signer classes that can be registered with botocore.

The signature is S3's oldest one with changes: the method in lower case, `x-scs-*` headers, no scheme in
`Authorization`, and only `acl` and `location` of the query. The string functions are pure; the classes at the end only
adapt them to botocore. Code in this module must never log or show a secret.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from botocore.auth import AUTH_TYPE_MAPS, BaseSigner
from botocore.exceptions import NoCredentialsError
from typing_extensions import override

from adapters.blob_storage.s3.signing import Signer, split

SIGNATURE_VERSION: Final = "scs"
"""The signature version that selects this signer in a client's configuration."""

HEADER_PREFIX: Final = "x-scs-"
_SIGNED_PARAMETERS: Final = ("acl", "location")


def escape_path(path: str) -> str:
    """Escape an unescaped path as SCS does: `A-Z a-z 0-9 _ - ~ . / :` stay, the rest is `%XX` of its UTF-8."""
    return quote(path, safe="/:~")


def canonical_resource(url: str) -> str:
    """Return the signed form of a request's target: its escaped path and the signed part of its query."""
    address, _, query = url.partition("://")[2].partition("?")
    resource = escape_path(unquote("/" + address.partition("/")[2]))
    # Most requests have none of these, and are signed in half the time without parsing the query.
    if not any(name in query for name in _SIGNED_PARAMETERS):
        return resource
    fields = parse_qsl(query, keep_blank_values=True)
    signed = sorted(f"{name}={value}" if value else name for name, value in fields if name in _SIGNED_PARAMETERS)
    return f"{resource}?{'&'.join(signed)}" if signed else resource


def string_to_sign(method: str, url: str, headers: Iterable[tuple[str, str]], *, expires: int | None = None) -> str:
    """Return the text to sign for a request, or with `expires` (unix seconds) for a presigned URL."""
    values = {name.lower(): value.strip() for name, value in headers}
    date = "" if f"{HEADER_PREFIX}date" in values else values.get("date", "")
    vendor = [f"{name}:{values[name]}\n" for name in sorted(values) if name.startswith(HEADER_PREFIX)]
    lines = (
        method.lower(),
        values.get("content-md5", ""),
        values.get("content-type", ""),
        date if expires is None else str(expires),
        "".join(vendor) + canonical_resource(url),
    )
    return "\n".join(lines)


def sign_text(secret_key: str, text: str) -> str:
    """Return the signature of `text`."""
    # SCS supports no other hash; HMAC is not affected by SHA-1's collisions.
    return base64.b64encode(hmac.digest(secret_key.encode(), text.encode(), hashlib.sha1)).decode()


def presigned_url(url: str, *, method: str, access_key: str, secret_key: str, expires: int) -> str:
    """Return `url` with a signature that allows anyone to send `method` to it until `expires` (unix seconds)."""
    parts = urlsplit(url)
    path = escape_path(unquote(parts.path))
    signature = sign_text(secret_key, string_to_sign(method, url, (), expires=expires))
    query = parse_qsl(parts.query, keep_blank_values=True)
    query += [("Expires", str(expires)), ("SOHUCSAccessKeyId", access_key), ("Signature", signature)]
    return parts._replace(path=path, query=urlencode(query)).geturl()


def _date() -> str:
    return _date_of(int(time.time()))


@lru_cache(maxsize=1)
def _date_of(second: int) -> str:
    # RFC 1123 ends in GMT; SCS's SDK writes UTC.
    return formatdate(second, usegmt=True).removesuffix("GMT") + "UTC"


class ScsSigner(Signer):
    """Signs the requests that are sent without botocore's client; SCS does not sign the region."""

    def __init__(self, _region: str) -> None:
        """Create a signer; it has no state."""

    @override
    def escape(self, path: str) -> str:
        return escape_path(path)

    @override
    def sign(self, method: str, url: str, headers: dict[str, str], credentials: Any) -> None:
        headers["Date"] = date = _date()
        _, path, query = split(url)
        resource = canonical_resource(url) if query else path
        # The text of `string_to_sign`: these requests have none of SCS's own headers.
        content = f"{headers.get('Content-MD5', '')}\n{headers.get('Content-Type', '')}"
        text = f"{method.lower()}\n{content}\n{date}\n{resource}"
        headers["Authorization"] = f"{credentials.access_key}:{sign_text(credentials.secret_key, text)}"

    @override
    def presign(self, url: str, credentials: Any, *, seconds: int) -> str:
        return presigned_url(
            url,
            method="GET",
            access_key=credentials.access_key,
            secret_key=credentials.secret_key,
            expires=int(time.time()) + seconds,
        )


class ScsAuth(BaseSigner):  # type: ignore[misc] # botocore has no types
    """Signs a request in its `Authorization` header."""

    def __init__(self, credentials: Any, **_unused: Any) -> None:
        if credentials is None:
            raise NoCredentialsError
        self._credentials = credentials

    @override
    def add_auth(self, request: Any) -> None:
        """Sign a botocore request in place; an earlier signature is replaced."""
        del request.headers["Authorization"]
        if f"{HEADER_PREFIX}date" not in request.headers and "Date" not in request.headers:
            request.headers["Date"] = _date()
        text = string_to_sign(request.method, request.url, request.headers.items())
        signature = sign_text(self._credentials.secret_key, text)
        request.headers["Authorization"] = f"{self._credentials.access_key}:{signature}"


class ScsQueryAuth(ScsAuth):
    """Signs a request in its query; any client can send it until it expires."""

    def __init__(self, credentials: Any, expires: int = 1200, **unused: Any) -> None:
        super().__init__(credentials, **unused)
        self._lifetime_seconds = expires

    @override
    def add_auth(self, request: Any) -> None:
        request.url = presigned_url(
            request.url,
            method=request.method,
            access_key=self._credentials.access_key,
            secret_key=self._credentials.secret_key,
            expires=int(time.time()) + self._lifetime_seconds,
        )


def register_signers() -> None:
    """Register the signers with botocore; idempotent, once per process."""
    AUTH_TYPE_MAPS[SIGNATURE_VERSION] = ScsAuth
    AUTH_TYPE_MAPS[f"{SIGNATURE_VERSION}-query"] = ScsQueryAuth
