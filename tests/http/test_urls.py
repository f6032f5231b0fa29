"""URLs in responses, behind any proxy."""

from dataclasses import replace

import pytest

from config.settings import Settings


async def location(api, headers=None):
    async with api.request("POST", "/v2/a/blobs/uploads/", headers=headers or {}) as response:
        return response.headers["Location"].partition("/v2/a/blobs/uploads/")[0]


def with_http(**changes):
    return replace(Settings(), http=replace(Settings().http, **changes))


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({}, "{root}"),
        ({"Host": "registry.example:8443"}, "http://registry.example:8443"),
        ({"X-Forwarded-Proto": "https"}, "https://{host}"),
        ({"X-Forwarded-Proto": "https, http", "X-Forwarded-Host": "a.example, b"}, "https://a.example"),
        ({"X-Forwarded-Host": "[::1]:5000"}, "http://[::1]:5000"),
        ({"Forwarded": 'proto=https;host="a.example:8443"'}, "https://a.example:8443"),
        ({"Forwarded": "proto=https, proto=http", "X-Forwarded-Proto": "http"}, "https://{host}"),
        ({"Forwarded": "for=1.2.3.4", "X-Forwarded-Proto": "https"}, "{root}"),
        ({"X-Forwarded-Proto": "javascript", "X-Forwarded-Host": "a b>"}, "{root}"),
        ({"X-Forwarded-Host": "a.example/evil"}, "{root}"),
    ],
)
async def test_links_use_the_host_of_the_client(api, headers, origin):
    assert await location(api, headers) == origin.format(root=api.root, host=api.root.removeprefix("http://"))


async def test_configured_host_overrides_everything(start):
    api = await start(with_http(host="https://registry.example/path/"))
    assert await location(api, {"X-Forwarded-Proto": "http"}) == "https://registry.example/path"


async def test_relative_urls_keep_the_prefix(start):
    api = await start(with_http(relative_urls=True, prefix="/p/"), path="/p")
    assert await location(api) == "/p"


async def test_configured_headers_are_on_every_response(start):
    api = await start(with_http(headers={"X-Content-Type-Options": ("nosniff",), "X-Two": ("a", "b")}))
    for path in ("/v2/", "/v2/a/tags/list", "/nowhere"):
        async with api.request("GET", path) as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers.getall("X-Two") == ["a", "b"]
