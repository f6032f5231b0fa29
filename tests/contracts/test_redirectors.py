"""Contract tests of redirectors."""

from datetime import UTC, datetime

import pytest
from typing_extensions import override

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.redirection.base_url import BaseUrlRedirector
from adapters.redirection.cloudfront import CloudFrontRedirector
from adapters.redirection.rewriting import RewritingRedirector
from adapters.redirection.store import StoreRedirector
from tests.contracts.redirector_contract import RedirectorContract
from tests.support.cloudfront import KEY_PAIR_ID, write_key


class StoreWithUrls(InMemoryBlobStorage):
    @override
    async def redirect_url(self, key: str, *, method: str) -> str | None:
        return f"https://store.example.com{key}"


class TestStoreRedirector(RedirectorContract):
    @pytest.fixture
    async def redirector(self):
        return StoreRedirector(StoreWithUrls(now=lambda: datetime(2026, 11, 30, tzinfo=UTC)))


class TestBaseUrlRedirector(RedirectorContract):
    @pytest.fixture
    async def redirector(self):
        return BaseUrlRedirector("https://cdn.example.com/images")


class TestRewritingRedirector(RedirectorContract):
    @pytest.fixture
    async def redirector(self):
        inner = BaseUrlRedirector("https://cdn.example.com/images")
        async with RewritingRedirector(inner, host="cdn.example.org") as redirector:
            yield redirector


class TestCloudFrontRedirector(RedirectorContract):
    @pytest.fixture
    async def redirector(self, tmp_path):
        write_key(tmp_path / "key.pem")
        async with CloudFrontRedirector(
            BaseUrlRedirector("https://store.example.com"),
            base_url="https://d1.cloudfront.net/",
            store_key=lambda key: key.lstrip("/"),
            key_pair_id=KEY_PAIR_ID,
            private_key=str(tmp_path / "key.pem"),
            validity_seconds=1200,
        ) as redirector:
            yield redirector
