"""The contract of `Redirector`."""

from abc import abstractmethod
from typing import Any

import pytest
from yarl import URL

from core.model.digest import Digest
from core.model.events import UNNAMED
from core.store import layout

KEYS = [layout.blob_data(Digest.of(content)) for content in (b"a", b"b")]


class RedirectorContract:
    @pytest.fixture
    @abstractmethod
    async def redirector(self) -> Any:
        """An open redirector."""

    async def test_url_names_the_object(self, redirector):
        url = URL(await redirector.url(KEYS[0], by=UNNAMED))
        assert url.is_absolute()
        assert url.path.endswith("/data")
        assert KEYS[0].split("/")[-2] in url.path

    async def test_objects_have_different_urls(self, redirector):
        first, second = [await redirector.url(key, by=UNNAMED) for key in KEYS]
        assert first != second

    async def test_url_of_an_object_is_reused(self, redirector):
        first = await redirector.url(KEYS[0], by=UNNAMED)
        await redirector.url(KEYS[1], by=UNNAMED)
        assert await redirector.url(KEYS[0], by=UNNAMED) == first
