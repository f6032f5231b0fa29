"""S3 servers for tests, and direct access to the content of a bucket."""

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from adapters.blob_storage.s3.listing import list_pages
from adapters.blob_storage.s3.multipart import list_uploads
from adapters.blob_storage.s3.storage import S3BlobStorage
from tests.support.ports import free_port


@contextmanager
def moto_endpoint(bucket: str) -> Iterator[str]:
    """Run moto's server in a thread of this process, with one bucket; yield its URL."""
    # The application of S3 alone: to find the service of a request takes moto a third of the time of most requests.
    application = create_backend_app("s3")
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )
        client.create_bucket(Bucket=bucket)
        client.close()
        yield url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def stored_in(storage: S3BlobStorage) -> list[str]:
    """Return the keys of all objects in the bucket, and of all open multipart uploads."""
    client = storage.client
    objects = [entry["Key"] async for page in list_pages(client, "") for entry in page.objects]
    return objects + [f"upload of {upload.store_key}" async for upload in list_uploads(client, "")]


@contextmanager
def versitygw_endpoint(binary: str, bucket: str, folder: Path) -> Iterator[str]:
    """Run versitygw on a folder, with one bucket; yield its URL."""
    address = f"127.0.0.1:{free_port()}"
    (folder / "root" / bucket).mkdir(parents=True)
    command = [
        binary, "--port", address, "--access", "key", "--secret", "secret", "--keep-alive", "--quiet",
        "posix", "--sidecar", str(folder / "sidecar"), str(folder / "root"),
    ]  # fmt: skip
    (folder / "sidecar").mkdir()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait_until_open(address, process, folder / "log")
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(timeout=10)


def _wait_until_open(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    host, _, port = address.partition(":")
    for _ in range(100):
        if process.poll() is not None:
            break
        with socket.socket() as attempt:
            if attempt.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"versitygw does not answer: {log.read_text()}")
