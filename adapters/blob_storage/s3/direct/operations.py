"""The operations of S3 that this adapter uses: their requests, and the required fields of their answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from xml.etree import ElementTree as ET

from adapters.blob_storage.s3.direct.documents import (
    batch_of_keys,
    fields_of,
    list_of_parts,
    listing,
    listing_of_uploads,
    moment_of,
    name_of,
    read_document,
    refused_keys,
)
from adapters.blob_storage.s3.errors import AnswerError, InvalidAnswerError
from adapters.blob_storage.s3.requests import require_no_redirect

_QUERY: Final[Mapping[str, str]] = {
    "Delimiter": "delimiter",
    "KeyMarker": "key-marker",
    "Marker": "marker",
    "MaxKeys": "max-keys",
    "PartNumber": "partNumber",
    "Prefix": "prefix",
    "UploadId": "uploadId",
    "UploadIdMarker": "upload-id-marker",
}
_HEADERS: Final[Mapping[str, str]] = {
    "ACL": "x-amz-acl",
    "ChecksumAlgorithm": "x-amz-checksum-algorithm",
    "ChecksumCRC32": "x-amz-checksum-crc32",
    "ContentMD5": "Content-MD5",
    "ContentType": "Content-Type",
    "CopySourceRange": "x-amz-copy-source-range",
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
    "x-amz-checksum-algorithm": "ChecksumAlgorithm",
    "x-amz-checksum-crc32": "ChecksumCRC32",
    "x-amz-server-side-encryption": "ServerSideEncryption",
    "x-amz-server-side-encryption-aws-kms-key-id": "SSEKMSKeyId",
    "x-amz-storage-class": "StorageClass",
}
_REGION_HEADER: Final = "x-amz-bucket-region"


def _copied_part(root: ET.Element) -> dict[str, Any]:
    return {"CopyPartResult": fields_of(root), **fields_of(root)}


def _begun_upload(root: ET.Element) -> dict[str, Any]:
    return {"UploadId": fields_of(root).get("UploadId", "")}


def _nothing(_root: ET.Element) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of S3."""

    method: str
    flag: str = ""
    """The parameter without a value that selects it."""
    document: Callable[[Mapping[str, Any]], bytes] | None = None
    """Returns the XML that is sent, from the arguments of botocore's method."""
    read: Callable[[ET.Element], dict[str, Any]] | None = None
    """Returns the fields of the XML of the answer; None if the answer is not XML."""
    required: str = ""
    """The field without which the answer is not valid."""
    may_be_empty: bool = False
    """Whether an answer without XML is valid."""
    streams: bool = False
    """Whether the caller may read the content of the answer itself."""
    has_md5: bool = False
    """Whether the document is sent with its `Content-MD5`."""
    repeats: bool = True
    """Whether a request that was sent twice has the effect of one."""


OPERATIONS: Final[Mapping[str, Operation]] = {
    "get_object": Operation("GET", streams=True),
    "head_object": Operation("HEAD", required="ContentLength"),
    "put_object": Operation("PUT"),
    "delete_object": Operation("DELETE"),
    "list_objects": Operation("GET", read=listing),
    "delete_objects": Operation(
        "POST",
        "delete",
        lambda parameters: batch_of_keys([entry["Key"] for entry in parameters["Delete"]["Objects"]]),
        read=refused_keys,
        may_be_empty=True,
        has_md5=True,
    ),
    "copy_object": Operation("PUT", read=_nothing, may_be_empty=True),
    "create_multipart_upload": Operation("POST", "uploads", read=_begun_upload, required="UploadId", repeats=False),
    "upload_part": Operation("PUT", required="ETag"),
    "upload_part_copy": Operation("PUT", read=_copied_part, required="ETag"),
    "complete_multipart_upload": Operation(
        "POST",
        document=lambda parameters: list_of_parts(parameters["MultipartUpload"]["Parts"]),
        read=_nothing,
        may_be_empty=True,
        repeats=False,
    ),
    "abort_multipart_upload": Operation("DELETE"),
    "list_multipart_uploads": Operation("GET", "uploads", read=listing_of_uploads),
}


def query_of(operation: Operation, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters of the query."""
    query = {_QUERY[name]: str(value) for name, value in parameters.items() if name in _QUERY}
    if operation.flag:
        query[operation.flag] = ""
    return query


def headers_of(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that arguments of botocore's method stand for."""
    return {_HEADERS[name]: value for name, value in parameters.items() if name in _HEADERS}


def answer_of(operation: Operation, status: int, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of an answer's head.

    Args:
        operation: the request.
        status: the status.
        headers: by name in lower case.

    Raises:
        InvalidAnswerError: a field is not valid.
    """
    answer: dict[str, Any] = {name: headers[header] for header, name in _ANSWERS.items() if header in headers}
    answer["ResponseMetadata"] = {"HTTPStatusCode": status}
    if operation.method == "HEAD" and "last-modified" in headers:
        answer["LastModified"] = moment_of(headers["last-modified"])
    if not answer.get("ContentLength", "0").isdecimal():
        raise InvalidAnswerError("the answer has no valid Content-Length")
    return answer


def read_answer(operation: Operation, status: int, headers: Mapping[str, str], content: bytes | None) -> dict[str, Any]:
    """Return an answer that was read in memory, in botocore's form.

    Raises:
        RedirectedError: the store redirects the request.
        AnswerError: the store returned an error.
        InvalidAnswerError: the answer is not that of the operation.
    """
    require_no_redirect(status, headers)
    if status >= HTTPStatus.MULTIPLE_CHOICES:
        raise _error(status, headers, content or b"")
    answer = answer_of(operation, status, headers)
    if operation.read is not None:
        if content or not operation.may_be_empty:
            answer |= _read_document(operation.read, headers, content or b"")
    elif operation.streams:
        answer["Content"] = content
    if operation.required and not answer.get(operation.required):
        raise InvalidAnswerError(f"the answer has no {operation.required}")
    return answer


def _read_document(
    read: Callable[[ET.Element], dict[str, Any]], headers: Mapping[str, str], content: bytes
) -> dict[str, Any]:
    root = read_document(content)
    if name_of(root) == "Error":
        # S3 answers 200 before it begins to copy or to assemble an object, and may fail afterwards.
        raise _error(HTTPStatus.INTERNAL_SERVER_ERROR, headers, content)
    return read(root)


def _error(status: int, headers: Mapping[str, str], content: bytes) -> AnswerError:
    """Return an error of the store; its code is the status if the body names none."""
    try:
        fields = fields_of(read_document(content)) if content else {}
    except InvalidAnswerError:
        # A proxy in front of the store may answer in HTML.
        fields = {}
    region = headers.get(_REGION_HEADER) or fields.get("Region", "")
    return AnswerError(fields.get("Code") or str(status), status, headers, region=region)
