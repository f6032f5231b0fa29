"""SCS's request signature.

The signature is S3's oldest one with changes: the method in lower case, `x-scs-*` headers, no scheme in
`Authorization`, and only `acl` and `location` of the query. Code in this module must never log or show a secret.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from typing_extensions import override

from adapters.blob_storage.s3.requests import Credentials
from adapters.blob_storage.s3.signing import Signer, split

HEADER_PREFIX: Final = "x-scs-"
COPY_SOURCE: Final = f"{HEADER_PREFIX}copy-source"
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
    """Signs requests; SCS does not sign the region."""

    def __init__(self, _region: str) -> None:
        """Create a signer; it has no state."""

    @override
    def escape(self, path: str) -> str:
        return escape_path(path)

    @override
    def sign(self, method: str, url: str, headers: dict[str, str], credentials: Credentials) -> None:
        headers["Date"] = date = _date()
        _, path, query = split(url)
        resource = canonical_resource(url) if query else path
        # The text of `string_to_sign`: of SCS's own headers, a request has this one or none.
        content = f"{headers.get('Content-MD5', '')}\n{headers.get('Content-Type', '')}"
        source = headers.get(COPY_SOURCE)
        vendor = "" if source is None else f"{COPY_SOURCE}:{source}\n"
        text = f"{method.lower()}\n{content}\n{date}\n{vendor}{resource}"
        headers["Authorization"] = f"{credentials.access_key}:{sign_text(credentials.secret_key, text)}"

    @override
    def presign(self, url: str, credentials: Credentials, *, seconds: int) -> str:
        return presigned_url(
            url,
            method="GET",
            access_key=credentials.access_key,
            secret_key=credentials.secret_key,
            expires=int(time.time()) + seconds,
        )
