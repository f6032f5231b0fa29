"""S3 servers for the tests, and what is in a bucket behind an adapter's back."""

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
from moto.server import ThreadedMotoServer

from adapters.blob_storage.s3 import S3BlobStorage
from adapters.blob_storage.s3.listing import list_pages
from adapters.blob_storage.s3.multipart import list_uploads


@contextmanager
def moto_endpoint(bucket: str) -> Iterator[str]:
    """Run moto's server in a thread of this process, with one bucket; yield its URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",  # noqa: S106 - of a server in this process
        )
        client.create_bucket(Bucket=bucket)
        client.close()
        yield url
    finally:
        server.stop()


async def stored_in(storage: S3BlobStorage) -> list[str]:
    """Return the keys of all objects in the bucket, and of all multipart uploads that are open."""
    client = storage._client
    objects = [entry["Key"] async for page in list_pages(client, "") for entry in page.objects]
    return objects + [f"upload of {key}" async for key, _ in list_uploads(client, "")]
