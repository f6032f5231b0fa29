"""Differences of SCS from S3: header names, escaping, unsupported requests, transient error codes."""

from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from adapters.blob_storage.s3.dialect import Dialect
from adapters.blob_storage.scs.signer import HEADER_PREFIX, SIGNATURE_VERSION, ScsSigner, escape_path

_AMAZON_PREFIX: Final = "x-amz-"
_COPY_SOURCE: Final = "copy-source"
_UNKNOWN_PARAMETERS: Final = frozenset({"encoding-type"})


def prepare_request(request: Any) -> None:
    """Convert a request that botocore built for S3 into one for SCS, in place, before it is signed."""
    source = request.headers.get(_AMAZON_PREFIX + _COPY_SOURCE)
    for name in set(request.headers.keys()):
        if name.lower().startswith(_AMAZON_PREFIX):
            del request.headers[name]
    if source is not None:
        request.headers[HEADER_PREFIX + _COPY_SOURCE] = escape_path("/" + unquote(source).lstrip("/"))
    if request.method == "POST" and urlsplit(request.url).query == "delete":
        # SCS's SDK sends no MD5 here, and encodes those of parts in hex: Base64 might be rejected.
        del request.headers["Content-MD5"]
    request.url = _as_scs_writes_it(request.url)


def _as_scs_writes_it(url: str) -> str:
    """Return the URL without parameters that SCS does not support, its path escaped as in the signature."""
    parts = urlsplit(url)
    query = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if name not in _UNKNOWN_PARAMETERS
    ]
    path = escape_path(unquote(parts.path))
    if path.count("/") == 1:
        # The signature includes the slash after a bucket's name.
        path += "/"
    return parts._replace(path=path, query=urlencode(query)).geturl()


SCS: Final = Dialect(
    name="scs",
    signature_version=SIGNATURE_VERSION,
    prepare=prepare_request,
    unsent_headers=("amz-sdk-invocation-id", "amz-sdk-request"),
    signers={SIGNATURE_VERSION: ScsSigner},
    encodes_listings=False,
    part_md5=bytes.hex,
    checks_object_md5=False,
    etag_is_md5=True,
    retry_codes=frozenset({"NoSuchUpload", "NoSuchBucket"}),
    writes_conditionally=False,
    copies_in_parts=False,
    rename_parameter="newObjectName",
)
