"""The choice between the two ways to send requests.

botocore is imported for a bucket that needs it, and for no other: it takes about 48 MiB in the processes of a server.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from adapters.blob_storage.s3.dialect import Dialect
from adapters.blob_storage.s3.direct.requests import open_direct
from adapters.blob_storage.s3.direct.tls import verifying_context
from adapters.blob_storage.s3.options import S3Options
from adapters.blob_storage.s3.requests import Requests

_SPECIAL_BUCKET: Final = re.compile(r"arn:.*|.*--[a-z0-9]+-s3")
"""Access points, S3 Express (`--x-s3`) and Outposts (`--op-s3`): AWS's rules decide about endpoint and signature."""
_SPECIAL_REGION: Final = "aws-global"


def needs_sdk(options: S3Options, dialect: Dialect) -> bool:
    """Whether botocore is needed: for credentials, endpoints or signatures that the settings do not give."""
    if not dialect.has_sdk:
        return False
    is_given = options.access_key and options.region_endpoint and options.v4_auth and not options.accelerate
    is_special = _SPECIAL_BUCKET.fullmatch(options.bucket) or options.region == _SPECIAL_REGION
    return not is_given or bool(is_special)


def preload(options: S3Options, dialect: Dialect) -> None:
    """Load the modules and data that the processes of a server share, before they fork."""
    if needs_sdk(options, dialect):
        from adapters.blob_storage.s3.sdk.definitions import preload_definitions  # noqa: PLC0415

        preload_definitions()
        return
    speaks_tls = (options.url(options.region_endpoint) or "").startswith("https:")
    if speaks_tls and not options.skip_verify and options.authorities is None:
        verifying_context(None)


@asynccontextmanager
async def open_requests(options: S3Options, dialect: Dialect) -> AsyncIterator[Requests]:
    """Open the way that the options need, and close its connections at the end of the block. Sends nothing.

    Raises:
        ValueError: an endpoint is not a URL.
        RequestError: the options cannot work.
        OSError: the certificates cannot be read.
    """
    if needs_sdk(options, dialect):
        from adapters.blob_storage.s3.sdk.requests import open_sdk  # noqa: PLC0415

        async with open_sdk(options, dialect) as by_sdk:
            yield by_sdk
    else:
        async with open_direct(options, dialect) as direct:
            yield direct
