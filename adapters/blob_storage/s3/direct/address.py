"""The URL of a bucket at an endpoint that the settings give, as botocore would choose it."""

import re
from typing import Final
from urllib.parse import quote, urlsplit

from adapters.addresses import is_ip_address, is_web_url
from adapters.blob_storage.s3.errors import NotSentError
from adapters.blob_storage.s3.options import bucket_problem

_LABEL: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_HOST_BUCKET_CHARACTERS_MIN: Final = 3
_IPV4: Final = re.compile(r"\d+(?:\.\d+){3}")


def bucket_url(endpoint: str, bucket: str, *, in_host: bool) -> str:
    """Return the URL of a bucket, without a slash at its end.

    Args:
        endpoint: URL of the store, perhaps with a path.
        bucket: the bucket.
        in_host: whether the bucket is part of the host name, if it can be: not if the host is an IP address, nor for a
            name that DNS or the certificate of the store does not allow.

    Raises:
        ValueError: the endpoint is not a URL.
        NotSentError: the name is not that of a bucket.
    """
    if not is_web_url(endpoint):
        raise ValueError("the endpoint is not a URL")
    if bucket_problem(bucket) is not None:
        raise NotSentError("InvalidBucketName")
    parts = urlsplit(endpoint)
    path = quote(parts.path.rstrip("/"), safe="/~%")
    if in_host and _fits_into_host(bucket, scheme=parts.scheme) and not is_ip_address(parts.hostname or ""):
        return f"{parts.scheme}://{bucket}.{parts.netloc}{path}"
    return f"{parts.scheme}://{parts.netloc}{path}/{quote(bucket, safe='')}"


def _fits_into_host(bucket: str, *, scheme: str) -> bool:
    labels = bucket.split(".")
    if len(bucket) < _HOST_BUCKET_CHARACTERS_MIN or _IPV4.fullmatch(bucket) or not all(map(_LABEL.fullmatch, labels)):
        return False
    # A certificate for all names of one level does not cover a bucket with dots.
    return scheme == "http" or len(labels) == 1
