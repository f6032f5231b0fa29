"""In what stores that speak S3's REST API differ, so that one adapter serves them."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final


def md5_base64(digest: bytes) -> str:
    """Spell an MD5 as HTTP's `Content-MD5` header does."""
    return base64.b64encode(digest).decode()


def _leave(_request: Any) -> None:
    """Send a request as botocore built it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What a vendor does his own way."""

    name: str
    """The driver's name in configuration and messages."""
    signature_version: str | None = None
    """A signer that botocore was told of, None for S3's own."""
    prepare: Callable[[Any], None] = _leave
    """Changes a botocore request in place before it is signed."""
    unsent_headers: tuple[str, ...] = ()
    """Headers that botocore adds after a request was signed, and that the store does not know."""
    part_md5: Callable[[bytes], str] = md5_base64
    """Spells the `Content-MD5` of an uploaded part."""
    checks_object_md5: bool = True
    """Whether a whole object is sent with its `Content-MD5`; its ETag is compared in any case."""
    etag_is_md5: bool = False
    """Whether the ETag of an object that was not written in parts is its MD5 in every bucket (not so with KMS)."""
    retry_codes: frozenset[str] = frozenset()
    """Error codes that pass when asked again, beside S3's."""
    writes_conditionally: bool = True
    """Whether an object can be written on condition that there is none (`If-None-Match: *`)."""
    copies_in_parts: bool = True
    """Whether parts of an upload can be copied from another object."""
    rename_parameter: str | None = None
    """The query parameter by which a `PUT` of a key renames it, None where there is no such thing."""


S3: Final = Dialect(name="s3")
