"""The signer against what SCS's own SDK put on the wire."""

import json
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from adapters.blob_storage.s3.requests import Credentials
from adapters.blob_storage.scs.signer import ScsSigner, escape_path, presigned_url, sign_text, string_to_sign

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
    text = string_to_sign(vector["method"], url_of(vector), vector["headers"].items())
    assert text == vector["string_to_sign"]
    assert f"{VECTORS['access_key']}:{sign_text(VECTORS['secret_key'], text)}" == vector["authorization"]


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


@pytest.mark.parametrize("vector", SIGNED_BY_HEADER)
def test_requests_are_signed_as_the_text_of_the_sdk(vector):
    headers = {name: value for name, value in vector["headers"].items() if name != "Date"}
    ScsSigner("bjcnc").sign(vector["method"], url_of(vector), headers, CREDENTIALS)
    assert headers["Date"].endswith(" UTC")
    text = string_to_sign(vector["method"], url_of(vector), headers.items())
    assert text.replace(headers["Date"], vector["headers"]["Date"]) == vector["string_to_sign"]
    assert headers["Authorization"] == f"{VECTORS['access_key']}:{sign_text(VECTORS['secret_key'], text)}"


def test_vendor_date_replaces_the_date_line():
    headers = [("Date", "ignored"), ("X-Scs-Date", "Tue, 24 Nov 2026 03:44:00 UTC")]
    text = string_to_sign("GET", "http://h/b/k", headers)
    assert text == "get\n\n\n\nx-scs-date:Tue, 24 Nov 2026 03:44:00 UTC\n/b/k"


def test_acl_and_location_are_signed_sorted():
    text = string_to_sign("GET", "http://h/b/?prefix=x&location&acl=public", ())
    assert text.rpartition("\n")[2] == "/b/?acl=public&location"


def test_escaping_keeps_only_unreserved_characters():
    assert escape_path("/b/a b+c:d~e(f)!'*中") == "/b/a%20b%2Bc:d~e%28f%29%21%27%2A%E4%B8%AD"
