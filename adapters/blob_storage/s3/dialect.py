"""Differences between stores that implement S3's REST API, so that one adapter serves them all."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from adapters.blob_storage.s3.signing import Signer, SigV4Signer


def md5_base64(digest: bytes) -> str:
    """Encode an MD5 as in HTTP's `Content-MD5` header."""
    return base64.b64encode(digest).decode()


def _copy_source(bucket: str, key: str) -> tuple[str, str]:
    return "x-amz-copy-source", quote(f"{bucket}/{key}", safe="/~")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The deviations of one vendor from S3."""

    name: str
    """The driver's name in configuration and messages."""
    addressing: str | None = None
    """botocore's addressing style; None for the path with a custom endpoint, and for botocore's choice without one."""
    signer: Callable[[str], Signer] = SigV4Signer
    """Creates the signer for a region."""
    has_sdk: bool = True
    """Whether botocore can sign for the store."""
    signs_slash_of_bucket: bool = False
    """Whether the URL of the bucket ends with a slash, which the signature contains."""
    copy_source: Callable[[str, str], tuple[str, str]] = _copy_source
    """Returns the name and the value of the header that names the source of a copy, by its bucket and key."""
    checks_batch_md5: bool = True
    """Whether DeleteObjects is sent with its `Content-MD5`."""
    part_md5: Callable[[bytes], str] = md5_base64
    """Encodes the `Content-MD5` of an uploaded part."""
    checks_object_md5: bool = True
    """Whether a whole object is sent with its `Content-MD5`; its ETag is compared in any case."""
    checks_crc32: bool = False
    """Whether the store may support CRC32 checksums of S3; each store's answers decide."""
    encodes_listings: bool = True
    """Whether the store supports listings with escaped keys (`encoding-type`)."""
    etag_is_md5: bool = False
    """Whether the ETag of an object not written in parts is its MD5 in every bucket (not so with KMS)."""
    retry_codes: frozenset[str] = frozenset()
    """Error codes that are worth a retry, in addition to S3's."""
    writes_conditionally: bool = True
    """Whether the store supports writes on the condition that no object exists (`If-None-Match: *`)."""
    copies_in_parts: bool = True
    """Whether parts of an upload can be copied from another object."""
    rename_parameter: str | None = None
    """The query parameter with which a `PUT` of a key renames the object, None if there is none."""


S3: Final = Dialect(name="s3", checks_crc32=True)
