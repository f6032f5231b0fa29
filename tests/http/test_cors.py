"""CORS: preflight requests and headers for pages of other origins."""

from dataclasses import replace

import pytest

from config.settings import CorsSettings, Settings

UI = "https://ui.example"
PREFLIGHT = {
    "Origin": UI,
    "Access-Control-Request-Method": "DELETE",
    "Access-Control-Request-Headers": "authorization",
}


def with_cors(**changes):
    cors = replace(CorsSettings(origins=(UI,), credentials=True), **changes)
    return replace(Settings(), http=replace(Settings().http, cors=cors))


def cors_headers(response):
    return {name: value for name, value in response.headers.items() if name.startswith("Access-Control-")}


async def test_preflight_is_answered_exactly(start):
    api = await start(with_cors())
    async with api.request("OPTIONS", "/v2/a/manifests/x", headers=PREFLIGHT) as response:
        assert (response.status, await response.read()) == (204, b"")
        assert cors_headers(response) == {
            "Access-Control-Allow-Origin": UI,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
            "Access-Control-Allow-Headers": (
                "Accept, Authorization, Cache-Control, Content-Range, Content-Type, If-None-Match, Range, X-Request-Id"
            ),
            "Access-Control-Max-Age": "600",
        }
        assert response.headers.getall("Vary") == ["Origin"]
        assert "Content-Type" not in response.headers


@pytest.mark.parametrize(("path", "status"), [("/v2/", 200), ("/v2/a/tags/list", 404), ("/v2/a/manifests/!", 400)])
async def test_answers_and_errors_can_be_read_by_the_page(start, path, status):
    api = await start(with_cors())
    async with api.request("GET", path, headers={"Origin": UI}) as response:
        assert response.status == status
        found = cors_headers(response)
        exposed = set(found.pop("Access-Control-Expose-Headers").split(", "))
        assert found == {"Access-Control-Allow-Origin": UI, "Access-Control-Allow-Credentials": "true"}
        assert {
            "Docker-Content-Digest",
            "Link",
            "Location",
            "Range",
            "OCI-Subject",
            "OCI-Filters-Applied",
            "OCI-Namespace",
            "WWW-Authenticate",
        } <= exposed


@pytest.mark.parametrize("origin", ["https://evil.example", "https://ui.example.evil", "http://ui.example", "null"])
async def test_other_origins_get_nothing(start, origin):
    api = await start(with_cors())
    for method in ("OPTIONS", "GET"):
        async with api.request(method, "/v2/", headers=PREFLIGHT | {"Origin": origin}) as response:
            assert cors_headers(response) == {}
            assert response.headers["Vary"] == "Origin"


async def test_request_without_an_origin_is_answered_as_before(start):
    api = await start(with_cors())
    async with api.request("GET", "/v2/") as response:
        assert (response.status, cors_headers(response)) == (200, {})


async def test_any_origin_is_allowed_without_credentials(start):
    api = await start(with_cors(origins=("*",), credentials=False))
    async with api.request("OPTIONS", "/v2/", headers=PREFLIGHT) as response:
        found = cors_headers(response)
        assert (response.status, found["Access-Control-Allow-Origin"]) == (204, "*")
        assert "Access-Control-Allow-Credentials" not in found
        assert "Vary" not in response.headers


async def test_own_methods_and_headers_are_announced(start):
    api = await start(with_cors(methods=("GET",), headers=("Accept",), max_age_seconds=5.0))
    async with api.request("OPTIONS", "/v2/", headers=PREFLIGHT) as response:
        assert response.headers["Access-Control-Allow-Methods"] == "GET"
        assert response.headers["Access-Control-Allow-Headers"] == "Accept"
        assert response.headers["Access-Control-Max-Age"] == "5"


async def test_without_cors_a_preflight_is_an_ordinary_request(api):
    async with api.request("OPTIONS", "/v2/", headers=PREFLIGHT) as response:
        assert (response.status, response.headers["Allow"]) == (200, "GET, HEAD")
        assert cors_headers(response) == {}


async def test_plain_headers_keep_working_as_in_distribution(start):
    headers = {"Access-Control-Allow-Origin": (UI,), "Access-Control-Allow-Methods": ("HEAD, GET, OPTIONS, DELETE",)}
    api = await start(replace(Settings(), http=replace(Settings().http, headers=headers)))
    async with api.request("OPTIONS", "/v2/a/manifests/x", headers=PREFLIGHT) as response:
        assert response.status == 200
        assert cors_headers(response) == {name: value for name, [value] in headers.items()}
