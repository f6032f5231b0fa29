"""The frequent requests, built, signed and parsed here: botocore's client takes most of a millisecond for each.

botocore still decides the endpoint, the region, the signature and the user agent (`Endpoint`), provides the
credentials, and shares its connections. Answers have the fields that botocore's would have, as far as this adapter
reads them.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from botocore.exceptions import ClientError, NoCredentialsError
from botocore.parsers import ResponseParserError
from botocore.utils import parse_timestamp

from adapters.blob_storage.s3.answers import SmallRequest
from adapters.blob_storage.s3.body import Body
from adapters.blob_storage.s3.connections import SmallConnections
from adapters.blob_storage.s3.http_session import StoreHttpSession, require_no_redirect
from adapters.blob_storage.s3.signing import Signer, canonical_query, split

_METHODS: Final[Mapping[str, str]] = {
    "get_object": "GET",
    "head_object": "HEAD",
    "put_object": "PUT",
    "upload_part": "PUT",
    "list_objects": "GET",
    "delete_object": "DELETE",
}
_QUERY: Final[Mapping[str, str]] = {
    "Delimiter": "delimiter",
    "Marker": "marker",
    "MaxKeys": "max-keys",
    "PartNumber": "partNumber",
    "Prefix": "prefix",
    "UploadId": "uploadId",
}
_HEADERS: Final[Mapping[str, str]] = {
    "ACL": "x-amz-acl",
    "ChecksumCRC32": "x-amz-checksum-crc32",
    "ContentMD5": "Content-MD5",
    "ContentType": "Content-Type",
    "IfNoneMatch": "If-None-Match",
    "Range": "Range",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "StorageClass": "x-amz-storage-class",
}
_ANSWERS: Final[Mapping[str, str]] = {
    "content-length": "ContentLength",
    "content-range": "ContentRange",
    "etag": "ETag",
    "x-amz-checksum-crc32": "ChecksumCRC32",
    "x-amz-server-side-encryption": "ServerSideEncryption",
    "x-amz-server-side-encryption-aws-kms-key-id": "SSEKMSKeyId",
    "x-amz-storage-class": "StorageClass",
}
_BODY_BYTES_MAX: Final = 64 * 1024
"""Maximum size of a body that is sent in one piece with its head."""
_LISTING_BYTES_MAX: Final = 64 * 1024 * 1024
"""Maximum size of a listing: a thousand keys of 1,024 bytes, escaped, take 4 MiB."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Botocore's decisions for a request to the bucket."""

    url: str
    """The URL of the request without its query."""
    region: str
    signature_version: str
    user_agent: str


class DirectRequests:
    """Sends the operations of `_METHODS` to one bucket.

    Requests with a small body or none whose answers are read in memory are sent over connections of their own, `small`.
    The others are sent by aiohttp, and so are all if these connections are busy or the store redirects to another host.

    Args:
        endpoint: where and how botocore's client reaches the bucket.
        signer: signs the requests.
        credentials: botocore's credentials, which refresh themselves.
        http: the session whose connections are used.
        small: connections to the endpoint; None if only `http` can reach it.
        encodes_listings: whether the store can escape the keys in a listing, some of which XML cannot contain.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        signer: Signer,
        credentials: Any,
        http: StoreHttpSession,
        *,
        small: SmallConnections | None,
        encodes_listings: bool,
    ) -> None:
        self._endpoint = endpoint
        self._signer = signer
        self._credentials = credentials
        self._http = http
        self._small = small
        self._encodes_listings = encodes_listings

    @staticmethod
    def knows(operation: str) -> bool:
        """Whether botocore's method of this name is one of the requests that are built here."""
        return operation in _METHODS

    async def send(
        self,
        operation: str,
        host: str,
        query: tuple[tuple[str, str], ...],
        parameters: Mapping[str, Any],
        *,
        seconds: float,
        bytes_max: int | None,
    ) -> dict[str, Any]:
        """Send one request.

        Args:
            operation: botocore's method name.
            host: `scheme://host` to use instead of the endpoint's, or empty.
            query: further parameters of the query.
            parameters: arguments of botocore's method, without the bucket.
            seconds: maximum time until the answer, or its head if the caller reads the body.
            bytes_max: see `StoreClient.call`.

        Raises:
            RedirectedError: the store redirects the request.
            ClientError: the store returned an error.
            TimeoutError: the answer takes too long.
        """
        method = _METHODS[operation]
        headers = {_HEADERS[name]: value for name, value in parameters.items() if name in _HEADERS}
        headers["User-Agent"] = self._endpoint.user_agent
        url = self._url(host, parameters, query)
        self._signer.sign(method, url, headers, await frozen(self._credentials))
        # A store must not compress what is stored as it is.
        headers["Accept-Encoding"] = "identity"
        body = parameters.get("Body", b"" if method == "PUT" else None)
        is_small = bytes_max is not None if operation == "get_object" else body is None or len(body) <= _BODY_BYTES_MAX
        if is_small and not host and self._small is not None and not self._small.is_full:
            limit = _LISTING_BYTES_MAX if bytes_max is None else bytes_max
            request = SmallRequest(_request_bytes(method, url, headers, body), method == "HEAD", limit, seconds)
            small = await self._small.exchange(request)
            return _checked(operation, small.status, small.headers, small.content)
        async with asyncio.timeout(seconds):
            response = await self._http.request(method, url, headers=headers, data=body)
            names = {name.lower(): value for name, value in response.headers.items()}
            if operation == "get_object" and response.status < HTTPStatus.MULTIPLE_CHOICES:
                answer = {**_answer(response.status, names), "Body": response}
                return answer if bytes_max is None else await in_memory(answer, bytes_max)
            return _checked(operation, response.status, names, await response.read())

    def _url(self, host: str, parameters: Mapping[str, Any], query: tuple[tuple[str, str], ...]) -> str:
        url = self._endpoint.url
        if host:
            url = host + "/" + url.partition("://")[2].partition("/")[2]
        if "Key" in parameters:
            url = url.rstrip("/") + self._signer.escape(f"/{parameters['Key']}")
        fields = {_QUERY[name]: str(value) for name, value in parameters.items() if name in _QUERY} | dict(query)
        if "max-keys" in fields and self._encodes_listings:
            fields["encoding-type"] = "url"
        return f"{url}?{canonical_query(fields)}" if fields else url


