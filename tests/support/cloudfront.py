"""CloudFront as far as signed URLs matter: verifies each signature, and serves the object from a bucket behind it."""

import base64
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import boto3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typing_extensions import override

KEY_PAIR_ID = "APKAEXAMPLE"


def write_key(path: Path, *, form: PrivateFormat = PrivateFormat.TraditionalOpenSSL) -> RSAPrivateKey:
    """Write a new RSA key to a file, in the form that AWS's console offers, and return the key."""
    key = generate_private_key(65_537, 2048)
    path.write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))
    return key


def require_signed(url: str, key: RSAPublicKey, *, now: float) -> None:
    """Check a signed URL as CloudFront does; raise `ValueError` with the reason for a refusal."""
    resource, _, query = url.partition("?")
    fields = {name: values[0] for name, values in parse_qs(query, strict_parsing=True).items()}
    if list(fields) != ["Expires", "Signature", "Key-Pair-Id"] or fields["Key-Pair-Id"] != KEY_PAIR_ID:
        raise ValueError(f"unexpected query {query}")
    expires = int(fields["Expires"])
    condition = f'{{"DateLessThan":{{"AWS:EpochTime":{expires}}}}}'
    policy = f'{{"Statement":[{{"Resource":"{resource}","Condition":{condition}}}]}}'
    signature = base64.b64decode(fields["Signature"].translate(str.maketrans("-_~", "+=/")), validate=True)
    try:
        key.verify(signature, policy.encode(), PKCS1v15(), SHA1())  # noqa: S303 - CloudFront's
    except InvalidSignature:
        raise ValueError("the signature is not that of the policy") from None
    if expires <= now:
        raise ValueError("the URL has expired")


class FakeCloudFront(ThreadingHTTPServer):
    """A distribution of CloudFront on a port of 127.0.0.1.

    Args:
        key: verifies signatures.
        store: the URL of the S3 server.
        bucket: the bucket whose objects are served.
    """

    daemon_threads = True

    def __init__(self, key: RSAPublicKey, store: str, bucket: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.key = key
        self.bucket = bucket
        self.store = boto3.client(
            "s3",
            endpoint_url=store,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )
        self.served: list[str] = []
        """The paths that were served."""
        self.refusals: list[str] = []

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeCloudFront

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        try:
            require_signed(f"{self.server.url}{self.path}", self.server.key, now=time.time())
        except ValueError as error:
            self.server.refusals.append(f"{self.path}: {error}")
            self._answer(403, b"denied")
            return
        wanted_object = {"Bucket": self.server.bucket, "Key": path.lstrip("/")}
        url = self.server.store.generate_presigned_url("get_object", Params=wanted_object)
        asked = urllib.request.Request(url)  # noqa: S310 - the URL of the test's store
        if wanted := self.headers.get("Range"):
            asked.add_header("Range", wanted)
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310 - see above
                self.server.served.append(path)
                self._answer(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            self._answer(error.code, b"")
            error.close()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextmanager
def fake_cloudfront(key: RSAPublicKey, store: str, bucket: str) -> Iterator[FakeCloudFront]:
    """Run the server in a thread."""
    with FakeCloudFront(key, store, bucket) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            server.store.close()
