"""Error responses."""

import logging

import pytest

from core.errors import (
    StorageCorruptError,
    StorageFullError,
    StorageUnavailableError,
    UpstreamBusyError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from core.model.digest import Digest
from tests.http.conftest import error_codes

BLOB = f"/v2/a/blobs/{Digest.of(b'x')}"


@pytest.fixture
def failing(api, monkeypatch):
    def fail_with(error):
        async def read(_self, _key, *, limit=0):
            raise error

        monkeypatch.setattr(type(api.services.storage), "read", read)

    return fail_with


async def test_failing_store_is_503_with_retry_after(api, failing):
    failing(StorageUnavailableError("10.0.0.1 said no"))
    async with api.request("GET", BLOB) as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "5")
        assert await error_codes(response) == ["UNAVAILABLE"]
        assert "10.0.0.1" not in await response.text()


async def test_full_store_is_507_with_its_cause(api, failing):
    """It does not pass by itself: no client is asked to come back."""
    failing(StorageFullError("no space left on device at /docker/registry"))
    async with api.request("GET", BLOB) as response:
        assert response.status == 507
        assert "Retry-After" not in response.headers
        assert await error_codes(response) == ["UNAVAILABLE"]
        assert "the storage is full" in await response.text()
        assert "/docker/registry" not in await response.text()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_damaged_record_of_the_registry_is_500_without_its_name(api, failing, caplog, method):
    """Pushing the content again would not help: a HEAD does not ask for it."""
    failing(StorageCorruptError("the digests of round x cannot be read"))
    async with api.request(method, BLOB) as response:
        assert response.status == 500
        assert "round" not in await response.text()
        assert method == "HEAD" or await error_codes(response) == ["DATA_DAMAGED"]
    assert "the digests of round x cannot be read" in caplog.text
    assert "Traceback" not in caplog.text


async def test_defect_is_500_without_details(api, failing, caplog):
    failing(RuntimeError("a secret detail"))
    async with api.request("GET", BLOB) as response:
        assert response.status == 500
        assert await error_codes(response) == ["UNKNOWN"]
        assert "secret" not in await response.text()
    assert "a secret detail" in caplog.text


@pytest.mark.parametrize(("sent", "kept"), [("abc-1", True), ("a b", False), ("x" * 200, False)])
async def test_request_id_comes_from_the_client_or_is_new(api, sent, kept):
    async with api.request("GET", "/v2/", headers={"X-Request-Id": sent}) as response:
        assert (response.headers["X-Request-Id"] == sent) is kept
        assert response.headers["X-Request-Id"]


async def test_access_log_has_one_line_and_no_state(api, caplog):
    with caplog.at_level(logging.INFO, "registry.access"):
        async with api.request("GET", "/v2/a/blobs/uploads/x?_state=topsecret&n=1") as response:
            assert response.status == 404
    assert "topsecret" not in caplog.text


async def test_oversized_header_is_refused_with_an_error_document(api):
    async with api.request("GET", "/v2/", headers={"X-Long": "x" * 20_000}) as response:
        assert response.status == 400


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UpstreamError("quay.io: broken"), (502, "UNAVAILABLE", None)),
        (UpstreamUnavailableError("quay.io: cannot connect"), (502, "UNAVAILABLE", None)),
        (UpstreamTimeoutError("quay.io: no answer in 30 s"), (504, "UNAVAILABLE", None)),
        (UpstreamBusyError("quay.io: asks to wait", retry_after=60), (429, "TOOMANYREQUESTS", "60")),
    ],
)
async def test_failure_of_an_upstream_names_it_and_is_no_defect(api, failing, caplog, error, expected):
    failing(error)
    async with api.request("GET", BLOB) as response:
        [entry] = (await response.json())["errors"]
        assert (response.status, entry["code"], response.headers.get("Retry-After")) == expected
        assert entry["message"] == str(error)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
