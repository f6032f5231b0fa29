"""The frequent requests, built, signed and parsed here: botocore's client takes most of a millisecond for each.

botocore still decides the endpoint, the region, the signature and the user agent (`Endpoint`), provides the
credentials, and shares its connections. Answers have the fields that botocore's would have, as far as this adapter
reads them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

import aiohttp
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.parsers import ResponseParserError
from botocore.utils import parse_timestamp

from adapters.blob_storage.s3.http_session import StoreHttpSession, require_no_redirect
from adapters.blob_storage.s3.signing import Signer, canonical_query

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
    "Content-Length": "ContentLength",
    "Content-Range": "ContentRange",
    "ETag": "ETag",
    "x-amz-checksum-crc32": "ChecksumCRC32",
    "x-amz-server-side-encryption": "ServerSideEncryption",
    "x-amz-server-side-encryption-aws-kms-key-id": "SSEKMSKeyId",
    "x-amz-storage-class": "StorageClass",
}


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

    Args:
        endpoint: where and how botocore's client reaches the bucket.
        signer: signs the requests.
        credentials: botocore's credentials, which refresh themselves.
        http: the session whose connections are used.
        encodes_listings: whether the store can escape the keys in a listing, some of which XML cannot contain.
    """

    def __init__(
        self, endpoint: Endpoint, signer: Signer, credentials: Any, http: StoreHttpSession, *, encodes_listings: bool
    ) -> None:
        self._endpoint = endpoint
        self._signer = signer
        self._credentials = credentials
        self._http = http
        self._encodes_listings = encodes_listings

    @staticmethod
    def knows(operation: str) -> bool:
        """Whether botocore's method of this name is one of the requests that are built here."""
        return operation in _METHODS

    async def send(
        self, operation: str, host: str, query: tuple[tuple[str, str], ...], parameters: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Send one request.

        Args:
            operation: botocore's method name.
            host: `scheme://host` to use instead of the endpoint's, or empty.
            query: further parameters of the query.
            parameters: arguments of botocore's method, without the bucket.

        Raises:
            RedirectedError: the store redirects the request.
            ClientError: the store returned an error.
        """
        method = _METHODS[operation]
        headers = {_HEADERS[name]: value for name, value in parameters.items() if name in _HEADERS}
        headers["User-Agent"] = self._endpoint.user_agent
        url = self._url(host, parameters, query)
        self._signer.sign(method, url, headers, await frozen(self._credentials))
        # A store must not compress what is stored as it is.
        headers["Accept-Encoding"] = "identity"
        body = parameters.get("Body", b"" if method == "PUT" else None)
        response = await self._http.request(method, url, headers=headers, data=body)
        if operation == "get_object" and response.status < HTTPStatus.MULTIPLE_CHOICES:
            return {**_answer(response), "Body": response}
        content = await response.read()
        require_no_redirect(response.status, response.headers)
        if response.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise _error(response, content, operation)
        answer = _answer(response)
        if operation == "list_objects":
            answer |= _listing(content)
        elif operation == "head_object" and "Last-Modified" in response.headers:
            answer["LastModified"] = _time(response.headers["Last-Modified"])
        return answer

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


def _answer(response: aiohttp.ClientResponse) -> dict[str, Any]:
    headers = response.headers
    answer: dict[str, Any] = {name: headers[header] for header, name in _ANSWERS.items() if header in headers}
    answer["ResponseMetadata"] = {"HTTPStatusCode": response.status}
    return answer


def _error(response: aiohttp.ClientResponse, content: bytes, operation: str) -> ClientError:
    """Return botocore's exception for an error of the store; its code is the status if the body names none."""
    code = None
    try:
        code = _fields(ET.fromstring(content)).get("Code") if content else None  # noqa: S314 - the store is trusted
    except ET.ParseError:
        # A proxy in front of the store may answer in HTML.
        code = None
    headers = {name.lower(): value for name, value in response.headers.items()}
    metadata = {"HTTPStatusCode": response.status, "HTTPHeaders": headers}
    return ClientError({"Error": {"Code": code or str(response.status)}, "ResponseMetadata": metadata}, operation)


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


def _time(text: str) -> datetime:
    """Parse a time of an answer: RFC 1123 in headers, ISO 8601 in listings."""
    try:
        return parsedate_to_datetime(text) if "," in text else datetime.fromisoformat(text)
    except ValueError:
        # botocore accepts more forms than the two that stores are meant to use, in fifty times the time.
        moment: datetime = parse_timestamp(text)
        return moment