async def frozen(credentials: Any) -> Any:
    """Return the credentials that are valid now.

    Raises:
        NoCredentialsError: there are none.
    """
    if credentials is None:
        raise NoCredentialsError
    return await credentials.get_frozen_credentials()


async def in_memory(answer: Mapping[str, Any], bytes_max: int) -> dict[str, Any]:
    """Return an answer with an open body as one with its content, which is None if it is longer than `bytes_max`."""
    body = answer["Body"]
    if int(answer["ContentLength"]) > bytes_max:
        body.close()
        return {**answer, "Content": None}
    return {**answer, "Content": await body.read()}


def _request_bytes(method: str, url: str, headers: dict[str, str], body: Body | bytes | None) -> bytes:
    host, path, query = split(url)
    if body is not None:
        headers["Content-Length"] = str(len(body))
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    head = f"{method} {path}{query and '?'}{query} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode()
    # One piece, which takes one call of the system and one packet.
    return head + body.read() if isinstance(body, Body) else head + (body or b"")


def _checked(operation: str, status: int, headers: Mapping[str, str], content: bytes | None) -> dict[str, Any]:
    """Return an answer that was read in memory, in botocore's form.

    Raises:
        RedirectedError: the store redirects the request.
        ClientError: the store returned an error.
    """
    require_no_redirect(status, headers)
    if status >= HTTPStatus.MULTIPLE_CHOICES:
        raise _error(status, headers, content or b"", operation)
    answer = _answer(status, headers)
    if operation == "list_objects":
        answer |= _listing(content or b"")
    elif operation == "get_object":
        answer["Content"] = content
    elif operation == "head_object" and "last-modified" in headers:
        answer["LastModified"] = _time(headers["last-modified"])
    return answer


def _answer(status: int, headers: Mapping[str, str]) -> dict[str, Any]:
    answer: dict[str, Any] = {name: headers[header] for header, name in _ANSWERS.items() if header in headers}
    answer["ResponseMetadata"] = {"HTTPStatusCode": status}
    return answer


def _error(status: int, headers: Mapping[str, str], content: bytes, operation: str) -> ClientError:
    """Return botocore's exception for an error of the store; its code is the status if the body names none."""
    code = None
    try:
        code = _fields(ET.fromstring(content)).get("Code") if content else None  # noqa: S314 - the store is trusted
    except ET.ParseError:
        # A proxy in front of the store may answer in HTML.
        code = None
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": dict(headers)}
    return ClientError({"Error": {"Code": code or str(status)}, "ResponseMetadata": metadata}, operation)


def _listing(content: bytes) -> dict[str, Any]:
    try:
        root = ET.fromstring(content)  # noqa: S314 - the store is trusted
    except ET.ParseError as error:
        raise ResponseParserError(f"invalid listing: {error}") from error
    decode: Callable[[str], str] = str
    answer: dict[str, Any] = {"Contents": [], "CommonPrefixes": []}
    for element in root:
        name = _name(element)
        if name in {"Contents", "CommonPrefixes"}:
            answer[name].append(_fields(element))
        elif name == "EncodingType" and element.text == "url":
            decode = unquote_plus
        elif name in {"IsTruncated", "NextMarker"}:
            answer[name] = element.text or ""
    for entry in answer["Contents"]:
        entry["Key"] = decode(entry["Key"])
        entry["LastModified"] = _time(entry["LastModified"])
    for entry in answer["CommonPrefixes"]:
        entry["Prefix"] = decode(entry["Prefix"])
    answer["NextMarker"] = decode(answer.get("NextMarker", ""))
    answer["IsTruncated"] = answer.get("IsTruncated") == "true"
    return answer


def _fields(element: ET.Element) -> dict[str, Any]:
    return {_name(child): child.text or "" for child in element}


def _name(element: ET.Element) -> str:
    """Return a tag without the namespace, which not every store writes."""
    return element.tag.rpartition("}")[2]


@lru_cache(maxsize=4_096)
def _time(text: str) -> datetime:
    """Parse a time of an answer: RFC 1123 in headers, ISO 8601 in listings."""
    try:
        return parsedate_to_datetime(text) if "," in text else datetime.fromisoformat(text)
    except ValueError:
        # botocore accepts more forms than the two that stores are meant to use, in fifty times the time.
        moment: datetime = parse_timestamp(text)
        return moment
