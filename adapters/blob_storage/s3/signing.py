"""Signatures of requests that this adapter sends without botocore.

A signer signs what botocore would sign, with the same result: `tests/adapters/test_s3_signing.py` compares them. Code
in this module must never log or show a secret.
"""

import hashlib
import hmac
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from typing_extensions import override

from adapters.blob_storage.s3.requests import Credentials

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_UNSIGNED_HEADERS: Final = frozenset({"expect", "transfer-encoding", "user-agent", "x-amzn-trace-id"})
_UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
"""Hashing each body would block the event loop; the signed Content-MD5 protects the body."""
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class Signer(ABC):
    """Signs requests for one store; one per open client, for any number of tasks."""

    @abstractmethod
    def escape(self, path: str) -> str:
        """Return an unescaped path in the form that is signed and sent."""

    @abstractmethod
    def sign(self, method: str, url: str, headers: dict[str, str], credentials: Credentials) -> None:
        """Add the headers of the signature to `headers`.

        Args:
            method: the HTTP method, in upper case.
            url: the URL with an escaped path and with its query sorted.
            headers: all other headers whose values are signed.
            credentials: the keys to sign with.
        """

    @abstractmethod
    def presign(self, url: str, credentials: Credentials, *, seconds: int) -> str:
        """Return `url`, which has no query, with a signature that allows anyone to `GET` it for this long."""


class SigV4Signer(Signer):
    """AWS Signature Version 4, with the signing key kept for a day.

    Args:
        region: the region in the signature.
        now: returns the unix time.
    """

    def __init__(self, region: str, now: Callable[[], float] = time.time) -> None:
        self._region = region
        self._now = now
        self._second = 0
        self._text = ""
        self._key_is_for: tuple[str, str] | None = None
        self._key = b""

    @override
    def escape(self, path: str) -> str:
        return quote(path, safe="/~")

    @override
    def sign(self, method: str, url: str, headers: dict[str, str], credentials: Credentials) -> None:
        moment = self._moment()
        host, path, query = split(url)
        signed = {"host": host, "x-amz-content-sha256": _UNSIGNED_PAYLOAD, "x-amz-date": moment}
        for name, value in headers.items():
            if (lower := name.lower()) not in _UNSIGNED_HEADERS:
                signed[lower] = " ".join(value.split())
        headers["X-Amz-Date"] = moment
        headers["X-Amz-Content-SHA256"] = _UNSIGNED_PAYLOAD
        if credentials.token:
            headers["X-Amz-Security-Token"] = signed["x-amz-security-token"] = credentials.token
        names = sorted(signed)
        lines = "".join([f"{name}:{signed[name]}\n" for name in names])
        signed_names = ";".join(names)
        request = f"{method}\n{path}\n{query}\n{lines}\n{signed_names}\n{_UNSIGNED_PAYLOAD}"
        headers["Authorization"] = (
            f"{_ALGORITHM} Credential={credentials.access_key}/{self._scope(moment)}, "
            f"SignedHeaders={signed_names}, Signature={self._signature(request, moment, credentials.secret_key)}"
        )

    @override
    def presign(self, url: str, credentials: Credentials, *, seconds: int) -> str:
        moment = self._moment()
        fields = {
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{credentials.access_key}/{self._scope(moment)}",
            "X-Amz-Date": moment,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": "host",
        }
        if credentials.token:
            fields["X-Amz-Security-Token"] = credentials.token
        query = canonical_query(fields)
        host, path, _ = split(url)
        request = f"GET\n{path}\n{query}\nhost:{host}\n\nhost\n{_UNSIGNED_PAYLOAD}"
        return f"{url}?{query}&X-Amz-Signature={self._signature(request, moment, credentials.secret_key)}"

    def _moment(self) -> str:
        second = int(self._now())
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        return self._text

    def _scope(self, moment: str) -> str:
        return f"{moment[:8]}/{self._region}/s3/aws4_request"

    def _signature(self, request: str, moment: str, secret_key: str) -> str:
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = f"{_ALGORITHM}\n{moment}\n{self._scope(moment)}\n{digest}"
        return hmac.digest(self._signing_key(secret_key, moment[:8]), text.encode(), "sha256").hex()

    def _signing_key(self, secret_key: str, day: str) -> bytes:
        if self._key_is_for != (secret_key, day):
            key = f"AWS4{secret_key}".encode()
            for part in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key_is_for, self._key = (secret_key, day), key
        return self._key


def canonical_query(fields: dict[str, str]) -> str:
    """Return a query sorted and escaped as signatures require it; the same text is sent."""
    escaped = [f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in fields.items()]
    return "&".join(sorted(escaped))


def split(url: str) -> tuple[str, str, str]:
    """Return the signed host, the path and the query of a URL."""
    scheme, _, rest = url.partition("://")
    address, _, query = rest.partition("?")
    host, _, path = address.partition("/")
    return host.removesuffix(_DEFAULT_PORTS[scheme]), f"/{path}", query
