"""The signer against what SCS's own SDK put on the wire."""

import json
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from botocore.auth import AUTH_TYPE_MAPS
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import NoCredentialsError

from adapters.blob_storage.scs.signer import (
    ScsAuth,
    ScsQueryAuth,
    ScsSigner,
    escape_path,
    presigned_url,
    register_signers,
    sign_text,
    string_to_sign,
)

VECTORS = json.loads((Path(__file__).parent / "data" / "scs_vectors.json").read_text())
CREDENTIALS = Credentials(VECTORS["access_key"], VECTORS["secret_key"])
SIGNED_BY_HEADER = [vector for vector in VECTORS["requests"] if "authorization" in vector]
SIGNED_BY_QUERY = [vector for vector in VECTORS["requests"] if "authorization" not in vector]


def url_of(vector):
    return f"http://{vector['host']}{vector['target']}"


def test_all_vectors_are_present():
    assert (len(SIGNED_BY_HEADER), len(SIGNED_BY_QUERY), len(VECTORS["presigned_urls"])) == (35, 2, 2)


@pytest.mark.parametrize("vector", SIGNED_BY_HEADER)
def test_authorization_equals_the_sdk(vector):
    request = AWSRequest(method=vector["method"], url=url_of(vector), headers=vector["headers"])
    text = string_to_sign(request.method, request.url, request.headers.items())
    assert text == vector["string_to_sign"]

    ScsAuth(CREDENTIALS).add_auth(request)

    assert request.headers["Authorization"] == vector["authorization"]


@pytest.mark.parametrize("vector", SIGNED_BY_QUERY)
def test_presigned_request_equals_the_sdk(vector):
    query = parse_qs(urlsplit(vector["target"]).query)
    bare = url_of(vector).partition("?")[0]
    text = string_to_sign(vector["method"], bare, (), expires=int(query["Expires"][0]))
    assert text == vector["string_to_sign"]
    assert sign_text(VECTORS["secret_key"], text) == query["Signature"][0]


@pytest.mark.parametrize("vector", VECTORS["presigned_urls"])
def test_presigned_url_equals_the_sdk(vector):
    url = presigned_url(
        f"{vector['endpoint']}/{vector['bucket']}/{quote(vector['key'])}",
        method=vector["method"],
        access_key=VECTORS["access_key"],
        secret_key=VECTORS["secret_key"],
        expires=vector["expires"],
    )

    assert url == vector["url"]


@pytest.mark.parametrize(
    "vector", [vector for vector in SIGNED_BY_HEADER if "x-scs-copy-source" not in vector["headers"]]
)
def test_direct_requests_are_signed_as_the_text_of_the_sdk(vector):
    headers = {name: value for name, value in vector["headers"].items() if name != "Date"}
    ScsSigner("bjcnc").sign(vector["method"], url_of(vector), headers, CREDENTIALS)
    text = string_to_sign(vector["method"], url_of(vector), headers.items())
    assert text.replace(headers["Date"], vector["headers"]["Date"]) == vector["string_to_sign"]
    assert headers["Authorization"] == f"{VECTORS['access_key']}:{sign_text(VECTORS['secret_key'], text)}"


def test_signing_again_replaces_the_signature():
    request = AWSRequest(method="GET", url="http://h/b/k", headers={"Date": "Tue, 24 Nov 2026 03:44:00 UTC"})
    ScsAuth(CREDENTIALS).add_auth(request)
    first = request.headers.get_all("Authorization")

    ScsAuth(CREDENTIALS).add_auth(request)

    assert request.headers.get_all("Authorization") == first


def test_missing_date_is_written_as_utc():
    request = AWSRequest(method="GET", url="http://h/b/k")
    ScsAuth(CREDENTIALS).add_auth(request)
    assert request.headers["Date"].endswith(" UTC")


def test_vendor_date_replaces_the_date_line():
    headers = [("Date", "ignored"), ("X-Scs-Date", "Tue, 24 Nov 2026 03:44:00 UTC")]
    text = string_to_sign("GET", "http://h/b/k", headers)
    assert text == "get\n\n\n\nx-scs-date:Tue, 24 Nov 2026 03:44:00 UTC\n/b/k"


def test_acl_and_location_are_signed_sorted():
    text = string_to_sign("GET", "http://h/b/?prefix=x&location&acl=public", ())
    assert text.rpartition("\n")[2] == "/b/?acl=public&location"


def test_escaping_keeps_only_unreserved_characters():
    assert escape_path("/b/a b+c:d~e(f)!'*中") == "/b/a%20b%2Bc:d~e%28f%29%21%27%2A%E4%B8%AD"


def test_missing_credentials_are_refused():
    with pytest.raises(NoCredentialsError):
        ScsAuth(None)


def test_signer_is_registered_with_botocore():
    register_signers()
    assert AUTH_TYPE_MAPS["scs"] is ScsAuth
    assert AUTH_TYPE_MAPS["scs-query"] is ScsQueryAuth
