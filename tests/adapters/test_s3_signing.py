"""Signatures of the direct requests against botocore's, and the reuse of presigned URLs."""

from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from adapters.blob_storage.s3 import S3Options
from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.dialect import S3
from adapters.blob_storage.s3.presigning import LIFETIME_SECONDS, PresignedUrls
from adapters.blob_storage.s3.signing import SigV4Signer, canonical_query
from adapters.held_urls import HELD_MAX
from core.errors import StorageUnavailableError

REGION = "eu-west-1"
STATIC = Credentials("AKIDEXAMPLE", "secret/+key")
TEMPORARY = Credentials("ASIAEXAMPLE", "other", "token/with+odd=characters")
HOSTS = (
    "https://images.s3.eu-west-1.amazonaws.com",
    "http://127.0.0.1:9000/images",
    "https://h:443/b",
    "http://h:80/b",
)
KEYS = ("docker/registry/v2/blobs/sha256/ab/data", "a b+c~d:e", "ä/中/*!'()", "%25/&=?#", "a//b/", "")
QUERIES: tuple[dict[str, str], ...] = (
    {},
    {"prefix": "a/b c", "delimiter": "/_", "marker": "", "max-keys": "1000", "encoding-type": "url"},
    {"partNumber": "7", "uploadId": "a+b/c=="},
)
HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"Range": "bytes=0-7", "User-Agent": "us", "Expect": "100-continue"},
    {
        "Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg==",
        "Content-Type": "application/octet-stream",
        "x-amz-storage-class": "STANDARD",
        "x-amz-server-side-encryption-aws-kms-key-id": "  a   spaced\tkey ",
    },
)


def at(moment):
    """Return the unix time of a moment in a signature."""
    return datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


def fixed(seconds):
    """Return a clock that stands still."""
    return lambda: seconds


@pytest.mark.parametrize("credentials", [STATIC, TEMPORARY])
@pytest.mark.parametrize("headers", HEADERS)
@pytest.mark.parametrize("query", QUERIES)
def test_headers_equal_those_of_botocore(query, headers, credentials):
    signer = SigV4Signer(REGION)
    for host in HOSTS:
        for key in KEYS:
            for method in ("GET", "PUT"):
                url = host + signer.escape(f"/{key}") + (f"?{canonical_query(query)}" if query else "")
                request = AWSRequest(method=method, url=url, headers=headers)
                request.context["client_config"] = Config(s3={"payload_signing_enabled": False})
                S3SigV4Auth(credentials, "s3", REGION).add_auth(request)

                ours = dict(headers)
                signer_then = SigV4Signer(REGION, now=fixed(at(request.headers["X-Amz-Date"])))
                signer_then.sign(method, url, ours, credentials)

                assert ours == dict(request.headers.items())


@pytest.mark.parametrize("credentials", [STATIC, TEMPORARY])
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("host", HOSTS)
def test_presigned_url_equals_that_of_botocore(host, key, credentials):
    url = host + SigV4Signer(REGION).escape(f"/{key}")
    request = AWSRequest(method="GET", url=url)
    S3SigV4QueryAuth(credentials, "s3", REGION, expires=LIFETIME_SECONDS).add_auth(request)
    theirs = dict(parse_qsl(urlsplit(request.url).query))

    signer = SigV4Signer(REGION, now=lambda: at(theirs["X-Amz-Date"]))
    ours = signer.presign(url, credentials, seconds=LIFETIME_SECONDS)

    assert ours.partition("?")[0] == url
    assert dict(parse_qsl(urlsplit(ours).query)) == theirs


def test_signing_key_changes_with_the_day_and_the_secret():
    """One signer signs as new ones do."""
    seconds = at("20261129T235959Z")
    signer = SigV4Signer(REGION, now=lambda: seconds)
    url = "http://h/b/k"
    for credentials in (STATIC, TEMPORARY, STATIC):
        for seconds in (at("20261129T235959Z"), at("20261130T000000Z")):
            ours: dict[str, str] = {}
            fresh: dict[str, str] = {}
            signer.sign("GET", url, ours, credentials)
            SigV4Signer(REGION, now=fixed(seconds)).sign("GET", url, fresh, credentials)
            assert ours == fresh


def test_paths_are_escaped_as_botocore_escapes_them():
    for key in KEYS:
        assert SigV4Signer(REGION).escape(key) == quote(key, safe="/~")


@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:1"])
async def test_missing_credentials_are_refused(monkeypatch, tmp_path, endpoint):
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    options = S3Options(bucket="images", region="us-east-1", region_endpoint=endpoint)
    async with StoreClient.open(options, S3) as client:
        for ask in (client.presign("/a"), client.call("head_object", key="/a")):
            with pytest.raises(StorageUnavailableError, match=r"no credentials: set storage\.s3\.accesskey"):
                await ask


class Renewed:
    """Credentials that change."""

    def __init__(self):
        self.current = STATIC

    async def __call__(self):
        return self.current


@pytest.fixture
def signed():
    """Presigned URLs, with the clock, the credentials and the keys that were signed."""

    class Signed:
        def __init__(self):
            self.now = 1_000_000.0
            self.keys = []
            self.credentials = Renewed()
            self.urls = PresignedUrls(self.sign, self.credentials, now=lambda: self.now)

        async def sign(self, key, credentials):
            self.keys.append(key)
            return f"{key} {credentials.access_key} {self.now}"

    return Signed()


async def test_url_is_reused_for_half_of_its_lifetime(signed):
    first = await signed.urls.url("/a")
    signed.now += LIFETIME_SECONDS / 2 - 1
    assert await signed.urls.url("/a") == first
    assert await signed.urls.url("/b") != first
    signed.now += 1
    assert await signed.urls.url("/a") != first
    assert signed.keys == ["/a", "/b", "/a"]


async def test_url_is_signed_again_after_a_change_of_credentials_or_of_the_clock(signed):
    await signed.urls.url("/a")
    signed.credentials.current = TEMPORARY
    assert TEMPORARY.access_key in await signed.urls.url("/a")
    signed.now -= 1
    await signed.urls.url("/a")
    assert signed.keys == ["/a"] * 3


async def test_number_of_held_urls_is_bounded(signed):
    for number in range(HELD_MAX + 1):
        await signed.urls.url(f"/{number}")
    await signed.urls.url(f"/{HELD_MAX}")
    assert len(signed.keys) == HELD_MAX + 1
    await signed.urls.url("/0")
    assert signed.keys[-1] == "/0"
