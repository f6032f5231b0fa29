"""Parsing of requests, and all refusals by SCS that do not depend on a bucket."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, unquote_to_bytes

from aiohttp import web

from tests.support.scs_server.errors import Refusal
from tests.support.scs_server.signature import escaped, parameters_of

_PRESIGNED = frozenset({"Expires", "SOHUCSAccessKeyId", "Signature"})
_LISTING = frozenset({"prefix", "delimiter", "marker", "max-keys"})
_UPLOADS = frozenset({"uploads", "prefix", "delimiter", "key-marker", "upload-id-marker", "max-uploads"})

_OPERATIONS: dict[tuple[str, bool, frozenset[str]], str] = {
    ("GET", True, frozenset()): "get_object",
    ("HEAD", True, frozenset()): "head_object",
    ("PUT", True, frozenset()): "put_object",
    ("DELETE", True, frozenset()): "delete_object",
    ("PUT", True, frozenset({"newObjectName"})): "rename_object",
    ("POST", True, frozenset({"uploads"})): "create_upload",
    ("PUT", True, frozenset({"partNumber", "uploadId"})): "upload_part",
    ("GET", True, frozenset({"uploadId"})): "list_parts",
    ("POST", True, frozenset({"uploadId"})): "complete_upload",
    ("DELETE", True, frozenset({"uploadId"})): "abort_upload",
    ("POST", False, frozenset({"delete"})): "delete_objects",
    ("GET", False, frozenset({"location"})): "get_location",
}


@dataclass(frozen=True)
class ScsRequest:
    """A request in SCS's terms."""

    method: str
    target: str
    bucket: str
    key: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]
    """Headers by lower-case name."""
    operation: str


def understand(request: web.BaseRequest) -> ScsRequest:
    """Parse a request.

    Raises:
        Refusal: SCS would reject the request.
    """
    headers = {name.lower(): value for name, value in request.headers.items()}
    path, _, query = request.raw_path.partition("?")
    parameters = parameters_of(query)
    _, _, rest = path.partition("/")
    bucket, _, key = rest.partition("/")
    operation = _operation(request.method, bool(key), parameters, headers)
    return ScsRequest(request.method, request.raw_path, unquote(bucket), unquote(key), parameters, headers, operation)


def _operation(method: str, has_key: bool, parameters: Mapping[str, str], headers: Mapping[str, str]) -> str:  # noqa: FBT001
    names = frozenset(parameters) - _PRESIGNED
    if method == "GET" and not has_key and names <= _LISTING:
        return "list_objects"
    if method == "GET" and not has_key and "uploads" in names and names <= _UPLOADS:
        return "list_uploads"
    operation = _OPERATIONS.get((method, has_key, names))
    if operation is None:
        raise Refusal(400, "InvalidArgument", f"{method} with {sorted(names)} is no operation of SCS")
    if operation == "put_object" and "x-scs-copy-source" in headers:
        return "copy_object"
    return operation


def refuse_what_scs_does_not_know(request: ScsRequest) -> None:
    """Check the form of a request strictly.

    Raises:
        Refusal: a header, an encoding or an escape that SCS's SDK never sends.
    """
    _check_path(request)
    for name in request.headers:
        _check_header(name)
    if "aws-chunked" in request.headers.get("content-encoding", ""):
        raise Refusal(400, "InvalidArgument", "SCS knows no chunked signing")
    if request.method in {"PUT", "POST"} and "content-length" not in request.headers:
        raise Refusal(411, "MissingContentLength")
    is_new = request.operation in {"put_object", "create_upload"}
    if is_new and request.headers.get("content-type") != "application/octet-stream":
        raise Refusal(400, "InvalidArgument", "registry objects are application/octet-stream")


def _check_path(request: ScsRequest) -> None:
    path = request.target.partition("?")[0]
    if escaped(unquote_to_bytes(path)) != path:
        raise Refusal(400, "InvalidURI", "the path is not escaped as SCS signs it")
    if path.count("/") < 2:
        raise Refusal(400, "InvalidURI", "the slash behind the bucket is missing")
    if request.bucket != request.bucket.lower():
        raise Refusal(400, "InvalidBucketName", "bucket names are lower case")


def _check_header(name: str) -> None:
    is_foreign = name.startswith(("x-amz-", "amz-")) or name in {"expect", "trailer", "transfer-encoding"}
    if is_foreign or (name.startswith("x-scs-") and name not in {"x-scs-copy-source", "x-scs-date"}):
        raise Refusal(400, "InvalidArgument", f"SCS knows no {name}")
