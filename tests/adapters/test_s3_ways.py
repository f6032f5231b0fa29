"""The choice between the two ways to a store, and the TLS and the credentials of the direct one."""

import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.blob_storage.s3 import RetryOptions, S3Options, ways
from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.dialect import S3, Dialect
from adapters.blob_storage.s3.direct import tls
from adapters.blob_storage.s3.presets.dialects import GCS, OSS, SWIFT
from adapters.blob_storage.scs.dialect import SCS
from core.errors import StorageUnavailableError
from core.model.secret import Secret

GIVEN: dict[str, Any] = {
    "bucket": "images",
    "access_key": "key",
    "secret_key": Secret("hush"),
    "region_endpoint": "https://store.example",
}


@pytest.mark.parametrize("dialect", [S3, GCS, OSS, SWIFT, SCS])
def test_keys_and_an_endpoint_suffice(dialect: Dialect) -> None:
    assert not ways.needs_sdk(S3Options(**GIVEN), dialect)


@pytest.mark.parametrize(
    "changes",
    [
        {"access_key": None},
        {"access_key": ""},
        {"region_endpoint": None},
        {"v4_auth": False},
        {"accelerate": True},
        {"region": "aws-global"},
        {"bucket": "arn:aws:s3:eu-west-1:123456789012:accesspoint/images"},
        {"bucket": "images--euw1-az1--x-s3"},
        {"bucket": "images-1234567890--op-s3"},
    ],
)
def test_sdk_is_needed_for_decisions_that_the_settings_do_not_contain(changes: dict[str, Any]) -> None:
    options = S3Options(**(GIVEN | changes))
    assert ways.needs_sdk(options, S3)
    # botocore cannot sign for SCS.
    assert not ways.needs_sdk(options, SCS)


@pytest.mark.parametrize("changes", [{"access_key": ""}, {"secret_key": None}])
async def test_missing_key_of_scs_is_named(changes: dict[str, Any]) -> None:
    async with StoreClient.open(S3Options(**(GIVEN | changes)), SCS) as client:
        with pytest.raises(StorageUnavailableError, match=r"no credentials: set storage\.scs\.accesskey"):
            await client.call("head_object", key="/a")


@pytest.mark.parametrize("v4_auth", [True, False])
async def test_store_that_cannot_be_reached_is_tried_again(v4_auth: bool, caplog: pytest.LogCaptureFixture) -> None:  # noqa: FBT001
    caplog.set_level("INFO")
    retry = RetryOptions(attempts=3, pause_base_seconds=0.001)
    options = S3Options(**(GIVEN | {"region_endpoint": "http://127.0.0.1:1", "v4_auth": v4_auth, "retry": retry}))
    async with StoreClient.open(options, S3) as client:
        with pytest.raises(StorageUnavailableError, match="cannot reach the store"):
            await client.call("head_object", key="/a")
    assert sum("retrying head_object" in record.getMessage() for record in caplog.records) == 2


@pytest.fixture
def fresh_contexts() -> Iterator[None]:
    tls.verifying_context.cache_clear()
    yield
    tls.verifying_context.cache_clear()


@pytest.mark.usefixtures("fresh_contexts")
def test_authorities_that_botocore_ships_are_trusted_and_loaded_once() -> None:
    """Before a server forks: their objects take 2.5 MiB."""
    ways.preload(S3Options(**GIVEN), S3)
    assert tls.verifying_context.cache_info().currsize == 1
    context = tls.verifying_context(None)
    assert len(context.get_ca_certs()) > 50
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.usefixtures("fresh_contexts")
def test_authorities_of_the_system_are_trusted_if_botocore_ships_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """`SSL_CERT_FILE` of these tests names a single authority."""
    monkeypatch.setattr(tls, "find_spec", lambda _name: None)
    assert len(tls.verifying_context(None).get_ca_certs()) == 1


@pytest.mark.usefixtures("fresh_contexts")
@pytest.mark.parametrize(
    "changes",
    [{"region_endpoint": "http://store.example"}, {"skip_verify": True}, {"authorities": "/none.pem"}],
)
def test_authorities_are_not_loaded_in_vain(changes: dict[str, Any]) -> None:
    ways.preload(S3Options(**(GIVEN | changes)), S3)
    assert tls.verifying_context.cache_info().currsize == 0
