"""Differences of SCS from S3: header names, escaping, unsupported requests, transient error codes."""

from typing import Final

from adapters.blob_storage.s3.dialect import Dialect
from adapters.blob_storage.scs.signer import COPY_SOURCE, ScsSigner, escape_path


def copy_source(bucket: str, key: str) -> tuple[str, str]:
    """Return the header that names the source of a copy."""
    return COPY_SOURCE, escape_path(f"/{bucket}/{key}")


SCS: Final = Dialect(
    name="scs",
    signer=ScsSigner,
    has_sdk=False,
    signs_slash_of_bucket=True,
    copy_source=copy_source,
    # SCS's SDK sends no MD5 there, and encodes those of parts in hex: Base64 might be rejected.
    checks_batch_md5=False,
    encodes_listings=False,
    part_md5=bytes.hex,
    checks_object_md5=False,
    etag_is_md5=True,
    retry_codes=frozenset({"NoSuchUpload", "NoSuchBucket"}),
    writes_conditionally=False,
    copies_in_parts=False,
    rename_parameter="newObjectName",
)
